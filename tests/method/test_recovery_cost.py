"""What the loop must not do: wait for the device, grow, or compute a gradient that nobody uses."""

import gc
import tracemalloc
from itertools import islice

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from cgidm.families.conditioning import condition_on_prompt
from cgidm.families.pairs import make_pair
from cgidm.method.models import IdentityCodec, ModelPair
from cgidm.method.run_state import continue_recovery
from eval.speed.arms import begin, draw_latents, timed_config
from tests.support import tiny

CPU, META = torch.device("cpu"), torch.device("meta")
LATENT = (4, 8, 8)


def pair_of(prediction="epsilon"):
    models = tiny.stable_diffusion(prediction), tiny.stable_diffusion(prediction)
    tiny.perturbed(models[1].unet)
    for model in models:
        model.unet.eval().requires_grad_(False)
    return make_pair(*(condition_on_prompt(m, "a") for m in models), device=CPU, dtype=torch.float32)


def on(device, pair):
    """The pair as if loaded on `device`: its network stands in for any, without a text encoder."""

    class Model:
        schedule = pair.schedule.to(device)
        weight = torch.ones(1, device=device)

        def predict_eps(self, x_t, t):
            return self.weight * x_t * self.schedule.timesteps[t, None, None, None]

    return ModelPair(Model(), Model(), pair.schedule, codec=IdentityCodec(), resolution=8, device=device)


@pytest.mark.parametrize("arm", ["paper", "fast"])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_no_step_reads_a_number_back(arm, prediction):
    """`item` makes a GPU finish everything first. The network's own forward pass is included."""
    run = continue_recovery(pair_of(prediction), begin(draw_latents(LATENT, 2, CPU)), timed_config(arm, 2))
    next(run)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        list(islice(run, 2))
    run.close()
    counts = {event.key: event.count for event in profile.key_averages()}
    assert counts["aten::conv2d"] > 0, "the steps were profiled"
    assert not {"aten::item", "aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero"} & counts.keys()


@pytest.mark.parametrize("arm", ["paper", "fast", "reference"])
def test_a_step_sends_times_and_noise_without_waiting_and_nothing_else(arm):
    """The device is one from which no number can be read back at all; what goes there is counted."""
    sent = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            kwargs = kwargs or {}
            crosses = (
                args and isinstance(args[0], torch.Tensor) and args[0].device != kwargs.get("device", args[0].device)
            )
            if func is torch.ops.aten._to_copy.default and crosses:
                sent.append((args[0].dtype, kwargs.get("non_blocking", False)))
            return func(*args, **kwargs)

    latents, pair = draw_latents(LATENT, 3, META), on(META, pair_of())
    run = continue_recovery(pair, begin(latents), timed_config(arm, 3))
    next(run)
    with Watch():
        list(islice(run, 4))
    run.close()
    noises = 2 if arm == "reference" else 1
    assert sent == 4 * [(torch.int64, True), *noises * [(torch.float32, True)]]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_no_step_waits_for_a_gpu():
    models = tiny.stable_diffusion().to("cuda"), tiny.stable_diffusion(seed=1).to("cuda")
    device = torch.device("cuda")
    pair = make_pair(*(condition_on_prompt(m, "a") for m in models), device=device, dtype=torch.float16)
    for model in models:
        model.unet.half().requires_grad_(False)
    run = continue_recovery(pair, begin(draw_latents(LATENT, 2, device)), timed_config("paper", 2))
    next(run)
    torch.cuda.set_sync_debug_mode("error")
    try:
        list(islice(run, 5))
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_many_steps_do_not_grow_and_leave_no_weight_gradient():
    pair = pair_of()
    run = continue_recovery(pair, begin(draw_latents(LATENT, 2, CPU)), timed_config("paper", 2))

    def held():
        gc.collect()
        tensors = sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects())
        return tensors, tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        list(islice(run, 10))
        tensors, size = held()
        list(islice(run, 30))
        tensors_after, size_after = held()
    finally:
        tracemalloc.stop()
    run.close()
    assert tensors_after <= tensors + 2 and size_after - size < 25_000, (tensors, tensors_after, size_after - size)
    weights = [w for network in pair.networks for w in network.parameters()]
    assert all(w.grad is None and not w.requires_grad for w in weights)
