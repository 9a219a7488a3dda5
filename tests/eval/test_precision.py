"""Half precision: gradients neither underflow nor overflow, and scores agree with those of float32."""

import json

import pytest
import torch
from torch.nn.functional import cosine_similarity

from cgidm import NetworkEpsModel
from cgidm.families import load_pair
from cgidm.judging.batches import make_batches
from cgidm.judging.scoring import score_controls
from cgidm.method.config import RecoveryConfig, RunConfig
from cgidm.method.objective import denoising_loss
from cgidm.method.run_state import continue_recovery
from cgidm.method.scores import removed_alignment
from cgidm.pictures.images import read_picture
from cgidm.run.recoveries import start_recovery
from eval.studies.precision import compare, emulated_convolutions, precision_table
from tests.support.paths import ASSETS, RESULTS
from tests.support.worlds import generators, stable_diffusion_schedule

pytestmark = pytest.mark.slow

LATENT = (1, 4, 64, 64)  # of Stable Diffusion 1.4
LARGE = (1, 4, 128, 128)  # of SDXL
WEIGHT = 2.0**-5  # of both layers, a number that half precision holds exactly


def two_layers(x, t):
    """eps = w (w x): what a layer passes back is w times smaller than what it gets, as in a deep network."""
    return WEIGHT * (WEIGHT * x)


def problem(shape, dtype):
    (g,) = generators(1)
    schedule = stable_diffusion_schedule(torch.float32)
    z, eps = (torch.randn(shape, generator=g) for _ in range(2))
    return NetworkEpsModel(two_layers, schedule, "eps", dtype), schedule, z, torch.tensor([500]), eps


def gradient(shape, dtype, scale=1.0):
    """Of the denoising loss with respect to the latent, the loss times `scale`."""
    model, schedule, z, t, eps = problem(shape, dtype)
    z.requires_grad_()
    (found,) = torch.autograd.grad(scale * denoising_loss(model, schedule, z, t, eps).sum(), z)
    return found.flatten(1)


def closed_form(shape):
    """2 alpha w^2 (w^2 z_t - eps), in float64."""
    _, schedule, z, t, eps = problem(shape, None)
    alpha, sigma = schedule.alpha[t].double(), schedule.sigma[t].double()
    z_t = alpha * z.double() + sigma * eps.double()
    return (2 * alpha * WEIGHT**2 * (WEIGHT**2 * z_t - eps.double())).flatten(1)


@pytest.mark.parametrize("shape", [LATENT, LARGE], ids=["64", "128"])
def test_a_mean_underflows_in_half_precision_and_the_sum_does_not(shape):
    expected = closed_form(shape)
    mean = 1 / expected.numel()
    assert cosine_similarity(gradient(shape, torch.float32).double(), expected) > 1 - 1e-9
    assert cosine_similarity(gradient(shape, torch.float16).double(), expected) > 0.9999
    assert cosine_similarity(gradient(shape, torch.float32, mean).double(), expected) > 1 - 1e-9
    assert cosine_similarity(gradient(shape, torch.float16, mean).double(), expected) < 0.99
    if shape == LARGE:
        assert (gradient(shape, torch.float16, mean) == 0).double().mean() > 0.5


def test_a_mean_that_underflows_leaves_nothing_where_layers_are_a_little_smaller(monkeypatch):
    monkeypatch.setattr(f"{__name__}.WEIGHT", 2.0**-8)
    expected = closed_form(LARGE)
    assert not gradient(LARGE, torch.float16, 1 / expected.numel()).any()
    assert cosine_similarity(gradient(LARGE, torch.float16).double(), expected) > 0.99


def test_large_latents_do_not_overflow():
    """The loss is summed in float32; what enters the network backwards is 2 (eps_hat - eps), entry by entry."""
    entered = []

    def network(x, t):
        y = 3 * x  # a bad prediction: residuals of three and more
        y.register_hook(entered.append)
        return y

    _, schedule, z, t, eps = problem(LARGE, None)
    model = NetworkEpsModel(network, schedule, "eps", torch.float16)
    loss = denoising_loss(model, schedule, z.requires_grad_(), t, eps)
    assert loss.item() > torch.finfo(torch.float16).max and loss.isfinite().all()
    (found,) = torch.autograd.grad(loss.sum(), z)
    assert found.isfinite().all() and found.any()
    (half,) = entered
    assert half.dtype == torch.float16 and 1 < half.abs().max() < 100


def test_scores_agree_with_float32_and_the_factors_of_a_lora_stay_in_it():
    """Of a member and a holdout of the shipped LoRA. The factors do, so that what they add is rounded with the sum."""
    example = ASSETS / "examples" / "rollandin-lora"
    files = [next(iter(sorted((example / part).iterdir()))) for part in ("member", "holdout")]
    recovery = RecoveryConfig(steps=3, t_min=250, t_max=750, t_sampling="stratified")
    config = RunConfig(recovery=recovery, start="interpolated", loss_draws=4)
    found = {}
    for dtype in (torch.float32, torch.bfloat16):
        pair = load_pair(str(ASSETS / "mini"), str(example / "checkpoint"), "sks style", dtype=dtype)
        pictures = [read_picture(p, pair.resolution) for p in files]
        state = start_recovery(make_batches(pair, pictures)[0], config)
        for _ in continue_recovery(pair, state, recovery):
            pass
        aligned = removed_alignment(state.z_hat, state.z, state.partial)
        found[dtype] = torch.stack([torch.tensor(score_controls(pair, pictures, config)), aligned])
        kinds = {"lora" in name: p.dtype for name, p in pair.networks[0].named_parameters()}
        assert kinds == {True: torch.float32, False: dtype}
    full, half = found.values()
    torch.testing.assert_close(half, full, atol=0.02, rtol=0)
    assert (full[:, 0] - full[:, 1] > 0.1).all()  # the member above the holdout, by more than the difference


def test_emulated_convolutions_round_like_half_precision_and_go_away():
    torch.manual_seed(0)
    convolution = torch.nn.Conv2d(3, 4, 3, padding=1).half()
    pair = load_pair_of(convolution)
    x = torch.randn(1, 3, 8, 8).half()
    expected = torch.nn.functional.conv2d(x.double(), convolution.weight.double(), convolution.bias.double(), padding=1)
    with emulated_convolutions(pair):
        torch.testing.assert_close(convolution(x), expected.half(), atol=1e-3, rtol=1e-3)
    assert "_conv_forward" not in vars(convolution)


def load_pair_of(network):
    from cgidm import ModelPair

    schedule = stable_diffusion_schedule(torch.float32)
    model = NetworkEpsModel(network, schedule, "eps", torch.float16)
    return ModelPair(model, model, schedule, networks=(network,))


def test_the_table_tells_agreement_from_its_lack():
    full = {
        "loss_contrast": {"a": [0.1, 0.2, 0.3], "b": [0.0, 0.5, 1.0]},
        "p": {"a": [0.5, 0.1, None], "b": [1.0, 0.05, 0.05]},
        "outcome": {"a": ["no evidence"] * 3, "b": ["no evidence"] * 3},
    }
    same = compare(full, full)
    assert same["holds"] and same["largest_change_of_p"] == 0 and same["outcomes_that_differ"] == 0
    other = {
        "loss_contrast": {"a": [0.3, 0.2, 0.1], "b": [0.0, 0.5, 1.0]},
        "p": {"a": [0.5, 0.4, 0.2], "b": [1.0, 0.05, 0.05]},
        "outcome": {"a": ["no evidence"] * 3, "b": ["no evidence", "no evidence", "cannot tell"]},
    }
    found = compare(full, other)
    assert not found["holds"] and found["largest_change_of_p"] == 0.3 and found["outcomes_that_differ"] == 1
    machine = {"device_name": "a processor", "threads": 1}
    text = precision_table({"machine": machine, "needed": 0.98, "precisions": {"bfloat16": found}})
    assert "do not all reach 0.98" in text and "| bfloat16 | loss_contrast | a | 3 | -1.0000 |" in text


def test_the_committed_run_agrees_in_both_half_precisions():
    report = json.loads((RESULTS / "precision.json").read_text())
    assert report["precisions"].keys() == {"bfloat16", "float16"}
    for found in report["precisions"].values():
        assert found["holds"] and found["p_values"] == 40 and found["outcomes_that_differ"] == 0
        assert found["measures"]["loss_contrast"]["pooled"]["pictures"] == 120
    assert (RESULTS / "precision.md").read_text() == precision_table(report)
