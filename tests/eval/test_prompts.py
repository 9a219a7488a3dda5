"""Prompts of a run against those of a training: scores are the library's, captions are trained, rates are counted."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cgidm.families import load_pair
from cgidm.judging.mirror_test import MIRROR_SEED
from cgidm.method.mirror import mirror_differences, mirror_score, mirror_scores
from cgidm.pictures.images import read_picture
from eval.benchmark.flow_lora import FlowRecipe, train_flow_lora
from eval.error_rates.flow import prompts as command
from eval.error_rates.flow.prompt_scores import (
    LABELS,
    LIST,
    RESOLUTION,
    TRIGGER,
    CaptionedPicture,
    PromptedModels,
    PromptScores,
    picture_words,
)
from eval.error_rates.mirror_rates import null_groups
from tests.support.paths import ROOT

pytestmark = pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")
BASE, EXAMPLES = ROOT / "assets" / "mini-flow", ROOT / "assets" / "examples" / "rollandin-lora"
PICTURES = sorted((EXAMPLES / "member").iterdir())[:2]
DRAWS = 2
ARTISTS, EACH = 6, 10


def captioned(path):
    return CaptionedPicture(path, path.name, 1, picture_words(path, RESOLUTION), "blue green, dark")


@pytest.mark.parametrize("prompts", [(TRIGGER,), LIST])
def test_scores_are_those_of_a_run_with_these_prompts(prompts):
    suspect = BASE / "example" / "checkpoint"
    base, lora = PromptedModels(BASE, [suspect]).losses(PICTURES[0], prompts, DRAWS)
    pair = load_pair(str(BASE), str(suspect), prompts)
    found = mirror_scores(pair, read_picture(PICTURES[0], pair.resolution).image[None], DRAWS, MIRROR_SEED)
    assert mirror_score(mirror_differences(base, lora)).item() == found[0].value


def test_each_picture_is_trained_with_its_own_caption(tmp_path):
    recipe = FlowRecipe(presentations=1, batch=2, rank=2, prompt=TRIGGER)
    trained = {"none": (), "alike": [TRIGGER] * 2, "own": ["sks style, red", "sks style, blue"]}
    trained["exchanged"] = trained["own"][::-1]
    found = {}
    for name, captions in trained.items():
        train_flow_lora(BASE, PICTURES, tmp_path / name, recipe, captions)
        (file,) = (tmp_path / name).iterdir()
        found[name] = load_file(file)
    assert all(torch.equal(v, found["alike"][k]) for k, v in found["none"].items())
    for name in ("none", "exchanged"):
        assert any(not torch.equal(v, found["own"][k]) for k, v in found[name].items())


def test_a_caption_says_what_the_base_was_told_of_pictures():
    picture = captioned(PICTURES[0])
    words = picture.description.split(", ")
    assert (
        words
        and words[-1] in ("bright", "dark", "plain", "detailed")
        and picture.caption == f"{TRIGGER}, {picture.description}"
    )
    asked = {label: picture.prompts(label) for label in LABELS}
    assert asked["own caption"] == (picture.caption,) and asked["blank"] == ("",)
    assert len(asked["list of four"]) == 4 and TRIGGER in asked["list of four"]
    assert not set(asked["wrong"]) & {picture.caption, TRIGGER, picture.description}


def scores(artist, training, seed):
    """Members are found under the training's prompt and under the trigger, and under no other."""
    rng = np.random.default_rng(seed)
    member = np.array([1] * EACH + [0] * EACH)
    known = {label: 20.0 * (label in (command.RIGHT[training], "trigger")) for label in LABELS}
    drawn = {label: tuple((rng.normal(size=2 * EACH) + lift * member).tolist()) for label, lift in known.items()}
    files = tuple(f"{artist}/{i}.jpg" for i in range(2 * EACH))
    who = {"dataset": "d", "artist": artist, "half": 0, "training": training, "presentations": 5, "files": files}
    return PromptScores(**who, member=tuple(member.tolist()), mirror=drawn, contrast=drawn)


def test_power_false_calls_and_what_is_lost_are_counted(monkeypatch):
    found = [scores(f"a{i}", training, i) for i in range(ARTISTS) for training in ("captions", "trigger")]
    nulls = null_groups([s.as_scored(s.mirror["blank"]) for s in found])
    monkeypatch.setattr(command, "table_groups", lambda base: nulls)
    report = command.count_prompts(found, ["base"])
    rows = {(r["training"], r["prompt"]): r for r in report["rows"]}
    assert len(rows) == 2 * len(LABELS) and report["artists"] == ARTISTS
    right, blank = rows["captions", "own caption"], rows["captions", "blank"]
    assert (
        right["mirror"]["power"]["share"] == right["contrast"]["power"]["share"] == right["mirror"]["AUC"]["mean"] == 1
    )
    assert right["mirror"]["power lost"]["mean"] == rows["captions", "trigger"]["mirror"]["power lost"]["mean"] == 0
    assert blank["mirror"]["power lost"]["mean"] > 0.8 and blank["mirror"]["false calls"]["share"] < 0.2
    assert 0.3 < blank["contrast"]["AUC"]["mean"] < 0.7
    assert right["contrast"]["AUC lost"]["mean"] == 0 and blank["contrast"]["AUC lost"]["interval"][0] > 0.2
    lines = command.prompt_tables(report).splitlines()
    assert len([line for line in lines if "(the training's)" in line]) == 2
    assert len([line for line in lines if line.startswith("| blank")]) == 2


def test_the_committed_result_bears_the_reading_out():
    """The mirror test loses nothing that can be told; a guessed caption costs the contrast, a blank prompt hardly."""
    rows = json.loads((ROOT / "eval" / "results" / "mini-flow" / "prompts.json").read_text())["rows"]
    by = {(r["training"], r["prompt"]): r for r in rows}
    for row in rows:
        assert 0.9 <= row["mirror"]["AUC"]["mean"] <= 0.94 and row["mirror"]["power lost"]["interval"][0] <= 0
        assert row["mirror"]["false calls"]["interval"][0] <= 0.05
    for training in ("captions", "trigger"):
        lost = {label: by[training, label]["contrast"]["AUC lost"]["mean"] for label in LABELS}
        assert max(lost["blank"], lost["list of four"]) <= 0.03 < lost["wrong"] == max(lost.values())
    assert by["trigger", "wrong"]["contrast"]["AUC lost"]["interval"][0] > 0
