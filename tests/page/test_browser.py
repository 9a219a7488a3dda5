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
CONSISTENT = translate("en", "outcome.consistent")
WEAK = translate("en", "outcome.weak")  # 40 controls show no more, and with few draws the mirror test is not asked
WATCH = """() => {
    window.seen = [];
    setInterval(() => {
        const now = [document.querySelector('#one-progress').innerText,
                     document.querySelector('#one-recovered img')?.src];
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
    return [visitor.at(f"#one-{role} img").evaluate("image => image.src") for role in (*ROLES, MIRRORED)]


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
    said = visitor.wait_for("#one-answer", CONSISTENT)
    assert translate("en", "precomputed") in said
    for role in (*ROLES, MIRRORED):
        visitor.page.wait_for_function(f"document.querySelector('#one-{role} img').naturalWidth == 128")
        assert visitor.at(f"#one-{role} img").evaluate("i => i.naturalHeight") == 128
        assert visitor.at(f"#one-{role} img").is_visible()
    assert visitor.at("#suspect input").input_value() == "DreamBooth, Gerald G."
    assert visitor.at("#base input").input_value().startswith("mini")
    assert visitor.at("#prompt textarea, #prompt input").input_value() == shipped_prompt(EXAMPLE)
    assert visitor.at("#one-picture img").evaluate("i => i.src").endswith(picture_of(f"{EXAMPLE}/member").name)
    assert set(visitor.server.folder.rglob("request.json")) == runs  # it ships, so nothing had to be run
    visitor.picture("light")


def test_a_run_ends_with_what_the_library_computes(visit, computed, tmp_path):
    visitor = visit()
    visitor.card(0)
    visitor.page.evaluate(WATCH)
    visitor.at("#one-run").click()
    visitor.wait_for("#one-progress", r"Step [1-9]\d* of 20", PATIENCE)
    visitor.picture("running")
    visitor.wait_for("#one-progress", "Finished in", PATIENCE)

    seen = visitor.page.evaluate("seen")
    phases = [
        next(i for i, (words, _) in enumerate(seen) if re.search(p, words))
        for p in (
            "Loading the models",
            "Scoring the control pictures: \\d+ of 40",
            "Step [1-9]\\d* of 20",
            "Finished in",
        )
    ]
    assert phases == sorted(phases)
    assert len({url for _, url in seen if url and "live-" in url}) >= 2

    result = computed.pictures[0]
    for shown, image in zip(pictures(visitor), result.images.values(), strict=True):
        np.testing.assert_array_equal(shown, to_uint8(image))
    visitor.wait_for("#one-answer", WEAK)
    assert translate("en", "precomputed") not in visitor.at("#one-answer").inner_text()
    visitor.picture("finished")

    with visitor.page.expect_download() as download:
        visitor.at("#one-evidence").click()
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
    visitor.at("#one-history input").click()
    visitor.page.get_by_role("option").get_by_text(picture["name"]).click()
    visitor.wait_for("#one-answer", WEAK)
    assert sources(visitor) == shown


def test_a_run_that_was_stopped_outlives_a_reload_and_goes_on(visit, tmp_path):
    visitor = visit()
    before = left(visitor.server)
    sent = photo(tmp_path / "photo.jpg")
    visitor.upload("#one-picture", sent)
    visitor.at("#one-run").click()
    visitor.wait_for("#one-progress", r"Step [1-9]\d* of 20", PATIENCE)
    visitor.at("#one-stop").click()
    said = visitor.wait_for("#one-answer", r"Stopped at step 1?\d of 20: press Continue")
    assert visitor.at("#one-resume").is_visible()
    assert "not judged" in visitor.at("#one-answer").inner_text()
    visitor.picture("stopped")

    visitor.page.reload()
    assert visitor.wait_for("#one-answer", "Stopped at step") == said
    whole = decode_picture(sent.read_bytes(), sent.name, usual_buckets(128))  # not its centre square
    np.testing.assert_array_equal(pictures(visitor)[0], to_uint8(whole.image))
    visitor.at("#one-resume").click()
    visitor.wait_for("#one-progress", "Finished in", PATIENCE)
    said = visitor.wait_for("#one-answer", "otated as its EXIF tag says")
    assert "control pictures" in said.lower() and visitor.at("#one-answer .cg-outcome").is_visible()
    assert not visitor.at("#one-resume").is_visible()

    shown = [*sources(visitor), visitor.at("#one-evidence").evaluate("b => (b.closest('a') ?? b).href ?? ''")]
    assert [visitor.fetch(url)[0] for url in shown[:3]] == [200] * 3
    visitor.tab(3)
    visitor.at("#forget").click()
    visitor.wait_for("#one-progress", translate("en", "forgotten"))
    assert all(visitor.fetch(url)[0] in (403, 404) for url in shown if url)
    assert left(visitor.server) <= before
    visitor.tab(0)
    assert visitor.at("#one-answer").inner_text().strip() == "" and visitor.at("#one-recovered img").count() == 0
    visitor.page.reload()
    visitor.at("#cards button").first.wait_for()
    assert not visitor.at("#one-resume").is_visible()


def test_what_was_sent_is_deleted_at_once_even_while_it_is_being_judged(visit, tmp_path):
    visitor = visit()
    before = left(visitor.server)
    visitor.upload("#one-picture", photo(tmp_path / "photo.jpg"))
    visitor.at("#one-run").click()
    visitor.wait_for("#one-progress", r"Step [1-9]\d* of 20", PATIENCE)
    shown = sources(visitor)
    visitor.tab(3)
    visitor.at("#forget").click()
    visitor.wait_for("#one-progress", translate("en", "forgotten"))
    assert all(visitor.fetch(url)[0] in (403, 404) for url in shown)
    time.sleep(2)  # nobody goes on with it, nothing comes back
    assert left(visitor.server) <= before
    visitor.wait_for("#one-progress", translate("en", "forgotten"))


def test_a_portfolio_is_judged_as_a_set_and_picture_by_picture(visit):
    visitor = visit()
    visitor.tab(1)
    files = sorted((ASSETS / "examples" / EXAMPLE / "member").iterdir())[:5]
    visitor.upload("#set-pictures", *files)
    visitor.at("#set-run").click()
    power = translate("en", "power", power=99, level=5)
    visitor.wait_for("#set-progress", re.escape(power), PATIENCE)
    assert "Finished" not in visitor.at("#set-progress").inner_text()  # it is said before the recovery
    visitor.wait_for("#set-progress", "Finished in", PATIENCE)
    said = visitor.wait_for("#set-answer", translate("en", "outcome.set"))
    assert power in said and re.search(r"How many were used: (at least )?\d of 5", said)
    assert translate("en", "set.head.holm") in visitor.at("#set-answer thead").inner_text()
    rows = visitor.at("#set-answer .cg-set tbody tr")
    assert [row.locator("td").nth(1).inner_text() for row in rows.all()] == [f.name for f in files]
    for image in rows.locator("img").all():
        assert visitor.fetch(image.evaluate("i => i.src"))[0] == 200
    assert rows.locator("img").count() == 5 and "40 control pictures" in said
    visitor.picture("portfolio")


def test_a_bank_takes_the_place_of_control_pictures(visit, tmp_path):
    visitor = visit()
    visitor.card(0)
    visitor.at("#one-more button").first.click()
    write_bank(tmp_path / "bank.json", seed=0)
    visitor.upload("#one-bank", tmp_path / "bank.json")
    visitor.upload("#one-controls", *shipped_controls(EXAMPLE)[:1])
    visitor.at("#one-run").click()
    assert sentence("run.bank_and_controls").fullmatch(visitor.refused())
    visitor.at("#one-controls").get_by_role("button", name=re.compile("clear|remove", re.I)).first.click()
    visitor.at("#one-run").click()
    visitor.wait_for("#one-progress", "Finished in", PATIENCE)
    said = visitor.wait_for("#one-answer", WEAK)
    assert (
        translate("en", "bank.about", models=4, pictures=20) in said and translate("en", "drawing.title.bank") in said
    )
    visitor.picture("bank")


def test_a_link_to_settings_fills_the_form(visit):
    visitor = visit("?suspect=owner/lora&base=owner/base&prompt=a%20%3Cb%3E%20cat&preset=paper&seed=7")
    fields = {
        "#suspect input": "owner/lora",
        "#base input": "owner/base",
        "#prompt textarea, #prompt input": "a <b> cat",
    }
    for selector, value in fields.items():
        visitor.page.wait_for_function("([s, v]) => document.querySelector(s)?.value == v", arg=[selector, value])
    visitor.page.get_by_role("button", name=translate("en", "settings")).first.click()
    assert visitor.at("#one-preset input[value=paper]").is_checked()
    assert visitor.page.get_by_label(translate("en", "seed.label")).first.input_value() == "7"
    visitor.at("#one-search input").check()
    visitor.at("#one-lineup input[value='10']").check()
    visitor.page.get_by_role("button", name=translate("en", "compared")).first.click()
    visitor.at("#one-unrelated input").fill("owner/other")
    visitor.at("#one-unrelated input").press("Tab")
    link = visitor.at("#share textarea, #share input").first
    visitor.page.wait_for_function("e => /seed=7.*search=views&lineup=10/.test(e.value)", arg=link.element_handle())
    assert link.input_value().startswith(visitor.server.url + "?suspect=owner%2Flora")
    other = visit(link.input_value().removeprefix(visitor.server.url))
    assert other.at("#suspect input").input_value() == "owner/lora"
    other.page.get_by_role("button", name=translate("en", "compared")).first.click()
    assert other.at("#one-unrelated input").input_value() == "owner/other"
    other.page.get_by_role("button", name=translate("en", "settings")).first.click()
    assert other.at("#one-search input").is_checked() and other.at("#one-lineup input[value='10']").is_checked()
