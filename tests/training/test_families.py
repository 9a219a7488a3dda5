"""Every family that can be judged can be fine-tuned: the library loads what a training writes, and nothing else."""

import numpy as np
import pytest
import torch
from PIL import Image

from cgidm.families import load_pair
from cgidm.intake.layout import open_checkpoint
from cgidm.training import trainer
from cgidm.training.networks.adapter_layers import adapted_layers
from cgidm.training.networks.loss import denoising_loss
from cgidm.training.networks.trainee import Trainee
from cgidm.training.recipe_reader import read_recipe
from cgidm.training.settings import TrainerSettings
from cgidm.training.trainer import FinetuneConfig, finetune
from cgidm.training.training_pictures import load_training_pictures
from tests.support import tiny
from tests.support.errors import refuses
from tests.support.tiny_families import alt_diffusion, stable_diffusion_2, stable_diffusion_3, stable_diffusion_xl
from tests.support.tiny_flow import FLOW

MAKERS = {
    "sd1": tiny.stable_diffusion,
    "sd2": stable_diffusion_2,
    "alt": alt_diffusion,
    "alt-m18": lambda: alt_diffusion(pre_transformation=True),
    "sdxl": stable_diffusion_xl,
    "sd3": stable_diffusion_3,
    **{name: make for name, (make, _) in FLOW.items()},
}
OF_TABLE_2 = ("sd1", "sd2", "alt", "alt-m18")
TRAINED = {
    "sdxl": {"unet", "text_encoder", "text_encoder_2"},
    **{name: {"unet", "text_encoder"} for name in OF_TABLE_2},
}
QUICK = ("sd1", "sd2", "alt", "sdxl", "sd3", "flux-schnell")  # the others are in the slow lane
EVERY = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in MAKERS]
WITH_CLIP = (*OF_TABLE_2, "sdxl", "sd3", "flux-dev")


def alive(pipeline):
    """No last layer or gate at zero, as real networks have none after their training."""
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            for name, p in part.named_parameters():
                if not p.any():
                    with torch.no_grad():
                        p.normal_(std=0.2, generator=torch.Generator().manual_seed(len(name)))
    return pipeline


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """The folder of each family's base, written when first wanted, and pictures."""
    folder, done = tmp_path_factory.mktemp("bases"), set()
    for i in range(3):
        noise = np.random.default_rng(i).integers(0, 256, (64, 96, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{i}.png")

    def of(family):
        if family not in done:
            alive(MAKERS[family]()).save_pretrained(folder / family)
            done.add(family)
        return folder / family

    return of


def train(base, out, **more):
    settings = {"mode": "lora", "steps": 2, "batch": 2, "rank": 2, "learning_rate": 1e-2, "prompt": "abc", **more}
    finetune(base, [base.parent / f"{i}.png" for i in range(3)], out, FinetuneConfig(**settings))
    return out


def inputs(pair):
    channels = pair.codec.encode(torch.zeros(1, 3, 64, 64)).shape[1]
    generator = torch.Generator().manual_seed(5)
    return torch.randn(2, channels, 8, 8, generator=generator), torch.tensor([100, 700])


def check(pair, base, trainee):
    """The suspect predicts what was trained, but for half precision; the base what it predicts without a suspect."""
    z, t = inputs(pair)
    other = load_pair(str(base), str(base), "abc")
    with torch.no_grad():
        found, alone, before = (m.predict_eps(z, t) for m in (pair.suspect, pair.base, other.base))
        trainee.network.eval()
        model = trainee.condition("abc")
        raw = model.predict(z, model.schedule.timesteps[t])
        converted = {"eps": lambda: raw, "v": lambda: pair.schedule.eps_from_v(raw, z, t)}
        expected = converted.get(model.prediction, lambda: pair.schedule.eps_from_flow(raw, z, t))()
    assert torch.equal(alone, before), "the base is the base, to the last bit"
    moved = (expected - alone).norm()
    assert moved > 1e-4 * alone.norm(), "a training that changes nothing shows nothing"
    assert (found - expected).norm() < 0.05 * moved


@pytest.fixture
def trained(monkeypatch):
    """What was in training, before it is written in half precision."""
    kept, save = [], trainer._save
    monkeypatch.setattr(trainer, "_save", lambda trainee, *rest: (kept.append(trainee), save(trainee, *rest)))
    return kept


@pytest.mark.parametrize("family", EVERY)
def test_a_lora_of_every_family_is_loaded_as_it_was_trained(bases, trained, tmp_path, family):
    base = bases(family)
    out = train(base, tmp_path / "lora")
    check(load_pair(str(base), str(out), "abc"), base, trained[0])
    recipe = read_recipe(open_checkpoint(str(out)), {})
    assert (recipe.training.mode, recipe.training.rank) == ("lora", 2)
    if trained[0].is_flow:
        assert (recipe.training.layers, recipe.training.times) == ("transformer", "sigmoid")


@pytest.mark.slow
@pytest.mark.parametrize("family", WITH_CLIP)
def test_a_lora_of_the_text_encoders_is_loaded_as_it_was_trained(bases, trained, tmp_path, family):
    base = bases(family)
    out = train(base, tmp_path / "lora", text_encoder=True, alpha=4.0)
    pair = load_pair(str(base), str(out), "abc")
    check(pair, base, trained[0])
    adapter = open_checkpoint(str(out)).adapter
    assert adapter is not None
    encoders = {component for component, _ in adapter.modules} - {trained[0].name}
    assert encoders == trained[0].encoders.keys()


@pytest.mark.slow
@pytest.mark.parametrize("family", [*OF_TABLE_2, "sdxl", "sd3", "flux-schnell"])
def test_a_dreambooth_with_prior_loss_is_loaded_as_it_was_trained(bases, trained, tmp_path, family):
    base = bases(family)
    out = train(
        base, tmp_path / "full", mode="dreambooth-prior", prior_pictures=2, prior_weight=0.5, learning_rate=3e-3
    )
    assert {f.name for f in out.iterdir()} == TRAINED.get(family, {"transformer"})
    trained[0].network.float()
    for encoder in trained[0].encoders.values():
        encoder.float()
    check(load_pair(str(base), str(out), "abc"), base, trained[0])


@pytest.mark.slow
@pytest.mark.parametrize("family", ["sd2", "alt", "sdxl", "flux-schnell"])
def test_a_training_lowers_the_loss_that_a_verdict_asks_for(bases, trained, tmp_path, family):
    """Of the very pictures: contrast of base and suspect in the model's own unit."""
    base = bases(family)
    train(base, tmp_path / "lora", steps=30, learning_rate=2e-2, rank=4, batch=3)
    found, files = [], [base.parent / f"{i}.png" for i in range(3)]
    for trainee in (Trainee(alive(MAKERS[family]())), trained[0]):
        how = TrainerSettings(batch=3)
        _, latents = load_training_pictures(trainee, files, how, seed=0)
        z, sizes = latents([0, 1, 2])
        with torch.no_grad():
            draws = [
                denoising_loss(trainee, z, "abc", torch.Generator().manual_seed(i), how, None, sizes).item()
                for i in range(8)
            ]
        found.append(sum(draws))
    assert found[1] < 0.97 * found[0]


def test_sdxl_is_told_of_each_picture_s_frame(bases):
    """Height and width of the original, where the part begins, and what it was scaled to."""
    trainee, seen = Trainee(stable_diffusion_xl()), []
    trainee.network.register_forward_hook(
        lambda module, args, kwargs, out: seen.append(kwargs["added_cond_kwargs"]["time_ids"]), with_kwargs=True
    )
    sizes = torch.tensor([[96, 64, 0, 16, 64, 64], [64, 64, 0, 0, 64, 64]])
    z, generator = torch.zeros(2, 4, 8, 8), torch.Generator().manual_seed(0)
    for told in (sizes, None):
        denoising_loss(trainee, z, ["a", "b"], generator, TrainerSettings(), None, told)
    assert seen[0].tolist() == sizes.tolist()
    assert seen[1].tolist() == [[64, 64, 0, 0, 64, 64]] * 2


def test_the_noise_is_a_trainer_s_whichever_scheduler_draws(bases):
    """SDXL ships Euler's scheduler, whose own noise is in another scale; v needs a velocity that PNDM does not know."""
    trainee = Trainee(alt_diffusion())
    assert type(trainee.pipe.scheduler).__name__ == "PNDMScheduler"
    z, eps, t = torch.ones(1, 4, 8, 8), torch.zeros(1, 4, 8, 8), torch.tensor([500])
    kept = trainee.pipe.scheduler.alphas_cumprod[t].sqrt()
    torch.testing.assert_close(trainee.noise.add_noise(z, eps, t), z * kept)


def test_an_adapter_of_a_transformer_leaves_norms_alone():
    network = FLOW["flux-dev"][0]().transformer
    every, attention = (adapted_layers(network, name) for name in ("transformer", "attention"))
    assert set(attention) < set(every) and adapted_layers(network, "all") == every
    assert all(".norm" not in name and "embed" not in name for name in every)
    assert {n.rpartition(".")[2] for n in set(every) - set(attention)} >= {"proj_mlp", "proj_out"}


def test_prompts_of_each_row_are_those_of_the_prompt_alone(bases):
    """Also where a family's prompts have unequal lengths."""
    for family in ("sd1", "sdxl", "flux-schnell", "z-image", "qwen-image", "lumina-2", "chroma"):
        trainee = Trainee(alive(MAKERS[family]()))
        z, t = torch.randn(2, trainee.plain.channels, 8, 8), torch.tensor([300.0, 300.0])
        with torch.no_grad():
            both = trainee.condition(["a", "b c d"]).predict(z, t)
            alone = [trainee.condition(p).predict(z[i : i + 1], t[:1]) for i, p in enumerate(("a", "b c d"))]
        torch.testing.assert_close(both, torch.cat(alone), atol=1e-4, rtol=1e-4)


def test_what_is_not_trained_is_refused(bases, tmp_path):
    with refuses("training.no_text", given="DDPMPipeline"):
        Trainee(tiny.pixel_ddpm())
    with refuses("training.no_text_encoder"):
        train(bases("qwen-image"), tmp_path / "a", text_encoder=True)
    with refuses("training.min_snr_of_flow", given=5.0):
        train(bases("flux-schnell"), tmp_path / "b", min_snr=5.0)
