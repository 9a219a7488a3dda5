"""Apply a parsed adapter to a pipeline's networks: every tensor in its module, or none at all."""

import copy
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ..errors import UserError
from ..intake.adapters import change_shape, find_i2l_model, find_rank, kind_of
from ..intake.family import JUDGED, guess_base
from ..intake.layout import Checkpoint
from ..messages import Note, note
from .changes.methods import ADAPTED, Change, fits, inject
from .changes.own_layer import OwnLayer
from .changes.regions import FileChange, check_regions, join_changes, overlaps
from .changes.scale import ScaleReader
from .changes.split_lora import restore_split
from .changes.targets import NORMS, Regions, find_networks, find_targets

IN_PART = "families.used_in_part"
WHOLE_KINDS = ("Full", "Norms")  # methods whose changes stand in the file as they are
COMPUTED = (*JUDGED, "Lumina 2 or Z-Image")  # families whose networks are computed here

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
        if isinstance(layer, OwnLayer):
            _merge_own(layer, max_loss)
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


def _merge_own(layer: OwnLayer, max_loss: float) -> None:
    changed, added = layer.differences()
    pairs = [(layer.weight.detach(), changed)]
    if added is not None:
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
    named: dict[str, list[str]] = {}
    for component, module in adapter.modules:
        named.setdefault(component, []).append(module)
    networks = find_networks(pipeline, named)
    targets = {c: find_targets(getattr(pipeline, n, None), n) for c, n in networks.items()}
    changes: dict[str, list[FileChange]] = {network: [] for network in networks.values()}
    alphas: dict[str, list[float | None]] = {network: [] for network in networks.values()}
    missing, misshapen, unused = [], [], [*adapter.unread]
    for (component, module), keys in adapter.modules.items():
        regions, network = targets[component].get(module), networks[component]
        if regions is None:
            missing.append(f"{component} {module}")
            unused += keys.values()
            continue
        parts = {part: state[key] for part, key in keys.items()}
        shapes = {part: tuple(factor.shape) for part, factor in parts.items()}
        own, rank, shape, kind = (
            parts.pop("alpha", None),
            find_rank(shapes),
            change_shape(shapes),
            kind_of(parts.keys()),
        )
        wanted, is_norm = _weight_shape(getattr(pipeline, network), regions)
        reshaped = parts.pop("reshape_weight", None)
        if reshaped is not None and tuple(int(n) for n in reshaped.flatten()) != wanted:
            raise UserError("families.reshaped", name=name, module=f"{module:.120}")
        if shape is None or not fits(kind, shape, wanted) or (is_norm and kind not in WHOLE_KINDS):
            misshapen.append((module, str(shape), str(wanted)))
            unused += keys.values()
            continue
        value = None if own is None else float(own)
        scale = scales.find(component, module, kind, rank, value) if kind not in WHOLE_KINDS else 1.0
        changes[network].append(FileChange(Change(kind, parts, scale, rank or 1, checkpoint.scale), regions))
        alphas[network].append(value)
    if (missing or misshapen) and not (checkpoint.as_loaded and any(changes.values())):
        _refuse(checkpoint, len(adapter.modules), missing, misshapen)
    apart = 0
    for component, change in changes.items():
        network: Any = getattr(pipeline, component)
        restored, count = restore_split(change, alphas[component])
        change, apart = (change if checkpoint.as_loaded else restored), apart + count
        if (twice := overlaps(change)) is not None:
            raise UserError("families.adapter_module_twice", name=name, component=component, module=twice[:120])
        _check_biases(name, network, change)
        if not any(network is other for other in unchanged):
            inject(network, join_changes(network, change))
            check_regions(network, change)
    split = f"families.{'split_as_loaded' if checkpoint.as_loaded else 'split_restored'}"
    told = (note(split, name=name, count=apart, of=len(adapter.modules)),) if apart else ()
    return (*scales.notes(), *told, *_left_out(checkpoint, unused))


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


def _weight_shape(network: Any, regions: Regions) -> tuple[tuple[int, ...], bool]:
    """The shape of the weight that a file's module has, and whether it is a norm's."""
    first = network.get_submodule(regions[0].module)
    shape = tuple(first.weight.shape)
    if regions[0].theirs is not None:
        shape = (sum(end - start for start, end in (region.theirs for region in regions if region.theirs)), *shape[1:])
    return shape, isinstance(first, NORMS)


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


def _check_biases(name: str, network: nn.Module, changes: Sequence[FileChange]) -> None:
    """Refuse a bias that has no place, and one that only some full differences hold: the others were lost."""
    held: dict[str, dict[str, bool]] = {kind: {} for kind in WHOLE_KINDS}
    for file in changes:
        module = file.regions[0].module
        layer: Any = network.get_submodule(module)
        given = {"diff_b", "b_norm"} & file.change.parts.keys()  # a bias of peft's second factor needs none
        has_place = getattr(layer, "bias", None) is not None
        if given and not has_place:
            raise UserError("families.no_bias", name=name, module=f"{module:.120}", part=min(given))
        if has_place and file.change.kind in WHOLE_KINDS:
            held[file.change.kind][module] = bool(given)
    for alike in held.values():
        if 0 < sum(alike.values()) < len(alike):
            first = next(module for module, is_held in alike.items() if not is_held)
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
