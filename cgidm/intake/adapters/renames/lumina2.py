"""Lumina 2: the names of its own code, https://github.com/Alpha-VLLM/Lumina-Image-2.0, `models/model.py`."""

from .rename import inside, rename

BLOCK = rename(
    {
        "attention.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
        "attention.out": "attn.to_out.0",
        "attention.q_norm": "attn.norm_q",
        "attention.k_norm": "attn.norm_k",
        **{f"feed_forward.w{i}": f"feed_forward.linear_{i}" for i in (1, 2, 3)},
        "adaLN_modulation.1": "norm1.linear",
        "attention_norm1": "norm1.norm",
        "attention_norm2": "norm2",
    }
)
STACKS = ("layers.{}", "noise_refiner.{}", "context_refiner.{}")
LUMINA_2 = (
    *(row for stack in STACKS for row in inside(stack, stack, BLOCK)),
    *inside("context_refiner.{}", "context_refiner.{}", rename({"attention_norm1": "norm1"})),
    *rename(
        {
            "cap_embedder.0": "time_caption_embed.caption_embedder.0",
            "cap_embedder.1": "time_caption_embed.caption_embedder.1",
            "t_embedder.mlp.0": "time_caption_embed.timestep_embedder.linear_1",
            "t_embedder.mlp.2": "time_caption_embed.timestep_embedder.linear_2",
            "final_layer.adaLN_modulation.1": "norm_out.linear_1",
            "final_layer.linear": "norm_out.linear_2",
        }
    ),
)
