"""A LoRA of one module, as peft's layout has it."""

import torch
from safetensors.torch import save_file

RANK = 2


def save_lora(path, module, out, into, notes=None, seed=0):
    """Write random factors for `module` (component.name) to `path`, with alpha = rank."""
    g = torch.Generator().manual_seed(seed)
    down, up = torch.randn(RANK, into, generator=g), torch.randn(out, RANK, generator=g)
    state = {"lora_A.weight": down, "lora_B.weight": up, "alpha": torch.tensor(float(RANK))}
    save_file({f"{module}.{part}": tensor for part, tensor in state.items()}, path, notes)
    return str(path)
