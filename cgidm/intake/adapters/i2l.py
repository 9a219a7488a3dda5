"""LoRAs that were made from pictures in one pass of a network (i2L), without training: known by their names alone.

Modules of each stack of blocks, and the number of blocks: https://github.com/modelscope/DiffSynth-Studio,
`diffsynth/models/z_image_image2lora.py`, `qwen_image_image2lora.py`. Several pictures are joined along the rank
(`utils/lora/merge.py`).
"""

from collections.abc import Mapping

from ..header import TensorInfo

BLOCKS = {
    "Z-Image": {"layers": 30, "context_refiner": 2, "noise_refiner": 2},
    "Qwen-Image": {"transformer_blocks": 60},
}
MODULES = {
    "Z-Image": (*(f"attention.to_{p}" for p in ("q", "k", "v", "out.0")), *(f"feed_forward.w{i}" for i in (1, 2, 3))),
    "Qwen-Image": (
        *(f"attn.{p}" for p in ("to_q", "to_k", "to_v", "to_out.0", "to_add_out")),
        *(f"attn.add_{p}_proj" for p in "qkv"),
        *(f"{kind}_{part}" for kind in ("img", "txt") for part in ("mlp.net.2", "mod.1")),
    ),
}


def find_i2l_model(tensors: Mapping[str, TensorInfo]) -> str | None:
    """The model whose i2L writes exactly these names, "Z-Image" or "Qwen-Image"; None if none does.

    A hint, not a proof: a training of the same library on its usual modules may be renamed to this.

    Args:
        tensors: the file's header.
    """
    for model, blocks in BLOCKS.items():
        modules = [f"{b}.{i}.{m}" for b, count in blocks.items() for i in range(count) for m in MODULES[model]]
        if tensors.keys() == {f"{module}.lora_{side}.weight" for module in modules for side in "AB"}:
            return model
    return None
