"""Z-Image: ComfyUI's names, which are those of Lumina's code; Tongyi's own are diffusers'.

`z_image_to_diffusers` in https://github.com/Comfy-Org/ComfyUI, `comfy/utils.py`; `convert_z_image_lora_to_comfy.py` in
https://github.com/kohya-ss/musubi-tuner.
"""

from .rename import inside, rename

BLOCK = rename(
    {
        "attention.qkv": ("attention.to_q", "attention.to_k", "attention.to_v"),
        "attention.out": "attention.to_out.0",
        "attention.to_out": "attention.to_out.0",
        "attention.q_norm": "attention.norm_q",
        "attention.k_norm": "attention.norm_k",
    }
)
STACKS = ("layers.{}", "noise_refiner.{}", "context_refiner.{}")
Z_IMAGE = (
    *(row for stack in STACKS for row in inside(stack, stack, BLOCK)),
    *rename(
        {
            "x_embedder": "all_x_embedder.2-1",
            "final_layer.linear": "all_final_layer.2-1.linear",
            "final_layer.adaLN_modulation.1": "all_final_layer.2-1.adaLN_modulation.1",
        }
    ),
)
