"""Upright and wide pictures on the page: framed, judged and kept whole."""

import dataclasses
import json
import zipfile

import pytest
from PIL import Image

from cgidm.page.handlers.cost import cost_view
from cgidm.page.html.progress import cost_html
from cgidm.page.html.views import run_share
from cgidm.page.runs.cost import cost_of, count_parts
from cgidm.page.runs.runner import execute_run
from cgidm.page.runs.settings import make_config
from cgidm.page.runs.store import Visit
from tests.support import page_runs
from tests.support.paths import SUSPECTS, pictures_of

pytestmark = pytest.mark.usefixtures("few_draws")


@pytest.mark.slow
@pytest.mark.parametrize("size", [(200, 300), (300, 200)], ids=["upright", "wide"])
def test_a_picture_is_looked_at_as_a_whole_and_as_its_centre_square(tmp_path, size):
    with Image.open(pictures_of(SUSPECTS[0], "member")[0]) as square:
        square.resize(size).save(tmp_path / "mine.png")
    controls = [str(path) for path in pictures_of(SUSPECTS[0], "control")[:2]]
    wish = page_runs.request(steps=2, controls=controls)
    run = dataclasses.replace(wish, pictures=[str(tmp_path / "mine.png")]).begin(Visit())
    events = list(execute_run(run))
    assert events[-1].phase == "finished"
    told = [e for e in events if e.phase != "preview" or e.done]  # of the start, the pictures alone are shown
    shares = [share for event in told if (share := run_share(run, event)) is not None]
    assert shares == sorted(shares) and shares[-1] == 1.0  # the bar never goes back, though the square comes after it
    assert [(e.done, e.of) for e in events if e.phase == "mirror"][:2] == [(1, 2), (2, 2)]
    record = json.loads((run.public_dir / "result.json").read_text())
    (picture,) = record["pictures"]
    framed = (96, 160) if size[0] < size[1] else (160, 96)
    assert tuple(picture["frame"]["size"]) == framed and picture["frame"]["original"] == list(size)
    assert "mirror_of_square" in picture["scores"] and record["config"]["views"] == ["as given", "centre square"]
    assert [n["code"] for n in picture["notes"]] == ["pictures.framed"]
    for role in ("original", "partial", "recovered"):
        with Image.open(run.public_dir / f"00-{role}.png") as image:
            assert image.size == framed
    with (
        zipfile.ZipFile(run.public_dir / "evidence.zip") as bundle,
        Image.open(bundle.open("controls/000.png")) as image,
    ):
        assert image.size == (128, 128)


def test_the_form_says_that_a_picture_that_is_not_square_takes_longer(tmp_path):
    for name, size in (("square.png", (200, 200)), ("upright.png", (200, 300))):
        Image.new("RGB", size).save(tmp_path / name)
    config, controls = make_config("fast", 0), [f"{i}.png" for i in range(40)]

    def said(name, **other):
        wish = {"suspect": "a/b", "preset": "fast", "picture": str(tmp_path / name), "controls": controls}
        return cost_view(wish | {"unused": "same"} | other, "en")["cost"]

    def expected(parts):
        cost = cost_of(parts)
        return cost_html("en", seconds=cost.seconds, answer_seconds=cost.answer_seconds, kind=cost.kind)

    once, twice = (count_parts(1, 40, config, uneven=uneven) for uneven in (0, 1))
    assert said("upright.png") == expected(twice) and said("square.png") == expected(once) and said("gone.png") == ""
    assert twice.total - once.total == pytest.approx(2 * (41 * config.loss_draws + 2 * config.mirror_draws) / 3, abs=1)
    assert said("upright.png", bank="b") == said("square.png", bank="b")
