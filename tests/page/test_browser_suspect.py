"""Somebody with a suspect that they only know by words: search, card, six portrait pictures, a named answer."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from cgidm.page.html.i18n import translate
from tests.support.browser import PATIENCE
from tests.support.hub_models import hostile_repositories, lora_repository
from tests.support.hub_server import serve
from tests.support.page_server import PageServer, page_server
from tests.support.paths import SUSPECTS, pictures_of
from tests.support.quick_presets import NO_PAGES

pytestmark = pytest.mark.browser

SUSPECT = "#suspect :is(input, textarea)"
SIZES = {"desktop": (1280, 800), "tablet": (1024, 700), "phone": (390, 844)}
REPO = "anna/ink-style"


@pytest.fixture(scope="module")
def hub(small_assets: Path) -> Iterator:
    weights = small_assets / "examples" / SUSPECTS[1] / "checkpoint" / "pytorch_lora_weights.safetensors"
    elsewhere = "http://127.0.0.1:9/a.png"
    with serve({REPO: lora_repository(weights), **hostile_repositories(elsewhere)}) as running:
        yield running


@pytest.fixture(scope="module")
def server(hub, small_assets: Path, tmp_path_factory) -> Iterator[PageServer]:
    folder = tmp_path_factory.mktemp("hub-server")
    environment = {"CGIDM_ASSETS": str(small_assets), "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0"}
    environment |= {"HF_TOKEN": "hf_operators", "HF_HUB_CACHE": str(folder / "hub")}
    with page_server(folder, "-m", "tests.support.quick_presets", NO_PAGES, **environment) as running:
        yield running


@pytest.fixture(scope="module")
def portraits(tmp_path_factory) -> list[Path]:
    """Six pictures that are higher than wide, none of them surely unused."""
    folder, files = tmp_path_factory.mktemp("portraits"), []
    for number, path in enumerate(pictures_of(SUSPECTS[1], "member")[:6]):
        files.append(folder / f"work-{number}.png")
        with Image.open(path) as image:
            image.convert("RGB").resize((200, 300)).save(files[-1])
    return files


def check_the_answer(visitor):
    """It is named, whole, and on the screen as the page came to stand by itself."""
    said = visitor.see_the_answer(PATIENCE)
    for name in (REPO, "mini", translate("en", "answer.pictures", n=6)):
        assert name in said, said
    assert visitor.at("#answer .cg-about img").first.is_visible()
    visitor.wait_for("#progress", "Finished in", PATIENCE)
    visitor.see_the_answer()
    assert visitor.page.evaluate("document.activeElement.className") == "cg-outcome"
    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= visitor.page.viewport_size["width"]


@pytest.mark.parametrize("device", SIZES)
def test_from_words_to_a_named_answer_without_scrolling(visit, hub, portraits, device):
    width, height = SIZES[device]
    phone = {"has_touch": True, "is_mobile": True} if device == "phone" else {}
    visitor = visit(viewport={"width": width, "height": height}, **phone)
    assert visitor.at(SUSPECT).input_value() == ""
    visitor.at(SUSPECT).fill("ink style")
    found = visitor.at("#found button")
    found.first.wait_for()
    assert found.count() == 1 and found.locator("img").get_attribute("src").startswith("data:image/jpeg")
    assert "1234 downloads" in found.inner_text() and "mit" in found.inner_text()
    visitor.picture(f"found-{device}")
    found.click()
    card = visitor.wait_for("#model-card", REPO)
    assert (
        translate("en", "card.kind.adapter") in card and translate("en", "card.base.stated", base="owner/base") in card
    )
    assert visitor.at(SUSPECT).input_value() == REPO and visitor.at("#found button").count() == 0
    visitor.at("#base input").fill("shipped:mini")
    visitor.at("#base input").press("Enter")
    visitor.send(*portraits)
    seen = visitor.at("#seen").inner_text()
    assert translate("en", "pictures.count", n=6, most=30) in seen and translate("en", "pictures.frame") in seen
    assert visitor.at("#unused input[value=none]").is_checked()
    assert re.search(r"The answer takes .* to .*, everything .* to ", visitor.wait_for("#cost", "The answer takes"))
    visitor.picture(f"form-{device}")
    visitor.at("#run").click()
    check_the_answer(visitor)
    assert visitor.at("#shown .cg-item").count() == 6
    visitor.picture(f"answer-{device}")
    assert {token for *_, token in hub.seen} == {None}


@pytest.mark.parametrize(
    ("device", "field", "key"),
    [
        ("desktop", "more-pictures", "Space"),
        ("tablet", "pictures", "Enter"),
        ("phone", "more-pictures", "Enter"),
    ],
)
def test_the_same_by_keyboard_alone(visit, portraits, device, field, key):
    """Tab, arrows, Enter and Space; the focus is seen at every stop, and is never lost to the page as a whole."""
    width, height = SIZES[device]
    visitor = visit(viewport={"width": width, "height": height})
    keys = visitor.page.keyboard
    visitor.press_until(lambda name, text: name == "suspect")
    keys.type("ink style")
    keys.press("Enter")
    visitor.at("#found button").first.wait_for()
    visitor.press_until(lambda name, text: REPO in text)
    keys.press("Enter")
    visitor.at("#model-card .cg-model:focus").wait_for()
    visitor.press_until(lambda name, text: name == "base")
    keys.press("ArrowDown")
    keys.press("Enter")
    visitor.at("#base [role=combobox][aria-expanded=false]:focus").wait_for()
    assert visitor.at("#base input").input_value().startswith("mini")
    visitor.press_until(lambda name, text: name == field)
    with visitor.page.expect_file_chooser() as chooser:
        visitor.page.evaluate("0")  # once the browser has answered, it knows that a chooser is waited for
        keys.press(key)
    chooser.value.set_files(portraits)
    visitor.at("#seen li").nth(5).wait_for()
    visitor.press_until(lambda name, text: name == "unused")
    for arrow, answer in (("ArrowDown", "same"), ("ArrowUp", "none")):
        keys.press(arrow)
        visitor.at(f"#unused input[value={answer}]:focus:checked").wait_for()
    visitor.at("#controls-part").wait_for(state="hidden")
    visitor.press_until(lambda name, text: name == "run")
    keys.press("Space")
    check_the_answer(visitor)


def test_a_slow_search_does_not_take_the_place_of_what_was_chosen_since(visit, hub):
    visitor = visit()
    hub.pause = 1.0
    try:
        visitor.at(SUSPECT).press_sequentially("ink style")
        visitor.at(SUSPECT).press("Enter")
        visitor.at("#found button").first.click()
        visitor.wait_for("#model-card", REPO)
        searches = [path for _, path, *_ in hub.seen].count("/api/models")
        time.sleep(2)
    finally:
        hub.pause = 0.0
    assert [path for _, path, *_ in hub.seen].count("/api/models") == searches
    assert REPO in visitor.at("#model-card").inner_text() and visitor.at("#found button").count() == 0


def test_a_reload_and_a_second_tab_show_what_the_record_says(visit, portraits):
    """The form, the answer and the bar, while the run goes on and when it has ended; one changed field greys it."""
    visitor = visit()
    visitor.at(SUSPECT).fill(REPO)
    visitor.wait_for("#model-card", REPO)
    visitor.at("#base input").fill("shipped:mini")
    visitor.at("#base input").press("Enter")
    visitor.send(*portraits)
    visitor.at("#run").click()
    visitor.wait_for("#progress", translate("en", "status.queue") + "|Loading|Comparisons|Step")
    visitor.page.reload()  # it goes on; what was being shown is cut off, which gradio writes to the console
    visitor.wait_for("#progress", "Finished in", PATIENCE)
    visitor.troubles[:] = [t for t in visitor.troubles if not re.search("AbortError|Connection errored out", t)]
    other = visitor.page.context.new_page()
    other.goto(visitor.server.url)
    for page in (visitor.page, other):
        page.locator("#answer .cg-card").wait_for()
        page.locator("#seen li").nth(5).wait_for()
        assert REPO in page.locator("#answer").inner_text() and page.locator(SUSPECT).input_value() == REPO
        assert REPO in page.locator("#model-card").inner_text()
        assert page.locator("#stale .cg-stale").count() == 0
        assert "(" not in page.title()
    other.locator("#prompt :is(input, textarea)").fill("other words")
    other.locator("#stale .cg-stale").wait_for()
    assert visitor.at("#stale .cg-stale").count() == 0
    other.locator("#prompt :is(input, textarea)").fill("sks style")
    other.locator("#stale .cg-stale").wait_for(state="detached")
    other.close()


def test_what_strangers_publish_is_harmless(visit):
    visitor = visit()
    visitor.at(SUSPECT).fill("style")
    visitor.at("#found button").nth(5).wait_for()
    said = visitor.at("#found").inner_text()
    assert "<script>alert(1)</script>" in said and visitor.at("#found :is(script, img[src=x])").count() == 0
    assert visitor.at("#found img").count() == 1
    visitor.at("#found button").nth(1).click()
    visitor.at("#model-card .cg-error").wait_for()


def test_what_can_be_tapped_is_large_enough(visit, portraits):
    visitor = visit(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    visitor.card(0)
    small = visitor.page.evaluate(
        """() => [...document.querySelectorAll('button, summary, input, select, [role=tab]')]
            .filter(e => e.checkVisibility() && !e.disabled && !e.closest('footer'))
            .map(e => [e.closest('label:has(input[type=radio])') ?? e, e])  // all of a choice can be tapped
            .map(([target, e]) => [target.getBoundingClientRect(), e])
            .filter(([box, e]) => box.width && box.height && (box.height < 43.5 || box.width < 43.5))
            .map(([box, e]) => [Math.round(box.width), Math.round(box.height), e.outerHTML.slice(0, 150)])"""
    )
    assert small == []
