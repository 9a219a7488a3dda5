"""Choose faster attention kernels where the libraries' default is slow."""

from typing import Any

import torch
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

FEW_CELLS = 1024  # cells of a latent; above this, full attention matrices cost too much memory


def choose_kernels(network: Any, device: torch.device, dtype: torch.dtype) -> None:
    """Compute attention by plain matrix products where the fused kernel is slower: in bfloat16 on a CPU.

    There the fused kernel's backward pass has a fixed cost per head and row (torch 2.14). For the embedded model, whose
    attention matrices are small, it is a quarter of an evaluation. Other kinds of attention are left unchanged.
    """
    if device.type != "cpu" or dtype != torch.bfloat16 or not hasattr(network, "attn_processors"):
        return
    fused = all(type(p) is AttnProcessor2_0 for p in network.attn_processors.values())
    if fused and network.config.sample_size**2 <= FEW_CELLS:
        network.set_attn_processor(AttnProcessor())
