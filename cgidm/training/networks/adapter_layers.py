"""The adapter of a training: peft's layers in a pipeline, and the file that trainers publish of them."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoHaConfig, LoKrConfig, LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor, nn

from ...errors import UserError
from ..settings import TrainerSettings

FILE = "pytorch_lora_weights.safetensors"
LAYERS: Mapping[str, tuple[str, ...]] = {  # of a UNet
    "all": ("to_q", "to_k", "to_v", "to_out.0", "conv1", "conv2", "proj_in", "proj_out"),
    "everything": (
        *("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out"),
        *("conv1", "conv2", "conv_shortcut", "time_emb_proj"),
    ),
    "attention": ("to_q", "to_k", "to_v", "to_out.0"),
    # kohya's `networks.lora` names whole transformer blocks
    "transformer": ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out"),
}
TEXT_LAYERS = (
    *("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"),  # CLIP's
    *("query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense"),  # XLM-R's
)
NORM = re.compile(r"(?:^|\.)(?:norm\w*|adaLN\w*|\w*modulation\w*)(?:\.|$)")  # what trainers leave out of a block
ATTENTION = re.compile(r"attn|attention")


def add_adapter(trainee: Any, settings: TrainerSettings) -> list[nn.Module]:
    """Put an adapter into the trainee's network, and into its text encoders if the settings say so.

    Args:
        trainee: its `network` and `encoders` are changed.
        settings: of the training.

    Returns:
        The modules whose adapter is trained, the network first.

    Raises:
        UserError: if a text encoder is to be trained, and the family has none that is.
    """
    trainee.network.add_adapter(_config(settings, adapted_layers(trainee.network, settings.layers)))
    if not settings.text_encoder:
        return [trainee.network]
    if not trainee.encoders:
        raise UserError("training.no_text_encoder")
    for encoder in trainee.encoders.values():
        encoder.add_adapter(_config(settings, TEXT_LAYERS))
    return [trainee.network, *trainee.encoders.values()]


def adapted_layers(network: nn.Module, layers: str) -> tuple[str, ...]:
    """The names of the layers that an adapter changes, or the ends of names.

    A transformer has no convolutions: of it "attention" are the linear layers of attention in its blocks, anything else
    is every linear layer of the blocks but those that compute scales and shifts of norms. ai-toolkit's and kohya's
    LoRAs of FLUX are so.
    """
    if type(network).__name__.startswith("UNet"):
        return LAYERS[layers]
    blocks = [name for name, part in network.named_children() if isinstance(part, nn.ModuleList)]
    linear = [
        name
        for name, part in network.named_modules()
        if isinstance(part, nn.Linear) and name.partition(".")[0] in blocks and not NORM.search(name)
    ]
    return tuple(n for n in linear if layers != "attention" or ATTENTION.search(n))


def _config(settings: TrainerSettings, layers: tuple[str, ...]) -> LoraConfig | LoHaConfig | LoKrConfig:
    # peft declares a whole number, and computes with any
    alpha: Any = settings.rank if settings.alpha is None else settings.alpha
    match settings.adapter:
        case "lora" | "dora":
            weight_decomposed = settings.adapter == "dora"
            return LoraConfig(
                r=settings.rank, lora_alpha=alpha, target_modules=list(layers), use_dora=weight_decomposed
            )
        case "loha":
            return LoHaConfig(r=settings.rank, alpha=alpha, target_modules=list(layers))
        case "lokr":
            return LoKrConfig(r=settings.rank, alpha=alpha, target_modules=list(layers))


@contextmanager
def falling_rank(trainee: Any, settings: TrainerSettings) -> Iterator[Any]:
    """T-LoRA: the more noise, the fewer of the adapter's ranks take part. Yields what is called with each step's t.

    Of `rank` r at time t of T, m + floor(((T - t) / T) ** rank_decay * (r - m)) take part, where m is the half of r
    (Eq. 3 of arXiv 2507.05964).
    """
    if settings.rank_decay is None:
        yield lambda t: None
        return
    total, decay, current = trainee.timesteps, settings.rank_decay, {}

    def choose(t: Tensor) -> None:
        least = max(1, settings.rank // 2)
        current["ranks"] = least + (((total - t.float()) / total) ** decay * (settings.rank - least)).floor()

    def mask(module: nn.Module, given: Any, out: Tensor) -> Tensor:
        takes_part = torch.arange(settings.rank, device=out.device) < current["ranks"].to(out.device)[:, None]
        shape = (len(out), settings.rank, 1, 1) if out.dim() == 4 else (len(out), 1, settings.rank)
        return out * takes_part.view(shape)

    downs = [m for name, m in trainee.network.named_modules() if name.endswith("lora_A.default")]
    hooks = [m.register_forward_hook(mask) for m in downs]
    try:
        yield choose
    finally:
        for hook in hooks:
            hook.remove()


def save_adapter(trainee: Any, out: Path, settings: TrainerSettings) -> None:
    """Write the adapter in half precision, under diffusers' names.

    Args:
        trainee: the trained pipeline.
        out: the folder.
        settings: of the training. Alpha stands in the file if they state it.
    """
    parts = {trainee.name: trainee.network} | (trainee.encoders if settings.text_encoder else {})
    state = {
        f"{name}.{key}": value.half().contiguous().clone()
        for name, part in parts.items()
        for key, value in get_peft_model_state_dict(part).items()
    }
    if settings.alpha is not None or settings.adapter in ("loha", "lokr"):
        alpha = torch.tensor(float(settings.rank if settings.alpha is None else settings.alpha))
        modules = {_module(key) for key in state}
        state |= {f"{module}.alpha": alpha.clone() for module in modules}
    out.mkdir(parents=True, exist_ok=True)
    save_file(state, out / FILE, {"format": "pt"})


def _module(key: str) -> str:
    """The module that a tensor belongs to."""
    for mark in (".lora_", ".hada_", ".lokr_"):
        if mark in key:
            return key.partition(mark)[0]
    raise AssertionError(f"{key} is of no adapter")
