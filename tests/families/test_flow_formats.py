"""Every format of an adapter for flow transformers: loaded exactly, every tensor counted; damaged, refused.

The table in docs/usage/formats.md is made here: `python -m scripts.render_docs --formats` writes it.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.support.damage import DAMAGE
from tests.support.flow_formats import FLOW_FORMATS
from tests.support.flow_outcomes import CODES, EXACT, measure
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def flow_outcomes(tmp_path_factory):
    return {form: measure(form, tmp_path_factory.mktemp("suspect")) for form in FLOW_FORMATS}


@pytest.mark.parametrize("form", FLOW_FORMATS, ids=lambda form: f"{form.name}, {form.family}")
def test_it_computes_what_is_meant_and_is_refused_when_damaged(flow_outcomes, form):
    outcome = flow_outcomes[form]
    assert outcome.error <= EXACT and outcome.merged <= EXACT and outcome.together <= EXACT
    assert outcome.effect > 100 * EXACT and outcome.base_kept
    assert outcome.counted == outcome.tensors > 0
    for damage, error in outcome.refusals.items():
        assert error is not None and error.code in CODES[damage], (damage, error)


def test_the_docs_state_what_was_measured(flow_outcomes):
    page = (ROOT / "docs" / "usage" / "formats.md").read_text(encoding="utf-8")
    assert table(flow_outcomes) in page, "run python -m scripts.render_docs --formats"


def table(outcomes) -> str:
    """Markdown; no figure that differs from machine to machine."""
    head = ["suspect", "made for", "tensors", "equal to the merged weights", "base untouched", *DAMAGE]
    rows = [head, ["---"] * len(head)]
    for form, o in outcomes.items():
        exact = "to 1e-5" if max(o.error, o.merged) <= EXACT else "NO"
        refused = ["refused" if o.refusals[d] else "ACCEPTED" for d in DAMAGE]
        rows.append([form.name, form.family, str(o.tensors), exact, "yes" if o.base_kept else "NO", *refused])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def measure_table() -> str:
    """Measure every format and return the table."""
    with TemporaryDirectory() as name:
        return table({form: measure(form, Path(name) / str(i)) for i, form in enumerate(FLOW_FORMATS)})
