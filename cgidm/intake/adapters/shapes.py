"""The parts of one module's change: which of them make it complete, and the shape of the change that they make.

Parts: `down` and `up` (their product is the change), `mid` (a Tucker core between them), `alpha`, those of LoHa and
LoKr as their files name them, `diff` (the change itself), `set_weight` (the new weight), `w_norm` and `b_norm` (of a
norm). Beside them: `bias` (of `up`) and `diff_b` (of the module), magnitudes of DoRA (`dora_scale` of LyCORIS,
`magnitude` of peft), and `reshape_weight` (the weight's shape).
"""

from collections.abc import Mapping, Set
from typing import Any, Literal, NoReturn

from ...errors import UserError

Kind = Literal["LoRA", "LoCon", "DoRA", "LoHa", "LoKr", "LoHa + DoRA", "LoKr + DoRA", "Full", "Norms"]
Shape = tuple[int, ...]

HADAMARD = frozenset(f"hada_w{i}_{half}" for i in (1, 2) for half in "ab")
# the sets of parts that make one complete change
COMPLETE = (
    *(frozenset({"down", "up", *core}) for core in ((), ("mid",))),
    *(HADAMARD | set(cores) for cores in ((), ("hada_t1", "hada_t2"))),
    *(
        frozenset({*first, *second})
        for first in (("lokr_w1",), ("lokr_w1_a", "lokr_w1_b"))
        for second in (("lokr_w2",), ("lokr_w2_a", "lokr_w2_b"), ("lokr_w2_a", "lokr_w2_b", "lokr_t2"))
    ),
    *(frozenset({part}) for part in ("diff", "set_weight")),
    *(frozenset({"w_norm", *bias}) for bias in ((), ("b_norm",))),
)
WHOLE_PARTS = ("diff", "set_weight", "w_norm")  # parts that have the weight's own shape
MAGNITUDES = ("magnitude", "dora_scale")
COMPANIONS = frozenset({"alpha", "bias", "diff_b", "reshape_weight", *MAGNITUDES})
RANKED = ("down", "hada_w1_b", "lokr_w1_b", "lokr_w2_b")  # parts whose first dimension is the rank


def kind_of(parts: Set[str]) -> Kind:
    """The method that these parts are of."""
    if parts & {"w_norm", "b_norm"}:
        return "Norms"
    if parts & {"diff", "set_weight"}:
        return "Full"
    scaled = bool(parts & set(MAGNITUDES))
    if "down" in parts:
        return "DoRA" if scaled else "LoRA"
    if "hada_w1_a" in parts:
        return "LoHa + DoRA" if scaled else "LoHa"
    return "LoKr + DoRA" if scaled else "LoKr"


def change_shape(shapes: Mapping[str, Shape]) -> Shape | None:
    """The shape of the change that one module's parts make, (out, in, *kernel); None if they do not fit one another.

    LoHa and LoKr without a core write a convolution's change flat, as (out, in * height * width). A core
    (r, r, *kernel) turns the factors beside it to (r, out) and (r, in), as in LyCORIS 3.2 and peft 0.21.

    Args:
        shapes: the shape of each part of the module.
    """
    if any(0 in shape for shape in shapes.values()):
        return None
    if whole := next((part for part in WHOLE_PARTS if part in shapes), None):
        return shapes[whole] if shapes.get("b_norm", shapes[whole]) == shapes[whole] else None
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
    """The rank of one module's factors; None for full differences, and for a LoKr of two full factors."""
    return next((shapes[part][0] for part in RANKED if part in shapes), None)


def magnitude_axis(part: str, shape: Shape, change: Shape | None) -> Literal["output", "input"] | None:
    """The axis of the weight that a DoRA's magnitudes scale: outputs or inputs; None if they fit neither.

    LyCORIS and OneTrainer write (out, 1, ..) or (1, in, ..), peft (out,) or, for a convolution, (1, out, 1, 1).

    Args:
        part: `dora_scale` or `magnitude`.
        shape: the shape of the magnitudes.
        change: the shape of the module's change, from `change_shape`.
    """
    if change is None:
        return None
    out, into = change[:2]
    if part == "magnitude" and len(shape) != 2:
        return "output" if shape in ((out,), (1, out, 1, 1)) else None
    if shape[:1] == (out,) and set(shape[1:]) <= {1}:
        return "output"
    if len(shape) < 2 or shape[0] != 1 or not set(shape[2:]) <= {1}:
        return None
    flat = len(change) == 2 and len(shape) == 4 and into % shape[1] == 0  # a convolution's change, in * height * width
    return "input" if shape[1] == into or flat else None


def check_module(module: str, shapes: Mapping[str, Shape], name: str) -> tuple[int | None, Shape]:
    """The rank of one module, if it has one, and the shape of its change.

    Raises:
        UserError: unless the parts are complete and fit one another.
    """
    known: dict[str, Any] = {"file": name, "module": module[:160]}
    if "alpha" in shapes and any(n != 1 for n in shapes["alpha"]):
        raise UserError("intake.adapter_alpha_shape", **known, shape=list(shapes["alpha"]))
    factors = shapes.keys() - COMPANIONS
    if factors not in COMPLETE:
        _refuse_incomplete(factors, known)
    scalar = any(not shape for part, shape in shapes.items() if part not in COMPANIONS)
    if not scalar and find_rank(shapes) == 0:
        raise UserError("intake.adapter_rank_zero", **known)
    change = None if scalar else change_shape(shapes)
    if change is None or not _fits_beside(shapes, change):
        listed = [f"{part} {shapes[part]}" for part in sorted(shapes.keys() - {"alpha"})]
        raise UserError("intake.adapter_shapes", **known, shapes=listed)
    return find_rank(shapes), change


def _fits_beside(shapes: Mapping[str, Shape], change: Shape) -> bool:
    """Whether magnitudes and biases fit the change that they stand beside."""
    factors = {"down", "hada_w1_a"} & shapes.keys() or any(part.startswith("lokr") for part in shapes)
    for part in MAGNITUDES:
        if part in shapes and (not factors or magnitude_axis(part, shapes[part], change) is None):
            return False
    if len(shapes.keys() & set(MAGNITUDES)) > 1 or ("bias" in shapes and "up" not in shapes):
        return False
    return all(shapes[part] == change[:1] for part in ("bias", "diff_b") if part in shapes)


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


def _refuse_incomplete(factors: Set[str], known: dict[str, Any]) -> NoReturn:
    if not any(part.startswith(("hada", "lokr")) for part in factors):
        if any(complete < factors for complete in COMPLETE):
            raise UserError("intake.adapter_too_many_factors", **known, factors=sorted(factors))
        missing = ["w_norm"] if "b_norm" in factors else [part for part in ("down", "up") if part not in factors]
        raise UserError("intake.adapter_weights_missing", **known, missing=missing)
    if any(complete < factors for complete in COMPLETE) and not any(factors < complete for complete in COMPLETE):
        raise UserError("intake.adapter_too_many_factors", **known, factors=sorted(factors))
    raise UserError("intake.adapter_factors_missing", **known, factors=sorted(factors))
