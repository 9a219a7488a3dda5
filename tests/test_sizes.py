"""Pictures of several sizes in one run: framed as the suspect's trainer framed them, each as if it were alone."""

import dataclasses
import json
import pickle
from contextlib import closing

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from cgidm.cli import main
from cgidm.conductor import authenticate, authentication_steps
from cgidm.families import load_pair
from cgidm.framing.frame import CentreSquare
from cgidm.framing.kohya import Kohya
from cgidm.judging.result import INNER_MIRROR_SCORE, MIRROR_SCORE
from cgidm.method.config import RecoveryConfig, RunConfig
from cgidm.method.views import AS_GIVEN, CENTRE_SQUARE
from cgidm.pictures.images import read_picture
from cgidm.run.events import RunProgress
from cgidm.run.plan import RunRequest, frame_as
from cgidm.run.recoveries import Recoveries
from tests.support import tiny
from tests.support.adapters import kohya, weights
from tests.support.bundles import reseal
from tests.support.errors import refuses

CONFIG = RunConfig(recovery=RecoveryConfig(steps=3), mirror_draws=4, loss_draws=2, mirrored_recovery=True)
SHAPES = {"upright.png": (80, 120), "wide.png": (150, 100), "even.png": (90, 90), "upright too.png": (160, 240)}
NOTES = {
    "ss_enable_bucket": "True",
    "ss_bucket_no_upscale": "False",
    "ss_min_bucket_reso": "32",
    "ss_max_bucket_reso": "128",
    "ss_resolution": "(64, 64)",
    "ss_random_crop": "False",
    "ss_bucket_info": json.dumps({"buckets": {"0": {"resolution": [48, 80], "count": 12}}}),
}


def drawn(seed, size):
    noise = np.random.default_rng(seed).random((6, 4, 3))
    coarse = Image.fromarray((noise * 255).astype(np.uint8))
    return coarse.resize(size, Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sizes")
    tiny.stable_diffusion().save_pretrained(folder / "base")
    pairs, _ = weights(folder / "base")
    save_file(kohya(pairs), folder / "plain.safetensors")
    save_file(kohya(pairs), folder / "noted.safetensors", NOTES)
    (folder / "controls").mkdir()
    for i, (name, size) in enumerate(SHAPES.items()):
        drawn(i, size).save(folder / name)
    for i in range(20):
        drawn(100 + i, [(80, 120), (120, 80), (64, 64)][i % 3]).save(folder / "controls" / f"{i:02d}.png")
    return folder


@pytest.fixture(scope="module")
def pairs(folder):
    return {n: load_pair(str(folder / "base"), str(folder / f"{n}.safetensors"), "a b") for n in ("plain", "noted")}


def read(folder, pair, names=tuple(SHAPES)):
    return [read_picture(folder / name, pair.framing) for name in names]


def oblong(folder, count):
    """Pictures that are not square, none a near-duplicate of another."""
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{i:02d}.png" for i in range(count)]
    for i, path in enumerate(paths):
        drawn(200 + i, [(80, 120), (120, 80)][i % 2]).save(path)
    return paths


def controls(folder, pair):
    return [read_picture(p, pair.framing) for p in sorted((folder / "controls").iterdir())]


def test_what_the_notes_say_is_how_pictures_are_framed(pairs):
    noted, plain = pairs["noted"], pairs["plain"]
    assert noted.framing == Kohya(resolution=(64, 64), least_side=32, most_side=128, step=16)
    assert not noted.framing_is_guessed and plain.framing_is_guessed and isinstance(plain.framing, Kohya)
    for how, expected in (("square", CentreSquare(resolution=64)), ("buckets", plain.framing)):
        stated = frame_as(noted, how)
        assert stated.framing == expected and not stated.framing_is_guessed


def test_a_picture_does_not_depend_on_those_of_other_sizes_beside_it(folder, pairs):
    pair = pairs["plain"]
    pictures, config = read(folder, pair), CONFIG
    assert len({p.image.shape for p in pictures}) == 3, "two of them have one size"
    together = authenticate(pair, pictures, config=config)
    for picture, beside in zip(pictures, together.pictures, strict=True):
        assert beside.mirrored is not None and beside.mirrored.shape == beside.recovered.shape == picture.image.shape
        (alone,) = authenticate(pair, [picture], config=config).pictures
        assert beside.scores == pytest.approx(alone.scores, abs=1e-4)
        for role, image in beside.images.items():
            torch.testing.assert_close(image, alone.images[role], atol=1e-3, rtol=0)
        assert beside.contrast == pytest.approx(alone.contrast, rel=1e-3)


@pytest.mark.slow
def test_put_down_at_any_event_and_taken_up_it_ends_as_one_that_was_not(folder, pairs, tmp_path):
    pair = pairs["plain"]
    pictures, config = read(folder, pair)[:2], dataclasses.replace(CONFIG, recovery=RecoveryConfig(steps=2))
    request = RunRequest(pictures=pictures, controls=controls(folder, pair)[:2], config=config)

    def numbers(result):
        rows = [(r.scores, r.score_errors, r.contrast, r.verdict, r.view) for r in result.pictures]
        return rows, [i.tolist() for r in result.pictures for i in r.images.values()], result.control_scores

    *events, last = authentication_steps(pair, request, controls_per_event=1)
    whole = numbers(last.result)
    for cut in range(len(events)):
        with closing(authentication_steps(pair, request, controls_per_event=1)) as begun:
            seen = [event for _, event in zip(range(cut + 1), begun, strict=False)]
        progress = next((e.progress for e in reversed(seen) if e.progress is not None), RunProgress())
        if progress.plan is not None:
            progress.save(tmp_path)
            progress = RunProgress.load(tmp_path)
        *_, end = authentication_steps(pair, request, pickle.loads(pickle.dumps(progress)), controls_per_event=1)
        assert numbers(end.result) == whole


def test_where_no_framing_is_noted_a_picture_is_also_looked_at_as_its_centre_square(folder, pairs):
    found = {}
    for name, pair in pairs.items():
        known = controls(folder, pair)
        found[name] = authenticate(pair, read(folder, pair), known, config=CONFIG)
    for name, looks in (("plain", (AS_GIVEN, CENTRE_SQUARE)), ("noted", (AS_GIVEN,))):
        assert found[name].config.views == looks
        for (file, (width, height)), r in zip(SHAPES.items(), found[name].pictures, strict=True):
            twice = name == "plain" and width != height
            assert (INNER_MIRROR_SCORE in r.scores) == (INNER_MIRROR_SCORE in r.score_errors) == twice, file
            assert MIRROR_SCORE in r.scores
            assert (r.picture.square is not None) == (width != height)
            if r.picture.square is not None:  # not what the frame would be scaled up to
                assert torch.equal(r.picture.square, read_picture(folder / file, 64).image)


def test_an_empty_bucket_is_the_suspect_s_alibi(folder, pairs):
    result = authenticate(pairs["noted"], read(folder, pairs["noted"]), config=CONFIG)
    empty = [[n.code for n in r.picture.notes].count("pictures.empty_bucket") for r in result.pictures]
    assert dict(zip(SHAPES, empty, strict=True)) == {
        "upright.png": 0,
        "wide.png": 0,
        "even.png": 1,
        "upright too.png": 0,
    }


@pytest.mark.slow
@pytest.mark.usefixtures("few_draws")
@pytest.mark.parametrize("suspect", ["plain", "noted"])
def test_a_bundle_of_several_sizes_is_run_again(folder, tmp_path, capsys, suspect):
    models = ["--base", str(folder / "base"), "--suspect", str(folder / f"{suspect}.safetensors"), "--prompt", "a b"]
    given = [str(folder / name) for name in SHAPES]
    known, out = ["--controls", str(folder / "controls")], ["--out", str(tmp_path / "out"), "--lineup", "3"]
    assert main(["authenticate", *given, *models, *known, *out, "--preset", "fast", "--steps", "2"]) == 0
    uneven = {f"controls/{i:03d}-square.png" for i in range(20) if i % 3 < 2}
    record = json.loads((tmp_path / "out" / "result.json").read_text())
    assert record["framing"]["guessed"] == (suspect == "plain") and record["framing"]["rule"]["rule"] == "kohya"
    for number, picture in enumerate(record["pictures"]):
        with Image.open(tmp_path / "out" / f"{number:02d}-recovered.png") as image:
            assert list(image.size) == picture["frame"]["size"]
    squares = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*-square.png")}
    assert squares == ({"00-square.png", "01-square.png", "03-square.png"} | uneven if suspect == "plain" else set())
    assert main(["verify", str(tmp_path / "out"), "--rerun"]) == 0
    assert "the same" in capsys.readouterr().out.lower()
    path = tmp_path / "out" / "00-original.png"
    with Image.open(path) as image:
        image.crop((0, 0, 32, 32)).save(path)
    assert main(["verify", str(tmp_path / "out"), "--rerun"]) != 0


def test_a_picture_that_is_not_square_needs_controls_that_are_not(folder, pairs):
    pair = pairs["plain"]
    known, pictures = controls(folder, pair), read(folder, pair)
    uneven = [c for c in known if c.square is not None]
    assert 0 < len(uneven) < 19 <= len(known)
    more = [read_picture(p, pair.framing) for p in oblong(folder / "more", 19)]
    for given, silenced in ((known, True), (more, False)):
        others = [dataclasses.replace(c, sha256=f"{i:064x}") for i, c in enumerate(given)]
        result = authenticate(pair, pictures, others, config=CONFIG)
        for r in result.pictures:
            raised = "other_shapes" in [f.name for f in r.flags]
            assert raised == (silenced and r.picture.square is not None)
        assert result.expected_power is None, "how many are found was never measured with two looks"


def test_progress_about_pictures_of_another_shape_is_refused(folder, pairs):
    pair = pairs["plain"]
    upright, wide = read(folder, pair, ["upright.png", "wide.png"])
    states = Recoveries(pair, [upright, wide], CONFIG).on_cpu()
    with refuses("run.damaged_progress"):
        Recoveries(pair, [upright, wide], CONFIG, states[::-1])


@pytest.mark.parametrize("part", ["frame", "rule"])
@pytest.mark.slow
@pytest.mark.usefixtures("few_draws")
def test_a_frame_that_was_altered_is_not_run_again(folder, tmp_path, capsys, part):
    models = ["--base", str(folder / "base"), "--suspect", str(folder / "noted.safetensors"), "--prompt", "a b"]
    assert main(["authenticate", str(folder / "upright.png"), *models, "--out", str(tmp_path), "--steps", "2"]) == 0

    def alter(record):
        if part == "frame":
            record["pictures"][0]["frame"]["cut"] = [0, 0, 10, 10]
        else:
            record["framing"]["rule"] = {"rule": "centre_square", "resolution": 16_000}

    reseal(tmp_path, alter)
    assert main(["verify", str(tmp_path), "--rerun"]) == 1
    said = capsys.readouterr().out
    assert ("pictures[0].frame.cut[2]: recorded 10" if part == "frame" else "framing.rule") in said
