"""Apply a parsed adapter to a pipeline's networks: every tensor in its module, or none at all."""

import copy
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ..errors import UserError
from ..intake.adapters import change_shape, find_i2l_model, find_rank, kind_of
from ..intake.family import guess_base
from ..intake.layout import Checkpoint
from ..messages import Note, note
from .added_layer import AddedLayer
from .methods import ADAPTED, Change, fits, inject
from .scale import ScaleReader

RESNET_PARTS = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "emb_layers.1": "time_emb_proj",
    "skip_connection": "conv_shortcut",
}
WEIGHTED = (nn.Linear, nn.Conv2d)
NORMS = (nn.LayerNorm, nn.GroupNorm)
IN_PART = "families.used_in_part"
WHOLE_KINDS = ("Full", "Norms")  # methods whose changes stand in the file as they are
COMPUTED = ("SD 1.x", "SD 2.x", "SDXL", "SD 3", "AltDiffusion")  # families whose networks are computed here

# Share of a change that rounding may remove, as a norm. Up to it, scores in bfloat16 are as near to float32 as with
# separate factors. Weaker changes lose accuracy in the activations, merged or not (`python -m eval merging`).
MAX_ROUNDING_LOSS = 0.25


class SplitBatchLayer(nn.Module):
    """An adapted layer for both models in one call: base weights for the first half of the rows, adapter for the rest.

    Args:
        layer: peft's layer or ours; its weights are shared, not copied.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

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
    for name, layer in [(n, m) for n, m in split.named_modules() if isinstance(m, ADAPTED)]:
        split.set_submodule(name, SplitBatchLayer(layer))
    return split


def adapted_layers(network: nn.Module) -> list[Any]:
    """List the layers that carry an adapter."""
    return [m for m in network.modules() if isinstance(m, ADAPTED)]


def merge(network: nn.Module, max_loss: float = MAX_ROUNDING_LOSS) -> None:
    """Merge each layer's adapter into a copy of its weight, so that it costs no more than a plain layer.

    A layer keeps its factors if half precision would round away more than `max_loss` of its change. The original
    weights, which the base may share, are not written.

    Args:
        network: the adapted network, changed in place.
        max_loss: norm of what rounding removes, over the norm of the change. Below 0 merges no layer.
    """
    for layer in adapted_layers(network):
        if isinstance(layer, AddedLayer):
            _merge_added(layer, max_loss)
            continue
        below = layer.get_base_layer()
        own = below.weight.detach()
        below.weight = nn.Parameter(own.float().clone(), requires_grad=False)
        layer.merge()
        exact = below.weight.detach()
        rounded = exact.to(own.dtype)
        if _keeps(own, exact, max_loss):
            below.weight = nn.Parameter(rounded, requires_grad=False)
        else:
            layer.unmerge()
            below.weight = nn.Parameter(own, requires_grad=False)


def _merge_added(layer: AddedLayer, max_loss: float) -> None:
    pairs = [(layer.weight.detach(), layer.added.weight)]
    if (added := layer.added.bias) is not None:
        own = torch.zeros_like(added, dtype=layer.weight.dtype) if layer.bias is None else layer.bias.detach()
        pairs.append((own, added))
    exact = [own.float() + added for own, added in pairs]
    if all(_keeps(own, changed, max_loss) for (own, _), changed in zip(pairs, exact, strict=True)):
        rounded = [changed.to(own.dtype) for (own, _), changed in zip(pairs, exact, strict=True)]
        layer.merge(rounded[0], rounded[1] if len(rounded) > 1 else None)


def _keeps(own: Tensor, exact: Tensor, max_loss: float) -> bool:
    """Whether rounding `exact` to the type of `own` loses at most `max_loss` of the change."""
    return bool((exact.to(own.dtype).float() - exact).norm() <= max_loss * (exact - own.float()).norm())


def check_family(checkpoint: Checkpoint) -> None:
    """Refuse an adapter of a family that is not computed here, by the family's name.

    Raises:
        UserError: if the names and shapes of its tensors are of such a family.
    """
    adapter = checkpoint.adapter
    if adapter is not None and (model := find_i2l_model(checkpoint.tensors)) is not None:
        raise UserError("families.adapter_i2l", name=checkpoint.name, model=model)
    guess = guess_base(checkpoint)
    if adapter is not None and any(module.startswith("joint_blocks") for _, module in adapter.modules):
        raise UserError("families.stability_names", name=checkpoint.name, family="SD 3")
    if adapter is not None and guess.family is not None and guess.family not in COMPUTED and adapter.architecture:
        raise UserError("families.other_family", name=checkpoint.name, family=guess.family, accepted=list(COMPUTED))


def apply_adapter(
    pipeline: Any, checkpoint: Checkpoint, alpha: float | None = None, *, unchanged: Collection[Any] = ()
) -> tuple[Note, ...]:
    """Apply the adapter of `checkpoint` to `pipeline`, in place, as strongly as `checkpoint.scale` says.

    Args:
        pipeline: whose networks are changed.
        checkpoint: the adapter.
        alpha: the user's statement, for a file that states no alpha.
        unchanged: networks that stay as they are.

    Returns:
        What was assumed of the scale, and which tensors are not in use: none, unless the checkpoint is to be used as
        other programs load it (`Checkpoint.as_loaded`).

    Raises:
        UserError: if it cannot be loaded exactly, or the base lacks one of its modules.
    """
    adapter, name = checkpoint.adapter, checkpoint.name
    assert adapter is not None
    check_family(checkpoint)
    state = _read_state(checkpoint)
    _check_finite(name, state)
    scales = ScaleReader(checkpoint, alpha)
    targets = {c: find_targets(getattr(pipeline, c, None), c) for c in adapter.count()}
    changes: dict[str, dict[str, Change]] = {c: {} for c in targets}
    missing, misshapen, unused = [], [], [*adapter.unread]
    for (component, module), keys in adapter.modules.items():
        found = targets[component].get(module)
        if found is None:
            missing.append(f"{component} {module}")
            unused += keys.values()
            continue
        if found in changes[component]:
            raise UserError("families.adapter_module_twice", name=name, component=component, module=found[:120])
        target: Any = getattr(pipeline, component).get_submodule(found)
        parts = {part: state[key] for part, key in keys.items()}
        shapes = {part: tuple(factor.shape) for part, factor in parts.items()}
        own, rank, shape, kind = (
            parts.pop("alpha", None),
            find_rank(shapes),
            change_shape(shapes),
            kind_of(parts.keys()),
        )
        wanted = tuple(target.weight.shape)
        reshaped = parts.pop("reshape_weight", None)
        if reshaped is not None and tuple(int(n) for n in reshaped.flatten()) != wanted:
            raise UserError("families.reshaped", name=name, module=f"{module:.120}")
        if shape is None or not fits(kind, shape, wanted) or (isinstance(target, NORMS) and kind not in WHOLE_KINDS):
            misshapen.append((module, str(shape), str(wanted)))
            unused += keys.values()
            continue
        value = None if own is None else float(own)
        scale = scales.find(component, module, kind, rank, value) if kind not in WHOLE_KINDS else 1.0
        changes[component][found] = Change(kind, parts, scale, rank or 1, checkpoint.scale)
    if (missing or misshapen) and not (checkpoint.as_loaded and any(changes.values())):
        _refuse(checkpoint, len(adapter.modules), missing, misshapen)
    for component, change in changes.items():
        network = getattr(pipeline, component)
        _check_biases(name, network, change)
        if not any(network is other for other in unchanged):
            inject(network, change)
    return (*scales.notes(), *_left_out(checkpoint, unused))


def _left_out(checkpoint: Checkpoint, unused: Sequence[str]) -> tuple[Note, ...]:
    """The note of an adapter that is used in part."""
    if not unused:
        return ()
    examples = [f"{key:.80}" for key in unused[:3]]
    of = len(checkpoint.tensors)
    return (note(IN_PART, name=checkpoint.name, count=len(unused), of=of, examples=examples),)


def count_unused(notes: Sequence[Note]) -> int:
    """How many tensors of adapters are not in use, by the notes of `apply_adapter`."""
    return sum(n.params["count"] for n in notes if n.code == IN_PART)


def sgm_names(unet: Any, kinds: tuple[type[nn.Module], ...] = WEIGHTED) -> dict[str, str]:
    """Map module names of Stability's code, which kohya uses for SDXL, to those of diffusers' UNet.

    Args:
        unet: diffusers' network.
        kinds: the classes of the modules to map.
    """
    layers = unet.config.layers_per_block
    found = {"input_blocks.0.0": "conv_in", "out.2": "conv_out"}
    if nn.GroupNorm in kinds:
        found["out.0"] = "conv_norm_out"
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
            if name.startswith(f"{ours}.") and isinstance(module, kinds):
                rest = name.removeprefix(f"{ours}.")
                rest = next((t for t, o in RESNET_PARTS.items() if o == rest), rest)
                found[f"{theirs}.{rest}"] = name
    return found


def find_targets(network: Any, component: str) -> dict[str, str]:
    """Map module names, as adapters of any dialect write them, to those in `network`.

    Returns:
        Names with dots and with underscores, of diffusers and of Stability's code; empty if there is no such network.
    """
    if network is None:
        return {}
    own = {n: n for n, m in network.named_modules() if isinstance(m, (*WEIGHTED, *NORMS))}
    names = dict(own)
    if component.startswith("text_encoder"):  # transformers 5 dropped the prefix that files still have
        names |= {f"text_model.{n}": n for n in own}
    if component == "unet":
        sgm = sgm_names(network, (*WEIGHTED, *NORMS))
        names |= {theirs: ours for theirs, ours in sgm.items() if ours in own}
    return names | {n.replace(".", "_"): target for n, target in names.items()}


def _read_state(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Read all tensors, under the keys of the parsed adapter: of several files the folder's name goes before."""
    place, files = checkpoint.fetch(), list(checkpoint.headers)
    if place.is_file():
        return {key: tensor.float() for key, tensor in load_file(place).items()}
    root = f"{checkpoint.root}/" if checkpoint.root else ""
    inside = [file.removeprefix(root) for file in files]
    return {
        f"{file.split('/')[0]}/{key}": tensor.float()
        for file in inside
        for key, tensor in load_file(place / file).items()
    }


def _check_finite(name: str, state: Mapping[str, Tensor]) -> None:
    broken = [key for key, tensor in state.items() if not tensor.isfinite().all()]
    if broken:
        raise UserError(
            "families.not_finite", name=name, count=len(broken), total=len(state), first=f"{broken[0]:.160}"
        )


def _check_biases(name: str, network: nn.Module, changes: Mapping[str, Change]) -> None:
    """Refuse a bias that has no place, and one that only some full differences hold: the others were lost."""
    full = {module: change for module, change in changes.items() if change.kind in WHOLE_KINDS}
    for module, change in changes.items():
        layer: Any = network.get_submodule(module)
        given = {"diff_b", "b_norm"} & change.parts.keys()  # a bias of peft's second factor needs none
        if given and layer.bias is None:
            raise UserError("families.no_bias", name=name, module=f"{module:.120}", part=min(given))
    own: Any = {module: network.get_submodule(module) for module in full}
    biased = {m: bool({"diff_b", "b_norm"} & c.parts.keys()) for m, c in full.items() if own[m].bias is not None}
    for kind in WHOLE_KINDS:
        alike = {module: held for module, held in biased.items() if full[module].kind == kind}
        if 0 < sum(alike.values()) < len(alike):
            first = next(module for module, held in alike.items() if not held)
            have, of = sum(alike.values()), len(alike)
            raise UserError("families.biases_missing", name=name, count=have, of=of, module=f"{first:.120}")


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
