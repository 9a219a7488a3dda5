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

SUSPECT = "#suspect :is(input, textarea)"
SCRIPT = "<script>alert(1)</script>"
HOSTILE = (SCRIPT, '"><img src=x onerror=alert(1)>', "owner/<b>name</b>")
# Controls without a name; a picture's own button takes the picture's alternative text. What is disabled cannot be
# reached: gradio's disabled text field gives its label to the button that copies it.
NAMELESS = """() => [...document.querySelectorAll('button, a[href], input, textarea, select, [role=button]')]
    .filter(e => e.checkVisibility() && !e.disabled)
    .filter(e => !(e.ariaLabel || e.title || e.innerText.trim() || e.labels?.length
        || e.querySelector('img[alt]:not([alt=""]), [aria-label], [title]')))
    .map(e => e.outerHTML.slice(0, 200))"""


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
    assert visitor.at("[role=tab]").evaluate_all("tabs => tabs.filter(t => t.scrollWidth > t.clientWidth).length") == 0
    visitor.card(0)
    assert visitor.page.evaluate(width) <= 390
    visitor.picture("phone")


@pytest.mark.parametrize(("locale", "code", "name"), [("de-DE", "de", "german"), ("ja-JP", "ja", "japanese")])
def test_the_page_speaks_the_visitors_language(visit, locale, code, name):
    visitor = visit(locale=locale)
    assert visitor.at("h1").inner_text() == translate(code, "title")
    for key in ("run", "stop", "find"):
        assert visitor.page.get_by_role("button", name=translate(code, key), exact=True).count() >= 1, key
    for key in ("suspect.label", "base.label", "pictures.label", "unused.label", "unused.same"):
        assert visitor.page.get_by_text(translate(code, key), exact=True).count() >= 1, key
    visitor.card(0)
    said = visitor.wait_for("#answer", translate(code, "outcome.consistent"))
    assert translate(code, "precomputed") in said
    assert translate(code, "caveat.title") in visitor.at("#why").inner_text()
    visitor.at("#base input").fill("")
    visitor.at("#base input").press("Tab")
    visitor.at(SUSPECT).fill("/etc/passwd")
    visitor.wait_for("#model-card", "/etc/passwd")
    visitor.at("#run").click()
    assert not re.search("[Ee]xpected|Give ", visitor.refused("suspect"))  # nor does it speak English
    assert "common." not in visitor.at("body").inner_text()
    visitor.picture(name)


def test_the_keyboard_is_enough(visit):
    visitor = visit()
    visitor.press_until(lambda name, text: translate("en", "example.member") in text)
    visitor.page.keyboard.press("Enter")
    visitor.wait_for("#answer", translate("en", "outcome.consistent"))
    visitor.press_until(lambda name, text: name == "run")
    visitor.page.keyboard.press("Space")
    visitor.wait_for("#progress", r"(control pictures: \d+ of 40|Step [1-9]\d* of 20)", PATIENCE)
    visitor.press_until(lambda name, text: name == "stop")
    visitor.page.keyboard.press("Enter")
    visitor.wait_for("#answer-part", "Stopped ")
    visitor.at("#stop:disabled").wait_for()
    visitor.at("#run").focus()
    visitor.press_until(lambda name, text: name == "resume", limit=2)


def test_pictures_have_alternatives_and_controls_have_names(visit):
    visitor = visit()
    visitor.card(0)
    for picture in visitor.at("img:visible").all():
        beside = picture.evaluate("e => Boolean(e.closest('.cg-about'))")  # its name stands beside it
        assert picture.get_attribute("alt") or beside
    visitor.at("#why .cg-details summary").first.click()
    assert visitor.at("#why svg").count() == 2
    for chart in visitor.at("#why svg").all():
        assert chart.get_attribute("role") == "img" and chart.locator("title, desc").count() == 2
    for number in range(3):
        visitor.tab(number)
        assert visitor.page.evaluate(NAMELESS) == []
    cards = [card.inner_text() for card in visitor.at("#cards button").all()]
    assert len(set(cards)) == len(cards)


def test_what_somebody_typed_stays_text(visit):
    visitor = visit()
    visitor.card(1)
    field = visitor.at(SUSPECT)
    for text in HOSTILE:  # a name with a slash is checked; anything else is searched for, which no network answers
        is_name = "/" in text
        field.fill(text)
        visitor.wait_for("#model-card", re.escape(text) if is_name else "The Hub does not answer")
        assert visitor.at("#model-card .cg-error").count() == 1
        visitor.at("#run").click()
        assert text.split("/")[-1].strip('"') in visitor.refused("suspect")
        assert visitor.at("img[src=x], .cg-error :is(b, script)").count() == 0


def test_a_file_that_is_no_picture_is_refused_in_a_sentence_beside_it_before_a_run(visit, tmp_path):
    visitor = visit()
    runs = set(visitor.server.folder.rglob("request.json"))
    visitor.card(1)
    visitor.at("#pictures").get_by_role("button", name=re.compile("clear|remove", re.I)).first.click()
    (tmp_path / "text.png").write_text("no picture")
    visitor.send(tmp_path / "text.png")
    said = visitor.wait_for("#seen", r"text\.png is not a picture .* Expected .*")
    assert translate("en", "pictures.left_out", n=1) in said
    visitor.at("#run").click()
    assert re.fullmatch(r"text\.png is not a picture .* Expected .*", visitor.refused("pictures"))
    assert set(visitor.server.folder.rglob("request.json")) == runs


def test_a_pickle_is_refused_in_a_sentence(visit, tmp_path):
    visitor = visit()
    (tmp_path / "lora.safetensors").write_bytes(pickle.dumps({"weights": print}))
    visitor.card(1)
    visitor.at("#upload-more button").first.click()
    visitor.upload("#upload", tmp_path / "lora.safetensors")
    visitor.wait_for("#model-card", "is a pickle of torch")
    assert visitor.at(SUSPECT).input_value() == ""  # one suspect, and it is the file
    visitor.at("#run").click()
    assert "is a pickle of torch" in visitor.refused("suspect")
    assert "Traceback" not in visitor.server.log.read_text()


def test_what_a_file_says_of_itself_stays_text(visit, tmp_path):
    visitor = visit()
    [shipped] = (ASSETS / "examples" / "rollandin-lora" / "checkpoint").glob("*.safetensors")
    notes = {"modelspec.title": SCRIPT, "ss_training_comment": HOSTILE[1], "modelspec.author": HOSTILE[2]}
    save_file(load_file(shipped), tmp_path / "lora.safetensors", notes)
    visitor.at("#upload-more button").first.click()
    visitor.upload("#upload", tmp_path / "lora.safetensors")
    visitor.wait_for("#model-card", "lora.safetensors")
    visitor.at("#model-card summary").click()
    said = visitor.wait_for("#model-card", re.escape(SCRIPT))
    assert HOSTILE[1] in said and HOSTILE[2] in said
    time.sleep(0.5)
    assert visitor.at("img[src=x], #model-card :is(b, script)").count() == 0
