"""Power on the flow model: what is scored of a suspect, and what is counted from scores alone."""

from dataclasses import fields, replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cgidm.families.conditioning import condition_on_prompt
from cgidm.judging.mirror_test import MirrorTable, NullGroup
from cgidm.method.models import ModelPair, NetworkEpsModel
from cgidm.pictures.images import Picture
from cgidm.training.split import PictureFile
from eval.benchmark.datasets import Concept
from eval.benchmark.methods import CGIDM, METHODS, Case
from eval.flow_power import scores, suspects
from eval.flow_power.command import read_methods
from eval.flow_power.report import Scored, count, power_tables
from eval.flow_power.scores import COMPARED, DRAWS, PARTS, prepare_pictures, score_method, score_tests
from eval.flow_power.suspects import Artist, find_artists
from tests.support import tiny, tiny_flow
from tests.support.errors import refuses

EACH = 10
SHORT = {"images": 1, "inference_steps": 2, "neighbours": 2, "draws": 2}  # settings of methods, to be quick


def halves(name, folder="d"):
    files = [PictureFile(f"{folder}/{name}/{i}.jpg", f"{name} {i}") for i in range(2 * EACH)]
    return tuple(files[:EACH]), tuple(files[EACH:])


def artist(name, tmp_path, half=0):
    return Artist("d-1", name, half, halves(name), tmp_path)


def table(*artists):
    rng = np.random.default_rng(0)
    groups = tuple(NullGroup(artist=a, training="t", scores=tuple(rng.normal(size=60))) for a in artists)
    return MirrorTable(base=("x",), draws=DRAWS, groups=groups)


@pytest.fixture(scope="module")
def case():
    """A base and a suspect, and pictures."""
    tuned = tiny_flow.flux()
    tiny.perturbed(tuned.transformer, by=0.1)
    base, suspect = (condition_on_prompt(p, "a b") for p in (tiny_flow.flux(), tuned))
    models = [NetworkEpsModel(m.predict, m.schedule, m.prediction) for m in (base, suspect)]
    pair = ModelPair(*models, schedule=base.schedule, codec=base.codec, resolution=base.resolution)
    generator = torch.Generator().manual_seed(0)
    pictures = [Picture(name=str(i), sha256=str(i), image=torch.rand(3, 64, 64, generator=generator)) for i in range(2)]
    return pair, pictures


def test_parts_of_t_make_up_the_score_of_the_mirror_test(case):
    pair, pictures = case
    found = score_tests(pair, prepare_pictures(pair, pictures))
    parts = torch.tensor(found["mirror by t"])
    assert parts.shape == (PARTS, 2) and len(found["contrast by t"]) == PARTS
    torch.testing.assert_close(parts.mean(0), torch.tensor(found["mirror"]), atol=1e-6, rtol=0)
    assert parts.std(0).min() > 0


@pytest.mark.parametrize("name", METHODS)
def test_every_method_answers_for_a_flow_model(case, name, monkeypatch):
    method = CGIDM(preset="fast", steps=2) if name == "cgidm" else METHODS[name]
    method = replace(method, **{k: v for k, v in SHORT.items() if k in {f.name for f in fields(method)}})
    pair, pictures = case
    if getattr(method, "asks_null_pictures", False):
        others = torch.rand(9, 3, 64, 64, generator=torch.Generator().manual_seed(1))
        monkeypatch.setattr(scores, "Case", partial(Case, null_pictures=lambda: pair.codec.encode(others)))
    found = score_method(method, pair, pair, pictures)
    assert found and all(torch.tensor(a["scores"]).isfinite().all() for a in found.values())
    alone = score_method(method, pair, pair, pictures[:1])
    for measure, answer in alone.items():
        if not measure.endswith("group_max"):
            assert answer["scores"][0] == pytest.approx(found[measure]["scores"][0], rel=1e-3, abs=1e-5)


def test_artists_of_the_table_are_left_out(monkeypatch, tmp_path):
    concepts = [Concept(name, halves(name)) for name in ("seen", "new", "newer")]
    manifest = SimpleNamespace(datasets={"d-1": SimpleNamespace(concepts=concepts)})
    monkeypatch.setattr(suspects, "prepare", lambda *given: manifest)
    found = find_artists(tmp_path, tmp_path, table("d/seen"))
    assert [(a.name, a.half) for a in found] == [("new", 0), ("newer", 1)]
    assert found[1].member == (0,) * EACH + (1,) * EACH and found[1].files[0] == "d/newer/0.jpg"


def scored(one, dose, strength, seed):
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=2 * EACH) + strength * np.array(one.member)
    parts = [list(noise * (i == 1) + np.arange(2 * EACH) * (i != 1) / 1e6) for i in range(PARTS)]
    values = {"mirror": list(noise), "contrast": list(noise), "mirror by t": parts, "contrast by t": parts}
    return Scored(one, dose, "tests", values)


def test_rates_parts_and_methods_are_counted(tmp_path):
    artists = [artist(f"a{i}", tmp_path, i % 2) for i in range(4)]
    found = [scored(a, dose, 3 * dose, i) for dose in (0, 20) for i, a in enumerate(artists)]
    answers = {"suspect": {"evaluations": 7, "scores": list(range(2 * EACH))}}
    found += [Scored(a, 20, "loss", answers) for a in artists]
    report = count(found, table("d/x", "d/y"))
    none, much = report["doses"]
    assert report["null scores"] == 120 and much["presentations"] == 20
    assert much["mirror"]["AUC"] == 1 and 0.3 < none["mirror"]["AUC"] < 0.7
    rates = much["rates"]["pictures"][0]
    assert rates["power"]["count"] == rates["power"]["of"] == 4 * EACH and rates["false calls"]["of"] == 4 * EACH
    assert much["by t"]["mirror"][1] == 1 and np.argmax(much["by t"]["gap"]) == 1
    rows = {r["method"]: r for r in report["methods"]["rows"]}
    assert rows["loss"]["AUC"] == pytest.approx(0.5) and rows["mirror test"]["evaluations"] == 4 * DRAWS
    lines = power_tables(report).splitlines()
    assert len([line for line in lines if line.startswith("| 20 |")]) == 1 + 2 + 3
    assert any(line.startswith("| loss | suspect | 0.500") for line in lines)


def test_a_method_that_is_not_compared_is_refused():
    assert read_methods("loss,pia") == ["loss", "pia"] and read_methods("") == []
    with refuses("error_rates.not_compared", given="text2img", accepted=list(COMPARED)):
        read_methods("loss,text2img")
