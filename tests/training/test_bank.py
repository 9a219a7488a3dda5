"""A bank from its training to a verdict that is repeated: tiny networks, the commands that a user types."""

import dataclasses
import json
import shutil
from functools import partial

import numpy as np
import pytest
from PIL import Image

from cgidm import UserError
from cgidm.cli import main
from cgidm.evidence.reruns import rerun
from cgidm.families import load_pair
from cgidm.intake.layout import open_checkpoint
from cgidm.judging.banks.null_bank import SAME_PICTURES_RANGE, open_bank
from cgidm.judging.scoring import score_controls
from cgidm.method.config import PRESETS, RunConfig
from cgidm.pictures.images import read_picture
from cgidm.training import null_models
from cgidm.training.null_models import BankPlan, build_bank
from cgidm.training.recipe import TrainingRecipe
from cgidm.training.recipe_reader import SuspectRecipe, read_recipe
from cgidm.training.scoring import ModelScores, score_pictures
from cgidm.training.step_matching import interpolate_steps, match_steps
from cgidm.training.trainer import FinetuneConfig, finetune
from tests.support import tiny
from tests.support.bundles import reseal
from tests.support.errors import refuses
from tests.support.quick_presets import DRAWS, MIRROR_DRAWS

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("few_draws", "without_pages")]

PROMPT, MODES = "abc", ("dreambooth", "lora")
CONFIG = RunConfig(loss_draws=DRAWS, mirror_draws=MIRROR_DRAWS)
STEP = {"steps_per_picture": 2, "batch": 2, "learning_rate": 1e-2, "rank": 2}


def noise(folder, count, seed):
    rng = np.random.default_rng(seed)
    folder.mkdir()
    for i in range(count):
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(folder / f"{i:02d}.png")
    return sorted(folder.iterdir())


def plan_of(place, mode):
    """A bank of four models, with as few draws as the runs that it judges."""
    folders = (place / "works", place / "more")
    prompts = {"prompt": PROMPT, "class_prompt": "ab"}
    return BankPlan(
        base=str(place / "base"), folders=folders, models=4, out=place / f"bank-{mode}", config=CONFIG, **prompts
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A base, ten works of an artist in two folders, controls; of each mode a suspect of half the works, and a bank."""
    place = tmp_path_factory.mktemp("bank")
    tiny.stable_diffusion().save_pretrained(place / "base")
    works = noise(place / "works", 6, 0) + noise(place / "more", 4, 1)
    noise(place / "controls", 19, 2)
    for mode in MODES:
        config = FinetuneConfig(mode=mode, prompt=PROMPT, steps=5, batch=2, learning_rate=1e-2, rank=2, seed=9)
        finetune(place / "base", works[::2], place / f"suspect-{mode}", config)
        recipe = SuspectRecipe(TrainingRecipe(mode=mode, **STEP), None, dict.fromkeys(STEP, "given"))
        build_bank(plan_of(place, mode), recipe)
    return place


def authenticate(place, mode, out, *more, first=None):
    pictures = [str(first or place / "works" / "00.png"), str(place / "works" / "01.png")]
    models = ["--base", str(place / "base"), "--suspect", str(place / f"suspect-{mode}"), "--prompt", PROMPT]
    return main(["authenticate", *pictures, *models, "--preset", "fast", "--steps", "2", "--out", str(out), *more])


@pytest.fixture(scope="module", params=MODES)
def judged(request, place):
    """A run that was judged against the bank of its suspect's kind."""
    out = place / f"out-{request.param}"
    assert authenticate(place, request.param, out, "--bank", str(place / f"bank-{request.param}")) == 0
    return request.param, out


@pytest.fixture
def kept(monkeypatch):
    """A run that is repeated once more with the same models and pictures finds what it found."""
    results, real = {}, rerun.authenticate

    def authenticate(pair, pictures, controls, *, config, embedders, bank, reference, null_groups, unrelated):
        models = [None if p is None else tuple(sorted(p.fingerprints.values())) for p in (pair, unrelated)]
        shown = tuple(tuple(p.sha256 for p in part) for part in (pictures, controls, reference))
        key = (*models, shown, config, None if bank is None else bank.sha256)
        if key not in results:
            more = {"bank": bank, "reference": reference, "null_groups": null_groups, "unrelated": unrelated}
            results[key] = real(pair, pictures, controls, config=config, embedders=embedders, **more)
        return results[key]

    monkeypatch.setattr(rerun, "authenticate", authenticate)
    return results


def record_of(out):
    return json.loads((out / "result.json").read_text())


def again(capsys, out, *more):
    capsys.readouterr()
    code = main(["verify", str(out), "--rerun", *map(str, more)])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_bank_keeps_what_each_model_was_trained_on_and_how_far_it_moved(place):
    for mode in MODES:
        bank = open_bank(place / f"bank-{mode}").content
        assert bank.format == 3 and bank.is_full_network == (mode == "dreambooth") and bank.recipe["mode"] == mode
        assert [p.name for p in bank.pictures] == sorted(f"0{i}.png" for i in (*range(6), *range(4)))
        for a, b in zip(bank.models[::2], bank.models[1::2], strict=True):
            assert sorted(a.trained_on + b.trained_on) == list(range(10))
        assert len(bank.nulls) == len(bank.members) == 20
        assert bank.mirror_draws == MIRROR_DRAWS and all(len(m.mirror_scores) == 10 for m in bank.models)
        assert len({s for m in bank.models for s in m.mirror_scores}) > 4, "models differ"
        assert all((m.weight_distance or 0) > 0 for m in bank.models) == bank.is_full_network


def test_weights_tell_the_steps_of_whole_networks(place):
    """Twice the presentations move the weights further than any bank model's."""
    weights = [m.weight_distance for m in open_bank(place / "bank-dreambooth").content.models]
    assert max(weights) / min(weights) < SAME_PICTURES_RANGE
    config = FinetuneConfig(mode="dreambooth", prompt=PROMPT, steps=10, batch=2, learning_rate=1e-2)
    finetune(place / "base", sorted((place / "works").iterdir()), place / "twice", config)
    pictures = [place / "works" / "00.png"]
    scored = score_pictures(str(place / "base"), str(place / "twice"), PROMPT, pictures, RunConfig())
    assert scored.distance_from_base == scored.weight_distance > SAME_PICTURES_RANGE * max(weights)


def test_a_run_that_was_judged_against_a_bank_is_repeated(place, judged, kept, capsys):
    mode, out = judged
    record, bank = record_of(out), place / f"bank-{mode}"
    assert record["bank"]["sha256"] == open_bank(bank).sha256 and record["controls"] == []
    assert (record["weight_distance"] is None) == (mode == "lora")
    assert record["mirror"]["source"] == "bank" and record["mirror"]["references"] == 20
    assert [w["p_value"] is not None for w in record["pictures"][0]["witnesses"]] == [True, True]
    report = (out / "report.html").read_text()
    assert "with the bank's 20 scores of the artist's works, under models" in report.replace("&#x27;", "'")
    assert "loss in its predictions" in report and ("of the length of the base" in report) == (mode == "dreambooth")
    assert "other_recipe" not in {f["name"] for p in record["pictures"] for f in p["flags"]}
    code, text, _ = again(capsys, out, "--bank", bank)
    assert code == 0 and "null score 20" in text and "DIFFERS" not in text and "the same: largest difference 0" in text
    assert text.count("weight_distance") == (mode == "dreambooth")
    assert again(capsys, out, "--bank", bank / "bank.json")[0] == 0 and len(kept) == 1
    assert (out / "bank.json").read_bytes() == (bank / "bank.json").read_bytes()
    assert again(capsys, out)[0] == 0 and len(kept) == 1  # the bundle holds its bank's numbers


def test_the_bank_must_be_the_recorded_one(place, judged, tmp_path, capsys, monkeypatch):
    mode, out = judged
    monkeypatch.setattr(rerun, "authenticate", None)
    data = json.loads((place / f"bank-{mode}" / "bank.json").read_text())
    (tmp_path / "bank.json").write_text(json.dumps(data | {"versions": {}}))
    code, _, err = again(capsys, out, "--bank", tmp_path)
    assert code == 2 and "has the SHA-256" in err and f"expected the bank bank-{mode}" in err


@pytest.mark.parametrize("mode", MODES)
def test_a_bank_without_scores_of_the_mirror_test_leaves_it_to_the_bases_table(place, mode, tmp_path):
    """So does one that moved otherwise than the suspect."""
    data = json.loads((place / f"bank-{mode}" / "bank.json").read_text())
    older = data | {"format": 2, "mirror_draws": 0, "models": [m | {"mirror_scores": []} for m in data["models"]]}
    name = "shift" if mode == "lora" else "weight_shift"
    times = (lambda x: 3 * x) if mode == "dreambooth" else (lambda xs: [3 * x for x in xs])
    other = data | {"models": [m | {name: times(m[name])} for m in data["models"]]}
    for kind, table in (("older", older), ("other", other)):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "bank.json").write_text(json.dumps(table))
        assert authenticate(place, mode, tmp_path / f"out-{kind}", "--bank", str(tmp_path / kind)) == 0
        record = record_of(tmp_path / f"out-{kind}")
        assert record["mirror"] is None, "the tiny base has no table"
        assert ("other_recipe" in {f["name"] for f in record["pictures"][0]["flags"]}) == (kind == "other")
        assert main(["verify", str(tmp_path / f"out-{kind}")]) == 0


@pytest.mark.parametrize("mode", MODES)
def test_a_bank_of_the_other_kind_is_refused(place, mode, tmp_path, capsys):
    (other,) = set(MODES) - {mode}
    assert authenticate(place, mode, tmp_path / "out", "--bank", str(place / f"bank-{other}")) == 2
    assert "as the models of the bank" in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize("judged", ["dreambooth"], indirect=True)
def test_weights_that_moved_otherwise_do_not_come_out_again(place, judged, tmp_path, capsys):
    bank = place / "bank-dreambooth"
    out = shutil.copytree(judged[1], tmp_path / "out")
    reseal(out, lambda record: record.update(weight_distance=record["weight_distance"] + 1e-4))
    code, text, _ = again(capsys, out, "--bank", bank)
    (line,) = [line for line in text.splitlines() if "DIFFERS" in line]
    assert code == 1 and line.startswith("the suspect ") and "weight_distance" in line


def test_an_unrelated_suspect_is_asked_again_and_must_be_the_recorded_one(place, kept, tmp_path, capsys, monkeypatch):
    """The picture that it knows best of twenty is judged: it stands in the way of the verdict, and does so again."""
    all_draws = RunConfig().loss_draws  # with few of them another picture may seem to be the best known
    monkeypatch.setitem(PRESETS, "fast", dataclasses.replace(PRESETS["fast"], loss_draws=all_draws))
    known = [place / "works" / "00.png", *sorted((place / "controls").iterdir())]
    other = load_pair(str(place / "base"), str(place / "suspect-dreambooth"), PROMPT)
    scores = score_controls(other, [read_picture(path, other.framing) for path in known], PRESETS["fast"])
    first = known.pop(int(np.argmax(scores)))
    assert max(scores) > 0
    (tmp_path / "controls").mkdir()
    for n, path in enumerate(known):
        shutil.copy(path, tmp_path / "controls" / f"{n:02d}.png")
    unrelated = shutil.copytree(place / "suspect-dreambooth", tmp_path / "unrelated")
    out, more = tmp_path / "out", ("--controls", str(tmp_path / "controls"), "--unrelated", str(unrelated))
    assert authenticate(place, "lora", out, *more, first=first) == 0
    judged = record_of(out)["pictures"][0]
    assert judged["outcome"] == "cannot tell" and [f["name"] for f in judged["flags"]] == ["stands_out", "unknown_base"]
    code, text, _ = again(capsys, out)
    assert code == 0 and "answer: cannot tell  ok" in text and "DIFFERS" not in text
    shutil.move(unrelated, tmp_path / "moved")
    code, _, err = again(capsys, out)
    assert code == 2 and "Say where it is now: --unrelated" in err
    assert again(capsys, out, "--unrelated", tmp_path / "moved")[0] == 0 and len(kept) == 1
    code, _, err = again(capsys, out, "--unrelated", place / "suspect-lora")
    assert code == 2 and "expected the recorded unrelated model (SHA-256" in err


def test_steps_are_interpolated_by_a_power_law():
    tried = [(s, 0.01 * s**0.5) for s in (5, 10, 20, 40)]
    assert [interpolate_steps(tried, 0.01 * s**0.5) for s in (20, 25, 30, 40)] == [20, 25, 30, 40]
    assert interpolate_steps(tried, 1.0) == 40 and interpolate_steps(tried[:1], 0.0) == 5


@pytest.mark.parametrize(("mode", "steps"), [("dreambooth", 30), ("lora", 30), ("dreambooth", 2), ("lora", 5000)])
def test_where_steps_are_not_known_a_model_moves_as_far_as_the_suspect(mode, steps):
    """Full networks whose predictions are all as far from the base are told apart by their weights."""

    def scored(steps):
        if mode == "lora":
            return ModelScores((0.0,), (1e-3 * steps,), None)
        return ModelScores((0.0,), (0.05,), 0.01 * steps**0.5)

    trained, notes = [], []

    def measure(steps):
        trained.append(steps)
        return scored(steps).distance_from_base

    assert match_steps(scored(steps), measure, notes.append) == min(max(steps, 5), 640)
    assert trained[:3] == [5, 10, 20][: len(trained)] and trained[-1] < 2 * max(steps, 5)
    expected = ["training.steps_unknown", *["training.steps_tried"] * len(trained), "training.steps_chosen"]
    assert [n.code for n in notes] == expected and all(n.code not in str(n) for n in notes)


def test_a_bank_of_another_kind_than_the_suspect_is_not_trained(place, capsys):
    lora, whole = (open_checkpoint(str(place / f"suspect-{mode}")) for mode in ("lora", "dreambooth"))
    assert read_recipe(lora, {}).training.mode == "lora" and read_recipe(lora, {}).training.rank == 2
    assert read_recipe(whole, {"mode": "dreambooth-prior"}).training.mode == "dreambooth-prior"
    with refuses("training.mode_of_adapter", given="dreambooth"):
        read_recipe(lora, {"mode": "dreambooth"})
    with refuses("training.mode_of_network", given="lora"):
        read_recipe(whole, {"mode": "lora"})


def test_the_command_scores_models_that_are_there_again(place, capsys, monkeypatch):
    """So a bank of an older format is mended without training."""
    monkeypatch.setattr("cgidm.training.trained_model.finetune", None)
    monkeypatch.setattr(null_models, "BankPlan", partial(BankPlan, config=CONFIG))
    path = place / "bank-dreambooth" / "bank.json"
    before = json.loads(path.read_text())
    old = before | {
        "format": 1,
        "models": [{k: v for k, v in m.items() if k != "weight_distance"} for m in before["models"]],
    }
    path.write_text(json.dumps(old))
    with pytest.raises(UserError, match="format 1"):
        open_bank(path)
    given = {"--steps-per-picture": 2, "--batch": 2, "--learning-rate": 1e-2, "--rank": 2, "--models": 4}
    given |= {"--base": place / "base", "--suspect": place / "suspect-dreambooth", "--out": path.parent}
    given |= {"--prompt": PROMPT, "--class-prompt": "ab"}
    words = [str(word) for pair in given.items() for word in pair]
    assert main(["bank", str(place / "works"), str(place / "more"), *words]) == 0
    now = json.loads(path.read_text())
    assert now["models"] == before["models"] and "4 models, 10 pictures, 20 null scores" in capsys.readouterr().out
