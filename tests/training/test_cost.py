"""What a training costs is said before it begins."""

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig

from cgidm.training.cost import scoring_evaluations, training_bytes, training_evaluations
from cgidm.training.settings import TrainerSettings
from cgidm.training.trained_model import ModelPlan
from cgidm.training.trainer import FinetuneConfig
from eval.speed.build import read_architecture


@pytest.fixture(scope="module")
def sd14(tmp_path_factory):
    """The configurations of Stable Diffusion 1.4, and no weight."""
    folder, stated = tmp_path_factory.mktemp("sd14"), read_architecture("sd14")
    with torch.device("meta"):
        UNet2DConditionModel(**stated.unet).save_config(folder / "unet")
        AutoencoderKL(**stated.vae).save_config(folder / "vae")
    CLIPTextConfig(**stated.text_encoders[0]).save_pretrained(folder / "text_encoder")
    return folder


@pytest.mark.slow
def test_memory_is_counted_from_configurations(sd14):
    weights = 4 * (859_520_964 + 123_060_480 + 83_653_863)  # bytes of UNet, text encoder and autoencoder in float32
    lora, larger = (training_bytes(sd14, TrainerSettings(mode="lora", batch=n)) for n in (1, 2))
    whole = training_bytes(sd14, TrainerSettings(mode="dreambooth", batch=1))
    activations = larger - lora
    assert weights < lora < weights + 1.5 * activations
    trained = 4 * (859_520_964 + 123_060_480)
    # two moments of all weights; gradients take the place of activations that are no longer needed
    assert lora + 2 * trained < whole < lora + 3 * trained


def test_evaluations_are_those_of_all_steps_and_scores():
    plans = [ModelPlan(str(i), FinetuneConfig(steps=10, batch=4), ()) for i in range(2)]
    assert training_evaluations(plans) == 2 * 10 * 4 * 3  # a backward pass is as long as two forward passes
    assert scoring_evaluations(20, 20, 0) == 2 * 20 * 20
    assert scoring_evaluations(20, 20, 24) == 2 * 20 * 20 + 2 * 24 * 20, "both orientations, under the model alone"
