"""LoRAs as they are met: how the rows are made and counted, and that the committed ones are as the docs say."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from cgidm.intake.framing_notes import read_framing
from cgidm.intake.likely_framing import noted_framing
from cgidm.intake.notes import read_notes
from eval.benchmark.experiment import load_experiment
from eval.error_rates.alteration import FILE, Alteration
from eval.error_rates.wild.command import count_answers, missed_text, wild_table
from eval.error_rates.wild.rows import LABORATORY, wild_rows
from eval.error_rates.wild.scores import KeptModel, WildAnswer, WildScores
from tests.support.paths import RESULTS

WILD = RESULTS / "mini" / "wild" / "wild.json"


@pytest.fixture
def adapter(tmp_path):
    """A LoRA of rank 6 on a layer and a convolution, another one, and their base."""
    g = torch.Generator().manual_seed(0)

    def write(name):
        shapes = {"a.x": ((6, 20), (30, 6)), "b.y": ((6, 8, 3, 3), (16, 6, 1, 1))}
        state = {}
        for module, (down, up) in shapes.items():
            state[f"unet.{module}.lora_A.weight"] = torch.randn(down, generator=g)
            state[f"unet.{module}.lora_B.weight"] = torch.randn(up, generator=g)
        (tmp_path / name).mkdir()
        save_file(state, tmp_path / name / FILE, {"format": "pt"})
        return tmp_path / name

    (tmp_path / "base" / "unet").mkdir(parents=True)
    weights = {"a.x.weight": torch.randn(30, 20, generator=g), "b.y.weight": torch.randn(16, 8, 3, 3, generator=g)}
    save_file(weights, tmp_path / "base" / "unet" / "x.safetensors")
    return write("one"), write("other"), tmp_path / "base"


def changes(folder):
    state = load_file(folder / FILE)
    names = {key.partition(".lora_")[0] for key in state}
    factor = lambda name, side: state[f"{name}.lora_{side}.weight"].float().flatten(1)  # noqa: E731
    return {name: factor(name, "B") @ factor(name, "A") for name in sorted(names)}


def test_a_merged_file_holds_the_sum_of_both_changes(adapter):
    one, other, _ = adapter
    with Alteration(merged=True).checkpoint(one, other) as merged:
        found = changes(merged)
    for name, change in found.items():
        torch.testing.assert_close(change, changes(one)[name] + changes(other)[name])


def test_resizing_keeps_the_best_change_of_a_rank(adapter):
    one = adapter[0]
    for rank in (6, 9, 2):
        with Alteration(rank=rank).checkpoint(one) as resized:
            found = changes(resized)
            assert all(v.shape[0] == min(rank, 6) for k, v in load_file(resized / FILE).items() if "lora_A" in k)
        for name, change in changes(one).items():
            u, s, v = torch.linalg.svd(change, full_matrices=False)
            best = (u[:, :rank] * s[:rank]) @ v[:rank]
            torch.testing.assert_close(found[name], best, rtol=1e-3, atol=1e-3)


def test_a_filter_keeps_the_directions_that_the_base_has(adapter):
    one, _, base = adapter
    with Alteration(filtered=0.5).checkpoint(one, base=base) as filtered:
        found = changes(filtered)
    weights = load_file(base / "unet" / "x.safetensors")
    for name, change in found.items():
        assert torch.linalg.matrix_rank(change) == 3
        weight = weights[f"{name.removeprefix('unet.')}.weight"].flatten(1)
        left, _, right = torch.linalg.svd(weight, full_matrices=False)
        principal = round(0.25 * min(weight.shape))

        def alignment(of, left=left[:, :principal], right=right[:principal]):
            return (left.T @ of @ right.T).norm() / of.norm()

        assert alignment(change) > alignment(changes(one)[name])


def test_the_weakest_directions_are_what_a_filter_drops(adapter):
    one, _, base = adapter
    parts = []
    for how in (Alteration(filtered=0.5), Alteration(weakest=0.5)):
        with how.checkpoint(one, base=base) as altered:
            parts.append(changes(altered))
    for name, change in changes(one).items():
        assert [torch.linalg.matrix_rank(part[name]).item() for part in parts] == [3, 3]
        torch.testing.assert_close(parts[0][name] + parts[1][name], change, rtol=1e-3, atol=1e-3)
    assert Alteration(weakest=0.5).name == "weakest 50% alone"


def test_eight_bits_are_eight_bits(adapter):
    with Alteration(fp8=True).checkpoint(adapter[0]) as small:
        assert {v.dtype for v in load_file(small / FILE).values()} == {torch.float8_e4m3fn}


def test_every_training_is_a_row_and_notes_are_read_as_a_trainer_writes_them():
    trainings = load_experiment("mini-wild").trainings
    rows = {row.name: row for row in wild_rows(trainings)}
    assert set(trainings) <= rows.keys() and len(rows) == len(wild_rows(trainings))
    assert [row.name for row in wild_rows({LABORATORY: None})] == [LABORATORY]
    noted = noted_framing(rows["buckets"].notes)
    trained = trainings["buckets"].framing
    assert noted is not None and [noted.frame(*s).size for s in ((200, 300), (300, 200))] == [(96, 160), (160, 96)]
    assert (noted.step, noted.least_side, noted.most_side) == tuple(
        trained[key] for key in ("step", "least_side", "most_side")
    )
    assert read_framing(rows["buckets"].notes).trainer == "kohya" and read_notes(rows["flips"].notes).mirrored
    assert not rows["buckets, no notes"].notes and rows["buckets, no notes"].framing == "notes"


def test_a_kept_prediction_is_the_model_s_own(tmp_path):
    class Model:
        calls = 0

        def predict_eps(self, x_t, t):
            self.calls += 1
            return x_t * t[:, None, None, None]

    model = Model()
    kept = KeptModel(model, tmp_path, "a")
    x, t = torch.randn(2, 4, 3, 3), torch.tensor([2, 5])
    first = kept.predict_eps(x, t)
    assert torch.equal(kept.predict_eps(x, t), first) and model.calls == 1
    for other in ((x + 1, t), (x, t + 1)):
        assert not torch.equal(kept.predict_eps(*other), first)
    assert KeptModel(model, tmp_path, "b").predict_eps(x, t) is not None and model.calls == 4


def answer(member, outcome, p):
    return WildAnswer(artist="a", file="1.jpg", member=member, p_value=p, outcome=outcome, reason="judging.x")


def test_a_call_needs_the_outcome_and_the_level():
    scores = WildScores(
        suspect="s",
        distance=0.1,
        answers=(
            answer(True, "weak evidence", 0.03),
            answer(True, "consistent with training on this image", 0.005),
            answer(True, "cannot tell", 0.001),
            answer(True, "no evidence", 0.5),
            answer(False, "cannot tell", None),
        ),
        sets=("consistent with training on these images", "cannot tell"),
    )
    found = count_answers([scores])
    assert found["power at 0.05"]["count"] == 2 and found["power at 0.01"]["count"] == 1
    assert found["false calls at 0.05"]["count"] == 0 and found["sets"] == {"used": 1, "unused": 0, "of": 1}
    assert {tuple(m) for m in found["missed"]} == {("cannot tell", "judging.x", 1), ("no evidence", "judging.x", 1)}
    assert 'called "no evidence", in all rows: 1' in missed_text({"rows": [{"suspects": "x", **found}]})


def test_the_committed_rows_are_those_of_the_presets_and_none_is_silent():
    report = json.loads(WILD.read_text())
    rows = {row["suspects"]: row for row in report["rows"]}
    names = [row.name for row in wild_rows(load_experiment("mini-wild").trainings)]
    assert list(rows)[: len(names)] == names and len(wild_table(report).splitlines()) == 2 + len(rows)
    for row in rows.values():
        assert {outcome for outcome, _, _ in row["missed"]} <= {"cannot tell"}, "a user is never told what is not so"
    assert rows[LABORATORY]["power at 0.05"]["share"] > 0.9
    assert rows["flips"]["power at 0.05"]["share"] == rows["flips"]["false calls at 0.05"]["share"] == 0
