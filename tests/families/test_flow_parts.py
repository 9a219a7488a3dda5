"""What families of rectified flow are made of: tokens, times, guidance, configurations as they are published."""

import json
import math
import shutil

import pytest
import torch
from diffusers import Flux2KleinPipeline, FluxPipeline
from safetensors.torch import load_file, save_file

from cgidm.device import choose_device
from cgidm.families import load_pair
from cgidm.families.conditioning import FAMILIES, condition_on_prompt, tell_guidance
from cgidm.families.kinds.packing import pack, unpack
from cgidm.families.kinds.parts import flow_schedule
from cgidm.families.offloading import WeightOffloader
from cgidm.families.pipelines import load_pipeline
from cgidm.intake.family import CLASSES, guess_base
from cgidm.intake.layout import open_checkpoint
from tests.support import tiny, tiny_flow
from tests.support.errors import refuses
from tests.support.tiny_lora import save_lora

LORA = "single_transformer_blocks.0.attn.to_q"


def test_tokens_are_those_of_the_pipelines_and_come_back():
    x = torch.randn(2, 3, 8, 12)
    tokens = pack(x)
    assert torch.equal(tokens, FluxPipeline._pack_latents(x, *x.shape))
    assert torch.equal(tokens, Flux2KleinPipeline._pack_latents(Flux2KleinPipeline._patchify_latents(x)))
    assert torch.equal(unpack(tokens, x), x)
    assert torch.equal(unpack(tokens, x), FluxPipeline._unpack_latents(tokens, 64, 96, 8))


@pytest.mark.parametrize("make", [tiny_flow.flux, tiny_flow.z_image, tiny_flow.lumina_2])
def test_an_odd_number_of_cells_is_refused(make):
    model = condition_on_prompt(make(), "a b")
    with refuses("families.odd_latent", height=8, width=9):
        model.predict(torch.zeros(1, model.channels, 8, 9), torch.tensor([500.0]))


def shift_of(pipeline, **options):
    """By how much the middle of the times is moved towards the noise: s in s x / (1 + (s - 1) x)."""
    sigma = flow_schedule(pipeline, **options).sigma.double()
    x = torch.linspace(1e-3, 1, 1000, dtype=torch.float64)
    shifts = (sigma * (1 - x) / (x * (1 - sigma)))[:-1]
    torch.testing.assert_close(shifts, shifts.mean().expand(999), rtol=1e-3, atol=0)
    return float(shifts.mean())


def test_times_are_uniform_before_the_shift_that_each_family_was_trained_with():
    full = (1024 // 16) ** 2
    assert shift_of(tiny_flow.flux(), tokens=full) == pytest.approx(math.exp(1.15), rel=1e-4)  # kohya's 3.1582
    assert shift_of(tiny_flow.flux(), tokens=256) == pytest.approx(math.exp(0.5), rel=1e-4)
    assert shift_of(tiny_flow.flux(guidance=False), tokens=full) == pytest.approx(1, rel=1e-4)
    assert shift_of(tiny_flow.z_image(), tokens=full) == pytest.approx(3, rel=1e-4)
    assert shift_of(tiny_flow.qwen_image(), tokens=full) == pytest.approx(2.0, rel=0.01)  # musubi-tuner: 2.2
    assert shift_of(tiny_flow.krea_2(), tokens=6400) == pytest.approx(math.exp(1.15), rel=1e-4)
    tiny_turbo, tiny_base = (condition_on_prompt(tiny_flow.krea_2(distilled=d), "a") for d in (True, False))
    assert tiny_turbo.schedule.sigma[500] > tiny_base.schedule.sigma[500]


@pytest.fixture
def folders(tmp_path):
    tiny_flow.flux().save_pretrained(tmp_path / "base")
    tuned = tiny_flow.flux()
    tiny.perturbed(tuned.transformer, by=0.2)
    tuned.save_pretrained(tmp_path / "full")
    return tmp_path


def lora(path, notes):
    return save_lora(path, f"transformer.{LORA}", 16, 16, notes)


def answers(pair):
    x = torch.randn(1, tiny_flow.LATENT, 8, 8, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        return [m.predict_velocity(x, torch.tensor([700])) for m in (pair.base, pair.suspect)]


def test_both_networks_are_told_the_guidance_that_the_training_noted(folders):
    base = str(folders / "base")
    silent = load_pair(base, lora(folders / "silent.safetensors", {"format": "pt"}), "a b")
    noted = load_pair(base, lora(folders / "noted.safetensors", {"ss_guidance_scale": "3.5"}), "a b")
    odd = load_pair(base, lora(folders / "odd.safetensors", {"ss_guidance_scale": "much"}), "a b")
    for usual in (silent, odd):
        (said,) = usual.notes
        assert (said.code, said.params["guidance"]) == ("families.guidance_assumed", 1.0)
    (said,) = noted.notes
    assert (said.code, said.params["guidance"]) == ("families.guidance_stated", 3.5)
    model = tell_guidance(condition_on_prompt(load_pipeline(open_checkpoint(base), "base", torch.float32), "a b"), 3.5)
    x = torch.randn(1, tiny_flow.LATENT, 8, 8, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        expected = model.predict(x, noted.schedule.timesteps[700][None])
    torch.testing.assert_close(answers(noted)[0], expected)
    assert all((a - b).abs().max() > 1e-3 for a, b in zip(answers(noted), answers(silent), strict=True))


def test_schnell_has_no_guidance_to_be_told(tmp_path):
    pipeline = tiny_flow.flux(guidance=False)
    pipeline.save_pretrained(tmp_path / "base")
    pair = load_pair(str(tmp_path / "base"), lora(tmp_path / "x.safetensors", {"ss_guidance_scale": "3.5"}), "a b")
    model = condition_on_prompt(pipeline, "a b")
    assert pair.notes == () and tell_guidance(model, 3.5) is model


@pytest.mark.parametrize("damage", ["lost", "renamed", "cut"])
def test_a_transformer_that_is_not_whole_is_refused(folders, damage):
    file = folders / "full" / "transformer" / "diffusion_pytorch_model.safetensors"
    state = load_file(file)
    weight = state.pop("proj_out.weight")
    state |= {"lost": {}, "renamed": {"proj_outs.weight": weight}, "cut": {"proj_out.weight": weight[:-1]}}[damage]
    save_file({k: v.contiguous() for k, v in state.items()}, file, {"format": "pt"})
    code = "families.cannot_be_loaded" if damage == "cut" else "families.weights_do_not_match"
    with refuses(code):
        load_pair(str(folders / "base"), str(folders / "full"), "a b")


def test_another_family_of_the_same_names_is_refused(folders, tmp_path):
    tiny_flow.flux(guidance=False).save_pretrained(tmp_path / "schnell")
    with refuses("families.other_shapes"):
        load_pair(str(folders / "base"), str(tmp_path / "schnell"), "a b")
    tiny_flow.chroma().save_pretrained(tmp_path / "chroma")
    with refuses("families.class_differs"):
        load_pair(str(folders / "base"), str(tmp_path / "chroma"), "a b")


@pytest.mark.parametrize(
    ("given", "family"),
    [("HiDreamImagePipeline", "HiDream"), ("WanPipeline", "Wan"), ("HunyuanVideoPipeline", "HunyuanVideo")],
)
def test_a_family_that_is_known_and_not_judged_is_named(folders, given, family):
    index = folders / "base" / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"_class_name": given}))
    with refuses("families.family_not_judged", family=family):
        load_pair(str(folders / "base"), str(folders / "full"), "a b")


def test_every_class_that_is_judged_has_a_family_and_a_precision(folders):
    assert set(CLASSES) >= set(FAMILIES)
    base = open_checkpoint(str(folders / "base"))
    assert guess_base(base).family == "FLUX" and choose_device(base, "cpu").dtype == torch.float32


QWEN = {  # the names that are written here -> others that files have
    "qwen_image": [("model.", "model.language_model."), ("visual.", "model.visual."), ("lm_head.", "lm_head.")],
    "z_image": [("", "model.")],
    "krea_2": [("", "model.")],
}


@pytest.mark.parametrize("family", QWEN)
def test_a_text_encoder_under_other_names_of_its_wrapping_is_read(tmp_path, family):
    """transformers names what language models are wrapped in otherwise from version to version."""
    getattr(tiny_flow, family)().save_pretrained(tmp_path / "today")
    shutil.copytree(tmp_path / "today", tmp_path / "published")
    file = tmp_path / "published" / "text_encoder" / "model.safetensors"
    state = {}
    for key, value in load_file(file).items():
        today, published = next(pair for pair in QWEN[family] if key.startswith(pair[0]))
        state[published + key.removeprefix(today)] = value
    save_file(state, file, {"format": "pt"})
    models = [
        condition_on_prompt(load_pipeline(open_checkpoint(str(tmp_path / name)), "base", torch.float32), "a b")
        for name in ("today", "published")
    ]
    for one, other in zip(*(m.conditions for m in models), strict=True):
        assert torch.equal(one, other)


def test_settings_that_make_nothing_of_their_size_may_be_large(tmp_path):
    tiny_flow.z_image().save_pretrained(tmp_path / "base")
    file = tmp_path / "base" / "text_encoder" / "config.json"
    config = json.loads(file.read_text())
    large = {"max_position_embeddings": 262144, "rope_theta": 5_000_000, "bos_token_id": 151643}
    file.write_text(json.dumps(config | large))
    load_pipeline(open_checkpoint(str(tmp_path / "base")), "base", torch.float32)
    file.write_text(json.dumps(config | {"hidden_size": 262144}))
    with refuses("families.setting_too_large", setting="hidden_size"):
        load_pipeline(open_checkpoint(str(tmp_path / "base")), "base", torch.float32)


def test_text_encoders_that_do_not_fit_the_device_read_the_prompt_on_the_host(folders, monkeypatch):
    moved = []

    class Watched(WeightOffloader):
        def __call__(self, *modules):
            moved.extend(type(module).__name__ for module in modules)
            super().__call__(*modules)

    monkeypatch.setattr("cgidm.families.load.WeightOffloader", Watched)
    base, full = str(folders / "base"), str(folders / "full")
    wanted = answers(load_pair(base, full, "a b"))
    assert {"CLIPTextModel", "T5EncoderModel"} <= set(moved)
    moved.clear()
    found = answers(load_pair(base, full, "a b", free=1000))
    assert not {"CLIPTextModel", "T5EncoderModel"} & set(moved) and "FluxTransformer2DModel" in moved
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
