"""Every family through one interface, and suspects on disk in the layouts that are accepted."""

import copy
from types import SimpleNamespace

import pytest
import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from cgidm import ModelPair, NetworkEpsModel, RecoveryConfig, UserError, make_partial, recover
from cgidm.families import load_pair
from cgidm.families.conditioning import condition_on_prompt
from cgidm.families.kinds.sd3 import stable_diffusion_3
from cgidm.families.kinds.sdxl import stable_diffusion_xl
from cgidm.families.pipelines import _shared
from cgidm.intake.layout import open_checkpoint
from tests.support import tiny
from tests.support.errors import refuses
from tests.support.worlds import generators


def sdxl(pipeline_with_pooled_text=True):
    """The parts of an SDXL pipeline that binding touches, text encoding replaced by fixed embeddings."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        **tiny.UNET,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 8,
    )
    text, pooled = torch.randn(1, 7, 8), torch.randn(1, 8)
    return SimpleNamespace(
        unet=unet,
        vae=tiny.vae(),
        vae_scale_factor=8,
        scheduler=tiny.stable_diffusion().scheduler,
        encode_prompt=lambda prompt, device, do_classifier_free_guidance: (text, None, pooled, None),
    )


def sd3():
    torch.manual_seed(0)
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        caption_projection_dim=16,
        joint_attention_dim=8,
        pooled_projection_dim=8,
        out_channels=4,
        pos_embed_max_size=8,
    )
    text, pooled = torch.randn(1, 7, 8), torch.randn(1, 8)
    return SimpleNamespace(
        transformer=transformer,
        vae=tiny.vae(),
        vae_scale_factor=8,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        encode_prompt=lambda *prompts, device, do_classifier_free_guidance: (text, None, pooled, None),
    )


BOUND = {
    "sd1": lambda: condition_on_prompt(tiny.stable_diffusion(), "a b"),
    "sd2-v": lambda: condition_on_prompt(tiny.stable_diffusion("v_prediction"), ""),
    "sdxl": lambda: stable_diffusion_xl(sdxl(), "a b"),
    "pixel": lambda: condition_on_prompt(tiny.pixel_ddpm(3), ""),
    "pixel-learnt-variance": lambda: condition_on_prompt(tiny.pixel_ddpm(6), ""),
    "sd3-flow": lambda: stable_diffusion_3(sd3(), "a b"),
}


@pytest.mark.parametrize("family", BOUND)
def test_recovery_runs_on_every_family(family):
    base = BOUND[family]()
    base.network.eval().requires_grad_(False)
    weights = copy.deepcopy(base.network.state_dict())
    tuned = BOUND[family]()
    tiny.perturbed(tuned.network.eval().requires_grad_(False))
    models = [NetworkEpsModel(b.predict, b.schedule, b.prediction) for b in (base, tuned)]
    pair = ModelPair(*models, schedule=base.schedule, codec=base.codec, resolution=base.resolution)
    images = torch.rand(2, 3, base.resolution, base.resolution)
    z = pair.codec.encode(images)
    partial = make_partial("block4", pair.codec, images, z)
    config = RecoveryConfig(steps=3, draws=2)
    *_, last = recover(pair, z, partial, config, generators=generators(2))
    assert last.index == 2 and last.evaluations == 12 and last.z.isfinite().all()
    assert not torch.equal(last.z, partial.start) and last.gradient_ratio.min() > 0
    torch.testing.assert_close(partial.mask * last.z, partial.mask * z)
    assert pair.codec.decode(last.z).shape == images.shape
    assert all(torch.equal(v, weights[k]) for k, v in base.network.state_dict().items())


@pytest.fixture
def folders(tmp_path):
    """A base, a fine-tuned pipeline, a training checkpoint and a LoRA, as their writers lay them out."""
    pipeline = tiny.stable_diffusion()
    pipeline.save_pretrained(tmp_path / "base")
    pipeline.unet.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=["to_q", "to_v"]))
    for name, p in pipeline.unet.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(p, std=0.5)
    state = get_peft_model_state_dict(pipeline.unet)
    StableDiffusionPipeline.save_lora_weights(tmp_path / "lora", unet_lora_layers=state)
    tuned = tiny.stable_diffusion()
    tiny.perturbed(tuned.unet)
    tuned.save_pretrained(tmp_path / "full")
    tuned.unet.save_pretrained(tmp_path / "checkpoint" / "unet")
    tuned.text_encoder.save_pretrained(tmp_path / "checkpoint" / "text_encoder")
    tiny.stable_diffusion(width=8).save_pretrained(tmp_path / "wide")
    return tmp_path


def predictions(pair):
    x, t = torch.randn(2, 4, 8, 8, generator=generators(1)[0]), torch.tensor([10, 700])
    with torch.no_grad():
        return pair.base.predict_eps(x, t), pair.suspect.predict_eps(x, t)


@pytest.mark.parametrize("layout", ["full", "checkpoint", "checkpoint/unet", "lora"])
def test_suspects_load_and_differ_from_the_base(folders, layout):
    pair = load_pair(str(folders / "base"), str(folders / layout), "a b")
    base, tuned = predictions(pair)
    alone, _ = predictions(load_pair(str(folders / "base"), str(folders / "full"), "a b"))
    assert torch.equal(base, alone), "the adapter off, or the suspect loaded: the base is the base, bit for bit"
    assert (base - tuned).abs().max() > 1e-3
    assert not any(p.requires_grad for n in pair.networks for p in n.parameters())
    assert len(pair.networks) == (1 if layout == "lora" else 2)
    assert any(layout.split("/")[0] in name for name in pair.fingerprints)


def test_a_full_fine_tune_shares_what_is_the_same_bytes(folders):
    root, suspect = open_checkpoint(str(folders / "base")), open_checkpoint(str(folders / "full"))
    base = tiny.stable_diffusion()
    assert _shared(suspect, root, base).keys() == {"text_encoder", "vae"}
    tuned = tiny.stable_diffusion()
    tiny.perturbed(tuned.text_encoder).save_pretrained(folders / "full" / "text_encoder")
    shared = _shared(open_checkpoint(str(folders / "full")), root, base)
    assert shared.keys() == {"vae"} and shared["vae"] is base.vae
    before = predictions(load_pair(str(folders / "base"), str(folders / "full"), "a b"))
    tiny.perturbed(tuned.vae).save_pretrained(folders / "full" / "vae")
    after = predictions(load_pair(str(folders / "base"), str(folders / "full"), "a b"))
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_pixel_model_of_the_first_hour_lies_flat(tmp_path):
    """Its one network beside model_index.json, and the attention under its first names."""
    tiny.pixel_ddpm().save_pretrained(tmp_path / "saved")
    flat = tmp_path / "flat"
    flat.mkdir()
    for name in ("model_index.json", "scheduler/scheduler_config.json", "unet/config.json"):
        (flat / name.split("/")[-1]).write_bytes((tmp_path / "saved" / name).read_bytes())
    state = load_file(tmp_path / "saved" / "unet" / "diffusion_pytorch_model.safetensors")
    old = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    for today, first in old.items():
        state = {k.replace(today, first): v for k, v in state.items()}
    save_file(state, flat / "diffusion_pytorch_model.safetensors")
    pair = load_pair(str(tmp_path / "saved"), str(flat), "")
    x, t = torch.randn(1, 3, 16, 16, generator=generators(1)[0]), torch.tensor([500])
    with torch.no_grad():
        torch.testing.assert_close(pair.base.predict_eps(x, t), pair.suspect.predict_eps(x, t), atol=1e-6, rtol=0)


def test_a_lora_that_fits_in_part_is_refused(folders):
    file = folders / "lora" / "pytorch_lora_weights.safetensors"
    state = load_file(file)
    stray = {k.replace("attn1", "attn9"): v for k, v in state.items()}
    save_file(stray, file)
    with refuses("families.adapter_does_not_fit"):
        load_pair(str(folders / "base"), str(file), "")


@pytest.mark.parametrize("suspect", ["missing", "wide", "missing.safetensors", "model.ckpt", "."])
def test_unusable_suspects_are_refused_in_one_line(folders, suspect):
    with pytest.raises(UserError) as error:
        load_pair(str(folders / "base"), str(folders / suspect), "")
    assert "\n" not in str(error.value)


def test_a_missing_base_is_refused(folders):
    with pytest.raises(UserError, match="does not exist"):
        load_pair(str(folders / "nothing"), str(folders / "full"), "")
