"""SD 3 and 3.5: the names of Stability's code, https://github.com/Stability-AI/sd3.5, `mmditx.py`."""

from .rename import ADDED_QKV, FUSED, TO_QKV, Rename, inside, rename

BLOCK = (
    *rename(
        {
            "x_block.attn.qkv": TO_QKV,
            "context_block.attn.qkv": ADDED_QKV,
            "x_block.attn2.qkv": tuple(name.replace("attn", "attn2") for name in TO_QKV),
            "x_block.attn.proj": "attn.to_out.0",
            "context_block.attn.proj": "attn.to_add_out",
            "x_block.attn2.proj": "attn2.to_out.0",
            **{
                f"{block}.{attn}.ln_{p}": f"{attn}.norm_{added}{p}"
                for block, attn, added in (
                    ("x_block", "attn", ""),
                    ("context_block", "attn", "added_"),
                    ("x_block", "attn2", ""),
                )
                for p in "qk"
            },
            "x_block.mlp.fc1": "ff.net.0.proj",
            "x_block.mlp.fc2": "ff.net.2",
            "context_block.mlp.fc1": "ff_context.net.0.proj",
            "context_block.mlp.fc2": "ff_context.net.2",
            "x_block.adaLN_modulation.1": "norm1.linear",
        }
    ),
    Rename("context_block.adaLN_modulation.1", ("norm1_context.linear",), swapped=True),  # swapped in the last block
)
EMBEDDERS = {"t_embedder": "timestep_embedder", "y_embedder": "text_embedder"}
SD_3 = (
    *inside("joint_blocks.{}", "transformer_blocks.{}", BLOCK),
    *inside("transformer_blocks.{}", "transformer_blocks.{}", FUSED),
    *(
        row
        for theirs, ours in EMBEDDERS.items()
        for row in inside(theirs, f"time_text_embed.{ours}", rename({"mlp.0": "linear_1", "mlp.2": "linear_2"}))
    ),
    *rename({"x_embedder.proj": "pos_embed.proj", "final_layer.linear": "proj_out"}),
    Rename("final_layer.adaLN_modulation.1", ("norm_out.linear",), swapped=True),
)
