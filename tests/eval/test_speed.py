"""The benchmark of speed and memory: identical work in all arms, full-size architectures, a report that says all."""

import json
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace

import pytest
import torch

from cgidm import UserError
from cgidm.method.config import RecoveryConfig
from cgidm.method.partial import Partial
from cgidm.method.recovery import recover
from cgidm.method.sampling import sample_noise, sample_times
from eval.__main__ import main
from eval.speed import paired, repeats
from eval.speed.arms import draw_latents, stepping
from eval.speed.bench import BenchRun, quicken, run_bench
from eval.speed.build import architecture_names, build_pipeline, build_unet, read_architecture
from eval.speed.clock import Budget, Plan, summarise, time_call
from eval.speed.fit import fit_line
from eval.speed.machine import describe_machine
from eval.speed.measure import NO_MEMORY, NO_TIME, Measurer, Settings
from eval.speed.paired import LEAST, usual_dtypes
from eval.speed.reference import contrast_gradient, reference_dtype
from eval.speed.repeats import Run, repeat_runs, runs_markdown, summarise_runs
from eval.speed.subjects import KINDS, published
from eval.speed.tables import describe, file_stem, markdown, readme_section
from eval.speed.work import count_flops, measure_matrix_peak
from tests.support.errors import refuses
from tests.support.forks import instead_of_spawning
from tests.support.paths import ASSETS
from tests.support.processor import HALF_IS_FAST
from tests.support.tiny_architectures import tiny

pytestmark = pytest.mark.slow

CPU, META = torch.device("cpu"), torch.device("meta")
SETTINGS = quicken(Settings(CPU, torch.float32, ("reference", "paper", "fast", "answer")))


SUBJECTS = {name: published(name, tiny(name)) for name in architecture_names()}


def test_the_architectures_have_the_published_sizes():
    """Parameters of the networks that are on the Hub."""
    published_sizes = {
        "sd14": (859_520_964, 83_653_863, [123_060_480]),
        "sd21": (865_910_724, 83_653_863, [340_387_840]),
        "sdxl": (2_567_463_684, 83_653_863, [123_060_480, 694_659_840]),
    }
    for name, (unet, vae, texts) in published_sizes.items():
        pipeline = build_pipeline(read_architecture(name), META, torch.float16)
        encoders = [pipeline.text_encoder, getattr(pipeline, "text_encoder_2", None)]
        parts = [pipeline.unet, pipeline.vae, *(e for e in encoders if e is not None)]
        assert [sum(w.numel() for w in p.parameters()) for p in parts] == [unet, vae, *texts]
        assert {w.dtype for p in parts for w in p.parameters()} == {torch.float16}
    sides = {name: published(name, read_architecture(name)).resolution for name in published_sizes}
    assert sides == {"sd14": 512, "sd21": 768, "sdxl": 1024}


def test_building_leaves_the_global_state_alone():
    before, dtype = torch.get_rng_state(), torch.get_default_dtype()
    build_unet(tiny("sd14"), CPU, torch.float16, seed=0)
    assert torch.equal(torch.get_rng_state(), before) and torch.get_default_dtype() == dtype


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SUBJECTS)
def test_the_reference_has_the_gradient_of_ours(name, kind):
    """Equal draws, equal weights, float64: two whole networks and one backward pass give what `recover` climbs."""
    subject = SUBJECTS[name]
    pair = subject.open_pair(kind, CPU, torch.float64)
    two = subject.open_two(kind, CPU, torch.float64)
    for module in (*pair.networks, *two.modules()):
        module.double()  # the adapter's factors too
    z = torch.randn(1, *subject.latent, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    everything_removed = Partial(torch.zeros(1, 1, *z.shape[2:], dtype=z.dtype), z)
    config = RecoveryConfig(steps=1, step_size=1.0, radius=10.0, noise="independent", min_gradient_ratio=0.0)
    (step,) = recover(pair, z, everything_removed, config, generators=[torch.Generator().manual_seed(3)])
    ours = step.delta * step.gradient_norm  # a step of unit length along the gradient

    draws = [torch.Generator().manual_seed(3)]
    t = sample_times(draws, 1, 1, 999, "uniform")[0]
    noises = [sample_noise(draws, 1, z)[0] for _ in range(2)]
    for module in two.modules():
        module.requires_grad_(True)
    contrast, theirs = contrast_gradient(two, z, t, *noises)
    torch.testing.assert_close(theirs, ours, atol=1e-5 * theirs.abs().max().item(), rtol=1e-5)
    torch.testing.assert_close(contrast / z.numel(), step.contrast[0], atol=1e-5, rtol=1e-5)
    assert ours.norm() > 0.01
    encoder = two.suspect.text_encoder.get_input_embeddings().weight
    assert encoder.grad is not None and two.base.unet.conv_in.weight.grad is not None, "they want gradients, ours not"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["sd14", "sdxl"])
def test_checkpointing_changes_no_gradient_and_keeps_less(name, kind):
    pair = SUBJECTS[name].open_pair(kind, CPU, torch.float64)
    z = torch.randn(2, *SUBJECTS[name].latent, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    partial = Partial(torch.zeros(1, 1, *z.shape[2:], dtype=z.dtype), 0 * z)
    config = RecoveryConfig(steps=3, min_gradient_ratio=0.0)

    def run():
        kept = [0]

        def pack(x):
            kept[0] += x.numel()
            return x

        generators = [torch.Generator().manual_seed(i) for i in range(2)]
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            steps = list(recover(pair, z, partial, config, generators=generators))
        return steps[-1], kept[0]

    plain, kept = run()
    assert not any(m.training for n in pair.networks for m in n.modules())
    for network in pair.modules:
        network.enable_gradient_checkpointing()
    checkpointed, kept_less = run()
    torch.testing.assert_close(checkpointed.z, plain.z, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(checkpointed.gradient_norm, plain.gradient_norm, atol=1e-12, rtol=1e-9)
    assert kept_less < kept / 2


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_quick_run_over_a_small_architecture_measures_everything(name, tmp_path):
    report = run_bench([SUBJECTS[name]], BenchRun(SETTINGS, quick=True, out=tmp_path), lambda line: None)
    assert {(r["arm"], r["pair"], r["pictures"]) for r in report["rows"]} >= {
        (arm, kind, n)
        for kind in KINDS
        for arm, n in (("reference", 1), ("paper", 1), ("paper", 2), ("fast", 1), ("answer", 1))
    }
    for row in report["rows"]:
        assert row["not_measured"] is None and row["pictures_per_hour"] > 0 and row["times_reference"] > 0
        assert row["peak_bytes"] > 0 and (row["arm"] == "answer" or row["share_of_matrix_peak"] > 0)
    by = {(r["arm"], r["pair"]): r for r in report["rows"] if r["pictures"] == 1 and not r["checkpointing"]}
    assert by["reference", "full"]["evaluations_per_picture"] == by["paper", "full"]["evaluations_per_picture"] == 2000
    answer = by["answer", "full"]
    assert answer["evaluations_per_picture"] == 100 and answer["times_reference"] > 10
    assert all(p["flops_per_evaluation"] > 0 and len(p["steps"]) == 3 and p["steps_line"] for p in report["pairs"])


def test_the_command_runs_on_the_embedded_model(tmp_path, capsys):
    main(["bench", "--quick", "--models", "mini", "--device", "cpu", "--pictures", "1,2", "--out", str(tmp_path)])
    report, text = json.loads((tmp_path / "cpu.json").read_text()), (tmp_path / "cpu.md").read_text()
    assert report["machine"]["threads"] == torch.get_num_threads() and report["versions"]["torch"] and report["date"]
    assert {r["model"] for r in report["rows"]} == {"mini"} and all(r["step"] for r in report["rows"])
    assert "not to be quoted" in text and "| DreamBooth |" in text and "| LoRA |" in text
    assert "paper" in capsys.readouterr().out and markdown(report) == text


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--models", "sd9"], "expected some of mini, sd14"),
        (["--arms", "slow"], "expected some of reference, paper"),
        (["--pictures", "0"], "expected batch sizes from 1"),
        (["--device", "tpu"], "expected one of auto, cpu"),
        (["--models", "flux-1-dev", "--dtype", "float16"], "overflow in float16"),
        (["--models", "flux-1-dev", "--runs", "2"], "which the public code cannot compute"),
        (["--runs", "2", "--name", "mine"], "expected neither --arms, --quick nor --name"),
        (["--runs", "2", "--quick"], "expected neither --arms, --quick nor --name"),
        (["--runs", "2", "--arms", "paper"], "expected neither --arms, --quick nor --name"),
    ],
)
def test_wrong_options_are_answered_in_a_line(wrong, said, tmp_path):
    with pytest.raises(SystemExit, match=said):
        main(["bench", *wrong, "--out", str(tmp_path / "nothing")])
    assert not (tmp_path / "nothing").exists()


def test_memory_that_runs_out_is_recorded_and_the_rest_goes_on(tmp_path, monkeypatch):
    """The recovery refuses two pictures as a GPU would, and two whole networks do not fit at all."""
    real = recover

    def refuse(pair, z, *args, **options):
        if len(z) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(pair, z, *args, **options)

    def never(*args):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("cgidm.method.run_state.recover", refuse)
    subject = replace(SUBJECTS["sd14"], open_two=never)
    report = run_bench([subject], BenchRun(SETTINGS, quick=True, out=tmp_path), lambda line: None)
    why = {(r["arm"], r["pair"], r["pictures"], r["checkpointing"]): r["not_measured"] for r in report["rows"]}
    for kind in KINDS:
        assert (
            why["reference", kind, 1, False] == why["paper", kind, 2, False] == why["fast", kind, 2, False] == NO_MEMORY
        )
        assert why["paper", kind, 1, False] is why["fast", kind, 1, False] is why["paper", kind, 1, True] is None
    assert "out of memory" in (tmp_path / "cpu.md").read_text() and readme_section([report])


def test_without_time_nothing_is_begun(tmp_path):
    report = run_bench([SUBJECTS["sd14"]], BenchRun(SETTINGS, budget=0, quick=True, out=tmp_path), lambda line: None)
    assert {r["not_measured"] for r in report["rows"]} == {NO_TIME}
    assert (tmp_path / "cpu.md").exists() and readme_section([report])


def test_time_is_shared_and_a_slow_call_is_not_repeated(monkeypatch):
    budget = Budget.of(100)
    assert 24 < budget.share(4).left <= 25 and budget.left > 99
    calls = []
    assert time_call(lambda: calls.append(1), CPU, Plan(0.05, 2, 3, 5)).repeats == 5 and len(calls) == 7
    slow = time_call(lambda: calls.append(sum(range(200_000))), CPU, Plan(1e-6, 2, 3, 5))
    assert slow.repeats == 1 and slow.median == slow.low == slow.high and len(calls) == 9
    monkeypatch.setattr("eval.speed.clock.LONG", 0.0)
    assert time_call(lambda: calls.append(1), CPU, Plan(60, 2, 3, 5)).repeats == 1 and len(calls) == 10
    assert summarise([4.0, 1.0, 3.0, 2.0]).median == 2.5


def test_a_straight_line_is_found_and_too_few_points_are_none():
    line = fit_line([1, 2, 4, 8], [1.5, 2.5, 4.5, 8.5])
    assert line is not None and (line.slope, line.offset, line.r_squared) == pytest.approx((1, 0.5, 1))
    assert line.worst == pytest.approx(0, abs=1e-12) and fit_line([1, 2], [1.0, 2.0]) is None


@pytest.mark.parametrize("backend", ["FLASH_ATTENTION", "MATH"])
def test_arithmetic_is_counted_whichever_kernel_does_it(backend):
    """A linear layer's two products, a frozen one's input gradient, attention's two and four."""
    layer = torch.nn.Linear(16, 32).requires_grad_(False)
    q = torch.randn(2, 4, 64, 16, requires_grad=True)

    def forward_and_input_gradient():
        with torch.nn.attention.sdpa_kernel(getattr(torch.nn.attention.SDPBackend, backend)):
            out = torch.nn.functional.scaled_dot_product_attention(q, q, q)
            torch.autograd.grad(layer(out).sum(), q)

    one_product, attention_product = 2 * (2 * 4 * 64) * 16 * 32, 2 * (2 * 4) * 64 * 64 * 16
    assert count_flops(forward_and_input_gradient) == 2 * one_product + (2 + 4) * attention_product
    assert measure_matrix_peak(CPU, torch.float32, quick=True) > 0


def test_arithmetic_of_all_threads_is_counted(monkeypatch):
    """Base and suspect work in two threads where there are two; the counter sees one."""
    subject = SUBJECTS["sd14"]
    pair, latents = subject.open_pair("full", CPU, torch.float32), draw_latents(subject.latent, 1, CPU)
    counts, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            with stepping(pair, "paper", latents) as step:
                counts.append(count_flops(step))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert counts[0] == counts[1] > 0


def run_of(times, arm="paper", **more):
    """A report as a run writes it, with these seconds of an evaluation: the reference's, then ours."""
    common = {"model": "mini", "pair": "full", "checkpointing": False, "not_measured": None}
    rows = [
        common | {"arm": a, "pictures": n, "seconds_per_evaluation": s, "times_reference": times[0] / s}
        for a, n, s in (("reference", 1, times[0]), (arm, 8, times[1]))
    ]
    machine = {"device": "cpu", "processor": "P", "instructions": "I", "threads": 2, "cores": 2}
    kept = {"versions": {"torch": "2"}, "commit": "c" * 40, "files_changed_since": False, "date": "2026-01-01"}
    return {
        "rows": rows,
        "machine": machine,
        **kept,
        "dtype": "float32",
        "quick": False,
        "matrix_peak_flops": 1e12,
    } | more


def test_the_reference_computes_in_what_the_public_code_could():
    """It knows half precision on a GPU alone."""
    assert [reference_dtype(CPU, d) for d in (torch.float32, torch.bfloat16)] == [torch.float32] * 2
    assert reference_dtype(torch.device("cuda"), torch.float16) == torch.float16
    asked = []
    settings = replace(SETTINGS, dtype=torch.bfloat16, arms=("reference",))
    subject = SUBJECTS["sd14"]

    def open_two(kind, device, dtype):
        asked.append(dtype)
        return subject.open_two(kind, device, dtype)

    Measurer(replace(subject, open_two=open_two), "full", settings, Budget.of(60), lambda line: None).run()
    assert asked == [torch.float32]


def paired_row(times, **more):
    """What one process measured, as `measure_paired` writes it."""
    row = {"model": "mini", "pair": "full", "dtype": "float32", "pictures": 8, "rounds": 9}
    return row | {"reference_seconds": times[0], "paper_seconds": times[1], "times_reference": times[2]} | more


def test_several_runs_are_summed_up_by_their_spread():
    half = {"pair": "lora", "dtype": "bfloat16"}
    runs = [
        [paired_row((0.04, 0.008, 5.0)), paired_row((0.04, 0.004, 9.9), **half)],
        [paired_row((0.06, 0.0075, 7.9)), paired_row((0.06, 0.006, 9.8), **half)],
        [paired_row((0.04, 0.01, 4.0)), paired_row((0.05, 0.005, 9.7), **half)],
    ]
    full, lora = summarise_runs(runs)
    assert full["times_reference"] == [5, 7.9, 4] and full["paper_seconds"] == [0.008, 0.0075, 0.01]
    assert (lora["pair"], lora["dtype"], lora["rounds"]) == ("lora", "bfloat16", [9, 9, 9])
    text = runs_markdown(run_of((1, 1)) | {"rows": [full, lora], "seconds": 40.0})
    assert "| mini, DreamBooth | 8 | float32 | 40, 60, 40 ms | 8, 7.5, 10 ms | 4.0, 5.0, 7.9 | 5.0 |" in text
    assert "3 times (`python -m eval bench --runs 3 --budget 40`)" in text


@pytest.fixture
def forked(monkeypatch):
    """New processes find the libraries imported, which takes each ten seconds."""
    monkeypatch.setattr(paired, "multiprocessing", instead_of_spawning())


def test_the_arms_take_turns_in_processes_of_their_own(tmp_path, forked):
    """A real run of the embedded model: three rounds, in bfloat16 too where the processor has it."""
    dtypes = usual_dtypes(CPU) if HALF_IS_FAST else (torch.float32,)
    run = Run(("mini",), ("full",), CPU, dtypes, (2,), 0.0, ASSETS)
    told = []
    stem = repeat_runs(run, 1, tmp_path, told.append)
    summary = json.loads(stem.with_suffix(".json").read_text())
    assert stem == tmp_path / "repeats" / "cpu" and len(told) == 1
    assert runs_markdown(summary) == stem.with_suffix(".md").read_text()
    assert [r["dtype"] for r in summary["rows"]] == [str(d).removeprefix("torch.") for d in dtypes]
    for row in summary["rows"]:
        (reference,), (paper,), (times,) = (row[k] for k in ("reference_seconds", "paper_seconds", "times_reference"))
        assert row["rounds"] == [LEAST] and reference > 0 and paper > 0
        assert 0.2 < times / (reference / paper) < 2, "pictures an hour are evaluations, but for the ends"


def test_a_run_that_fails_is_said(tmp_path, monkeypatch, forked):
    run = Run(("sd9",), ("full",), CPU, usual_dtypes(CPU), (2,), 0.0, ASSETS)
    with refuses("speed.unknown_model", given="sd9"):
        repeat_runs(run, 1, tmp_path, print)
    with pytest.raises(UserError, match=str(tmp_path)):
        repeat_runs(replace(run, models=("mini",), assets=tmp_path), 1, tmp_path, print)

    def killed(*args):
        raise BrokenProcessPool

    monkeypatch.setattr(repeats, "measure_paired", killed)
    with refuses("speed.run_ended", run=1, runs=2):
        repeat_runs(replace(run, models=("mini",)), 2, tmp_path, print)
    assert not (tmp_path / "repeats").exists()


def test_how_threads_wait_is_said_where_it_was_set(monkeypatch):
    """Batches of one take twice as long with sleeping threads: a figure without it would mislead."""
    report, said = run_of((1, 1)), []
    for policy in ("PASSIVE", ""):
        monkeypatch.setenv("OMP_WAIT_POLICY", policy)
        said.append(describe(report | {"machine": describe_machine(CPU)}))
    assert ", waiting passive;" in said[0] and "waiting" not in said[1]


def test_results_in_another_precision_have_a_name_of_their_own():
    cpu, gpu = run_of((1, 1)), run_of((1, 1))
    gpu["machine"] = cpu["machine"] | {"gpu": "NVIDIA H100 80GB"}
    names = [file_stem(r | {"dtype": d}) for r in (cpu, gpu) for d in ("float32", "bfloat16", "float16")]
    assert names == [
        "cpu",
        "cpu-bfloat16",
        "cpu-float16",
        "nvidia-h100-80gb-float32",
        "nvidia-h100-80gb-bfloat16",
        "nvidia-h100-80gb",
    ]
