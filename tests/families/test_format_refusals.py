"""Adapters that are not computed here are refused by the family's or the method's name, not as damaged files.

The table in docs/usage/formats.md is made here: `python -m scripts.render_docs --formats` writes it.
"""

import pytest

from cgidm import UserError
from cgidm.families import load_pair
from cgidm.intake.family import guess_base
from cgidm.intake.layout import open_checkpoint
from tests.support.adapter_refusals import REFUSALS
from tests.support.formats import BASES
from tests.support.paths import ROOT


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bases")
    for name in {row.base for row in REFUSALS}:
        BASES[name]().save_pretrained(folder / name)
    return folder


@pytest.mark.parametrize("row", REFUSALS, ids=lambda row: f"{row.name}, {row.made_for}")
def test_it_is_refused_by_name(bases, tmp_path, row):
    row.write(tmp_path)
    given = str(tmp_path / row.given)
    with pytest.raises(UserError) as error:
        load_pair(str(bases / row.base), given, "a b")
    assert error.value.code == row.code
    assert row.says in str(error.value) and "\n" not in str(error.value)
    if row.family is not None:
        assert guess_base(open_checkpoint(given)).family == row.family


def test_the_docs_list_what_is_refused():
    page = (ROOT / "docs" / "usage" / "formats.md").read_text(encoding="utf-8")
    assert table() in page, "run python -m scripts.render_docs --formats"


def table() -> str:
    """Markdown: what is refused, and the word that the refusal names."""
    rows = [["suspect", "made for", "the refusal names"], ["---"] * 3]
    rows += [[row.name, row.made_for, row.says] for row in REFUSALS]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
