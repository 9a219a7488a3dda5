"""Parse an adapter file: every tensor belongs to one part of one module, or the file is refused.

A LoRA can load in part, or not at all, without an error; that would give a false "no evidence". So every name is
parsed, and every module must be complete. A file with an unknown name is refused before any library sees it.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NoReturn

from ...errors import UserError
from ..embeddings import BUNDLE, Embedding, parse_bundle
from ..header import TensorInfo
from .architectures import guess_architecture
from .names import Component, Dialect, other_method, read_name
from .shapes import MAGNITUDES, Kind, Shape, change_shape, check_module, kind_of, magnitude_axis

Modules = Mapping[tuple[Component, str], Mapping[str, str]]  # (network, module as the file names it) -> part -> key

MARKS = re.compile(
    r"^(?:lora|oft)_(?:unet|transformer|prior|te\d?)_|^lycoris_|^bundle_emb\.|[._]lora[_.]|_lora[12]?\."
    r"|\.(?:hada|lokr|oft|boft|ia3|vera|fourierft|hra|ln_tuning)_|\.(?:diff|diff_b|set_weight|w_norm|b_norm|on_input)$"
    r"|\.[ab][12]\.weight$"
)
FACTORED: tuple[Kind, ...] = ("LoRA", "DoRA", "LoHa", "LoKr", "LoHa + DoRA", "LoKr + DoRA")


@dataclass(frozen=True)
class Adapter:
    """A parsed adapter file: every module that it changes, with all parts."""

    dialect: Dialect  # of most names
    kinds: tuple[Kind, ...]  # the methods of its modules, the most frequent first
    modules: Modules
    ranks: tuple[int, ...]  # the distinct ranks, ascending
    architecture: str | None = None  # of a transformer, by its names and widths
    bundle: tuple[Embedding, ...] = ()  # textual inversions in the same file
    unread: tuple[str, ...] = ()  # tensors of no known name, where these are left out

    @property
    def method(self) -> Kind:
        """The method of most modules."""
        return self.kinds[0]

    def count(self) -> dict[str, int]:
        """How many modules of each network the file changes."""
        return dict(Counter(component for component, _ in self.modules))


def parse_adapter(
    tensors: Mapping[str, TensorInfo], name: str, folder: Component | None = None, *, in_part: bool = False
) -> Adapter:
    """Parse the name and shape of every tensor of an adapter file.

    Args:
        tensors: the file's header.
        name: what the file is called, for errors.
        folder: the network whose folder holds the file; None: the names say it.
        in_part: leave out tensors whose names are of no dialect, as other programs do.

    Raises:
        UserError: if a name is of no dialect, a module lacks a part, parts do not fit one another, or the method cannot
            be loaded exactly.
    """
    modules: dict[tuple[Component, str], dict[str, str]] = {}
    dialects: Counter[Dialect] = Counter()
    bundled = {key: info for key, info in tensors.items() if key.startswith(BUNDLE)}
    unmatched = []
    for key in (key for key in tensors if key not in bundled):
        found = read_name(key, folder)
        if found is None:
            unmatched.append(key)
            continue
        dialects[found.dialect] += 1
        parts = modules.setdefault((found.component, found.module), {})
        if found.part in parts:
            given = [_cut(parts[found.part]), _cut(key)]
            raise UserError(
                "intake.adapter_part_twice", file=name, part=found.part, module=_cut(found.module), tensors=given
            )
        parts[found.part] = key
    if (unmatched and not in_part) or not modules:
        _refuse_names(unmatched or list(bundled), tensors, name)
    shapes = {place: {part: tensors[key].shape for part, key in parts.items()} for place, parts in modules.items()}
    checked = {place: check_module(place[1], parts, name) for place, parts in shapes.items()}
    ranks = sorted({rank for rank, _ in checked.values() if rank is not None})
    changes = {module: change for (component, module), (_, change) in checked.items() if component == "transformer"}
    return Adapter(
        dialects.most_common(1)[0][0],
        _find_kinds(shapes, name),
        modules,
        tuple(ranks),
        guess_architecture(changes),
        parse_bundle(bundled, name),
        tuple(unmatched),
    )


def join_adapters(parsed: Mapping[Component, Adapter]) -> Adapter:
    """One adapter of several networks, each from a file of its own; before each key stands the network's name."""
    first = next(iter(parsed.values()))
    modules = {
        place: {part: f"{network}/{key}" for part, key in parts.items()}
        for network, adapter in parsed.items()
        for place, parts in adapter.modules.items()
    }
    kinds = tuple(dict.fromkeys(kind for adapter in parsed.values() for kind in adapter.kinds))
    ranks = tuple(sorted({rank for adapter in parsed.values() for rank in adapter.ranks}))
    return replace(first, kinds=kinds, modules=modules, ranks=ranks)


def is_adapter(tensors: Mapping[str, TensorInfo]) -> bool:
    """Tell whether a file looks like an adapter of any kind, sound or damaged."""
    return any(MARKS.search(key) for key in tensors)


def _refuse_names(unmatched: list[str], tensors: Mapping[str, TensorInfo], name: str) -> NoReturn:
    """Say which method the names are of, if it is a known one that is not computed here."""
    for key in unmatched:
        if method := other_method(key, tensors[key].shape):
            raise UserError("intake.adapter_other_method", file=name, method=method, tensor=_cut(key))
    raise UserError(
        "intake.adapter_unknown_names",
        file=name,
        count=len(unmatched),
        of=len(tensors),
        examples=[_cut(k) for k in unmatched[:3]],
    )


def _find_kinds(shapes: Mapping[tuple[Component, str], Mapping[str, Shape]], name: str) -> tuple[Kind, ...]:
    """The methods of all modules. A part that only some modules of one method hold betrays a deleted tensor."""
    kinds: dict[tuple[Component, str], Kind] = {place: kind_of(parts.keys()) for place, parts in shapes.items()}
    counted: Counter[Kind] = Counter(kinds.values())
    counts = counted.most_common()
    for plain, scaled in (("LoRA", "DoRA"), ("LoHa", "LoHa + DoRA"), ("LoKr", "LoKr + DoRA")):
        both = [(kind, n) for kind, n in counts if kind in (plain, scaled)]
        if len(both) > 1:
            rarest = both[-1][0]
            first = next(module for (_, module), kind in kinds.items() if kind == rarest)
            listed = [f"{kind} ({n})" for kind, n in both]
            raise UserError(
                "intake.adapter_mixed_methods", file=name, methods=listed, rarest=rarest, module=_cut(first)
            )
    axes = Counter(
        magnitude_axis(part, parts[part], change_shape(parts))
        for parts in shapes.values()
        for part in MAGNITUDES
        if part in parts
    ).most_common()
    if len(axes) > 1:
        raise UserError("intake.adapter_mixed_axes", file=name, axes=[f"{axis} ({n})" for axis, n in axes])
    factored = {place: "alpha" in shapes[place] for place, kind in kinds.items() if kind in FACTORED}
    without = [module for (_, module), has_alpha in factored.items() if not has_alpha]
    if 0 < len(without) < len(factored):
        have, of = len(factored) - len(without), len(factored)
        raise UserError("intake.adapter_alphas_missing", file=name, count=have, of=of, module=_cut(without[0]))
    kernels = {parts["down"][2:] for parts in shapes.values() if "down" in parts}
    is_locon = any("mid" in parts for parts in shapes.values()) or kernels - {(), (1, 1)}
    return tuple("LoCon" if kind == "LoRA" and is_locon else kind for kind, _ in counts)


def _cut(text: str) -> str:
    return text[:160]
