"""Membership tests on a crossed design: resumable, keyed by what they depend on, alike however they were run."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from eval import membership
from eval.crossed import find_concepts
from eval.finetune import FinetuneConfig
from eval.ledger import Ledger
from eval.membership import collect, describe_plan, run_membership, tasks, units
from eval.membership_report import write_membership
from eval.methods import METHODS

from . import tiny

TRAININGS = (FinetuneConfig(steps=1, learning_rate=1e-2), FinetuneConfig(mode="lora", steps=1, learning_rate=1e-2))


@dataclass(frozen=True)
class Cheap:
    """The difference of both models' answers to one noised picture; `scale` is a setting."""

    scale: float = 1.0
    evaluations: int = 2

    def __call__(self, pair, z, generators):
        t = torch.full((len(z),), 500)
        eps = torch.stack([torch.randn(z.shape[1:], generator=g) for g in generators])
        with torch.no_grad():
            difference = pair.base.predict_eps(z + eps, t) - pair.finetuned.predict_eps(z + eps, t)
        return self.scale * difference.flatten(1).mean(1)


CHEAP = {"loss_contrast": Cheap(), "other": Cheap(2.0)}


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    folder = tmp_path_factory.mktemp("membership")
    tiny.stable_diffusion().save_pretrained(folder / "base")
    rng = np.random.default_rng(0)
    for concept in ("one", "two"):
        (folder / concept).mkdir()
        for i in range(4):
            Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(folder / concept / f"{i}.jpg")
    return folder, find_concepts([folder / "one", folder / "two"], TRAININGS, half=2)


def run(setting, ledger, methods=CHEAP, **share):
    folder, concepts = setting
    run_membership(concepts, folder / "base", folder / "work", ledger, methods, **share)
    return collect(concepts, folder / "base", folder / "work", ledger, methods)


def test_one_worker_or_two_or_a_run_that_broke_give_the_same_rows(setting, tmp_path, monkeypatch):
    undisturbed, missing = run(setting, Ledger(tmp_path / "one.db"))
    assert missing == 0 and len(undisturbed) == 2 * 10 * 4
    two = Ledger(tmp_path / "two.db")
    for worker in (1, 0):
        rows, missing = run(setting, two, worker=worker, workers=2)
        assert (missing == 0) == (worker == 0)
    assert rows == undisturbed
    broken, calls = Ledger(tmp_path / "broken.db"), []

    def breaks(*args, **kwargs):
        calls.append(args)
        if len(calls) % 3 == 0:
            raise KeyboardInterrupt
        return score(*args, **kwargs)

    score = membership._score
    monkeypatch.setattr(membership, "_score", breaks)
    for _ in range(20):
        try:
            rows, missing = run(setting, broken)
            break
        except KeyboardInterrupt:
            continue
    assert rows == undisturbed and len(calls) > 10
    calls.clear()
    assert run(setting, broken)[0] == undisturbed and not calls, "nothing is done twice"


def test_what_a_score_depends_on_is_in_its_key_and_nothing_stale_is_used(setting, tmp_path):
    folder, concepts = setting
    ledger = Ledger(tmp_path / "scores.db")
    run(setting, ledger)
    unit = next(u for u in units(concepts) if u.role == "trained")

    def keys(methods=CHEAP, changed=unit, base=folder / "base"):
        membership._file_sha256.cache_clear()
        return {key for task in tasks(changed, base, folder / "work", methods) for key in task.keys}

    before = keys()
    assert before == keys() and not ledger.missing(before)
    assert not before & keys({name: replace(m, scale=9.0) for name, m in CHEAP.items()})
    swapped = replace(unit.concept, halves=unit.concept.halves[::-1])
    assert not before & keys(changed=replace(unit, suspect=swapped, concept=swapped))
    tiny.stable_diffusion(seed=1).save_pretrained(tmp_path / "other")
    assert not before & keys(base=tmp_path / "other")
    picture = unit.concept.halves[0][0]
    bytes_before = picture.read_bytes()
    picture.write_bytes(bytes_before + b"\0")
    assert before != keys()
    picture.write_bytes(bytes_before)
    weights = next((folder / "work" / "one-a" / "checkpoint" / "unet").glob("*.safetensors"))
    held, state = weights.read_bytes(), load_file(weights)
    state[next(iter(state))][0] += 1
    save_file(state, weights, {"format": "pt"})
    assert not before & keys()
    weights.write_bytes(held)
    assert before == keys()


def test_every_picture_is_judged_in_either_role_and_an_innocent_suspect_scores_nothing(setting, tmp_path):
    rows, _ = run(setting, Ledger(tmp_path / "scores.db"))
    table = pd.DataFrame(rows)
    trained = table.query("role == 'trained' and method == 'other'")
    roles = trained.groupby(["concept", "picture"])["member"].agg(["sum", "count"])
    assert len(roles) == 8 and (roles["sum"] == 1).all() and (roles["count"] == 2).all()
    assert (table.query("role == 'innocent'")["score"] == 0).all()
    assert (table.query("role == 'trained'")["score"] != 0).all()


def test_the_report_is_made_of_the_rows_alone(setting, tmp_path):
    rows, _ = run(setting, Ledger(tmp_path / "scores.db"))
    write_membership(rows, tmp_path / "first")
    write_membership(rows, tmp_path / "second")
    for name in ("scores.csv", "summary.json", "table.md"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    summary = json.loads((tmp_path / "first" / "summary.json").read_text())
    other = summary["methods"]["other"]
    assert summary["holdouts"] == 8 and other["tpr"] == {"5%": None, "1%": None}
    assert other["innocent"]["auc"] == 0.5 and other["against_reference"]["p_value"] > 0.05
    text = (tmp_path / "first" / "table.md").read_text()
    assert "n too small" in text and text.count("| `") == 2


def test_the_plan_says_what_it_costs(setting):
    text = describe_plan(setting[1], CHEAP)
    assert "4 suspects to train, 10 units, 40 pictures" in text and text.splitlines()[-1].split() == ["all", "160"]


def test_the_methods_of_the_literature_run_on_a_latent_model(setting, tmp_path):
    rows, missing = run((setting[0], setting[1][:1]), Ledger(tmp_path / "scores.db"), METHODS)
    assert missing == 0 and np.isfinite([row.score for row in rows]).all()
