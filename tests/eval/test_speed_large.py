"""The benchmark of speed on models that a CPU computes a row at a time: counted before they are made."""

from dataclasses import replace

import pytest
import torch

from cgidm.method.memory_plan import HOST_RESERVE
from eval.speed.arms import draw_latents, stepping
from eval.speed.bench import BenchRun, quicken, run_bench
from eval.speed.clock import Timing
from eval.speed.measure import NO_MEMORY, NO_TIME, Settings
from eval.speed.needs import count_needs
from eval.speed.pieces import Pieces
from eval.speed.subjects import published
from eval.speed.tables import file_stem, readme_section
from eval.speed.work import count_flops
from tests.support.tiny_architectures import tiny

pytestmark = pytest.mark.slow
CPU = torch.device("cpu")
SETTINGS = quicken(Settings(CPU, torch.float32, ("reference", "paper", "fast", "answer")))
SUBJECTS = {name: published(name, tiny(name)) for name in ("sd14", "sdxl")}


@pytest.fixture
def large(monkeypatch):
    """Small networks are timed as large ones are."""
    monkeypatch.setattr("eval.speed.first_answer.SMALL", 0)
    monkeypatch.setattr("eval.speed.bench.measure_matrix_peak", lambda *given: 1e12)


def run_large(name, tmp_path, **more):
    settings = replace(SETTINGS, pictures=(1,), steps=(1,))
    job = {"kinds": ("lora",), "quick": True, "out": tmp_path, "name": "cpu-large"} | more
    return run_bench([SUBJECTS[name]], BenchRun(settings, **job), lambda line: None)


@pytest.mark.parametrize("name", ["sd14", "sdxl"])
def test_a_large_model_is_counted_beforehand_and_timed_by_single_calls(name, tmp_path, large):
    """Its arithmetic is that of a step that computes, its autoencoder's calls those of the whole work."""
    report = run_large(name, tmp_path)
    (pair,), rows = report["pairs"], {(r["arm"], r["checkpointing"]): r for r in report["rows"]}
    assert set(rows) == {(arm, False) for arm in ("reference", "paper", "fast", "answer")} | {("paper", True)}
    assert all(r["not_measured"] is None and r["rows_per_call"] == 1 for r in rows.values())
    paper, fast, answer = (rows[arm, False] for arm in ("paper", "fast", "answer"))
    assert fast["step"] == paper["step"] and fast["evaluations_per_picture"] == 160
    encoding, decoding, forward = (pair["pieces"][n]["median"] for n in ("encoding", "decoding", "forward"))
    assert pair["ends_seconds"] == pytest.approx(2 * encoding + 3 * decoding + 20 * forward)
    assert answer["recovery_seconds_per_picture"] == pytest.approx(100 * forward / 2)
    assert answer["ends_seconds"] == pytest.approx(5 * encoding + 3 * decoding)

    subject = SUBJECTS[name]
    opened, latents = subject.open_pair("lora", CPU, torch.float32), draw_latents(subject.latent, 1, CPU)
    with stepping(opened, "paper", latents) as step:
        assert pair["flops_per_evaluation"] == count_flops(step) // 2
    held = {id(w): w.nbytes for n in opened.modules for w in (*n.parameters(), *n.buffers())}
    vae = sum(w.nbytes for w in opened.codec.vae.parameters())
    assert pair["needs"]["lora"] >= sum(held.values()) + vae
    assert pair["needs"]["reference"] > 3 * pair["needs"]["lora"]
    assert file_stem(report) == "cpu-large" and (tmp_path / "cpu-large.md").exists()
    assert "activations computed twice" not in readme_section([report])


def test_what_does_not_fit_is_computed_twice_or_not_begun(tmp_path, large, monkeypatch):
    """A GPU refuses; here the system would end the process."""
    shapes = SUBJECTS["sd14"].shapes
    assert shapes is not None
    seen = count_needs(shapes(torch.float32), torch.float32)
    assert seen.reference is None and seen.row_again < seen.row
    # between what the activations take when they are computed twice and when they are kept
    between = seen.lora + HOST_RESERVE + (seen.row + seen.row_again) // 2
    monkeypatch.setattr("eval.speed.measure.free_memory", lambda device: between)
    monkeypatch.setattr("eval.speed.needs.SLACK", 1.0)
    report = run_large("sd14", tmp_path)
    why = {(r["arm"], r["checkpointing"]): r["not_measured"] for r in report["rows"]}
    assert why["reference", False] == NO_MEMORY and why["paper", True] is why["fast", True] is None
    assert ("paper", False) not in why and "`paper`, activations computed twice" in readme_section([report])

    monkeypatch.setattr("eval.speed.measure.free_memory", lambda device: seen.lora)
    report = run_large("sd14", tmp_path)
    assert {r["not_measured"] for r in report["rows"]} == {NO_MEMORY} and readme_section([report])


def test_a_step_that_would_end_too_late_is_not_begun(tmp_path, large, monkeypatch):
    monkeypatch.setattr("eval.speed.measure.time_pieces", lambda *given: Pieces(*[Timing(9.0, 9.0, 9.0, 1)] * 3))
    why = {r["arm"]: r["not_measured"] for r in run_large("sd14", tmp_path, budget=17.0)["rows"]}
    assert why["paper"] == why["fast"] == NO_TIME and why["answer"] is None
