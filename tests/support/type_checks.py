"""Checks of types at every call, without the part that costs most where it finds nothing.

Around every function, jaxtyping binds the arguments, opens a scope for the names of axes, and checks types twice. A
function whose types name no axis has no use for a scope: there beartype alone, which jaxtyping would have called,
checks the same arguments and the same result in a tenth of the time.
"""

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable
from typing import Any

import jaxtyping

_with_axes = jaxtyping.jaxtyped


def check_types(fn: Any = None, *, typechecker: Callable[..., Any]) -> Any:
    """Stands for `jaxtyping.jaxtyped` above every function and class that the import hook meets."""
    if fn is None:
        return functools.partial(check_types, typechecker=typechecker)
    if inspect.isclass(fn):
        init = vars(fn).get("__init__")
        if dataclasses.is_dataclass(fn) and inspect.isfunction(init) and names_no_axis(init):
            fn.__init__ = typechecker(init)
            return fn
    elif inspect.isfunction(fn) and names_no_axis(fn):
        return typechecker(fn)
    return _with_axes(fn, typechecker=typechecker)


def names_no_axis(fn: Callable[..., Any]) -> bool:
    """No type of the arguments or of the result may name an axis.

    Of a generator this is not asked: beartype would put another one around it.
    """
    if inspect.isgeneratorfunction(fn) or inspect.iscoroutinefunction(fn) or inspect.isasyncgenfunction(fn):
        return False
    return not any(map(_may_name_an_axis, inspect.get_annotations(fn).values()))


def _may_name_an_axis(hint: Any) -> bool:
    """A type of jaxtyping's, one with such a type inside, or what may stand for any type."""
    if typing.get_origin(hint) is typing.Literal:
        return False
    if isinstance(hint, list | tuple):  # the arguments of a Callable
        return any(map(_may_name_an_axis, hint))
    if isinstance(hint, str | typing.ForwardRef | typing.TypeVar):
        return True
    return getattr(hint, "__module__", "").startswith("jaxtyping") or _may_name_an_axis(typing.get_args(hint))


jaxtyping.jaxtyped = check_types
