"""The crossed design from folders of pictures to its report, with a tiny random model and few steps."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from cgidm.config import PRESETS
from cgidm.similarity import load_embedders
from eval.crossed import checkpoints, find_concepts, plan, run_crossed, unfinished
from eval.crossed_report import decisions, write_report
from eval.crossed_scores import group_max, score_crossed
from eval.finetune import FinetuneConfig
from eval.metrics import pooled_auc

from . import tiny

TRAININGS = (FinetuneConfig(steps=1, learning_rate=1e-2), FinetuneConfig(mode="lora", steps=1, learning_rate=1e-2))


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    """Two concepts of four pictures, a tiny base, and presets of a few steps."""
    folder = tmp_path_factory.mktemp("crossed")
    tiny.stable_diffusion().save_pretrained(folder / "base")
    rng = np.random.default_rng(0)
    for concept in ("one", "two"):
        (folder / concept).mkdir()
        for i in range(4):
            Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(folder / concept / f"{i}.jpg")
    concepts = find_concepts([folder / "one", folder / "two"], TRAININGS, half=2)
    with pytest.MonkeyPatch.context() as patch:
        for name, preset in list(PRESETS.items()):
            recovery = dataclasses.replace(preset.recovery, steps=3, draws=1)
            patch.setitem(PRESETS, name, dataclasses.replace(preset, recovery=recovery))
        run_crossed(concepts, folder / "base", folder / "work", 0, 2)
        half_done = unfinished(concepts, folder / "work")
        run_crossed(concepts, folder / "base", folder / "work", 1, 2)
        yield folder, concepts, half_done


@pytest.fixture(scope="module")
def scores(setting):
    folder, concepts, _ = setting
    return score_crossed(concepts, folder / "base", folder / "work", load_embedders().ready)


def test_workers_share_the_plan_and_a_rerun_redoes_nothing(setting):
    folder, concepts, half_done = setting
    assert 0 < len(half_done) < len(plan(concepts)) and not unfinished(concepts, folder / "work")
    files = {u.file(folder / "work"): u.file(folder / "work").stat().st_mtime_ns for u in plan(concepts)}
    run_crossed(concepts, folder / "base", folder / "work")
    assert files == {f: f.stat().st_mtime_ns for f in files}
    lost = plan(concepts)[0].file(folder / "work")
    before = load_file(lost)
    lost.unlink()
    run_crossed(concepts, folder / "base", folder / "work")
    after = load_file(lost)
    assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)
    assert not list((folder / "work").rglob("*.tmp"))


def test_every_picture_is_once_a_member_and_once_a_holdout(scores):
    for preset in ("fast", "paper", "reference", "loss_contrast"):
        table = decisions(scores, "trained", preset, "loss_contrast")
        roles = table.groupby(["concept", "picture"])["member"].agg(["sum", "count"])
        assert len(roles) == 8 and (roles["sum"] == 1).all() and (roles["count"] == 2).all()
    innocent = decisions(scores, "innocent", "fast", "removed_alignment")
    assert (innocent["score"] == 0).all() and pooled_auc(innocent) == 0.5
    assert (decisions(scores, "innocent", "loss_contrast", "loss_contrast")["score"] == 0).all()


def test_the_report_can_be_made_from_the_table_alone(scores, tmp_path):
    write_report(scores, tmp_path / "first")
    write_report(pd.read_csv(tmp_path / "first" / "scores.csv"), tmp_path / "second")
    for name in ("scores.csv", "summary.json", "table.md"):
        assert (tmp_path / "first" / name).read_text() == (tmp_path / "second" / name).read_text()
    with Image.open(tmp_path / "first" / "auc-against-evaluations.png") as figure:
        assert figure.width > 400


def test_group_max_lets_a_neighbour_stand_for_a_picture():
    pairwise = torch.tensor([[0.1, 0.9, 0.0, 0.0], [0.8, 0.2, 0.0, 0.0], [1.0, 1.0, 0.3, 0.4], [1.0, 1.0, 0.5, 0.6]])
    assert group_max(pairwise).tolist() == pytest.approx([0.8, 0.9, 0.5, 0.6])


def test_checkpoints_end_with_the_last_step():
    assert list(checkpoints(40)) == [1, 2, 5, 10, 20, 40]
    assert list(checkpoints(1000)) == [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]


def test_a_folder_with_too_few_pictures_is_named(setting):
    with pytest.raises(ValueError, match=r"holds 4 \.jpg"):
        find_concepts([setting[0] / "one"], half=3)
