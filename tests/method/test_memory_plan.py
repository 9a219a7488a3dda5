"""Memory: what is chosen, that a count is true, and that calls are of bounded size."""

import gc
import os
from dataclasses import replace

import pytest
import torch

from cgidm.families import memory as counting
from cgidm.families.codec import VaeCodec
from cgidm.families.conditioning import condition_on_prompt
from cgidm.families.offloading import WeightOffloader
from cgidm.method import memory_plan as memory
from cgidm.method.memory_plan import RESERVE, MemoryPlan, free_memory, plan_memory
from cgidm.method.objective import denoising_loss
from cgidm.method.sampling import sample_noise, sample_times
from cgidm.method.scores import loss_contrast
from tests.support import tiny, tiny_families
from tests.support.forks import fork_server
from tests.support.worlds import generators, world
from tests.support.worlds import run as run_world

CPU = torch.device("cpu")
# bytes: network, autoencoder, one row (kept, computed twice), one picture (whole, in tiles), counted on the published
# architectures in float16, SDXL's autoencoder in float32
SD14 = (1_719, 167, (801, 234), (403, 102))
SDXL = (5_135, 335, (5_367, 630), (3_222, 817))


def choose(model, networks, free, host=False):
    network, codec, row, picture = model
    sizes = tuple([network * 10**6] * networks)
    return plan_memory(
        None if free is None else int(free * 1e9),
        sizes,
        codec * 10**6,
        lambda twice: row[twice] * 10**6,
        lambda tiles: picture[tiles] * 10**6,
        host=host,
    )


@pytest.mark.parametrize(
    ("model", "networks", "free", "rows", "said"),
    [
        (SD14, 1, 24, 16, "one network, 1.9 GB of weights; 16 rows at once; nothing offloaded; 24.0 GB free"),
        (SD14, 2, 24, 16, "two networks, 3.6 GB of weights; 16 rows at once; nothing offloaded; 24.0 GB free"),
        (SD14, 1, 4.5, 2, "nothing offloaded"),
        (SD14, 2, 6.5, 2, "nothing offloaded"),
        (SD14, 2, 4, 2, "weights offloaded to host memory"),
        (SD14, 2, 3, 2, "activations computed twice; weights offloaded to host memory"),
        (SDXL, 1, 12, 1, "1 row at once; nothing offloaded"),
        (SDXL, 1, 10, 4, "activations computed twice; nothing offloaded"),
        (SDXL, 2, 12, 1, "1 row at once; weights offloaded to host memory"),
        (SDXL, 1, 6.5, 1, "activations computed twice; weights offloaded to host memory"),
        (SDXL, 1, 4, 1, "memory may not suffice: 1.4 GB needed besides the weights"),
    ],
)
def test_the_plan_is_the_cheapest_that_fits(model, networks, free, rows, said):
    plan = choose(model, networks, free)
    assert plan.rows_per_call == rows and said in str(plan) and "\n" not in str(plan)
    assert plan.fits == (free > 4 or model is SD14) and not (plan.tiling and plan.fits)


def test_tiles_come_last_and_nothing_is_put_away_where_there_is_nowhere_to_put_it():
    plan = choose((100, 100, (100, 100), (9_000, 100)), 1, 1)
    assert plan.tiling and plan.fits and "autoencoder in tiles" in str(plan)
    assert not choose(SD14, 2, 4, host=True).offloading and choose(SD14, 2, 4).offloading


@pytest.mark.parametrize("model", [SD14, SDXL])
@pytest.mark.parametrize("networks", [1, 2])
def test_more_memory_is_never_worse_and_a_plan_keeps_within_it(model, networks):
    before = None
    for tenths in range(20, 1000):
        plan = choose(model, networks, tenths / 10)
        cost = (plan.tiling, plan.offloading, plan.checkpointing, -plan.rows_per_call)
        assert before is None or not plan.fits or cost <= before
        before = cost if plan.fits else None
        if plan.fits:
            at_once = max(model[0], model[1]) * 10**6 if plan.offloading else plan.weights
            assert at_once + plan.rows_per_call * model[2][plan.checkpointing] * 10**6 + RESERVE <= plan.free


def test_a_host_with_plenty_is_not_worth_a_count():
    def unasked(_):
        raise AssertionError("nobody is asked")

    plan = plan_memory(10**10, (10**8,), 10**7, unasked, unasked, host=True)
    assert (plan.rows_per_call, plan.working, plan.free) == (16, 0, 10**10) and plan.fits


def test_where_nobody_counts_the_plan_is_for_plenty():
    plan = choose(SD14, 2, None)
    assert plan.rows_per_call == 16 and plan.fits and str(plan).endswith("nothing offloaded")


def test_a_container_s_limit_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    assert free_memory(CPU) == pytest.approx(memory._available(), rel=0.2)
    for name, text in {"max": "3000\n", "current": "1000\n", "stat": "anon 1\ninactive_file 200\n"}.items():
        (tmp_path / f"memory.{name}").write_text(text)
    assert free_memory(CPU) == 2200
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory(CPU) > 10**6


BOUND = {
    "sd": lambda: condition_on_prompt(tiny.stable_diffusion(width=16), "a b"),
    "sdxl": lambda: condition_on_prompt(tiny_families.stable_diffusion_xl(), "a b"),
    "sd3": lambda: condition_on_prompt(tiny_families.stable_diffusion_3(), "a b"),
    "pixel": lambda: condition_on_prompt(tiny.pixel_ddpm(), ""),
}


def evaluation(bound):
    size = bound.network.config.sample_size
    x = torch.zeros(1, bound.network.config.in_channels, size, size, requires_grad=True)
    return x, bound.predict(x, torch.zeros(1))


@pytest.mark.slow
@pytest.mark.parametrize("family", BOUND)
def test_a_count_is_close_to_what_is_really_kept(family):
    """Distinct storages that the graph of a real forward pass holds, without weights and what was there before."""
    bound = BOUND[family]()
    bound.network.eval().requires_grad_(False)
    kept, alive = {}, []

    def pack(x):
        alive.append(x)
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        _, _answer = evaluation(bound)
    for weight in bound.network.parameters():
        kept.pop(weight.untyped_storage().data_ptr(), None)
    counted = counting.row_bytes(bound, torch.float32, False)
    if family == "sd3":  # one block: what passes through it is more than what is kept
        assert counted >= sum(kept.values())
    else:
        assert counted == pytest.approx(sum(kept.values()), rel=0.25)
    if family in ("sd", "sdxl"):
        assert counting.row_bytes(bound, torch.float32, True) < counted
    assert not bound.network.is_gradient_checkpointing


@pytest.mark.slow
@pytest.mark.parametrize("family", BOUND)
def test_a_count_is_what_a_real_pass_makes(family):
    """The same sum over the tensors of a real forward and backward pass; the count itself computes nothing."""
    bound = BOUND[family]()
    bound.network.eval().requires_grad_(False)

    def both():
        x, answer = evaluation(bound)
        torch.autograd.grad(answer.square().sum(), x)

    both()
    live, state = counting._Live(), torch.get_rng_state()
    with live:
        both()
    gc.collect()
    assert counting.count_peak(both) == pytest.approx(live.peak, rel=0.05)
    assert live.now == 0 and torch.equal(state, torch.get_rng_state())
    assert all(type(w) is torch.nn.Parameter for w in bound.network.parameters())


def count_and_fork():
    """In a process that has computed nothing: its exit code is that of a fork of it, which computes after a count."""

    def backward():
        x = torch.ones(2, requires_grad=True)
        torch.autograd.grad(x.square().sum(), x)

    assert counting.count_peak(backward) > 0
    if not (child := os.fork()):
        backward()
        os._exit(7)
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


@pytest.mark.slow
def test_a_process_forked_after_a_count_can_compute():
    """As a GPU is lent: in forks. The engine refuses there if its first backward pass met pretended devices."""
    process = fork_server().Process(target=count_and_fork)
    process.start()
    process.join()
    assert process.exitcode == 7


@pytest.mark.parametrize("tiling", [False, True])
def test_a_picture_s_count_is_what_the_autoencoder_makes(tiling):
    vae = tiny.vae().eval().requires_grad_(False)
    counting.set_tiling(vae, 64, tiling)
    codec, live = VaeCodec(vae), counting._Live()
    with live:
        codec.decode(codec.encode(torch.zeros(1, 3, 64, 64)))
    whole, tiled = (counting.picture_bytes(codec, 64, on) for on in (False, True))
    assert (whole, tiled)[tiling] == pytest.approx(live.peak, rel=0.05) and tiled < whole / 2
    assert vae.use_tiling == tiling


def test_a_network_that_cannot_be_counted_is_held_as_if_there_were_plenty():
    first = condition_on_prompt(tiny.stable_diffusion(width=8), "a b")  # of a size that is counted nowhere else
    stubborn = replace(first, forward=lambda _, x, t, text: x * float(x.sum()))
    plan = counting.fit_pair(stubborn, stubborn, WeightOffloader(CPU), dtype=torch.float32, free=10**9)
    assert plan.free is None and plan.rows_per_call == 16


@pytest.mark.parametrize(("pictures", "draws", "calls"), [(1, 20, 2), (3, 20, 4), (37, 3, 7)])
def test_a_loss_contrast_is_made_in_calls_of_bounded_size(pictures, draws, calls):
    """Equal to the sum of single evaluations at the same draws, whatever the batch and the rows."""
    pair, _, _ = world(0)
    rows = []

    class Counted:
        def predict_eps(self, x_t, t):
            rows.append(len(x_t))
            return pair.base.predict_eps(x_t, t)

    watched = replace(pair, base=Counted())
    z = torch.randn(pictures, 1, 8, 8, generator=generators(1)[0], dtype=torch.float64)
    scores = loss_contrast(watched, z, draws, generators(pictures))
    assert max(rows) <= 16 and len(rows) == calls and sum(rows) == pictures * draws
    for i in (0, pictures - 1):
        (g,) = generators(1, i)
        t = sample_times([g], draws, 1, len(pair.schedule) - 1, "stratified")[0]
        noise = sample_noise([g], draws, z[i : i + 1])[0]
        each = [
            sum(denoising_loss(m, pair.schedule, z[i : i + 1], t[n, None], noise[n, None]) for n in range(draws))
            for m in (pair.base, pair.suspect)
        ]
        torch.testing.assert_close(scores[i : i + 1], (each[0] - each[1]) / each[0], atol=1e-12, rtol=1e-9)
    few = replace(watched, memory=MemoryPlan(networks=2, weights=0, working=0, free=None, rows_per_call=2))
    rows.clear()
    torch.testing.assert_close(loss_contrast(few, z, draws, generators(pictures)), scores, atol=1e-12, rtol=1e-9)
    assert max(rows) == 2


def test_few_rows_in_the_plan_bound_the_recovery_too():
    pair, members, _ = world(0)
    few = replace(pair, memory=MemoryPlan(networks=2, weights=0, working=0, free=None, rows_per_call=2))
    whole, parts = run_world(pair, members, draws=3, steps=5)[-1], run_world(few, members, draws=3, steps=5)[-1]
    torch.testing.assert_close(whole.z, parts.z, atol=1e-9, rtol=1e-9)
    assert few.rows_per_call(64) == 2 and pair.rows_per_call(64) == 64
