"""Which kernels a network computes with, where the libraries' own choice is slow."""

from typing import Any

import torch
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

FEW_CELLS = 1024  # of a latent: above, whole tables of attention would take more memory than they save time


def choose_kernels(network: Any, device: torch.device, dtype: torch.dtype) -> None:
    """Let attention be plain matrix products where a fused kernel is the slower one: in bfloat16 on a CPU.

    There its way back has a fixed cost for each head and row (torch 2.14): a quarter of an evaluation of the embedded
    model, whose tables of attention are small. Networks with attention of another kind stay as they are.
    """
    if device.type != "cpu" or dtype != torch.bfloat16 or not hasattr(network, "attn_processors"):
        return
    fused = all(type(p) is AttnProcessor2_0 for p in network.attn_processors.values())
    if fused and network.config.sample_size**2 <= FEW_CELLS:
        network.set_attn_processor(AttnProcessor())
