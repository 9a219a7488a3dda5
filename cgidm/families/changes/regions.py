"""Changes that a file makes to modules of its own become changes of the network's modules, which may be split or fused.

Rows of a weight are outputs. A LoRA's, LoHa's or DoRA's rows are rows of their first factors; of several LoRAs on one
weight, each is a block of one LoRA whose rank is the sum. Rows of a LoKr are at most three LoKrs. All this is exact.
What is left (a DoRA of each input, which depends on all rows) is multiplied out.
"""

import copy
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from ...intake.adapters import change_shape, magnitude_axis
from .kronecker_layer import Block, cut_rows
from .methods import ADAPTED, Change, base_of, check_effect, differences, pair
from .targets import Regions, Span

LOHA_ROWS = ("hada_w1_a", "hada_w2_a")
BIASES = ("bias", "diff_b")


@dataclass(frozen=True, eq=False)
class FileChange:
    """A change as the file makes it, and where it belongs.

    Attributes:
        change: of a module as the file names it.
        regions: the rows of the network's weights.
    """

    change: Change
    regions: Regions

    @property
    def is_whole(self) -> bool:
        """Whether it is the change of one module as it stands."""
        return len(self.regions) == 1 and self.regions[0].theirs is None


@dataclass(frozen=True, eq=False)
class _Part:
    """What one change of the file does to one module: rows of the change, and the rows of the weight."""

    source: "_Source"
    spans: tuple[tuple[Span, Span], ...]  # (of the change, of the weight)

    @property
    def change(self) -> Change:
        return self.source.change

    def place(self, rows: Tensor, out: int) -> Tensor:
        """The file's `rows` where they belong in `out` rows, with zeros elsewhere."""
        placed = rows.new_zeros((out, *rows.shape[1:]))
        for (a, b), (c, d) in self.spans:
            placed[c:d] = rows[a:b]
        return placed


@dataclass(frozen=True, eq=False)
class _Source:
    """A change of the file, and the weights of all of its regions as the one weight that the file means."""

    network: nn.Module
    file: FileChange

    @property
    def change(self) -> Change:
        return self.file.change

    @cached_property
    def multiplied_out(self) -> tuple[Tensor | None, Tensor | None]:
        """The change of the fused weight and bias."""
        return differences(self.fused, self.change)

    @property
    def fused(self) -> Any:
        """The layer that the file means."""
        weights, biases = [], []
        for region in self.file.regions:  # in the order of the file's rows
            own: Any = self.network.get_submodule(region.module)
            own = base_of(own) if isinstance(own, ADAPTED) else own
            rows = slice(None) if region.ours is None else slice(*region.ours)
            weights.append(own.weight.detach()[rows].float())
            biases.append(None if own.bias is None else own.bias.detach()[rows].float())
        bias = None if any(b is None for b in biases) else torch.cat(biases)
        return SimpleNamespace(weight=torch.cat(weights), bias=bias)


def overlaps(changes: Iterable[FileChange]) -> str | None:
    """A module of which two changes of the file change the same rows; None if there is none."""
    taken: dict[str, list[Span | None]] = defaultdict(list)
    for file in changes:
        for region in file.regions:
            for other in taken[region.module]:
                if other is None or region.ours is None or (region.ours[0] < other[1] and other[0] < region.ours[1]):
                    return region.module
            taken[region.module].append(region.ours)
    return None


def join_changes(network: nn.Module, changes: Sequence[FileChange]) -> dict[str, Change]:
    """The change of each module of a network that an adapter's changes make together.

    Args:
        network: whose modules are named by the regions.
        changes: of the file; no two of them change the same rows.
    """
    found: dict[str, Change] = {}
    parts: dict[str, list[_Part]] = defaultdict(list)
    for file in changes:
        if file.is_whole:
            found[file.regions[0].module] = file.change
            continue
        source = _Source(network, file)
        for module in dict.fromkeys(region.module for region in file.regions):
            layer: Any = network.get_submodule(module)
            whole = (0, layer.weight.shape[0])
            spans = tuple((p.theirs or whole, p.ours or whole) for p in file.regions if p.module == module)
            parts[module].append(_Part(source, spans))
    return found | {module: _join(network.get_submodule(module), each) for module, each in parts.items()}


@torch.no_grad()
def check_regions(network: nn.Module, changes: Iterable[FileChange]) -> None:
    """Assert that adapted modules compute together what the file means for the layer that it names.

    One layer of each method and division is computed.

    Args:
        network: the adapted network.
        changes: of the file.
    """
    examples = {}
    for file in changes:
        if not file.is_whole:
            examples[file.change.kind, tuple((region.theirs, region.ours) for region in file.regions)] = file
    for file in examples.values():
        source, rows = _Source(network, file), 0
        fused = source.fused
        weight, bias = source.multiplied_out
        below = 0 if fused.bias is None else fused.bias.cpu()
        x = torch.randn((3, fused.weight.shape[1]), generator=torch.Generator().manual_seed(0))
        base = x @ fused.weight.cpu().T + below
        meant = base + (0 if weight is None else x @ weight.cpu().T) + (0 if bias is None else bias.cpu())
        for region in file.regions:
            tried = copy.deepcopy(network.get_submodule(region.module)).float().cpu().eval()(x)
            tried = tried if region.ours is None else tried[:, slice(*region.ours)]
            span = slice(rows, rows + tried.shape[1])
            check_effect(tried, meant[:, span], base[:, span])
            rows = span.stop


def _join(layer: Any, parts: Sequence[_Part]) -> Change:
    kinds = {part.change.kind for part in parts}
    if len({part.change.strength for part in parts}) > 1:
        return _multiply_out(layer, parts)
    if kinds <= {"LoRA", "LoCon"} and all({"down", "up"} <= part.change.parts.keys() for part in parts):
        return _join_lora(layer, parts)
    if kinds == {"DoRA"} and all(_scales_outputs(part.change) for part in parts):
        return _join_lora(layer, parts)
    if kinds == {"LoHa"} and len(parts) == 1 and _covers(parts[0], layer.weight.shape[0]):
        return _cut_loha(parts[0], layer.weight.shape[0])
    if kinds == {"LoKr"} and not any("lokr_t2" in part.change.parts for part in parts):
        return _cut_lokr(layer, parts)
    return _multiply_out(layer, parts)


def _join_lora(layer: Any, parts: Sequence[_Part]) -> Change:
    """One LoRA of all ranks, whose first factor is zero where another one's rows are."""
    out = layer.weight.shape[0]
    one = len(parts) == 1
    ups = [(1.0 if one else part.change.scale) * part.place(part.change.parts["up"].flatten(1), out) for part in parts]
    downs = [part.change.parts["down"].flatten(1) for part in parts]
    joined = {"down": torch.cat(downs), "up": torch.cat(ups, dim=1), **_join_biases(parts, out)}
    if parts[0].change.kind == "DoRA":
        length = torch.linalg.vector_norm(layer.weight.detach().float(), dim=1).cpu()  # kept where no row is changed
        for part in parts:
            magnitude = next(part.change.parts[p] for p in ("magnitude", "dora_scale") if p in part.change.parts)
            for (a, b), (c, d) in part.spans:
                length[c:d] = magnitude.flatten()[a:b]
        joined["magnitude"] = length
    first = parts[0].change
    return Change(first.kind, joined, first.scale if one else 1.0, len(joined["down"]), first.strength)


def _cut_loha(part: _Part, out: int) -> Change:
    change = part.change
    rows = {name: part.place(change.parts[name], out) for name in LOHA_ROWS}
    biases = _join_biases([part], out)
    return replace(change, parts={k: v for k, v in change.parts.items() if k not in BIASES} | rows | biases)


def _cut_lokr(layer: Any, parts: Sequence[_Part]) -> Change:
    blocks = []
    for part in parts:
        factors, scale = part.change.parts, part.change.scale
        second = ("lokr_w2",) if "lokr_w2" in factors else ("lokr_w2_a", "lokr_w2_b")
        product = Block(0, scale * pair(factors, "lokr_w1", ""), tuple(factors[name] for name in second))
        for (a, b), (c, _) in part.spans:
            blocks += cut_rows(replace(product, start=c), a, b)
    blocks.sort(key=lambda block: block.start)
    biases, strength = _join_biases(parts, layer.weight.shape[0]), parts[0].change.strength
    return Change("LoKr", biases, strength=strength, blocks=tuple(blocks))


def _multiply_out(layer: Any, parts: Sequence[_Part]) -> Change:
    """The change itself, as a full difference."""
    out, joined = layer.weight.shape[0], {}
    for part in parts:
        weight, bias = part.source.multiplied_out
        for name, rows in (("diff", weight), ("diff_b", bias)):
            if rows is not None:
                placed = part.place(rows, out)
                joined[name] = placed + joined[name] if name in joined else placed
    return Change("Full", joined)


def _join_biases(parts: Sequence[_Part], out: int) -> dict[str, Tensor]:
    """The change of the bias, of all parts; peft's bias of a second factor is scaled as that is."""
    found = [
        (part.change.scale if name == "bias" else 1.0) * part.place(part.change.parts[name], out)
        for part in parts
        for name in BIASES
        if name in part.change.parts
    ]
    return {"diff_b": torch.stack(found).sum(0)} if found else {}


def _scales_outputs(change: Change) -> bool:
    shapes = {part: tuple(tensor.shape) for part, tensor in change.parts.items()}
    name = "dora_scale" if "dora_scale" in shapes else "magnitude"
    return magnitude_axis(name, shapes[name], change_shape(shapes)) == "output"


def _covers(part: _Part, out: int) -> bool:
    return sum(d - c for _, (c, d) in part.spans) == out
