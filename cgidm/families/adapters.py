"""A parsed adapter put onto a pipeline's networks exactly: every tensor in its module, or nothing at all."""

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
from .methods import Change, find_scale, fits, inject, peft_factors, read_settings

RESNET_PARTS = {
    "in_layers.2": "conv1",
    "out_layers.3": "conv2",
    "emb_layers.1": "time_emb_proj",
    "skip_connection": "conv_shortcut",
}

# Share of a change, as a norm. Up to it scores in bfloat16 are as near to those in float32 as with the factors kept;
# what a weaker change loses is lost in the activations, merged or not (`python -m eval merging`).
MOST_LOST = 0.25


class Halved:
    """A layer of peft that can also leave the first half of its rows to the layer below: both models in one call."""

    halved = False

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        layer: Any = super()
        if not self.halved:
            return layer.forward(x, *args, **kwargs)
        base, suspect = x.chunk(2)
        alone = self.get_base_layer()(base, *args, **kwargs)  # type: ignore[attr-defined]
        return torch.cat([alone, layer.forward(suspect, *args, **kwargs)])


def twin_of(network: nn.Module) -> nn.Module:
    """Another network with the very same weights, not copies: an adapter put onto it leaves `network` as it is."""
    weights = [*network.parameters(), *network.buffers()]
    return copy.deepcopy(network, memo={id(weight): weight for weight in weights})


def adapted_layers(network: nn.Module) -> list[Any]:
    """Those that an adapter was put over."""
    return [m for m in network.modules() if isinstance(m, BaseTunerLayer)]


def merge(network: nn.Module) -> None:
    """Every adapter's change added to a copy of the weight that it changes: the network costs what a whole one costs.

    Where half precision would round away more than `MOST_LOST` of a change, the layer keeps its factors. The weights
    themselves, which a twin may have too, stay as they are.
    """
    for layer in adapted_layers(network):
        below = layer.get_base_layer()
        own = below.weight.detach()
        below.weight = nn.Parameter(own.float().clone(), requires_grad=False)
        layer.merge()
        exact = below.weight.detach()
        rounded = exact.to(own.dtype)
        if (rounded.float() - exact).norm() <= MOST_LOST * (exact - own.float()).norm():
            below.weight = nn.Parameter(rounded, requires_grad=False)
        else:
            layer.unmerge()
            below.weight = nn.Parameter(own, requires_grad=False)


def apply_adapter(pipeline: Any, checkpoint: Checkpoint) -> None:
    """Put the adapter of `checkpoint` onto `pipeline`.

    Raises:
        UserError: if it cannot be loaded exactly, or one of its modules has no place in the base.
    """
    adapter, name = checkpoint.adapter, checkpoint.name
    assert adapter is not None
    state = {key: tensor.float() for key, tensor in load_file(checkpoint.fetch()).items()}
    config, metadata, components = checkpoint.config, checkpoint.metadata, adapter.count()
    _check_numbers(name, adapter, state)
    settings = {c: read_settings(name, adapter.method, c, config, metadata) for c in components}
    places = {c: find_places(getattr(pipeline, c, None), c, adapter.dialect) for c in components}
    changes: dict[str, dict[str, Change]] = {c: {} for c in components}
    lost, unfit = [], []
    for (component, module), parts in adapter.modules.items():
        place = places[component].get(module)
        if place is None:
            lost.append(f"{component} {module}")
            continue
        if place in changes[component]:
            raise UserError(f"{name} changes {place:.120} of the {component} under two names; accepted: one of them")
        target: Any = getattr(pipeline, component).get_submodule(place)
        factors = {part: state[key] for part, key in parts.items()}
        shapes = {part: tuple(factor.shape) for part, factor in factors.items()}
        alpha, rank, shape = factors.pop("alpha", None), find_rank(shapes), change_shape(shapes)
        if shape is None or not fits(adapter.method, shape, target.weight.shape):
            unfit.append(f"{module}: {shape}, base {tuple(target.weight.shape)}")
            continue
        scale = find_scale(name, adapter.method, settings[component], module, rank, alpha)
        changes[component][place] = Change(peft_factors(factors, target), scale, rank or 1)
    if lost or unfit:
        _refuse(checkpoint, len(adapter.modules), lost, unfit)
    for component, placed in changes.items():
        inject(getattr(pipeline, component), adapter.method, placed)


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


def find_places(network: Any, component: str, dialect: str) -> dict[str, str]:
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


def _check_numbers(name: str, adapter: Adapter, state: Mapping[str, Tensor]) -> None:
    """Refuse numbers that are not finite, and magnitudes of the inputs: peft's DoRA has them of the outputs."""
    broken = [key for key, tensor in state.items() if not tensor.isfinite().all()]
    if broken:
        raise UserError(
            f"{name} holds numbers that are not finite in {len(broken)} of {len(state)} tensors (first: "
            f"{broken[0]:.160}); accepted: finite numbers"
        )
    axes = {}
    for (_, module), parts in adapter.modules.items():
        shapes = {part: tuple(state[key].shape) for part, key in parts.items()}
        if "magnitude" in shapes:
            axes[module] = magnitude_axis(shapes["magnitude"], change_shape(shapes), adapter.dialect)
    odd = [module for module, axis in axes.items() if axis != "output"]
    if odd:
        raise UserError(
            f"{name} is a DoRA whose magnitudes are per input in {len(odd)} of {len(axes)} modules (first: "
            f"{odd[0]:.120}), which is not computed here; accepted: magnitudes per output (wd_on_out in LyCORIS)"
        )


def _refuse(checkpoint: Checkpoint, total: int, lost: list[str], unfit: list[str]) -> None:
    said = [f"{len(lost)} are not in the base (first: {lost[0]:.120})"] if lost else []
    said += [f"{len(unfit)} have another shape ({unfit[0]:.160})"] if unfit else []
    family = guess_base(checkpoint).family
    cause = f"it looks made for {family}" if family else "it was probably made for another base"
    raise UserError(
        f"{checkpoint.name} changes {total} modules, of which {' and '.join(said)}: {cause}; "
        "accepted: an adapter of which every module fits the base"
    )
