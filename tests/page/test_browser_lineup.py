"""A line-up in a real browser: somebody who is blind chooses, and nothing betrays the key before they have."""

import re

import pytest

from cgidm.evidence.record import read_record
from cgidm.evidence.record_of_result import lineup_of
from cgidm.judging.lineup import judge_lineup
from cgidm.page.html.i18n import translate
from cgidm.page.runs.model_cache import shipped_controls
from tests.support.browser import CONTRASTS, PATIENCE
from tests.support.paths import ASSETS

pytestmark = pytest.mark.browser

EXAMPLE = "gerald-g-dreambooth"
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def server(small_server):
    return small_server


def run_with_lineup(visitor, panels="6", pictures=1):
    """A run with a line-up to its end, as a visitor does it."""
    visitor.card(0)
    if pictures > 1:
        visitor.at("#pictures").get_by_role("button", name=re.compile("clear|remove", re.I)).first.click()
        visitor.send(*sorted((ASSETS / "examples" / EXAMPLE / "member").iterdir())[:pictures])
    visitor.at("#settings button").first.click()
    visitor.at(f"#lineup-size input[value='{panels}']").check()
    visitor.at("#run").click()
    visitor.wait_for("#progress", "Recovering the decoys of the line-up: step", PATIENCE)
    assert visitor.at("#answer .cg-card").is_visible()  # it does not wait for the decoys
    visitor.picture(f"lineup-decoys-{pictures}")
    visitor.wait_for("#progress", "Finished in", PATIENCE)


def latest(server):
    """The record of the run that ended last."""
    found = (server.folder / "cgidm-visits" / "shown").glob("*/result.json")
    return max(found, key=lambda path: path.stat().st_mtime)


class Wire:
    """All that the server sends from now on; streams of events are handed on when they have ended."""

    def __init__(self, page):
        self.bodies, self.urls = [], []
        page.route("**/*", self._note)

    def _note(self, route):
        self.urls.append(route.request.url)
        answer = route.fetch()
        if not answer.headers.get("content-type", "").startswith("image/"):
            self.bodies.append(answer.text())
        route.fulfill(response=answer)


def choose(visitor, letter):
    visitor.at(f"#lineup-pick input[value='{letter}']").check()


def test_somebody_blind_chooses_and_the_key_is_told_afterwards(visit):
    visitor = visit()
    run_with_lineup(visitor, pictures=2)
    path = latest(visitor.server)
    record, folder = read_record(path.read_bytes(), path.name), path.parent.name
    lineup = lineup_of(record)
    key = [r.letter for r in lineup.rounds]
    said = visitor.wait_for("#about-lineup", re.escape(translate("en", "lineup.observer")))
    assert "p\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}0.0278" in said and len(key) == 2

    wire = Wire(visitor.page)
    visitor.at("#observe").click()
    visitor.wait_for("#lineup", "Round 1 of 2")
    secrets = [p.name for p in record.pictures] + [c.name for c in record.controls]
    for word in ("Finished", "used", "score", "Consistent", *secrets):
        assert word not in visitor.at("body").inner_text(), word
    assert visitor.at("#tab-judge, #answer, #pictures, #history").count() == 0
    images = visitor.at("#lineup img")
    assert images.count() == 18
    for image in images.all():
        image.scroll_into_view_if_needed()
        visitor.page.wait_for_function("i => i.naturalWidth == 128", arg=image.element_handle())
    visitor.picture("lineup-round")
    visitor.at("#lineup-next").click()
    assert visitor.toast().startswith("No choice was made")
    choose(visitor, key[0])
    visitor.at("#lineup-next").click()
    visitor.wait_for("#lineup", "Round 2 of 2")
    assert visitor.at("#lineup-pick input:checked").count() == 0 and visitor.page.evaluate("scrollY") == 0
    choose(visitor, "-")
    visitor.at("#lineup-back").click()
    visitor.wait_for("#lineup", "Round 1 of 2")
    assert visitor.at("#lineup-pick input:checked").input_value() == key[0]
    visitor.at("#lineup-next").click()
    visitor.wait_for("#lineup", "Round 2 of 2")
    assert visitor.at("#lineup-pick input:checked").input_value() == "-"
    wrong = next(c for c in "ABCDEF" if c != key[1])
    choose(visitor, wrong)

    assert sum("Round 2 of 2" in body for body in wire.bodies) == 2  # they were seen
    for text in (*wire.bodies, visitor.at("body").inner_html()):
        assert not [s for s in (*secrets, folder, '"letter"', "p_value", "result.json") if s in text]
    shown = [url for url in wire.urls if "cgidm-visits" in url]
    assert len(set(shown)) == 36 and all(re.search(r"/[0-9a-f]{32}/lineup/\d-[A-F]-\w+\.png$", u) for u in shown)
    assert not [url for url in shown if folder in url]
    beside = shown[0].split("/lineup/")[0]
    for name in ("result.json", "evidence.zip", "manifest.json", "00-original.png", "report.html"):
        assert visitor.fetch(f"{beside}/{name}")[0] in (403, 404)

    visitor.at("#lineup-done").click()
    told = visitor.wait_for("#lineup", "Right choices: 1 of 2")
    p = judge_lineup(lineup, [key[0], wrong]).p_value
    assert f"{p:.3g}" in told and visitor.at("#lineup-done").count() == 0
    rows = visitor.at("#lineup .cg-key tbody tr")
    assert [r.locator("td").all_inner_texts() for r in rows.all()] == [
        ["1", key[0], key[0], "yes"],
        ["2", wrong, key[1], "no"],
    ]
    visitor.picture("lineup-told")
    visitor.at("#lineup-leave").click()
    visitor.wait_for("#about-lineup", "Right choices: 1 of 2")
    assert visitor.at("#lineup").count() == 0 or not visitor.at("#lineup").is_visible()
    assert visitor.at("#answer .cg-card").is_visible() and visitor.at("#observe").inner_text() == translate(
        "en", "lineup.observe.again"
    )
    visitor.picture("lineup-after")
    with visitor.page.expect_download() as download:
        visitor.at("#sheet").click()
    assert "I choose (A to F, or -)" in download.value.path().read_text()


def test_a_line_up_is_readable_on_a_phone_in_the_dark(visit):
    visitor = visit("?__theme=dark", **PHONE)
    run_with_lineup(visitor, panels="6")
    visitor.at("#observe").click()
    visitor.wait_for("#lineup", "Round 1 of 1")
    assert visitor.at("#lineup img").count() == 18
    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= visitor.page.viewport_size["width"]
    texts = visitor.at("#lineup :is(h1, h3, li, figcaption, button, label)")
    poor = texts.evaluate_all(CONTRASTS)
    assert [found for found in poor if found[1] < 4.5] == [] and len(poor) > 25
    visitor.picture("lineup-phone")
    letter = lineup_of(read_record(latest(visitor.server).read_bytes(), "it")).rounds[0].letter
    visitor.at("#lineup-pick input").first.focus()
    for _ in range("ABCDEFGHIJ".index(letter)):  # by keyboard
        visitor.page.keyboard.press("ArrowDown")
    choose(visitor, letter)
    visitor.at("#lineup-done").focus()
    visitor.page.keyboard.press("Enter")
    said = visitor.wait_for("#lineup", "Right choices: 1 of 1")
    assert "0.1" in said and "one of 20" in said
    visitor.picture("lineup-phone-told")


def test_a_line_up_without_enough_controls_is_refused_in_a_sentence(visit):
    visitor = visit()
    visitor.card(0)
    visitor.at("#unused input[value=same]").check()
    visitor.upload("#controls", *shipped_controls(EXAMPLE)[:4])
    visitor.at("#settings button").first.click()
    visitor.at("#lineup-size input[value='6']").check()
    visitor.at("#run").click()
    assert "at least 5 different control pictures for a line-up of 6, got 4" in visitor.refused("controls")
    visitor.picture("lineup-settings")
