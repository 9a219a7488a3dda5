"""eps or v, told by denoising: the demonstration's trained model, its fine-tunes, and the same made to answer v."""

import math
from dataclasses import replace

import pytest
import torch
from diffusers import DDIMScheduler, DiffusionPipeline, EulerDiscreteScheduler, UNet2DConditionModel
from transformers import CLIPTextModel

from cgidm import NetworkEpsModel
from cgidm.families import load_pair
from cgidm.families.adapters import apply_adapter
from cgidm.families.conditioning import condition_on_prompt
from cgidm.families.prediction import (
    check_prediction,
    check_scheduler,
    infer_prediction,
    measure_prediction,
    simple_pictures,
)
from cgidm.intake.layout import open_checkpoint
from cgidm.messages import note
from cgidm.method.objective import contrast
from tests.support import tiny, tiny_families
from tests.support.errors import refuses
from tests.support.paths import ASSETS

OPTIONS = {"dtype": torch.float32, "local_files_only": True}
DREAMBOOTH = ASSETS / "examples" / "gerald-g-dreambooth" / "checkpoint"
LORA = ASSETS / "examples" / "rollandin-lora" / "checkpoint"


def mini(**parts):
    return DiffusionPipeline.from_pretrained(ASSETS / "mini", **OPTIONS, **parts)


def dreambooth():
    return mini(
        unet=UNet2DConditionModel.from_pretrained(DREAMBOOTH / "unet", **OPTIONS),
        text_encoder=CLIPTextModel.from_pretrained(DREAMBOOTH / "text_encoder", **OPTIONS),
    )


def lora():
    pipeline = mini()
    apply_adapter(pipeline, open_checkpoint(str(LORA)))
    return pipeline


@pytest.fixture(scope="module")
def trained():
    prompts = {mini: "", dreambooth: "sks style", lora: "sks style"}
    return {make.__name__: condition_on_prompt(make(), prompt) for make, prompt in prompts.items()}


def as_v(bound):
    """The same knowledge in a network that answers v: eps = alpha v + sigma x_t, so v = (eps - sigma x_t) / alpha."""

    def forward(network, x, t, *conditions):
        alpha, sigma = (table[t.long()][:, None, None, None] for table in (bound.schedule.alpha, bound.schedule.sigma))
        return (bound.forward(network, x, t, *conditions) - sigma * x) / alpha

    return replace(bound, forward=forward, prediction="v")


def test_the_network_made_to_answer_v_knows_the_same(trained):
    bound = trained["mini"]
    x, t = torch.randn(2, 16, 16, 16, generator=torch.Generator().manual_seed(0)), torch.tensor([100, 700])
    with torch.no_grad():
        eps, v = (NetworkEpsModel(b.predict, b.schedule, b.prediction).predict_eps(x, t) for b in (bound, as_v(bound)))
    torch.testing.assert_close(eps, v, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["mini", "dreambooth", "lora"])
def test_trained_networks_are_told_apart_with_room_to_spare(trained, name):
    eps, v = trained[name], as_v(trained[name])
    pictures = simple_pictures(eps.resolution)
    right, wrong = measure_prediction(eps, pictures).values()
    assert right < 0.1 and wrong > 10 * right
    wrong, right = measure_prediction(v, pictures).values()
    assert right < 0.25 and wrong > 4 * right
    assert (infer_prediction(eps), infer_prediction(v)) == ("eps", "v")


def test_what_it_is_read_as_changes_nothing(trained):
    bound = trained["mini"]
    assert infer_prediction(replace(bound, prediction="v")) == "eps"
    assert infer_prediction(replace(as_v(bound), prediction="eps")) == "v"


@pytest.mark.parametrize("make", [tiny.stable_diffusion, tiny_families.stable_diffusion_xl])
def test_networks_that_know_nothing_cannot_be_told(make):
    pipeline = make()
    for by in (0, 0.3):
        bound = condition_on_prompt(pipeline, "a b")
        assert infer_prediction(bound) is None and infer_prediction(replace(bound, prediction="v")) is None
        check_prediction(bound, bound, "itself")
        tiny.perturbed(pipeline.unet, by)


def test_an_answer_of_zeros_loses_one_and_a_broken_one_tells_nothing():
    bound = condition_on_prompt(tiny.stable_diffusion(), "")
    zeros = replace(bound, forward=lambda _, x, t, text: torch.zeros_like(x))
    assert measure_prediction(zeros, simple_pictures(64)) == pytest.approx({"eps": 1, "v": 1})
    broken = replace(bound, forward=lambda _, x, t, text: torch.full_like(x, math.nan))
    assert infer_prediction(zeros) is None and infer_prediction(broken) is None


def test_pixels_and_flow_are_not_asked():
    def unasked(*given):
        raise AssertionError("no forward is needed")

    for pipeline in (tiny.pixel_ddpm(), tiny_families.stable_diffusion_3()):
        bound = replace(condition_on_prompt(pipeline, ""), forward=unasked)
        assert infer_prediction(bound) is None
        check_prediction(bound, bound, "itself")


def test_it_draws_nothing_and_repeats(trained):
    bound = trained["mini"]
    sampling = replace(bound, codec=type(bound.codec)(bound.codec.vae, "sample"))
    state = torch.get_rng_state()
    pictures = simple_pictures(bound.resolution)
    losses = [measure_prediction(b, pictures) for b in (bound, bound, sampling)]
    assert losses[0] == losses[1] == losses[2] and torch.equal(state, torch.get_rng_state())
    assert torch.equal(pictures, simple_pictures(bound.resolution)) and 0 <= pictures.min() < pictures.max() <= 1


@pytest.mark.slow
def test_half_precision_tells_the_same():
    pipeline = mini()
    for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        part.to(torch.bfloat16)
    assert infer_prediction(condition_on_prompt(pipeline, "")) == "eps"


def test_another_base_is_refused(trained):
    eps, v = trained["mini"], as_v(trained["dreambooth"])
    read_as_eps = replace(v, prediction="eps")  # without a scheduler of its own it is read as the base is
    for suspect in (v, read_as_eps):
        with refuses("families.prediction_differs", given=note("families.predicts_v")) as error:
            check_prediction(eps, suspect, "it")
        assert "\n" not in str(error.value)
    with refuses("families.prediction_differs", given=note("families.predicts_eps")):
        check_prediction(as_v(eps), replace(eps, prediction="v"), "it")
    check_prediction(eps, trained["dreambooth"], "it")
    check_prediction(as_v(eps), v, "it")


def test_a_scheduler_that_says_the_other_is_refused(trained):
    eps, v = trained["mini"], as_v(trained["mini"])
    with refuses("families.scheduler_differs", given=note("families.predicts_v")):
        check_prediction(v, replace(v, prediction="eps"), "it")
    with refuses("families.scheduler_differs", scheduler=note("families.predicts_v")):
        check_scheduler(replace(eps, prediction="v"), "it")
    check_scheduler(eps, "it")
    check_scheduler(v, "it")


@pytest.mark.parametrize("scheduler", [DDIMScheduler, EulerDiscreteScheduler])
def test_a_descendant_of_sdxl_that_predicts_v_under_zero_terminal_snr_is_computed(tmp_path, scheduler):
    """As NoobAI's v-prediction is published: the last row holds noise alone, and v is finite there."""
    pipeline = tiny_families.stable_diffusion_xl()
    settings = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    pipeline.scheduler = scheduler(**tiny_families.NOISE, **settings)
    pipeline.save_pretrained(tmp_path / "base")
    tiny.perturbed(pipeline.unet)
    pipeline.save_pretrained(tmp_path / "full")
    pair = load_pair(str(tmp_path / "base"), str(tmp_path / "full"), "a b")
    assert pair.base.prediction == "v" and pair.schedule.alpha[-1] < pair.schedule.alpha[-2] < 1e-3
    z, eps = (torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    found = contrast(pair, z.requires_grad_(), torch.tensor([10, 999]), eps)
    (gradient,) = torch.autograd.grad(found.sum(), z)
    assert found.isfinite().all() and gradient.isfinite().all() and gradient[0].any()
