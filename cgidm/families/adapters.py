"""A parsed adapter put onto a pipeline's networks exactly: every tensor in its module, or nothing at all."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from peft.utils.other import get_pattern_key
from safetensors.torch import load_file
from torch import Tensor, nn

from ..errors import UserError
from ..intake.family import guess_base
from ..intake.layout import Checkpoint

NAME = "suspect"
LOADED_EXACTLY = ("LoRA", "LoCon")
NOTED = "lora_adapter_metadata"  # where diffusers writes its configuration into a file's header
# settings of peft that change what an adapter computes, with the values under which it is a plain LoRA
PLAIN = {
    "use_dora": False,
    "lora_bias": False,
    "fan_in_fan_out": False,
    "modules_to_save": None,
    "layer_replication": None,
}
RESNET_PARTS = {
    "in_layers.2": "conv1",
    "out_layers.3": "conv2",
    "emb_layers.1": "time_emb_proj",
    "skip_connection": "conv_shortcut",
}


@dataclass(frozen=True, eq=False)
class _Change:
    """What an adapter does to one module: weight + scale * up @ down."""

    down: Tensor
    up: Tensor
    scale: float


class Switch:
    """The adapter of some networks, on or off. Off, the networks compute what they did without it, bit for bit."""

    def __init__(self, networks: list[nn.Module]):
        self.layers = [m for n in networks for m in n.modules() if isinstance(m, LoraLayer)]
        self.weights = [p for layer in self.layers for p in layer.parameters()]

    def __call__(self, on: bool) -> None:
        wanted = [p.requires_grad for p in self.weights]
        for layer in self.layers:
            layer.enable_adapters(on)
        for p, requires_grad in zip(self.weights, wanted, strict=True):
            p.requires_grad_(requires_grad)  # peft makes the adapter trainable whenever it switches it on


def apply_adapter(pipeline: Any, checkpoint: Checkpoint) -> Switch:
    """Put the adapter of `checkpoint` onto `pipeline`; returns its switch, which is on.

    Raises:
        UserError: if its method cannot be loaded exactly, or one of its modules has no place in the base.
    """
    adapter, path = checkpoint.adapter, checkpoint.name
    assert adapter is not None
    if adapter.method not in LOADED_EXACTLY:
        raise UserError(f"{path} is a {adapter.method}: recognised, but it cannot be judged; accepted: LoRA, LoCon")
    state = load_file(checkpoint.fetch())
    changes: dict[str, dict[str, _Change]] = {}
    lost, unfit = [], []
    places = {c: _places(getattr(pipeline, c, None), c, adapter.dialect) for c, _ in adapter.modules}
    for (component, module), parts in adapter.modules.items():
        place = places[component].get(module)
        if place is None:
            lost.append(f"{component} {module}")
            continue
        target: Any = getattr(pipeline, component).get_submodule(place)
        down, up = _fitted(target, state, parts)
        if _product_shape(down, up) != target.weight.shape:
            unfit.append(f"{module}: {_product_shape(down, up)}, base {tuple(target.weight.shape)}")
            continue
        scale = _scale(checkpoint, component, place, down.shape[0], state.get(parts.get("alpha", "")))
        changes.setdefault(component, {})[place] = _Change(down, up, scale)
    if lost or unfit:
        _refuse(checkpoint, len(adapter.modules), lost, unfit)
    for component, placed in changes.items():
        _inject(getattr(pipeline, component), placed)
    return Switch([getattr(pipeline, component) for component in changes])


def sgm_names(unet: Any) -> dict[str, str]:
    """Module names of Stability's own code, which kohya uses for SDXL, to those of diffusers' UNet."""
    layers = unet.config.layers_per_block
    found = {"input_blocks.0.0": "conv_in", "out.2": "conv_out"}
    for i, part in ((0, 1), (2, 2)):
        found[f"time_embed.{i}"] = f"time_embedding.linear_{part}"
        found[f"label_emb.0.{i}"] = f"add_embedding.linear_{part}"
    blocks = []  # (their block, our block)
    for i in range(len(unet.down_blocks)):
        start = 1 + i * (layers + 1)
        for j in range(layers):
            blocks.append((f"input_blocks.{start + j}.0", f"down_blocks.{i}.resnets.{j}"))
            blocks.append((f"input_blocks.{start + j}.1", f"down_blocks.{i}.attentions.{j}"))
        if unet.down_blocks[i].downsamplers:
            found[f"input_blocks.{start + layers}.0.op"] = f"down_blocks.{i}.downsamplers.0.conv"
    for i, block in enumerate(unet.up_blocks):
        for j in range(layers + 1):
            blocks.append((f"output_blocks.{i * (layers + 1) + j}.0", f"up_blocks.{i}.resnets.{j}"))
            blocks.append((f"output_blocks.{i * (layers + 1) + j}.1", f"up_blocks.{i}.attentions.{j}"))
        if not block.upsamplers:
            continue
        after = 2 if getattr(block, "attentions", None) else 1
        found[f"output_blocks.{i * (layers + 1) + layers}.{after}.conv"] = f"up_blocks.{i}.upsamplers.0.conv"
    for k, part in enumerate(("resnets.0", "attentions.0", "resnets.1")):
        blocks.append((f"middle_block.{k}", f"mid_block.{part}"))
    for name, module in unet.named_modules():
        for theirs, ours in blocks:
            if name.startswith(f"{ours}.") and isinstance(module, nn.Linear | nn.Conv2d):
                rest = name.removeprefix(f"{ours}.")
                rest = next((t for t, o in RESNET_PARTS.items() if o == rest), rest)
                found[f"{theirs}.{rest}"] = name
    return found


def _places(network: Any, component: str, dialect: str) -> dict[str, str]:
    """Module as the dialect names it -> its name in the network; none if the base has no such network."""
    if network is None:
        return {}
    own = {n: n for n, m in network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}
    names = dict(own)
    if component.startswith("text_encoder"):  # transformers 5 dropped the prefix that files still have
        names |= {f"text_model.{n}": n for n in own}
    if dialect != "kohya":
        return names
    if component == "unet":
        names |= {theirs: ours for theirs, ours in sgm_names(network).items() if ours in own}
    return {n.replace(".", "_"): place for n, place in names.items()}


def _fitted(target: nn.Module, state: Mapping[str, Tensor], parts: Mapping[str, str]) -> tuple[Tensor, Tensor]:
    """Down and up in full precision; a Tucker core folded into down; 1x1 kernels as the target has them."""
    down, up = state[parts["down"]].float(), state[parts["up"]].float()
    if "mid" in parts:
        down = torch.einsum("rskl,si->rikl", state[parts["mid"]].float(), down.flatten(1))
    if isinstance(target, nn.Linear) and down.shape[2:] in ((), (1, 1)):
        return down.flatten(1), up.flatten(1)
    if isinstance(target, nn.Conv2d) and down.ndim == 2:
        return down[..., None, None], up[..., None, None]
    return down, up


def _product_shape(down: Tensor, up: Tensor) -> tuple[int, ...]:
    return (up.shape[0], *down.shape[1:])


def _scale(checkpoint: Checkpoint, component: str, place: str, rank: int, alpha: Tensor | None) -> float:
    """alpha / rank; alpha from the file, else from the configuration beside or inside it, else the rank."""
    if alpha is not None:
        return float(alpha) / rank
    config = _config(checkpoint, component)
    odd = [k for k, plain in PLAIN.items() if config.get(k, plain) not in (plain, [])]
    if odd:
        raise UserError(f"{checkpoint.name} was made with {odd[0]} = {config[odd[0]]!r:.60}; accepted: plain LoRA")
    pattern = config.get("alpha_pattern") or {}
    value = pattern.get(get_pattern_key(list(pattern), place), config.get("lora_alpha", rank))
    return value / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _config(checkpoint: Checkpoint, component: str) -> dict[str, Any]:
    """peft's configuration for one network: adapter_config.json, or what diffusers noted in the header."""
    if checkpoint.config is not None:
        return dict(checkpoint.config)
    try:
        noted = json.loads(checkpoint.metadata.get(NOTED, "{}"))
    except ValueError as error:
        raise UserError(f"{checkpoint.name} has a damaged {NOTED} in its header; accepted: JSON") from error
    prefix = f"{component}."
    return {k.removeprefix(prefix): v for k, v in noted.items() if k.startswith(prefix)}


def _inject(network: nn.Module, changes: Mapping[str, _Change]) -> None:
    ranks = {re.escape(place): change.down.shape[0] for place, change in changes.items()}
    config = LoraConfig(
        r=max(ranks.values()), rank_pattern=ranks, target_modules="|".join(ranks), init_lora_weights=False
    )
    inject_adapter_in_model(config, network, NAME)
    layers = {n: m for n, m in network.named_modules() if isinstance(m, LoraLayer)}
    assert layers.keys() == changes.keys(), "peft adapted other modules than those of the file"
    for place, change in changes.items():
        layer: Any = layers[place]
        with torch.no_grad():
            layer.lora_A[NAME].weight.copy_(change.down)
            layer.lora_B[NAME].weight.copy_(change.up)
        layer.scaling[NAME] = change.scale


def _refuse(checkpoint: Checkpoint, total: int, lost: list[str], unfit: list[str]) -> None:
    said = [f"{len(lost)} are not in the base (first: {lost[0]:.120})"] if lost else []
    said += [f"{len(unfit)} have another shape ({unfit[0]:.160})"] if unfit else []
    family = guess_base(checkpoint).family
    cause = f"it looks made for {family}" if family else "it was probably made for another base"
    raise UserError(
        f"{checkpoint.name} changes {total} modules, of which {' and '.join(said)}: {cause}; "
        "accepted: an adapter of which every module fits the base"
    )
