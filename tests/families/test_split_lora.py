"""LoRAs of query, key and value that are stored as one: read as strongly as they were trained, and said."""

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from cgidm.families.adapters import apply_adapter, share_weights
from cgidm.intake.layout import open_checkpoint
from tests.support.flow_formats import FLOW_FORMATS
from tests.support.flow_networks import answer, tiny_transformer

FORM = next(form for form in FLOW_FORMATS if form.name.endswith("split_qkv") and form.family == "FLUX")
QKV = "lora_unet_double_blocks_0_img_attn_qkv"
LOADED = {
    f"{QKV}.": 1 / 3,
    "lora_unet_double_blocks_1_txt_attn_qkv.": 1 / 3,
    "lora_unet_single_blocks_1_linear1.": 1 / 4,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("split")
    FORM.write(folder, tiny_transformer("FLUX"))
    return folder


def adapted(folder, as_loaded=False):
    pipeline = SimpleNamespace(transformer=share_weights(tiny_transformer("FLUX")))
    given = str(folder / "lora.safetensors")
    notes = apply_adapter(pipeline, open_checkpoint(given, as_loaded=as_loaded))
    return answer("FLUX", pipeline.transformer), notes


def altered(folder, to, **tensors):
    """The file with other tensors, by the ending of their names after the first fused layer's."""
    to.mkdir(exist_ok=True)
    state = load_file(folder / "lora.safetensors")
    for name, change in tensors.items():
        key = next(k for k in state if k.startswith(QKV) and name in k)
        state[key] = change(state[key].clone())
    save_file(state, to / "lora.safetensors")
    return to


def weaker(folder, to):
    """What other programs compute: each fused layer's change times 1/3 or 1/4, in a file with its alpha raised."""
    to.mkdir()
    state = load_file(folder / "lora.safetensors")
    for start, share in LOADED.items():
        for key in [k for k in state if k.startswith(start)]:
            state[key] = state[key] / share if key.endswith("alpha") else state[key]
            state[key] = state[key] * share if "lora_up" in key else state[key]
    save_file(state, to / "lora.safetensors")
    return to


def test_it_is_read_as_it_was_trained_and_said(folder):
    _, notes = adapted(folder)
    assert [n.code for n in notes] == ["families.split_restored"]
    assert notes[0].params["count"] == 3 and notes[0].params["of"] == len(FORM.layers)


def test_as_loaded_it_is_what_other_programs_compute(folder, tmp_path):
    given, notes = adapted(folder, as_loaded=True)
    assert [n.code for n in notes] == ["families.split_as_loaded"]
    expected, silent = adapted(weaker(folder, tmp_path / "weaker"))
    assert silent == () and (given - expected).abs().max() < 1e-5
    assert (given - adapted(folder)[0]).abs().max() > 1e-2


def test_a_converters_blocks_whose_alpha_was_raised_are_right_as_they_stand(folder, tmp_path):
    """`convert_flux_lora.py` writes such files; alpha is each layer's rank there."""
    state = load_file(folder / "lora.safetensors")
    ranks = {k.removesuffix(".lora_down.weight"): len(v) for k, v in state.items() if k.endswith("lora_down.weight")}
    converted = state | {f"{module}.alpha": torch.tensor(float(rank)) for module, rank in ranks.items()}
    save_file(converted, tmp_path / "lora.safetensors")
    given, notes = adapted(tmp_path)
    assert notes == ()
    plain = {k: v for k, v in state.items() if not k.endswith("alpha")}  # without alphas the scale is 1
    save_file(plain, tmp_path / "lora.safetensors")
    assert torch.equal(adapted(tmp_path)[0], given)


def test_blocks_of_one_rank_are_read_as_the_file_says(folder, tmp_path):
    """A converter that raised alpha 2 of rank 4 to 6 of rank 12 writes the same numbers as `split_qkv` with alpha 6."""
    state = load_file(folder / "lora.safetensors")
    alike = {key: value for key, value in state.items() if key.startswith(tuple(k for k in LOADED if "_qkv" in k))}
    save_file(alike, tmp_path / "lora.safetensors")
    assert len({len(v) for k, v in alike.items() if k.endswith("lora_down.weight")}) == 1
    assert adapted(tmp_path)[1] == ()


def filled(up):
    up[0, -1] = 0.1
    return up


def emptied(up):
    up[:, : len(up[0]) // 3] = 0
    return up


@pytest.mark.parametrize("change", [filled, emptied])
def test_a_layer_that_is_no_blocks_is_an_ordinary_lora(folder, tmp_path, change):
    _, notes = adapted(altered(folder, tmp_path / "other", lora_up=change))
    assert [(n.code, n.params["count"]) for n in notes] == [("families.split_restored", 2)]
