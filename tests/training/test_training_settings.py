"""What a training can be told: kinds of adapters, optimisers, noise, captions, crops."""

import sys
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from safetensors.torch import load_file

from cgidm.families import load_pair
from cgidm.intake.layout import open_checkpoint
from cgidm.training import command, settings, trainer
from cgidm.training.captions import read_caption
from cgidm.training.networks.adapter_layers import FILE, falling_rank
from cgidm.training.networks.loss import denoising_loss, draw_times
from cgidm.training.networks.trainee import Trainee
from cgidm.training.optimizers import LIBRARIES, make_optimizer, make_schedule
from cgidm.training.recipe import TrainingRecipe
from cgidm.training.recipe_reader import read_recipe
from cgidm.training.settings import TrainerSettings, settings_to_table
from cgidm.training.split import PictureFile
from cgidm.training.trained_model import ModelPlan
from cgidm.training.trainer import FinetuneConfig, finetune
from cgidm.training.training_pictures import load_training_pictures
from tests.support import tiny
from tests.support.errors import refuses

ADAPTERS = {
    "LoRA": ({}, "LoCon"),
    "another alpha": ({"alpha": 0.5}, "LoCon"),
    "text encoder": ({"text_encoder": True}, "LoCon"),
    "transformer blocks": ({"layers": "transformer"}, "LoRA"),
    "LoCon": ({"layers": "everything"}, "LoCon"),
    "attention": ({"layers": "attention"}, "LoRA"),
    "DoRA": ({"adapter": "dora"}, "DoRA"),
    "LoHa": ({"adapter": "loha", "alpha": 3.0}, "LoHa"),
    "LoKr": ({"adapter": "lokr"}, "LoKr"),
    "T-LoRA": ({"rank_decay": 1.0}, "LoCon"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A base and four pictures that are not square, with captions."""
    folder = tmp_path_factory.mktemp("settings")
    tiny.stable_diffusion().save_pretrained(folder / "base")
    for i in range(4):
        noise = np.random.default_rng(i).integers(0, 256, (90, 140, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(f"abc,\n {'defg'[i]}")
    return folder


def config(**more):
    return FinetuneConfig(**({"mode": "lora", "steps": 3, "batch": 2, "rank": 4, "learning_rate": 1e-2} | more))


def train(folder, out, **more):
    finetune(folder / "base", [folder / f"{i}.png" for i in range(4)], out, config(**more))
    return out


@pytest.mark.slow
@pytest.mark.parametrize("name", ADAPTERS)
def test_the_file_that_a_training_writes_computes_what_was_trained(folder, tmp_path, monkeypatch, name):
    """Loaded as a suspect, it predicts what the trained network predicted, but for half precision."""
    more, method = ADAPTERS[name]
    trained, save = [], trainer.save_adapter
    monkeypatch.setattr(trainer, "save_adapter", lambda found, *rest: (trained.append(found), save(found, *rest)))
    out = train(folder, tmp_path / "out", **more)
    assert open_checkpoint(str(out)).adapter.method == method
    pair, pipe = load_pair(str(folder / "base"), str(out), "abc"), trained[0].pipe
    z, t = torch.randn(2, 4, 8, 8), torch.tensor([3, 800])
    with torch.no_grad():
        text = pipe.encode_prompt("abc", "cpu", 1, False)[0].expand(2, -1, -1)
        expected = pipe.unet.eval()(z, pair.schedule.timesteps[t], encoder_hidden_states=text).sample
        found, base = pair.suspect.predict_eps(z, t), pair.base.predict_eps(z, t)
    moved = (expected - base).norm()
    assert moved > 1e-3 * base.norm(), "a training that changes nothing shows nothing"
    assert (found - expected).norm() < 0.02 * moved
    recipe = read_recipe(open_checkpoint(str(out)), {}).training
    assert recipe.adapter == more.get("adapter", "lora") and recipe.layers == more.get("layers", "all")
    assert recipe.text_encoder == more.get("text_encoder", False)


def test_a_plain_training_is_known_by_the_digest_that_it_had_before_there_were_settings():
    plain = FinetuneConfig(mode="lora", steps=6, batch=2, learning_rate=1e-3)
    assert ModelPlan("x", plain, ()).key(["a"]).startswith("7f46e80771a8")
    for more in ({"alpha": 1.0}, {"optimizer": "lion"}, {"captions": ("a",)}, {"times": "sigmoid"}):
        changed = replace(plain, **more)
        assert ModelPlan("x", changed, ()).key(["a"]) != ModelPlan("x", plain, ()).key(["a"])
        assert settings_to_table(changed).keys() - settings_to_table(plain).keys() == more.keys()


@pytest.mark.parametrize("name", ["adamw", "lion", "prodigy"])
def test_every_optimiser_descends_and_follows_its_schedule(name):
    weight = torch.nn.Parameter(torch.ones(3))
    how = TrainerSettings(
        optimizer=name, learning_rate=1.0 if name == "prodigy" else 0.01, schedule="cosine", warmup=0.1
    )
    optimizer = make_optimizer([weight], how)
    schedule, rates = make_schedule(optimizer, how, 200), []
    for _ in range(200):
        optimizer.zero_grad()
        weight.square().sum().backward()
        optimizer.step()
        rates.append(schedule.get_last_lr()[0])
        schedule.step()
    assert weight.detach().abs().max() < 0.9
    assert rates[0] < rates[20] == max(rates) and rates[-1] < 0.01 * max(rates)


def test_an_adapter_s_text_encoder_can_have_a_rate_of_its_own():
    """Prodigy estimates one rate for all weights, so that it has none."""
    first, second = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    how = TrainerSettings(learning_rate=0.1, text_learning_rate=0.001, optimizer="lion")
    optimizer = make_optimizer([first], how, [second])
    (first + second).sum().backward()
    optimizer.step()
    moved = [(1 - weight.detach()).mean().item() for weight in (first, second)]
    assert moved[0] == pytest.approx(100 * moved[1], rel=0.01)
    rates = [group["lr"] for group in make_optimizer([first], replace(how, optimizer="prodigy"), [second]).param_groups]
    assert rates == [0.1, 0.1]


def test_an_optimiser_without_its_library_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "prodigyopt", None)
    with refuses("training.no_optimizer", optimizer="prodigy", package="prodigyopt"):
        make_optimizer([torch.nn.Parameter(torch.ones(1))], TrainerSettings(optimizer="prodigy"))


def test_the_command_offers_what_the_settings_know():
    types = {"adapter": settings.AdapterKind, "layers": settings.Layers, "optimizer": settings.OptimizerName}
    types |= {"schedule": settings.ScheduleName, "times": settings.TimeLaw, "defence": settings.Defence}
    assert {name: choices for name, choices, _ in command.CHOICES} == {k: get_args(v) for k, v in types.items()}
    assert set(LIBRARIES) == set(get_args(settings.OptimizerName))


@pytest.mark.parametrize(
    ("setting", "value"), [("alpha", 0), ("warmup", 1.1), ("caption_dropout", -0.1), ("batch", 0), ("noise_offset", 9)]
)
def test_numbers_out_of_bounds_are_refused(setting, value):
    with refuses("training.out_of_bounds", setting=setting, given=value):
        read_recipe(None, {setting: value})


def test_a_recipe_refuses_what_it_does_not_know():
    for more in ({"optimizer": "adam"}, {"speed": 3}, {"adapter": "lycoris"}):
        with pytest.raises(ValidationError):
            TrainingRecipe(mode="lora", **more)


def test_settings_of_adapters_are_refused_elsewhere():
    for more in ({"adapter": "loha"}, {"alpha": 3}, {"rank_decay": 1}):
        with refuses("training.only_of_adapters", mode="dreambooth"):
            read_recipe(None, {"mode": "dreambooth", **more})
    with refuses("training.rank_decay_of_lora", adapter="dora"):
        read_recipe(None, {"adapter": "dora", "rank_decay": 1})


def test_times_follow_their_law():
    g = torch.Generator().manual_seed(0)
    drawn = {law: draw_times(40_000, 1000, g, TrainerSettings(times=law)) for law in get_args(settings.TimeLaw)}
    ends = {law: ((t < 100) | (t >= 900)).float().mean().item() for law, t in drawn.items()}
    assert all(0 <= t.min() and t.max() <= 999 for t in drawn.values())
    assert drawn.pop("shift").median().item() == pytest.approx(1000 * 3.1582 / 4.1582, abs=10)  # s / (1 + s)
    assert all(abs(t.float().mean() - 500) < 10 for t in drawn.values())
    assert ends["uniform"] == pytest.approx(0.2, abs=0.01)
    # P(|x| > logit(0.9)) of a normal x; the share of exp(4 u) + exp(4 (1 - u)) in both outer tenths
    assert ends["sigmoid"] == pytest.approx(0.028, abs=0.005)
    mass = lambda a, b: (np.exp(4 * b) - np.exp(4 * a)) / (np.exp(4) - 1)  # noqa: E731
    assert ends["u-shaped"] == pytest.approx(mass(0, 0.1) + mass(0.9, 1), abs=0.01)


def test_min_snr_weighs_each_picture_by_its_noise():
    """The weight of a loss in eps is min(SNR, gamma) / SNR (arXiv 2303.09556, Eq. 6)."""
    trainee, z = Trainee(tiny.stable_diffusion()), torch.randn(1, 4, 8, 8)
    losses = []
    for gamma in (None, 1e6, 0.5):
        times: list[torch.Tensor] = []
        g = torch.Generator().manual_seed(5)
        losses.append(denoising_loss(trainee, z, "a", g, TrainerSettings(min_snr=gamma), times.append).item())
    kept = trainee.pipe.scheduler.alphas_cumprod[times[0]]
    snr = (kept / (1 - kept)).item()
    assert losses[0] == pytest.approx(losses[1]) and losses[2] == pytest.approx(
        losses[0] * min(snr, 0.5) / snr, rel=1e-4
    )


def test_a_noise_offset_moves_whole_channels():
    trainee, seen = Trainee(tiny.stable_diffusion()), []
    trainee.noise.add_noise = lambda z, eps, t: seen.append(eps) or z
    for offset in (0.0, 0.9):
        g = torch.Generator().manual_seed(5)
        denoising_loss(trainee, torch.zeros(2, 4, 8, 8), "a", g, TrainerSettings(noise_offset=offset))
    moved = seen[1] - seen[0]
    torch.testing.assert_close(moved, moved.mean((2, 3), keepdim=True).expand_as(moved))
    assert moved.abs().min() > 0 and len(moved.unique()) > 4


def test_the_more_noise_the_fewer_ranks_take_part(folder):
    trainee = Trainee(tiny.stable_diffusion())
    how = config(rank_decay=1.0)
    trainer.add_adapter(trainee, how)
    layer = next(m for n, m in trainee.network.named_modules() if n.endswith("to_q.lora_A.default"))
    with falling_rank(trainee, how) as at_times:
        at_times(torch.tensor([0, 999]))
        least, most = layer(torch.ones(2, 5, layer.in_features)).ne(0).sum((1, 2)).tolist()
    assert (least, most) == (4 * 5, 2 * 5)
    assert layer(torch.ones(1, 1, layer.in_features)).ne(0).all(), "afterwards all of them do"


def test_captions_are_those_of_the_chosen_pictures_and_some_are_dropped():
    captions = trainer._captioner(config(captions=("a", "b"), caption_dropout=0.25))
    drawn = [captions([0, 1]) for _ in range(2000)]
    assert {c[0] for c in drawn} == {"a", ""} and {c[1] for c in drawn} == {"b", ""}
    assert np.mean([c[0] == "" for c in drawn]) == pytest.approx(0.25, abs=0.03)
    assert trainer._captioner(config())([0, 1]) == "sks style"
    assert trainer._captioner(config(captions=("a", "b")))([1, 0]) == ["b", "a"]


def test_captions_are_drawn_from_tags_by_the_picture_alone():
    recipe = TrainingRecipe(mode="lora", tags=(("sks", 1.0), ("sky", 0.3), ("1girl", 1.0)))
    pictures = [PictureFile(f"{i}.png", str(i)) for i in range(1000)]
    captions = recipe.draw_captions("sks", pictures)
    assert captions[3:5] == recipe.draw_captions("sks", pictures[3:5])
    assert all(c.startswith("sks, ") and c.endswith("1girl") and c.count("sks") == 1 for c in captions)
    assert np.mean(["sky" in c for c in captions]) == pytest.approx(0.3, abs=0.05)
    assert replace(recipe, tags=()).draw_captions("sks", pictures) == ()


def test_a_caption_is_the_text_beside_the_picture(folder, tmp_path):
    assert read_caption(folder / "1.png") == "abc, e"
    with refuses("training.no_caption", path=str(tmp_path / "1.png")):
        read_caption(tmp_path / "1.png")
    for content in (b"", b"\xff\xfe\x00", b"x" * 30_000):
        (tmp_path / "1.caption").write_bytes(content)
        with refuses("training.caption_unreadable", path=str(tmp_path / "1.caption")):
            read_caption(tmp_path / "1.png")


def test_a_framing_that_crops_at_random_crops_anew_at_every_step(folder):
    trainee = Trainee(tiny.stable_diffusion())
    how = config(framing={"rule": "diffusers", "resolution": 64})
    _, latents = load_training_pictures(trainee, [folder / "0.png"], how, seed=0)
    (first, told), (second, other) = latents([0]), latents([0])
    assert first.shape == second.shape == (1, 4, 8, 8) and not torch.equal(first, second)
    assert not torch.equal(told, other), "and the network is told where the part lies"
    fixed = replace(how, framing={"rule": "diffusers", "resolution": 64, "random_crop": False})
    _, latents = load_training_pictures(trainee, [folder / "0.png"], fixed, seed=0)
    assert torch.equal(latents([0])[0], latents([0])[0])


def test_alpha_stands_in_the_file_unless_it_is_the_rank(folder, tmp_path):
    plain = load_file(train(folder, tmp_path / "plain", steps=1) / FILE)
    other = load_file(train(folder, tmp_path / "other", steps=1, alpha=1.0) / FILE)
    assert not any(key.endswith(".alpha") for key in plain)
    alphas = {key: value.item() for key, value in other.items() if key.endswith(".alpha")}
    assert set(alphas.values()) == {1.0} and len(alphas) * 2 == len(plain)
