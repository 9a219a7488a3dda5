"""FLUX.1 and Chroma: the names of Black Forest Labs' code, and of trainers that write neither these nor diffusers'.

Black Forest Labs: https://github.com/black-forest-labs/flux, `src/flux/modules/layers.py`; Chroma:
https://github.com/lodestone-rock/flow. Open Model Initiative (OneTrainer): `modules/util/convert/lora/` in
https://github.com/Nerogar/OneTrainer. DiffSynth: `diffsynth/utils/lora/flux.py` in
https://github.com/modelscope/DiffSynth-Studio. XLabs: https://github.com/XLabs-AI/x-flux.
"""

from .rename import ADDED_QKV, FUSED, FUSED_QKV, TO_QKV, Rename, inside, rename

LINEAR1 = (*TO_QKV, "proj_mlp")
DOUBLE = rename(
    {
        "img_attn.qkv": TO_QKV,
        "txt_attn.qkv": ADDED_QKV,
        "img_attn.proj": "attn.to_out.0",
        "txt_attn.proj": "attn.to_add_out",
        "img_attn.norm.query_norm": "attn.norm_q",
        "img_attn.norm.key_norm": "attn.norm_k",
        "txt_attn.norm.query_norm": "attn.norm_added_q",
        "txt_attn.norm.key_norm": "attn.norm_added_k",
        "img_mlp.0": "ff.net.0.proj",
        "img_mlp.2": "ff.net.2",
        "txt_mlp.0": "ff_context.net.0.proj",
        "txt_mlp.2": "ff_context.net.2",
        "img_mod.lin": "norm1.linear",
        "txt_mod.lin": "norm1_context.linear",
        # Open Model Initiative: the parts of a fused layer have numbers
        **{f"img_attn.qkv.{i}": name for i, name in enumerate(TO_QKV)},
        **{f"txt_attn.qkv.{i}": name for i, name in enumerate(ADDED_QKV)},
    }
)
SINGLE = rename(
    {
        "linear1": LINEAR1,
        "linear2": "proj_out",
        "modulation.lin": "norm.linear",
        "norm.query_norm": "attn.norm_q",
        "norm.key_norm": "attn.norm_k",
        **{f"linear1.{i}": name for i, name in enumerate(LINEAR1)},
        "linear1_qkv": TO_QKV,  # ComfyUI, for files of XLabs
        "qkv": TO_QKV,  # XLabs, without its ending
        "proj": "proj_out",
    }
)
DIFFSYNTH = (
    *inside(
        "blocks.{}",
        "transformer_blocks.{}",
        rename(
            {
                "attn.a_to_qkv": TO_QKV,
                "attn.b_to_qkv": ADDED_QKV,
                **{f"attn.a_to_{p}": name for p, name in zip("qkv", TO_QKV, strict=True)},
                **{f"attn.b_to_{p}": name for p, name in zip("qkv", ADDED_QKV, strict=True)},
                "attn.a_to_out": "attn.to_out.0",
                "attn.b_to_out": "attn.to_add_out",
                "ff_a.0": "ff.net.0.proj",
                "ff_a.2": "ff.net.2",
                "ff_b.0": "ff_context.net.0.proj",
                "ff_b.2": "ff_context.net.2",
                "norm1_a.linear": "norm1.linear",
                "norm1_b.linear": "norm1_context.linear",
            }
        ),
    ),
    *inside(
        "single_blocks.{}",
        "single_transformer_blocks.{}",
        rename(
            {
                "to_qkv_mlp": LINEAR1,
                **{f"a_to_{p}": name for p, name in zip("qkv", TO_QKV, strict=True)},
                "proj_in_besides_attn": "proj_mlp",
                "norm.linear": "norm.linear",
                "proj_out": "proj_out",
            }
        ),
    ),
)
EMBEDDING_LAYERS = rename(
    {
        "img_in": "x_embedder",
        "img_in.proj": "x_embedder",
        "txt_in": "context_embedder",
        "final_layer.linear": "proj_out",
    }
)
EMBEDDERS = {"time_in": "timestep_embedder", "vector_in": "text_embedder", "guidance_in": "guidance_embedder"}
LAYERS = {"in_layer": "linear_1", "out_layer": "linear_2"}
BLOCKS = (
    *inside("double_blocks.{}", "transformer_blocks.{}", DOUBLE),
    *inside("single_blocks.{}", "single_transformer_blocks.{}", SINGLE),
    *inside("transformer_blocks.{}", "transformer_blocks.{}", FUSED),
    *inside(
        "single_transformer_blocks.{}",
        "single_transformer_blocks.{}",
        (*FUSED_QKV, *rename(dict.fromkeys(("qkv_mlp", "attn.qkv_mlp", "attn.to_qkv_mlp_proj"), LINEAR1))),
    ),
    *DIFFSYNTH,
)
FLUX = (
    *BLOCKS,
    *EMBEDDING_LAYERS,
    *(
        row
        for theirs, ours in EMBEDDERS.items()
        for row in inside(theirs, f"time_text_embed.{ours}", rename(dict(LAYERS)))
    ),
    Rename("final_layer.adaLN_modulation.1", ("norm_out.linear",), swapped=True),
)
CHROMA = (
    *BLOCKS,
    *EMBEDDING_LAYERS,
    *inside("distilled_guidance_layer.layers.{}", "distilled_guidance_layer.layers.{}", rename(dict(LAYERS))),
)
