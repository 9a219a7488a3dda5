"""What the names of flow transformers' adapters say: the network, the family, and where the alpha stands."""

import pytest

from cgidm.intake.adapters import find_alpha_source, parse_adapter
from cgidm.intake.header import TensorInfo
from tests.support.trainer_keys import LOKR, TrainerKeys, trainer_keys

FAMILIES = {  # a published model -> what may be told from names and widths alone
    "FLUX.1-dev": {"FLUX"},
    "Chroma1": {"FLUX", "Chroma"},  # Chroma is FLUX without modulations, which a file need not change
    "FLUX.2-dev": {"FLUX.2"},
    "FLUX.2-klein-4B": {"FLUX.2"},
    "FLUX.2-klein-9B": {"FLUX.2"},
    "Z-Image": {"Z-Image"},
    "Qwen-Image": {"Qwen-Image"},
    "Krea-2": {"Krea 2"},
    "Lumina-Image-2.0": {"Lumina 2"},
    "SD 3.5 medium": {"SD 3"},
}


@pytest.mark.parametrize("row", trainer_keys(), ids=lambda row: f"{row.trainer}, {row.model}")
def test_the_family_is_told_by_names_and_widths(row: TrainerKeys):
    assert parse_adapter(row.header(), "file").architecture in FAMILIES[row.model]


def pair(key: str, ends: tuple[str, str]) -> dict[str, TensorInfo]:
    return {f"{key}.{ends[0]}": TensorInfo("F32", (2, 8)), f"{key}.{ends[1]}": TensorInfo("F32", (8, 2))}


@pytest.mark.parametrize(
    ("key", "component"),
    [
        ("lora_unet_first", "transformer"),
        ("lora_unet_tproj_1", "transformer"),
        ("lora_unet_last_linear", "transformer"),
        ("lora_unet_txtmlp_3", "transformer"),
        ("lycoris_time_embed_linear_1", "transformer"),
        ("lycoris_time_guidance_embed_timestep_embedder_linear_1", "transformer"),
        ("lora_unet_time_embed_0", "unet"),
        ("lora_unet_time_embedding_linear_1", "unet"),
        ("lora_te3_encoder_block_0_layer_0_SelfAttention_q", "text_encoder_3"),
        ("lora_transformer_proj_out", "transformer"),
        ("text_encoders.qwen3_4b.transformer.model.layers.0.self_attn.q_proj", "another text encoder"),
    ],
)
def test_the_network_is_told_by_the_name(key, component):
    (found,) = parse_adapter(pair(key, ("lora_down.weight", "lora_up.weight")), "file").modules
    assert found[0] == component


@pytest.mark.parametrize(
    ("key", "ends", "dialect", "source"),
    [
        ("blocks.0.attn.a_to_qkv", ("lora_A.default.weight", "lora_B.default.weight"), "DiffSynth", "writer's rule"),
        ("layers.0.attention.to_q", ("lora_A.default.weight", "lora_B.default.weight"), "DiffSynth", "writer's rule"),
        ("layers.0.attention.to_q", ("lora_A.weight", "lora_B.weight"), "peft", "unknown"),
        ("base_model.model.layers.0.attention.to_q", ("lora_A.weight", "lora_B.weight"), "peft", "unknown"),
        (
            "base_model.model.layers.0.attention.to_q",
            ("lora_A.default.weight", "lora_B.default.weight"),
            "peft",
            "unknown",
        ),
        ("diffusion_model.layers.0.attention.to_q", ("lora_A.weight", "lora_B.weight"), "ComfyUI", "writer's rule"),
        ("transformer.layers.0.attention.to_q", ("lora_A.weight", "lora_B.weight"), "diffusers", "writer's rule"),
        ("double_blocks.0.processor.qkv_lora1", ("down.weight", "up.weight"), "diffusers", "writer's rule"),
    ],
)
def test_a_missing_alpha_is_the_rank_where_the_writer_says_so(key, ends, dialect, source):
    adapter = parse_adapter(pair(key, ends), "file")
    assert adapter.dialect == dialect
    assert find_alpha_source(adapter, None, {}, "file") == {"transformer": source}


def test_hunyuan_video_is_not_taken_for_flux():
    ends = ("lora_down.weight", "lora_up.weight")
    header = pair("lora_unet_double_blocks_0_img_attn_qkv", ends) | pair("lora_unet_double_blocks_0_img_mlp_fc1", ends)
    assert parse_adapter(header, "file").architecture == "HunyuanVideo"


def test_an_alpha_beside_lora_a_is_read():
    header = pair("diffusion_model.layers.0.attention.to_q", ("lora_A.weight", "lora_B.weight"))
    header |= {"diffusion_model.layers.0.attention.to_q.alpha": TensorInfo("F32", ())}
    assert find_alpha_source(parse_adapter(header, "file"), None, {}, "file") == {"transformer": "tensors"}


def test_a_lokr_states_its_alpha_in_tensors():
    row = next(row for row in trainer_keys() if row.parts is LOKR)
    assert find_alpha_source(parse_adapter(row.header(), "file"), None, {}, "file")["transformer"] == "tensors"
