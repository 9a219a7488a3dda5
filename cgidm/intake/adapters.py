"""The grammar of adapter files: which tensor belongs to which module of which network, in every known dialect.

A LoRA can load in part, or not at all, without an error; that would give a false "no evidence". So every name is
parsed, and every module must be complete. A file with an unknown name is refused before any library sees it.
Names of parts: `down` and `up` (their product is the change), `mid` (a Tucker core between them), `alpha`, `magnitude`
(DoRA), and those of LoHa and LoKr as their files name them.
"""

import re
from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

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
HADAMARD = frozenset(f"hada_w{i}_{side}" for i in (1, 2) for side in "ab")
# the sets of parts that make one complete change
COMPLETE = (
    *(frozenset({"down", "up", *core}) for core in ((), ("mid",))),
    *(HADAMARD | set(cores) for cores in ((), ("hada_t1", "hada_t2"))),
    *(
        frozenset({*first, *second})
        for first in (("lokr_w1",), ("lokr_w1_a", "lokr_w1_b"))
        for second in (("lokr_w2",), ("lokr_w2_a", "lokr_w2_b"), ("lokr_w2_a", "lokr_w2_b", "lokr_t2"))
    ),
)
RANKED = ("down", "hada_w1_b", "lokr_w1_b", "lokr_w2_b")  # parts whose first dimension is the rank
REFUSED = {  # a part that only this method has -> the method, as LyCORIS names it
    "diff": "Full",
    "diff_b": "Full",
    "on_input": "IA3",
    "oft_blocks": "OFT",
    "a1.weight": "GLoRA",
    "w_norm": "Norms",
    "b_norm": "Norms",
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

# i2L makes a LoRA from pictures in one pass of a network, without training. Its modules, per stack of blocks, and the
# number of blocks: https://github.com/modelscope/DiffSynth-Studio, `diffsynth/models/z_image_image2lora.py`,
# `qwen_image_image2lora.py`. Several pictures are joined along the rank (`utils/lora/merge.py`).
I2L_BLOCKS = {
    "Z-Image": {"layers": 30, "context_refiner": 2, "noise_refiner": 2},
    "Qwen-Image": {"transformer_blocks": 60},
}
I2L_MODULES = {
    "Z-Image": (*(f"attention.to_{p}" for p in ("q", "k", "v", "out.0")), *(f"feed_forward.w{i}" for i in (1, 2, 3))),
    "Qwen-Image": (
        *(f"attn.{p}" for p in ("to_q", "to_k", "to_v", "to_out.0", "to_add_out")),
        *(f"attn.add_{p}_proj" for p in "qkv"),
        *(f"{kind}_{part}" for kind in ("img", "txt") for part in ("mlp.net.2", "mod.1")),
    ),
}

Shape = tuple[int, ...]
Modules = Mapping[tuple[Component, str], Mapping[str, str]]  # (network, module as the file names it) -> part -> key


@dataclass(frozen=True)
class Adapter:
    """A parsed adapter file: every module that it changes, with all parts."""

    dialect: Dialect
    method: Method
    modules: Modules
    ranks: tuple[int, ...]  # the distinct ranks, ascending

    def count(self) -> dict[str, int]:
        """How many modules of each network the file changes."""
        return dict(Counter(component for component, _ in self.modules))


def parse_adapter(tensors: Mapping[str, TensorInfo], name: str) -> Adapter:
    """Parse the name and shape of every tensor of an adapter file.

    Args:
        tensors: the file's header.
        name: what the file is called, for errors.

    Raises:
        UserError: if a name is of no dialect, a module lacks a part, parts do not fit one another, or the method cannot
            be loaded exactly.
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
            raise UserError(
                "intake.adapter_part_twice",
                file=name,
                part=part,
                module=_cut(module),
                tensors=[_cut(parts[part]), _cut(key)],
            )
        parts[part] = key
    if unmatched:
        examples = [_cut(k) for k in unmatched[:3]]
        if (model := find_i2l_model(tensors)) is not None:
            raise UserError("intake.adapter_i2l", file=name, model=model)
        raise UserError(
            "intake.adapter_unknown_names", file=name, count=len(unmatched), of=len(tensors), examples=examples
        )
    ranks = {_check_module(module, parts, tensors, dialect, name) for (_, module), parts in modules.items()}
    method = _common_method(modules, tensors, name)
    return Adapter(dialect, method, modules, tuple(sorted(rank for rank in ranks if rank is not None)))


def is_adapter(tensors: Mapping[str, TensorInfo]) -> bool:
    """Tell whether a file looks like an adapter of any kind, sound or damaged."""
    marks = re.compile(r"^lora_(unet|te\d?)_|\.lora_|\.lora\.|_lora\.|\.hada_|\.lokr_|\.oft_|\.diff$|^lycoris_")
    return any(marks.search(key) for key in tensors)


def find_i2l_model(tensors: Mapping[str, TensorInfo]) -> str | None:
    """The model whose i2L writes exactly these names, "Z-Image" or "Qwen-Image"; None if none does.

    A hint, not a proof: a training of the same library on its usual modules may be renamed to this.

    Args:
        tensors: the file's header.
    """
    for model, blocks in I2L_BLOCKS.items():
        modules = [f"{b}.{i}.{m}" for b, count in blocks.items() for i in range(count) for m in I2L_MODULES[model]]
        if tensors.keys() == {f"{module}.lora_{side}.weight" for module in modules for side in "AB"}:
            return model
    return None


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
        raise UserError("intake.adapter_other_method", file=name, method=REFUSED[rest], tensor=_cut(key))
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


def change_shape(shapes: Mapping[str, Shape]) -> Shape | None:
    """The shape of the change that one module's factors make, (out, in, *kernel); None if they do not fit one another.

    LoHa and LoKr without a core write a convolution's change flat, as (out, in * height * width). A core
    (r, r, *kernel) turns the factors beside it to (r, out) and (r, in), as in LyCORIS 3.2 and peft 0.21.

    Args:
        shapes: the shape of each part of the module.
    """
    if any(0 in shape for shape in shapes.values()):
        return None
    if "down" in shapes:
        return _lora_shape(shapes["down"], shapes["up"], shapes.get("mid"))
    if "hada_w1_a" in shapes:
        first, second = (_product(shapes, f"hada_w{i}", f"hada_t{i}") for i in (1, 2))
        return first if first == second and shapes["hada_w1_b"][0] == shapes["hada_w2_b"][0] else None
    first, second = (_product(shapes, f"lokr_w{i}", f"lokr_t{i}") for i in (1, 2))
    ranks = {shapes[part][0] for part in ("lokr_w1_b", "lokr_w2_b") if part in shapes}
    if first is None or second is None or len(first) != 2 or len(second) not in (2, 4) or len(ranks) > 1:
        return None
    return (first[0] * second[0], first[1] * second[1], *second[2:])


def find_rank(shapes: Mapping[str, Shape]) -> int | None:
    """The rank of one module's factors; None for a LoKr of two full factors, which has none."""
    return next((shapes[part][0] for part in RANKED if part in shapes), None)


def magnitude_axis(shape: Shape, change: Shape | None, dialect: Dialect) -> Literal["output", "input"] | None:
    """The axis of the weight that a DoRA's magnitudes scale: outputs or inputs; None if they fit neither.

    LyCORIS writes (out, 1, ..) or (1, in, ..), peft (out,) or, for a convolution, (1, out, 1, 1).

    Args:
        shape: the shape of the magnitudes.
        change: the shape of the module's change, from `change_shape`.
        dialect: the dialect of the file.
    """
    if change is None:
        return None
    out, into = change[:2]
    if dialect != "kohya":
        return "output" if shape in ((out,), (1, out, 1, 1)) else None
    if shape[:1] == (out,) and set(shape[1:]) <= {1}:
        return "output"
    return "input" if shape[:2] == (1, into) and set(shape[2:]) <= {1} else None


def _lora_shape(down: Shape, up: Shape, mid: Shape | None) -> Shape | None:
    kernel = down[2:]
    sound = len(down) == len(up) and len(down) in (2, 4) and down[0] == up[1] and set(up[2:]) <= {1}
    if mid is not None:
        sound = sound and len(mid) == 4 == len(down) and mid[:2] == (up[1], down[0]) and set(kernel) <= {1}
        kernel = mid[2:]
    return (up[0], down[1], *kernel) if sound else None


def _product(shapes: Mapping[str, Shape], name: str, core: str) -> Shape | None:
    """The shape of `name`, or of `name`_a @ `name`_b, or of the two around a core; None if they do not fit."""
    if name in shapes:
        return shapes[name]
    a, b, t = shapes[f"{name}_a"], shapes[f"{name}_b"], shapes.get(core)
    if len(a) != 2 or len(b) != 2:
        return None
    if t is None:
        return (a[0], b[1]) if a[1] == b[0] else None
    return (a[1], b[1], *t[2:]) if len(t) == 4 and t[:2] == (a[0], b[0]) and a[0] == b[0] else None


def _check_module(
    module: str, parts: Mapping[str, str], tensors: Mapping[str, TensorInfo], dialect: Dialect, name: str
) -> int | None:
    """The rank of one module, if it has one. Refuse the file unless the parts are complete and fit one another."""
    shapes = {part: tensors[key].shape for part, key in parts.items()}
    if "alpha" in shapes and tensors[parts["alpha"]].numel != 1:
        raise UserError("intake.adapter_alpha_shape", file=name, module=_cut(module), shape=list(shapes["alpha"]))
    factors = shapes.keys() - {"alpha", "magnitude"}
    if factors not in COMPLETE:
        _refuse_incomplete(module, factors, name)
    change = change_shape(shapes)
    odd = {"down", "magnitude"} <= shapes.keys() and magnitude_axis(shapes["magnitude"], change, dialect) is None
    if change is None or odd:
        listed = [f"{part} {shapes[part]}" for part in sorted(shapes.keys() - {"alpha"})]
        raise UserError("intake.adapter_shapes", file=name, module=_cut(module), shapes=listed)
    return find_rank(shapes)


def _refuse_incomplete(module: str, factors: Set[str], name: str) -> NoReturn:
    known: dict[str, Any] = {"file": name, "module": _cut(module)}
    if not any(part.startswith(("hada", "lokr")) for part in factors):
        missing = [part for part in ("down", "up") if part not in factors]
        raise UserError("intake.adapter_weights_missing", **known, missing=missing)
    if any(complete < factors for complete in COMPLETE) and not any(factors < complete for complete in COMPLETE):
        raise UserError("intake.adapter_too_many_factors", **known, factors=sorted(factors))
    raise UserError("intake.adapter_factors_missing", **known, factors=sorted(factors))


def _common_method(modules: Modules, tensors: Mapping[str, TensorInfo], name: str) -> Method:
    """The one method of all modules. A part that only some modules hold betrays a deleted tensor."""
    kinds = {module: _kind(parts) for (_, module), parts in modules.items()}
    counts = Counter(kinds.values()).most_common()
    if len(counts) > 1:
        rarest = counts[-1][0]
        first = next(module for module, kind in kinds.items() if kind == rarest)
        listed = [f"{kind} ({n})" for kind, n in counts]
        raise UserError("intake.adapter_mixed_methods", file=name, methods=listed, rarest=rarest, module=_cut(first))
    kind = counts[0][0]
    if kind not in ("LoRA", "LoHa", "LoKr", "DoRA"):
        raise UserError("intake.adapter_magnitudes", file=name, method=kind, count=counts[0][1])
    without = [module for (_, module), parts in modules.items() if "alpha" not in parts]
    if 0 < len(without) < len(modules):
        have, of = len(modules) - len(without), len(modules)
        raise UserError("intake.adapter_alphas_missing", file=name, count=have, of=of, module=_cut(without[0]))
    if kind == "LoRA":
        kernels = {tensors[parts["down"]].shape[2:] for parts in modules.values()}
        return "LoCon" if any("mid" in parts for parts in modules.values()) or kernels - {(), (1, 1)} else "LoRA"
    return kind


def _kind(parts: Mapping[str, str]) -> str:
    kind = "LoRA" if "down" in parts else "LoHa" if "hada_w1_a" in parts else "LoKr"
    if "magnitude" not in parts:
        return kind
    return "DoRA" if kind == "LoRA" else f"{kind} + DoRA"


def _cut(text: str) -> str:
    return text[:160]
