"""Apply a parsed adapter to a pipeline's networks: every tensor in its module, or none at all."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file
from torch import Tensor, nn

from ..errors import UserError
from ..intake.adapters import Adapter, change_shape, find_rank, magnitude_axis
from ..intake.family import guess_base
from ..intake.layout import Checkpoint
from ..messages import Note, note
from .methods import Change, find_scale, fits, inject, peft_factors, read_settings

RESNET_PARTS = {
    "in_layers.2": "conv1",
    "out_layers.3": "conv2",
    "emb_layers.1": "time_emb_proj",
    "skip_connection": "conv_shortcut",
}

# Share of a change that rounding may remove, as a norm. Up to it, scores in bfloat16 are as near to float32 as with
# separate factors. Weaker changes lose accuracy in the activations, merged or not (`python -m eval merging`).
MAX_ROUNDING_LOSS = 0.25


class SplitBatchLayer(nn.Module):
    """An adapted layer for both models in one call: base weights for the first half of the rows, adapter for the rest.

    Args:
        layer: peft's layer; its weights are shared, not copied.
    """

    def __init__(self, layer: BaseTunerLayer) -> None:
        super().__init__()
        self.layer: Any = layer

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Compute the base's rows and the suspect's rows."""
        base, suspect = x.chunk(2)
        below = self.layer.get_base_layer()(base, *args, **kwargs)
        return torch.cat([below, self.layer(suspect, *args, **kwargs)])


def share_weights(network: nn.Module) -> nn.Module:
    """Make another network from the same weight tensors, not copies; an adapter on it leaves `network` unchanged."""
    weights = [*network.parameters(), *network.buffers()]
    return copy.deepcopy(network, memo={id(weight): weight for weight in weights})


def split_batch_network(network: nn.Module) -> nn.Module:
    """Make the network that computes base and suspect in one call, from an adapted network and its weights.

    Returns:
        A network with a `SplitBatchLayer` around each adapted layer; `network` itself if there is no adapted layer.
    """
    if not adapted_layers(network):
        return network
    split = share_weights(network)
    for name, layer in [(n, m) for n, m in split.named_modules() if isinstance(m, BaseTunerLayer)]:
        split.set_submodule(name, SplitBatchLayer(layer))
    return split


def adapted_layers(network: nn.Module) -> list[Any]:
    """List the layers that carry an adapter."""
    return [m for m in network.modules() if isinstance(m, BaseTunerLayer)]


def merge(network: nn.Module, max_loss: float = MAX_ROUNDING_LOSS) -> None:
    """Merge each layer's adapter into a copy of its weight, so that it costs no more than a plain layer.

    A layer keeps its factors if half precision would round away more than `max_loss` of its change. The original
    weights, which the base may share, are not written.

    Args:
        network: the adapted network, changed in place.
        max_loss: norm of what rounding removes, over the norm of the change. Below 0 merges no layer.
    """
    for layer in adapted_layers(network):
        below = layer.get_base_layer()
        own = below.weight.detach()
        below.weight = nn.Parameter(own.float().clone(), requires_grad=False)
        layer.merge()
        exact = below.weight.detach()
        rounded = exact.to(own.dtype)
        if (rounded.float() - exact).norm() <= max_loss * (exact - own.float()).norm():
            below.weight = nn.Parameter(rounded, requires_grad=False)
        else:
            layer.unmerge()
            below.weight = nn.Parameter(own, requires_grad=False)


def apply_adapter(pipeline: Any, checkpoint: Checkpoint) -> None:
    """Apply the adapter of `checkpoint` to `pipeline`, in place.

    Raises:
        UserError: if it cannot be loaded exactly, or the base lacks one of its modules.
    """
    adapter, name = checkpoint.adapter, checkpoint.name
    assert adapter is not None
    state = {key: tensor.float() for key, tensor in load_file(checkpoint.fetch()).items()}
    config, metadata, components = checkpoint.config, checkpoint.metadata, adapter.count()
    _check_numbers(name, adapter, state)
    settings = {c: read_settings(name, adapter.method, c, config, metadata) for c in components}
    targets = {c: find_targets(getattr(pipeline, c, None), c, adapter.dialect) for c in components}
    changes: dict[str, dict[str, Change]] = {c: {} for c in components}
    missing, misshapen = [], []
    for (component, module), parts in adapter.modules.items():
        found = targets[component].get(module)
        if found is None:
            missing.append(f"{component} {module}")
            continue
        if found in changes[component]:
            raise UserError("families.adapter_module_twice", name=name, component=component, module=found[:120])
        target: Any = getattr(pipeline, component).get_submodule(found)
        factors = {part: state[key] for part, key in parts.items()}
        shapes = {part: tuple(factor.shape) for part, factor in factors.items()}
        alpha, rank, shape = factors.pop("alpha", None), find_rank(shapes), change_shape(shapes)
        if shape is None or not fits(adapter.method, shape, target.weight.shape):
            misshapen.append((module, str(shape), str(tuple(target.weight.shape))))
            continue
        scale = find_scale(name, adapter.method, settings[component], module, rank, alpha)
        changes[component][found] = Change(factors=peft_factors(factors, target), scale=scale, rank=rank or 1)
    if missing or misshapen:
        _refuse(checkpoint, len(adapter.modules), missing, misshapen)
    for component, change in changes.items():
        inject(getattr(pipeline, component), adapter.method, change)


def sgm_names(unet: Any) -> dict[str, str]:
    """Map module names of Stability's code, which kohya uses for SDXL, to those of diffusers' UNet."""
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


def find_targets(network: Any, component: str, dialect: str) -> dict[str, str]:
    """Map module names in the adapter's dialect to those in `network`; empty if the base has no such network."""
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
    return {n.replace(".", "_"): target for n, target in names.items()}


def _check_numbers(name: str, adapter: Adapter, state: Mapping[str, Tensor]) -> None:
    """Refuse numbers that are not finite, and DoRA magnitudes per input: peft computes them per output."""
    broken = [key for key, tensor in state.items() if not tensor.isfinite().all()]
    if broken:
        raise UserError(
            "families.not_finite", name=name, count=len(broken), total=len(state), first=f"{broken[0]:.160}"
        )
    axes = {}
    for (_, module), parts in adapter.modules.items():
        shapes = {part: tuple(state[key].shape) for part, key in parts.items()}
        if "magnitude" in shapes:
            axes[module] = magnitude_axis(shapes["magnitude"], change_shape(shapes), adapter.dialect)
    odd = [module for module, axis in axes.items() if axis != "output"]
    if odd:
        raise UserError("families.dora_per_input", name=name, count=len(odd), total=len(axes), first=f"{odd[0]:.120}")


def _refuse(checkpoint: Checkpoint, total: int, missing: list[str], misshapen: list[tuple[str, str, str]]) -> None:
    problems: list[Note] = []
    if missing:
        problems.append(note("families.modules_missing", count=len(missing), first=f"{missing[0]:.120}"))
    if misshapen:
        module, given, expected = misshapen[0]
        problems.append(
            note(
                "families.modules_misshapen",
                count=len(misshapen),
                first=f"{module:.120}",
                given=given,
                expected=expected,
            )
        )
    family = guess_base(checkpoint).family
    cause = note("families.made_for", family=str(family)) if family else note("families.made_for_another_base")
    raise UserError("families.adapter_does_not_fit", name=checkpoint.name, total=total, problems=problems, cause=cause)
