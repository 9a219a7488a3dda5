"""The page in a real browser, for everybody: dark, on a phone, in other languages, by keyboard; and for the hostile."""

import pickle
import re
import time

import pytest
from safetensors.torch import load_file, save_file

from cgidm.page.html.i18n import translate
from tests.support.browser import CONTRASTS, PATIENCE
from tests.support.paths import ASSETS

pytestmark = pytest.mark.browser

SCRIPT = "<script>alert(1)</script>"
HOSTILE = (SCRIPT, '"><img src=x onerror=alert(1)>', "owner/<b>name</b>")
# Controls without a name; a picture's own button takes the picture's alternative text. What is disabled cannot be
# reached: gradio's disabled text field gives its label to the button that copies it.
NAMELESS = """() => [...document.querySelectorAll('button, a[href], input, textarea, select, [role=button]')]
    .filter(e => e.checkVisibility() && !e.disabled)
    .filter(e => !(e.ariaLabel || e.title || e.innerText.trim() || e.labels?.length
        || e.querySelector('img[alt]:not([alt=""]), [aria-label], [title]')))
    .map(e => e.outerHTML.slice(0, 200))"""
FOCUSED = """() => {
    const e = document.activeElement, s = getComputedStyle(e), round = e.closest('.wrap');
    const seen = s.outlineStyle != 'none' && parseFloat(s.outlineWidth) >= 2
        || round && getComputedStyle(round).outlineStyle != 'none';
    return [e.closest('[id]')?.id ?? '', e.innerText ?? '', Boolean(seen), e.tagName];
}"""


def press_until(visitor, reached, limit=80):
    """Press Tab until `reached(id, text)`; what has the focus is seen to have it at every stop."""
    for _ in range(limit):
        visitor.page.keyboard.press("Tab")
        name, text, seen, tag = visitor.page.evaluate(FOCUSED)
        assert seen or tag == "BODY", (name, text, tag)
        if reached(name, text):
            return
    raise AssertionError("was not reached")


def test_the_dark_page_is_readable(visit):
    visitor = visit("?__theme=dark")
    visitor.card(2)
    assert visitor.at("body").evaluate("b => b.classList.contains('dark')")
    texts = visitor.at("h1, h2, h3, .cg p, .cg li, .cg td, .cg th, .cg summary, .info p, button:not([disabled]), label")
    poor = texts.evaluate_all(CONTRASTS)
    assert [found for found in poor if found[1] < 4.5] == [] and len(poor) > 40
    visitor.picture("dark")


def test_a_phone_shows_the_page_without_scrolling_sideways(visit):
    visitor = visit(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    width = "document.documentElement.scrollWidth"
    assert visitor.page.evaluate(width) <= 390
    visitor.card(0)
    assert visitor.page.evaluate(width) <= 390
    visitor.picture("phone")


@pytest.mark.parametrize(("locale", "code", "name"), [("de-DE", "de", "german"), ("ja-JP", "ja", "japanese")])
def test_the_page_speaks_the_visitors_language(visit, locale, code, name):
    visitor = visit(locale=locale)
    assert visitor.at("h1").inner_text() == translate(code, "title")
    for key in ("run", "stop", "check"):
        assert visitor.page.get_by_role("button", name=translate(code, key), exact=True).count() >= 1, key
    for key in ("suspect.label", "base.label", "picture.label", "original", "recovered"):
        assert visitor.page.get_by_text(translate(code, key), exact=True).count() >= 1, key
    visitor.card(0)
    said = visitor.wait_for("#one-answer", translate(code, "outcome.consistent"))
    assert translate(code, "precomputed") in said and translate(code, "caveat.title") in said
    visitor.picture(name)


def test_the_keyboard_is_enough(visit):
    visitor = visit()
    press_until(visitor, lambda name, text: translate("en", "example.member") in text)
    visitor.page.keyboard.press("Enter")
    visitor.wait_for("#one-answer", translate("en", "outcome.consistent"))
    press_until(visitor, lambda name, text: name == "one-run")
    visitor.page.keyboard.press("Space")
    press_until(visitor, lambda name, text: name == "one-stop")
    visitor.wait_for("#one-progress", r"(control pictures: \d+ of 40|Step [1-9]\d* of 20)", PATIENCE)
    visitor.page.keyboard.press("Enter")
    visitor.wait_for("#one-answer", "Stopped ")
    press_until(visitor, lambda name, text: name == "one-resume", limit=2)


def test_pictures_have_alternatives_and_controls_have_names(visit):
    visitor = visit()
    visitor.card(0)
    for picture in visitor.at("img:visible").all():
        block = picture.evaluate("e => e.closest('#one-slider') && e.closest('.block').innerText")
        assert picture.get_attribute("alt") or translate("en", "compare") in block
    for chart in visitor.at("#one-answer svg").all():
        assert chart.get_attribute("role") == "img" and chart.locator("title, desc").count() == 2
    for number in range(4):
        visitor.tab(number)
        assert visitor.page.evaluate(NAMELESS) == []
    cards = [card.inner_text() for card in visitor.at("#cards button").all()]
    assert len(set(cards)) == len(cards)


def test_what_somebody_typed_stays_text(visit):
    visitor = visit()
    visitor.card(1)
    field = visitor.at("#suspect input")
    for text in HOSTILE:
        field.fill(text)
        field.press("Tab")
        for button in ("#check", "#one-run"):
            visitor.at(button).click()
            assert text.split("/")[-1].strip('"') in visitor.refused()
            assert visitor.at("img[src=x], [data-testid=toast-text] :is(b, script)").count() == 0


def test_a_file_that_is_no_picture_is_refused_in_a_sentence(visit, tmp_path):
    visitor = visit()
    runs = set(visitor.server.folder.rglob("request.json"))
    (tmp_path / "text.png").write_text("no picture")
    visitor.upload("#one-picture", tmp_path / "text.png")
    visitor.at("#one-run").click()
    assert re.fullmatch(r"text\.png is not a picture .* Expected .*", visitor.refused())
    assert set(visitor.server.folder.rglob("request.json")) == runs


def test_a_pickle_is_refused_in_a_sentence(visit, tmp_path):
    visitor = visit()
    (tmp_path / "lora.safetensors").write_bytes(pickle.dumps({"weights": print}))
    visitor.card(1)
    visitor.upload("#upload", tmp_path / "lora.safetensors")
    for button in ("#check", "#one-run"):
        visitor.at(button).click()
        assert "is a pickle of torch" in visitor.refused()
    assert "Traceback" not in visitor.server.log.read_text()


def test_what_a_file_says_of_itself_stays_text(visit, tmp_path):
    visitor = visit()
    [shipped] = (ASSETS / "examples" / "rollandin-lora" / "checkpoint").glob("*.safetensors")
    notes = {"modelspec.title": SCRIPT, "ss_training_comment": HOSTILE[1], "modelspec.author": HOSTILE[2]}
    save_file(load_file(shipped), tmp_path / "lora.safetensors", notes)
    visitor.upload("#upload", tmp_path / "lora.safetensors")
    visitor.at("#check").click()
    said = visitor.wait_for("#report", re.escape(SCRIPT))
    assert HOSTILE[1] in said and HOSTILE[2] in said
    time.sleep(0.5)
    assert visitor.at("img[src=x], #report :is(b, script)").count() == 0
