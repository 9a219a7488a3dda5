"""A model in one file, in the layout of Stability's own code: loaded whole, or refused."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from cgidm import UserError
from cgidm.families import load_pair
from cgidm.families.adapters import sgm_names

from . import tiny

NORMS = {"norm1": "in_layers.0", "norm2": "out_layers.0"}


def single_file(pipeline):
    """The pipeline's UNet and text encoder under the names of Stability's own code."""
    ours = {o: theirs for theirs, o in sgm_names(pipeline.unet).items()}
    blocks = {o.rsplit(".", 1)[0]: t.rsplit(".", 2)[0] for o, t in ours.items() if o.endswith(".conv1")}
    ends = {o: t for o, t in ours.items() if o.endswith(".proj_in")}
    blocks |= {o.removesuffix(".proj_in"): t.removesuffix(".proj_in") for o, t in ends.items()}
    state = {}
    for name, weight in pipeline.unet.state_dict().items():
        module, _, leaf = name.rpartition(".")
        block = next((b for b in blocks if module.startswith(f"{b}.")), "")
        rest = module.removeprefix(f"{block}.")
        theirs = "out.0" if module == "conv_norm_out" else ours.get(module)
        theirs = theirs or f"{blocks[block]}.{NORMS.get(rest, rest)}"
        state[f"model.diffusion_model.{theirs}.{leaf}"] = weight.clone()
    for name, weight in pipeline.text_encoder.state_dict().items():
        state[f"cond_stage_model.transformer.text_model.{name}"] = weight.clone()
    return {**state, "betas": torch.zeros(3), "first_stage_model.x": torch.zeros(1), "model_ema.y": torch.zeros(1)}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("single")
    tiny.stable_diffusion().save_pretrained(folder / "base")
    tuned = tiny.stable_diffusion()
    tiny.perturbed(tuned.unet)
    tiny.perturbed(tuned.text_encoder)
    tuned.save_pretrained(folder / "tuned")
    save_file(single_file(tuned), folder / "tuned.safetensors")
    save_file(single_file(tiny.stable_diffusion(width=8)), folder / "wide.safetensors")
    return folder


def answer(pair):
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        return pair.finetuned.predict_eps(x, torch.tensor([300]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_computes_what_the_folder_computes(folders, dtype):
    one = load_pair(str(folders / "base"), str(folders / "tuned.safetensors"), "a b", dtype=dtype)
    folder = load_pair(str(folders / "base"), str(folders / "tuned"), "a b", dtype=dtype)
    assert torch.equal(answer(one), answer(folder)) and len(one.networks) == 2
    assert any(name.endswith("tuned.safetensors") for name in one.fingerprints)


def test_without_a_text_encoder_the_base_s_is_used(folders, tmp_path):
    state = {k: v for k, v in load_file(folders / "tuned.safetensors").items() if not k.startswith("cond_stage")}
    save_file(state, tmp_path / "unet.safetensors")
    assert answer(load_pair(str(folders / "base"), str(tmp_path / "unet.safetensors"), "a b")).isfinite().all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s, k: s.pop(k), "does not fit|not in use"),
        (lambda s, k: s.update({f"{k}_renamed": s.pop(k)}), "does not fit|not in use"),
        (lambda s, k: s.update({k: s[k].transpose(0, 1).contiguous()}), "does not fit|not in use"),
        (lambda s, k: s.update({"control_model.x": s[k].clone()}), r"1 of \d+ tensors of no known use"),
        (lambda s, k: s.pop("cond_stage_model.transformer.text_model.final_layer_norm.weight"), "does not fit|lacks 1"),
    ],
    ids=["lost", "renamed", "turned", "stray", "text lost"],
)
def test_a_file_that_is_not_whole_is_refused(folders, tmp_path, change, said):
    state = load_file(folders / "tuned.safetensors")
    change(state, "model.diffusion_model.input_blocks.3.1.transformer_blocks.0.ff.net.2.weight")
    save_file(state, tmp_path / "changed.safetensors")
    with pytest.raises(UserError, match=said) as error:
        load_pair(str(folders / "base"), str(tmp_path / "changed.safetensors"), "")
    assert "\n" not in str(error.value)


def test_a_file_of_another_width_is_refused(folders):
    with pytest.raises(UserError, match="does not fit"):
        load_pair(str(folders / "base"), str(folders / "wide.safetensors"), "")
