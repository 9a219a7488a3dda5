"""Texts to hand over on the page: the same as `cgidm export`, made when they are wanted, gone with their visit."""

import shutil

import pytest

from cgidm.evidence.exports.catalogue import KINDS, exports
from cgidm.evidence.seal import SEAL
from cgidm.page.handlers import exports as handlers
from cgidm.page.handlers.examples import EXAMPLE, bundle_of, record_of
from cgidm.page.handlers.exports import FOLDER, export_view
from cgidm.page.html.i18n import LANGUAGES, translate
from cgidm.page.html.views import empty_view, no_commands, no_export, with_prefix
from cgidm.page.runs import store
from cgidm.page.runs.store import Visit
from cgidm.page.ui import layout
from cgidm.resources import find_example
from tests.support.errors import refuses
from tests.support.page_records import Reader
from tests.support.paths import SUSPECTS

USED, UNUSED = (f"{SUSPECTS[1]}/{part}" for part in ("member", "holdout"))


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "ROOT", tmp_path / "visits")
    monkeypatch.setattr("cgidm.page.handlers.examples.ROOT", tmp_path / "visits")


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """A finished run of a visit: an answer that ships, in the place of one that was computed."""
    from tests.support import page_runs

    visit = Visit()
    run = page_runs.request().begin(visit)
    shutil.copytree(handlers.EXAMPLE_ANSWERS / USED, run.public_dir, dirs_exist_ok=True)
    shutil.copyfile(bundle_of(USED), run.public_dir / "evidence.zip")
    assert run.is_finished
    return visit, run


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_is_the_one_of_the_command_line(kind):
    view = export_view(None, EXAMPLE + USED, kind, "en")
    seal = (handlers.EXAMPLE_ANSWERS / USED / SEAL).read_text()[:64]
    written = next(e.text for e in exports(record_of(USED), seal) if e.name == kind)
    assert view["text"] == view["text"] | {"value": written, "visible": True}
    file = bundle_of(USED).parent / FOLDER / f"{kind}.txt"
    assert view["file"]["value"] == str(file) and file.read_text() == written
    assert translate("en", f"export.about.{kind}") in Reader(view["about"]).text


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", ["dmca", "civitai", "hub"])
def test_nobody_is_accused_without_evidence(kind, language):
    view = export_view(None, EXAMPLE + UNUSED, kind, language)
    assert 'role="alert"' in view["about"] and view["kind"] == kind
    assert not view["text"]["visible"] and not view["file"]["visible"]
    assert not (bundle_of(UNUSED).parent / FOLDER).exists()
    assert export_view(None, EXAMPLE + UNUSED, "lawyer", language)["text"]["visible"]


def test_nothing_is_written_before_a_text_is_chosen_and_it_goes_with_the_visit(finished):
    visit, run = finished
    assert not (run.public_dir / FOLDER).exists()
    before = (run.public_dir / "evidence.zip").read_bytes()
    view = export_view(visit.token, run.name, "dmca", "en")
    file = run.public_dir / FOLDER / "dmca.txt"
    assert view["file"]["value"] == str(file) and "17 U.S.C. 512(c)(3)" in file.read_text()
    assert [p.name for p in (run.public_dir / FOLDER).iterdir()] == ["dmca.txt"]
    assert (run.public_dir / "evidence.zip").read_bytes() == before, "the evidence is as it was"
    visit.forget()
    assert not file.exists()


def test_another_visit_s_answer_and_an_unknown_text_give_nothing(finished):
    visit, run = finished
    for token, current, kind in (
        (Visit().token, run.name, "dmca"),
        (visit.token, "0" * 32, "dmca"),
        (visit.token, run.name, "../../etc/passwd"),
        (visit.token, run.name, None),
        (None, f"{EXAMPLE}../..", "lawyer"),
        (None, None, "lawyer"),
    ):
        assert export_view(token, current, kind, "en") == no_export()
    assert not (run.public_dir / FOLDER).exists()


def test_the_autov3_of_a_file_that_was_handed_over_is_filled_in(finished):
    from cgidm.evidence.exports.file_hashes import hash_weights

    visit, run = finished
    name = USED.split("/")[0]
    (weights,) = find_example(name).checkpoint.glob("*.safetensors")
    assert hash_weights(weights)[1] not in export_view(visit.token, run.name, "civitai", "en")["text"]["value"]
    (run.private_dir / "suspect").mkdir()
    shutil.copyfile(weights, run.private_dir / "suspect" / weights.name)
    assert hash_weights(weights)[1] in export_view(visit.token, run.name, "civitai", "en")["text"]["value"]
    (run.private_dir / "suspect" / weights.name).write_text("no model")
    with refuses("evidence.export.no_safetensors"):
        hash_weights(run.private_dir / "suspect" / weights.name)
    assert export_view(visit.token, run.name, "civitai", "en")["text"]["visible"]


def test_what_was_made_of_an_answer_goes_with_it():
    emptied = empty_view()
    assert with_prefix("export", no_export()).items() <= emptied.items()
    assert with_prefix("bank", no_commands()).items() <= emptied.items()
    assert not emptied["more_power"]["visible"]
    page, _ = layout.build_page()
    config = page.get_config_file()
    ids = {c["props"].get("elem_id"): c["id"] for c in config["components"]}
    made = {ids[name] for name in ("export-kind", "export-about", "export-text", "export-file")}
    made |= {ids[f"answer-bank-{name}"] for name in ("about", "own", "job")}
    shows_answers = [d for d in config["dependencies"] if ids["answer"] in d["outputs"]]
    assert len(shows_answers) > 5 and all(made <= set(d["outputs"]) for d in shows_answers)
