"""What a visitor can do on the page, done in a real browser: the answers are the library's to the last bit."""

import dataclasses
import io
import json
import re
import time
import zipfile
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from cgidm.conductor import authenticate
from cgidm.evidence.lineup_sheet import ROLES
from cgidm.evidence.record_of_result import MIRRORED
from cgidm.families import load_pair
from cgidm.intake.likely_framing import usual_buckets
from cgidm.method.config import find_preset
from cgidm.page.handlers.examples import picture_of
from cgidm.page.html.i18n import translate
from cgidm.page.runs.model_cache import shipped_controls, shipped_prompt
from cgidm.pictures.images import decode_picture, to_uint8
from tests.support.browser import PATIENCE
from tests.support.page_client import sentence
from tests.support.page_runs import write_bank
from tests.support.paths import ASSETS

pytestmark = pytest.mark.browser

EXAMPLE = "gerald-g-dreambooth"
SUSPECT, SEAL = "#suspect :is(input, textarea)", "#seal :is(input, textarea)"
CONSISTENT = translate("en", "outcome.consistent")
WEAK = translate("en", "outcome.weak")  # 40 controls show no more, and with few draws the mirror test is not asked
WATCH = """() => {
    window.seen = [];
    setInterval(() => {
        const now = [document.querySelector('#progress').innerText,
                     document.querySelector('#shown .cg-recovered img')?.src, document.title];
        if (String(now) != String(seen.at(-1))) seen.push(now);
    }, 30);
}"""


def photo(path: Path) -> Path:
    """A picture as a camera writes it: broad shapes, a little noise, and lying on its side."""
    g = np.random.default_rng(0)
    coarse = Image.fromarray(g.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize(
        (400, 300), Image.Resampling.BICUBIC
    )
    noise = g.normal(0, 4, (300, 400, 3))
    image = Image.fromarray((np.asarray(coarse) + noise).clip(0, 255).astype(np.uint8)).filter(ImageFilter.SMOOTH)
    exif = Image.Exif()
    exif[274] = 6  # to be turned by a quarter
    image.save(path, quality=92, exif=exif)
    return path


def sources(visitor) -> list[str]:
    return [visitor.at(f"#shown .cg-{role} img").evaluate("image => image.src") for role in (*ROLES, MIRRORED)]


def pictures(visitor) -> list[np.ndarray]:
    """What a run shows, as the browser gets them."""
    return [np.asarray(Image.open(io.BytesIO(visitor.fetch(url)[1]))) for url in sources(visitor)]


def left(server) -> set[Path]:
    """All that lies on the server of what visitors sent and got."""
    files = [p for part in ("cgidm-visits", "gradio") for p in (server.folder / part).rglob("*")]
    return {p for p in files if p.is_file() and p.stat().st_size}


@pytest.fixture(scope="module")
def computed():
    """The library's result for the first example."""
    pair = load_pair(str(ASSETS / "mini"), str(ASSETS / "examples" / EXAMPLE / "checkpoint"), shipped_prompt(EXAMPLE))
    path = picture_of(f"{EXAMPLE}/member")
    picture = decode_picture(path.read_bytes(), path.name, pair.resolution)
    controls = [decode_picture(p.read_bytes(), p.name, pair.resolution) for p in shipped_controls(EXAMPLE)]
    config = dataclasses.replace(find_preset("fast"), seed=0, mirrored_recovery=True)  # as the server
    return authenticate(pair, [picture], controls, config=config)


def test_a_first_visit_has_its_answer_at_once(visit):
    visitor = visit()
    runs = set(visitor.server.folder.rglob("request.json"))
    visitor.card(0)
    said = visitor.wait_for("#answer", CONSISTENT)
    assert translate("en", "precomputed") in said
    for role in (*ROLES, MIRRORED):
        image = visitor.at(f"#shown .cg-{role} img")
        image.scroll_into_view_if_needed()
        visitor.page.wait_for_function(
            "i => i.naturalWidth == 128 && i.naturalHeight == 128", arg=image.element_handle()
        )
        below = visitor.at(f"#shown .cg-{role} figcaption").bounding_box()
        assert image.is_visible() and below["y"] >= image.bounding_box()["y"] + image.bounding_box()["height"]
    assert visitor.at(SUSPECT).input_value() == f"shipped:{EXAMPLE}"
    assert EXAMPLE in visitor.wait_for("#model-card", "small model that ships")
    assert visitor.at("#base input").input_value().startswith("mini")
    assert visitor.at("#prompt textarea, #prompt input").input_value() == shipped_prompt(EXAMPLE)
    assert picture_of(f"{EXAMPLE}/member").stem in visitor.at("#pictures").inner_text()
    with visitor.page.expect_download() as download:
        visitor.at("#evidence").click()
    with zipfile.ZipFile(download.value.path()) as bundle:
        manifest = bundle.read("manifest.json")
    assert visitor.at(SEAL).input_value() == sha256(manifest).hexdigest()
    assert set(visitor.server.folder.rglob("request.json")) == runs  # it ships, so nothing had to be run
    visitor.picture("light")


def test_a_run_ends_with_what_the_library_computes(visit, computed, tmp_path):
    visitor = visit()
    visitor.card(0)
    visitor.page.evaluate(WATCH)
    visitor.at("#run").click()
    visitor.wait_for("#progress", r"Step [1-9]\d* of 20", PATIENCE)
    visitor.picture("running")
    visitor.wait_for("#progress", "Finished in", PATIENCE)

    seen = visitor.page.evaluate("seen")
    phases = [
        next(i for i, (words, *_) in enumerate(seen) if re.search(p, words))
        for p in (
            "Loading the models",
            "Scoring the control pictures: \\d+ of 40",
            "Step [1-9]\\d* of 20",
            "Finished in",
        )
    ]
    assert phases == sorted(phases)
    assert len({url for _, url, _ in seen if url and "live-" in url}) >= 2
    heads = [re.match(r"\((\d+) %\) ", title) for *_, title in seen]  # one bar for the whole run, also for other tabs
    percents = [int(head.group(1)) for head in heads if head]
    assert percents == sorted(percents) and len(set(percents)) >= 4
    assert visitor.page.title() == translate("en", "title")

    result = computed.pictures[0]
    for shown, image in zip(pictures(visitor), result.images.values(), strict=True):
        np.testing.assert_array_equal(shown, to_uint8(image))
    visitor.wait_for("#answer", WEAK)
    assert translate("en", "precomputed") not in visitor.at("#answer").inner_text()
    visitor.picture("finished")

    with visitor.page.expect_download() as download:
        visitor.at("#evidence").click()
    download.value.save_as(tmp_path / "evidence.zip")
    with zipfile.ZipFile(tmp_path / "evidence.zip") as bundle:
        stated = json.loads(bundle.read("manifest.json"))["sha256"]
        assert set(bundle.namelist()) == {*stated, "manifest.json", "seal.txt"}
        assert all(sha256(bundle.read(name)).hexdigest() == digest for name, digest in stated.items())
        record = json.loads(bundle.read("result.json"))
    [picture] = record["pictures"]
    assert picture["outcome"] == result.verdict.outcome == "weak evidence"
    assert picture["p_value"] == result.verdict.p_value
    assert picture["scores"]["loss_contrast"] == pytest.approx(result.scores["loss_contrast"], abs=1e-5)
    assert record["control_scores"] == pytest.approx(computed.control_scores, abs=1e-5)

    shown = sources(visitor)
    visitor.card(3)
    visitor.at("#history input").click()
    visitor.page.get_by_role("option").get_by_text(picture["name"]).wait_for()
    visitor.at("#history input").press("Enter")  # the one answer is marked; the page may still scroll
    visitor.wait_for("#answer", WEAK)
    assert sources(visitor) == shown and visitor.at("#stale .cg-stale").count() == 0
    assert visitor.at(SUSPECT).input_value() == f"shipped:{EXAMPLE}"  # of the run, no more of the example


def test_a_run_that_was_stopped_outlives_a_reload_and_goes_on(visit, tmp_path):
    visitor = visit()
    before = left(visitor.server)
    sent = photo(tmp_path / "photo.jpg")
    visitor.at(SUSPECT).fill(f"shipped:{EXAMPLE}")
    visitor.wait_for("#model-card", EXAMPLE)
    visitor.send(sent)
    visitor.at("#run").click()
    visitor.wait_for("#progress", r"Step [1-9]\d* of 20", PATIENCE)
    visitor.at("#stop").click()
    visitor.wait_for("#answer", r"Stopped at step 1?\d of 20: press Continue")
    said = visitor.at("#answer .cg").first.inner_text()
    assert visitor.at("#resume").is_visible()
    assert "not judged" in visitor.at("#answer").inner_text() and "photo.jpg" in said
    assert visitor.at("#stop").is_disabled() and visitor.page.locator("#run.primary, #resume.primary").count() == 1
    visitor.picture("stopped")

    visitor.page.reload()
    visitor.wait_for("#answer", "Stopped at step")
    assert visitor.at("#answer .cg").first.inner_text() == said
    assert visitor.at(SUSPECT).input_value() == f"shipped:{EXAMPLE}"
    visitor.wait_for("#pictures", "photo")
    assert visitor.at("#stale .cg-stale").count() == 0
    whole = decode_picture(sent.read_bytes(), sent.name, usual_buckets(128))  # not its centre square
    np.testing.assert_array_equal(pictures(visitor)[0], to_uint8(whole.image))
    visitor.at("#resume").click()
    visitor.wait_for("#progress", "Finished in", PATIENCE)
    visitor.wait_for("#why", "otated as its EXIF tag says")
    said = visitor.wait_for("#answer", translate("en", "outcome.unclear"))  # nobody's controls are held against it
    assert "photo.jpg" in said and visitor.at("#answer .cg-outcome").is_visible()
    assert not visitor.at("#resume").is_visible()

    shown = [*sources(visitor), visitor.at("#evidence").evaluate("b => (b.closest('a') ?? b).href ?? ''")]
    assert [visitor.fetch(url)[0] for url in shown[:3]] == [200] * 3
    visitor.tab(3)
    visitor.at("#forget").click()
    visitor.at("#forget-keep").click()
    visitor.at("#forget-keep").wait_for(state="hidden")
    assert visitor.fetch(shown[0])[0] == 200
    visitor.at("#forget").click()
    visitor.at("#forget-sure").click()
    visitor.wait_for("#forgotten", translate("en", "forgotten"))
    assert all(visitor.fetch(url)[0] in (403, 404) for url in shown if url)
    assert left(visitor.server) <= before
    visitor.tab(0)
    assert visitor.at("#answer").inner_text().strip() == "" and visitor.at("#shown img").count() == 0
    visitor.page.reload()
    visitor.at("#cards button").first.wait_for()
    assert not visitor.at("#resume").is_visible()


def test_what_was_sent_is_deleted_at_once_even_while_it_is_being_judged(visit, tmp_path):
    visitor = visit()
    before = left(visitor.server)
    visitor.at(SUSPECT).fill(f"shipped:{EXAMPLE}")
    visitor.wait_for("#model-card", EXAMPLE)
    visitor.send(photo(tmp_path / "photo.jpg"))
    visitor.at("#run").click()
    visitor.wait_for("#progress", r"Step [1-9]\d* of 20", PATIENCE)
    shown = sources(visitor)
    visitor.tab(3)
    visitor.at("#forget").click()
    visitor.at("#forget-keep").click()
    visitor.at("#forget-keep").wait_for(state="hidden")
    assert visitor.fetch(shown[0])[0] == 200
    visitor.at("#forget").click()
    visitor.at("#forget-sure").click()
    visitor.wait_for("#forgotten", translate("en", "forgotten"))
    assert all(visitor.fetch(url)[0] in (403, 404) for url in shown)
    time.sleep(2)  # nobody goes on with it, nothing comes back
    assert left(visitor.server) <= before
    visitor.wait_for("#forgotten", translate("en", "forgotten"))


def test_a_portfolio_is_judged_as_a_set_and_picture_by_picture(visit):
    visitor = visit()
    visitor.at(SUSPECT).fill(f"shipped:{EXAMPLE}")
    visitor.wait_for("#model-card", EXAMPLE)
    files = sorted((ASSETS / "examples" / EXAMPLE / "member").iterdir())[:5]
    visitor.send(*files)
    assert translate("en", "pictures.count", n=5, most=30) in visitor.at("#seen").inner_text()
    visitor.at("#run").click()
    visitor.wait_for("#progress", "Finished in", PATIENCE)
    said = visitor.see_the_answer()
    assert translate("en", "outcome.set") in said and translate("en", "answer.pictures", n=5) in said
    assert re.search(r"How many were used: (at least )?\d of 5", said) and "40 control pictures" in said
    items = visitor.at("#shown .cg-item")
    assert [item.locator(".cg-name").inner_text() for item in items.all()] == [f.name for f in files]
    for image in items.locator("img").all():
        assert visitor.fetch(image.evaluate("i => i.src"))[0] == 200
    assert items.locator("img").count() == 5 * 4  # each opens its half, its recovery, and its mirror image's
    items.first.locator("summary").click()
    items.first.locator(".cg-mirrored img").wait_for()  # it is fetched when it is opened
    visitor.at("#why .cg-details summary").first.click()
    assert translate("en", "set.head.holm") in visitor.at("#why thead").inner_text()
    visitor.picture("portfolio")


def test_a_bank_takes_the_place_of_control_pictures(visit, tmp_path):
    visitor = visit()
    visitor.card(0)
    visitor.at("#settings button").first.click()
    write_bank(tmp_path / "bank.json", seed=0)
    visitor.upload("#bank", tmp_path / "bank.json")
    visitor.at("#unused input[value=same]").check()
    visitor.upload("#controls", *shipped_controls(EXAMPLE)[:1])
    visitor.wait_for("#control-count", translate("en", "controls.count", n=1, need=19))
    visitor.at("#run").click()
    assert sentence("run.bank_and_controls").fullmatch(visitor.refused("bank"))
    visitor.at("#unused input[value=none]").check()
    visitor.at("#controls").wait_for(state="hidden")
    visitor.at("#run").click()
    visitor.wait_for("#progress", "Finished in", PATIENCE)
    visitor.wait_for("#answer", WEAK)
    assert visitor.at("#error-bank").inner_text().strip() == ""  # it stood there until it was mended
    said = visitor.at("#why").inner_text()
    assert translate("en", "bank.about", models=4, pictures=20) in said
    assert translate("en", "drawing.title.bank") in said
    visitor.picture("bank")


def test_a_link_to_settings_fills_the_form(visit):
    visitor = visit("?suspect=owner/lora&base=owner/base&prompt=a%20%3Cb%3E%20cat&preset=paper&seed=7")
    fields = {
        SUSPECT: "owner/lora",
        "#base input": "owner/base",
        "#prompt textarea, #prompt input": "a <b> cat",
    }
    for selector, value in fields.items():
        visitor.page.wait_for_function("([s, v]) => document.querySelector(s)?.value == v", arg=[selector, value])
    visitor.at("#settings button").first.click()
    assert visitor.at("#preset input[value=paper]").is_checked()
    assert visitor.page.get_by_label(translate("en", "seed.label")).first.input_value() == "7"
    visitor.at("#search input").check()
    visitor.at("#lineup-size input[value='10']").check()
    visitor.at("#unrelated input").fill("owner/other")
    visitor.at("#unrelated input").press("Tab")
    link = visitor.at("#share textarea, #share input").first
    visitor.page.wait_for_function(
        "e => /unrelated=owner%2Fother.*seed=7.*search=views&lineup=10/.test(e.value)", arg=link.element_handle()
    )
    assert link.input_value().startswith(visitor.server.url + "?suspect=owner%2Flora")
    other = visit(link.input_value().removeprefix(visitor.server.url))
    assert other.at(SUSPECT).input_value() == "owner/lora"
    other.at("#settings button").first.click()
    other.page.wait_for_function("() => document.querySelector('#unrelated input')?.value == 'owner/other'")
    assert other.at("#search input").is_checked() and other.at("#lineup-size input[value='10']").is_checked()
