"""Everybody can use the page: axe-core finds no serious trouble, light and dark, in every language."""

import pytest

from cgidm.evidence.bundle_writer import pack_evidence, write_evidence
from cgidm.page.html.i18n import LANGUAGES, translate
from tests.support.bundles import MODELS
from tests.support.results import result_of

pytestmark = pytest.mark.browser

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-core comes with axe-playwright-python")

SUSPECT = "#suspect :is(input, textarea)"
EXAMPLE = "shipped:rollandin-lora"
GRAVE = ("serious", "critical")
RULES = {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}
OF_COLOURS = {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}  # all that another theme can change
DARK = """async dark => {  // and wait until no colour is on its way any more
    document.body.classList.toggle('dark', dark);
    await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
    const moving = Promise.allSettled(document.getAnimations().map(one => one.finished));
    await Promise.race([moving, new Promise(done => setTimeout(done, 3000))]);
}"""
MARKS = ("i18n", "translation_metadata")  # of a text that gradio has left untranslated


@pytest.fixture(scope="module")
def server(small_server):
    return small_server


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    write_evidence(result_of([2.0]), folder / "folder", MODELS)
    return pack_evidence(folder / "folder", folder / "evidence.zip")


def grave_troubles(visitor, where):
    """What axe-core finds serious or critical on the page as it stands, light and dark."""
    found = []
    for dark, rules in ((False, RULES), (True, OF_COLOURS)):
        visitor.page.evaluate(DARK, dark)
        answer = axe.Axe().run(visitor.page, options={"resultTypes": ["violations"], "runOnly": rules}).response
        assert answer["passes"], where
        found += [
            (where, dark, v["id"], n["html"]) for v in answer["violations"] if v["impact"] in GRAVE for n in v["nodes"]
        ]
    visitor.page.evaluate(DARK, False)
    return found


def test_axe_finds_what_is_wrong(visit):
    """Else it would find nothing to be right."""
    visitor = visit(reduced_motion="reduce")
    visitor.page.evaluate("""() => document.querySelector('#intro').insertAdjacentHTML('beforeend',
        '<img src="data:,"><p class="cg" style="color:#777;background:#888">grey</p>')""")
    found = {(name, dark) for _, dark, name, _ in grave_troubles(visitor, "spoilt")}
    assert found == {("image-alt", False), ("color-contrast", False), ("color-contrast", True)}


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_serious_is_wrong_with_any_part_of_the_page(visit, bundle, language):
    visitor = visit(locale=language, reduced_motion="reduce")  # else colours are on their way when axe looks
    found = grave_troubles(visitor, "empty")
    visitor.at(SUSPECT).fill(EXAMPLE)
    visitor.at("#model-card .cg-model").wait_for()
    found += grave_troubles(visitor, "with a card")
    visitor.card(0)
    visitor.at("#why details").evaluate_all("parts => parts.forEach(part => { part.open = true; })")
    found += grave_troubles(visitor, "with an answer")
    said = [visitor.at("body").inner_text()]
    visitor.page.get_by_role("tab", name=translate(language, "tab_check")).click()
    visitor.page.set_input_files("#check-file input[type=file]", str(bundle))
    visitor.at("#checked .cg-card").wait_for()
    found += grave_troubles(visitor, "with a checked zip")
    said.append(visitor.at("body").inner_text())
    assert found == []
    assert not [mark for mark in MARKS for text in said if mark in text]
