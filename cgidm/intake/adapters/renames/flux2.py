"""FLUX.2 (dev and klein): the names of Black Forest Labs' code, and parts of what diffusers fuses.

https://github.com/black-forest-labs/flux2, `src/flux2/model.py`; as in diffusers' conversion of single files.
"""

from .rename import ADDED_QKV, FUSED, TO_QKV, Rename, inside, rename

PARALLEL = ("attn.to_qkv_mlp_proj",)  # q, k, v, and both halves of the feed-forward's first layer
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
        "img_mlp.0": "ff.linear_in",
        "img_mlp.2": "ff.linear_out",
        "txt_mlp.0": "ff_context.linear_in",
        "txt_mlp.2": "ff_context.linear_out",
    }
)
SINGLE = rename(
    {
        "linear1": PARALLEL,
        "linear2": "attn.to_out",
        "norm.query_norm": "attn.norm_q",
        "norm.key_norm": "attn.norm_k",
    }
)
# parts of the fused layer, as ComfyUI names those of FLUX's single blocks
SPLIT = (
    *(Rename(name, PARALLEL, rows=(i, i + 1)) for i, name in enumerate(TO_QKV)),
    Rename("attn.to_qkv", PARALLEL, rows=(0, 3)),
    Rename("proj_mlp", PARALLEL, rows=(3, None)),
)
FLUX_2 = (
    *inside("double_blocks.{}", "transformer_blocks.{}", DOUBLE),
    *inside("transformer_blocks.{}", "transformer_blocks.{}", FUSED),
    *inside("single_blocks.{}", "single_transformer_blocks.{}", SINGLE),
    Rename("linear1_qkv", PARALLEL, rows=(0, 3)).inside("single_blocks.{}", "single_transformer_blocks.{}"),
    *inside("single_transformer_blocks.{}", "single_transformer_blocks.{}", SPLIT),
    *rename(
        {
            "img_in": "x_embedder",
            "txt_in": "context_embedder",
            "time_in.in_layer": "time_guidance_embed.timestep_embedder.linear_1",
            "time_in.out_layer": "time_guidance_embed.timestep_embedder.linear_2",
            "guidance_in.in_layer": "time_guidance_embed.guidance_embedder.linear_1",
            "guidance_in.out_layer": "time_guidance_embed.guidance_embedder.linear_2",
            "double_stream_modulation_img.lin": "double_stream_modulation_img.linear",
            "double_stream_modulation_txt.lin": "double_stream_modulation_txt.linear",
            "single_stream_modulation.lin": "single_stream_modulation.linear",
            "final_layer.linear": "proj_out",
        }
    ),
    Rename("final_layer.adaLN_modulation.1", ("norm_out.linear",), swapped=True),
)
