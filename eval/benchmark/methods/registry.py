"""The methods by their names: ours, and those that other packages enter.

A package enters a method with an entry point of the group `cgidm.methods`: its name is the method's, its object is a
method, or a class that makes one without arguments. It is imported when an experiment names it, and not before: a
broken package that nobody asked for breaks nothing.
"""

import sys
from dataclasses import is_dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from cgidm.errors import UserError
from eval.benchmark.methods.angle import AngleToNoise, Anisotropy
from eval.benchmark.methods.base import Method
from eval.benchmark.methods.clid import CLiD
from eval.benchmark.methods.fcre import FCRE
from eval.benchmark.methods.generation import DDNM, Img2Img, Text2Img
from eval.benchmark.methods.loss import Loss, LossContrast
from eval.benchmark.methods.mc_cal import CalibratedLoss
from eval.benchmark.methods.mirror import Mirror
from eval.benchmark.methods.pfami import PFAMI
from eval.benchmark.methods.pia import PIA
from eval.benchmark.methods.quantile import QuantileRegression
from eval.benchmark.methods.recover_like import RecoverLike
from eval.benchmark.methods.recovery import CGIDM
from eval.benchmark.methods.secmi import SecMI
from eval.benchmark.methods.sima import SimA

GROUP = "cgidm.methods"
_OWN: tuple[Method, ...] = (
    CGIDM(),
    Text2Img(),
    Img2Img(),
    DDNM(),
    Loss(),
    LossContrast(),
    Mirror(),
    SecMI(),
    PIA(),
    PFAMI(),
    SimA(),
    CLiD(),
    RecoverLike(),
    CalibratedLoss(),
    FCRE(),
    QuantileRegression(),
    Anisotropy(),
    AngleToNoise(),
)
METHODS: dict[str, Method] = {m.name: m for m in _OWN}


def method_names() -> list[str]:
    """Return the names of all methods, ours first; nothing is imported for it."""
    return [*METHODS, *sorted(_entered().keys() - METHODS.keys())]


def find_method(name: str) -> Method:
    """Find a method by its name.

    Raises:
        KeyError: if there is none.
        UserError: if two have the name, or if a package's method cannot be imported, is none, or has another name.
    """
    entered = _entered().get(name, ())
    if len(entered) + (name in METHODS) > 1:
        raise UserError("benchmark.method_name_taken", name=name, given=[point.value for point in entered])
    return _load(entered[0]) if entered else METHODS[name]


def package_of(name: str) -> str | None:
    """Return the distribution and version that enters a method, such as "example-methods 1.0"; None for our own."""
    entered = () if name in METHODS else _entered().get(name, ())
    if not entered:
        return None
    found = entered[0].dist
    return f"{found.name} {found.version}" if found else entered[0].value


def _entered() -> dict[str, tuple[EntryPoint, ...]]:
    """The entry points of the group, by name."""
    return _entered_on(tuple(sys.path))


@lru_cache  # every key of an answer asks
def _entered_on(_: tuple[str, ...]) -> dict[str, tuple[EntryPoint, ...]]:
    points = entry_points(group=GROUP)
    return {name: tuple(points.select(name=name)) for name in points.names}


@lru_cache
def _load(point: EntryPoint) -> Method:
    try:
        given: Any = point.load()
        method: Any = given() if isinstance(given, type) else given
    except Exception as error:  # whatever somebody's module raises
        reason = f"{type(error).__name__}: {error}"
        raise UserError("benchmark.method_broken", name=point.name, given=point.value, reason=reason) from error
    frozen = is_dataclass(type(method)) and method.__dataclass_params__.frozen
    complete = all(hasattr(method, part) for part in ("name", "evaluations", "visual", "__call__"))
    if not frozen or not complete:
        raise UserError("benchmark.not_a_method", name=point.name, given=type(method).__name__)
    if method.name != point.name:
        raise UserError("benchmark.method_name_differs", name=point.name, given=str(method.name))
    return method
