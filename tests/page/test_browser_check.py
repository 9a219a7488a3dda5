"""The tab that checks a zip, in a real browser: on a phone, in another language, with a hostile record."""

import shutil

import pytest

from cgidm.evidence.bundle_writer import pack_evidence, write_evidence
from cgidm.evidence.seal import SEAL
from cgidm.page.html.i18n import translate
from tests.support.bundles import MODELS, reseal
from tests.support.results import result_of

pytestmark = pytest.mark.browser

WIDE = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def server(small_server):
    return small_server


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    write_evidence(result_of([2.0]), folder / "folder", MODELS)
    return pack_evidence(folder / "folder", folder / "evidence.zip")


def check(visitor, path, language="en"):
    visitor.page.get_by_role("tab", name=translate(language, "tab_check")).click()
    visitor.page.set_input_files("#check-file input[type=file]", str(path))
    return visitor.page.locator("#checked .cg-card")


@pytest.mark.parametrize("language", ["en", "ja"])
def test_a_zip_is_dropped_and_its_answer_seal_and_report_are_shown(visit, bundle, language):
    visitor = visit(locale=language, viewport={"width": 390, "height": 844})
    card = check(visitor, bundle, language)
    card.wait_for()
    assert translate(language, "check.whole") in card.inner_text()
    seal = (bundle.parent / "folder" / SEAL).read_text().split()[0]
    assert visitor.page.locator("#check-seal textarea, #check-seal input").input_value() == seal
    frame = visitor.page.frame_locator("iframe.cg-report")
    assert frame.locator("h1").inner_text() == "Was this picture used to train that model?"  # the report's own language
    assert visitor.page.evaluate(WIDE) <= 0


def test_a_hostile_record_runs_nothing(visit, bundle, tmp_path):
    folder = shutil.copytree(bundle.parent / "folder", tmp_path / "folder")
    script = "<img src=x onerror=\"parent.document.title='taken'\">"
    reseal(folder, lambda record: record["models"].update(suspect=script))
    (folder / "report.html").write_text(f"<script>parent.document.title='taken'</script>{script}")
    visitor = visit()
    card = check(visitor, pack_evidence(folder, tmp_path / "hostile.zip"))
    card.wait_for()
    assert translate("en", "check.altered") in card.inner_text()
    assert visitor.page.title() != "taken" and not visitor.page.locator("iframe.cg-report").count()
