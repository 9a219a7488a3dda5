"""The grammar of adapter files: which tensor belongs to which module of which network, in every dialect met.

A LoRA can load in part, or not at all, without an error; that would be a false "no evidence". So every name is parsed,
every module must be whole, and what is not understood is refused by name, before any library sees the file.
Names of parts: `down` and `up` (their product is the change), `mid` (a Tucker core between them), `alpha`, `magnitude`
(DoRA), and those of LoHa and LoKr as they are.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NoReturn

from ..errors import UserError
from .header import TensorInfo

Dialect = Literal["kohya", "diffusers", "peft"]
Method = Literal["LoRA", "LoCon", "LoHa", "LoKr", "DoRA"]
Component = Literal["unet", "text_encoder", "text_encoder_2", "transformer"]

KOHYA = re.compile(r"lora_(unet|te1|te2|te)_([^.]+)\.(.+)")
KOHYA_COMPONENTS: dict[str, Component] = {
    **{"unet": "unet", "te": "text_encoder"},
    **{"te1": "text_encoder", "te2": "text_encoder_2"},
}
KOHYA_PARTS = {
    "lora_down.weight": "down",
    "lora_up.weight": "up",
    "lora_mid.weight": "mid",
    "alpha": "alpha",
    "dora_scale": "magnitude",
}
FACTOR = r"hada_w[12]_[ab]|hada_t[12]|lokr_w[12](?:_[ab])?|lokr_t2"
REFUSED = {  # LyCORIS's other methods, by a part that only they have
    "diff": "a full difference of weights",
    "diff_b": "a full difference of weights",
    "on_input": "IA3",
    "oft_blocks": "OFT",
    "a1.weight": "GLoRA",
    "w_norm": "trained norms",
    "b_norm": "trained norms",
}
DOTTED = tuple(  # diffusers and peft: path of the module, then one of these; peft may name the adapter
    re.compile(rf"(.+)\.{ending}")
    for ending in (
        r"lora_([AB])(?:\.\w+)?\.weight",
        r"lora(?:_linear_layer)?\.(down|up)\.weight",
        r"lora_(magnitude_vector)(?:\.\w+)?(?:\.weight)?",
        r"(alpha)",
        rf"({FACTOR})(?:\.\w+)?",
    )
)
DOTTED_PARTS = {"A": "down", "B": "up", "magnitude_vector": "magnitude"}
OLD_PROCESSOR = re.compile(r"(.+)\.processor\.(to_q|to_k|to_v|to_out)_lora\.(down|up)\.weight")
PEFT_PREFIX = "base_model.model."
COMPONENT_STARTS: tuple[tuple[str, Component], ...] = (
    *((f"{name}_block", "unet") for name in ("down", "mid", "up")),
    *((start, "unet") for start in ("conv_in", "conv_out", "time_embedding", "add_embedding")),
    ("text_model.", "text_encoder"),
    *((start, "transformer") for start in ("transformer_blocks.", "single_transformer_blocks.")),
)


@dataclass(frozen=True)
class Adapter:
    """An adapter file understood: each module that it changes, whole."""

    dialect: Dialect
    method: Method
    modules: Mapping[tuple[Component, str], Mapping[str, str]]  # (network, module as the file names it) -> part -> key
    ranks: tuple[int, ...]  # the distinct ranks, ascending

    def count(self) -> dict[str, int]:
        """How many modules of each network the file changes."""
        return dict(Counter(component for component, _ in self.modules))


def parse_adapter(tensors: Mapping[str, TensorInfo], name: str) -> Adapter:
    """Understand every tensor of an adapter file.

    Raises:
        UserError: if a name is of no dialect, a module lacks a part, parts do not fit one another, or the method is one
            that cannot be loaded exactly.
    """
    dialect = _dialect(tensors)
    modules: dict[tuple[Component, str], dict[str, str]] = {}
    unmatched = []
    for key in tensors:
        found = _parse_kohya(key, name) if dialect == "kohya" else _parse_dotted(key)
        if found is None:
            unmatched.append(key)
            continue
        component, module, part = found
        parts = modules.setdefault((component, module), {})
        if part in parts:
            _refuse(name, f"holds {part!r} of {module!r:.120} twice, as {parts[part]!r:.160} and {key!r:.160}")
        parts[part] = key
    if unmatched:
        shown = ", ".join(f"{k:.120}" for k in unmatched[:3])
        _refuse(name, f"has {len(unmatched)} of {len(tensors)} tensors whose names are not understood ({shown})")
    ranks = {rank for (_, module), parts in modules.items() if (rank := _check_module(module, parts, tensors, name))}
    return Adapter(dialect, _method(modules, tensors), modules, tuple(sorted(ranks)))


def is_adapter(tensors: Mapping[str, TensorInfo]) -> bool:
    """Does a file look like an adapter of any kind, sound or not?"""
    marks = re.compile(r"^lora_(unet|te\d?)_|\.lora_|\.lora\.|_lora\.|\.hada_|\.lokr_|\.oft_|\.diff$|^lycoris_")
    return any(marks.search(key) for key in tensors)


def _dialect(tensors: Mapping[str, TensorInfo]) -> Dialect:
    if any(KOHYA.fullmatch(k) or k.startswith("lycoris_") for k in tensors):
        return "kohya"
    return "peft" if any(k.startswith(PEFT_PREFIX) for k in tensors) else "diffusers"


def _parse_kohya(key: str, name: str) -> tuple[Component, str, str] | None:
    match = KOHYA.fullmatch(key)
    if match is None:
        return None
    prefix, module, rest = match.groups()
    if rest in REFUSED:
        _refuse(name, f"holds {REFUSED[rest]} ({key:.120}), which cannot be loaded exactly here")
    part = KOHYA_PARTS.get(rest) or (rest if re.fullmatch(FACTOR, rest) else None)
    return None if part is None else (KOHYA_COMPONENTS[prefix], module, part)


def _parse_dotted(key: str) -> tuple[Component, str, str] | None:
    path = key.removeprefix(PEFT_PREFIX)
    component, path = _component(path)
    if component is None:
        return None
    if match := OLD_PROCESSOR.fullmatch(path):
        module, projection, part = match.groups()
        return component, f"{module}.{projection}{'.0' if projection == 'to_out' else ''}", part
    match = next((m for pattern in DOTTED if (m := pattern.fullmatch(path))), None)
    return None if match is None else (component, match[1], DOTTED_PARTS.get(match[2], match[2]))


def _component(path: str) -> tuple[Component | None, str]:
    for component in ("unet", "text_encoder", "text_encoder_2", "transformer"):
        if path.startswith(f"{component}."):
            return component, path.removeprefix(f"{component}.")
    return next((c for start, c in COMPONENT_STARTS if path.startswith(start)), None), path


def _check_module(module: str, parts: Mapping[str, str], tensors: Mapping[str, TensorInfo], name: str) -> int | None:
    """The rank of one module's change; None for LoHa and LoKr, whose factors have no single one."""
    shapes = {part: tensors[key].shape for part, key in parts.items()}
    if "alpha" in shapes and tensors[parts["alpha"]].numel != 1:
        _refuse(name, f"has an alpha of shape {shapes['alpha']} in {module:.120}; a single number is meant")
    factors = {p for p in parts if re.fullmatch(FACTOR, p)}
    if factors:
        if not _complete(factors):
            _refuse(name, f"has only {', '.join(sorted(factors))} in {module:.120}: factors are missing")
        return None
    missing = [part for part in ("down", "up") if part not in parts]
    if missing:
        _refuse(name, f"lacks the {' and '.join(missing)} weights of {module:.120}: the file is not whole")
    down, up, mid = shapes["down"], shapes["up"], shapes.get("mid")
    sound = len(down) == len(up) and len(down) in (2, 4) and down[0] == up[1] and min(down + up) > 0
    sound = sound and set(up[2:]) <= {1}
    if mid is not None:
        sound = sound and len(mid) == 4 == len(down) and mid[0] == up[1] and mid[1] == down[0]
    if not sound:
        core = f", mid {mid}" if mid is not None else ""
        _refuse(name, f"has weights that do not fit one another in {module:.120} (down {down}, up {up}{core})")
    return down[0]


def _complete(factors: set[str]) -> bool:
    if any(f.startswith("hada") for f in factors):
        return {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"} <= factors
    return all(f"lokr_w{i}" in factors or {f"lokr_w{i}_a", f"lokr_w{i}_b"} <= factors for i in (1, 2))


def _method(modules: Mapping[tuple[Component, str], Mapping[str, str]], tensors: Mapping[str, TensorInfo]) -> Method:
    parts = {part for held in modules.values() for part in held}
    if "magnitude" in parts:
        return "DoRA"
    if any(p.startswith("hada") for p in parts):
        return "LoHa"
    if any(p.startswith("lokr") for p in parts):
        return "LoKr"
    kernels = {tensors[held["down"]].shape[2:] for held in modules.values()}
    return "LoCon" if "mid" in parts or kernels - {(), (1, 1)} else "LoRA"


def _refuse(name: str, what: str) -> NoReturn:
    raise UserError(f"{name} {what}; accepted: a whole LoRA, LoCon, LoHa or LoKr file of diffusers, peft or kohya")
