"""Krea 2: the names of its own code, as diffusers and ComfyUI (`krea2_to_diffusers`) convert them."""

from .rename import FUSED_QKV, inside, rename

BLOCK = rename(
    {
        **{f"attn.w{p}": f"attn.to_{p}" for p in "qkv"},
        "attn.wo": "attn.to_out.0",
        "attn.gate": "attn.to_gate",
        **{f"mlp.{part}": f"ff.{part}" for part in ("gate", "up", "down")},
    }
)
# some exports leave out the number of the output's layer
SHORT = rename({"attn.to_out": "attn.to_out.0"})
TEXT = tuple(f"{kind}_blocks.{{}}" for kind in ("layerwise", "refiner"))
KREA_2 = (
    *inside("blocks.{}", "transformer_blocks.{}", BLOCK),
    *inside("transformer_blocks.{}", "transformer_blocks.{}", (*SHORT, *FUSED_QKV)),
    *(row for kind in TEXT for row in inside(f"txtfusion.{kind}", f"text_fusion.{kind}", BLOCK)),
    *(row for kind in TEXT for row in inside(f"text_fusion.{kind}", f"text_fusion.{kind}", SHORT)),
    *rename(
        {
            "first": "img_in",
            "tmlp.0": "time_embed.linear_1",
            "tmlp.2": "time_embed.linear_2",
            "tproj.1": "time_mod_proj",
            "txtmlp.1": "txt_in.linear_1",
            "txtmlp.3": "txt_in.linear_2",
            "txtfusion.projector": "text_fusion.projector",
            "last.linear": "final_layer.linear",
        }
    ),
)
