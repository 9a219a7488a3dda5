"""Dataclasses as what `json` writes, and back: every value is checked against its type. Standard library alone."""

import dataclasses
import types
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from ..messages import Note

MOST_VALUES = 20_000  # of a list: null scores are thousands
LONGEST_TEXT = 20_000  # characters
SINCE = "since"  # metadata of a field: the first format that has it


def since(number: int) -> dict[str, int]:
    """The metadata of a field that records have since a format; in older ones it has its default."""
    return {SINCE: number}


def to_json(value: Any, number: int | None = None) -> Any:
    """A dataclass, note, tuple or mapping as what `json` writes; `from_json` is its inverse.

    Args:
        value: what is written.
        number: a record's format; fields that it had not yet are left out. None: all are written.
    """
    if isinstance(value, Note):
        return {"code": value.code, "params": to_json(value.params)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [f for f in dataclasses.fields(value) if number is None or f.metadata.get(SINCE, 0) <= number]
        return {f.name: to_json(getattr(value, f.name), number) for f in fields}
    if isinstance(value, Mapping):
        return {str(k): to_json(v, number) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [to_json(v, number) for v in value]
    return value


def find_newer_field(stated: Any, written: Any) -> str | None:
    """The first field that a record states and that its format does not write; None if there is none.

    Args:
        stated: a record as `json` read it.
        written: the same record as `to_json` writes it in that format.
    """
    if isinstance(stated, dict) and isinstance(written, dict):
        newer = [str(key) for key in stated if key not in written]
        pairs = [(value, written[key]) for key, value in stated.items() if key in written]
    elif isinstance(stated, list) and isinstance(written, list):
        newer, pairs = [], [(value, written[i]) for i, value in enumerate(stated)]
    else:
        return None
    deeper = (found for pair in pairs if (found := find_newer_field(*pair)) is not None)
    return newer[0] if newer else next(deeper, None)


def from_json(kind: Any, value: Any, where: str) -> Any:
    """Build a value of type `kind` from what `json` read.

    Raises:
        ValueError: with the place of the first value that is missing, unknown or of another type.
    """
    if kind is Any:
        return value
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _one_of(arguments, value, where)
    if origin is tuple:
        _expect(isinstance(value, list), where, "a list")
        _expect(len(value) <= MOST_VALUES, where, f"at most {MOST_VALUES} values")
        _expect(Ellipsis in arguments or len(value) == len(arguments), where, f"{len(arguments)} values")
        return tuple(from_json(arguments[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin is dict:
        _expect(isinstance(value, dict), where, "an object")
        return {k: from_json(arguments[1], v, f"{where}.{k:.40}") for k, v in value.items()}
    if origin is Literal:
        _expect(value in arguments, where, f"one of {arguments}")
        return value
    if dataclasses.is_dataclass(kind):
        return _build(kind, value, where)
    if kind is float:
        _expect(isinstance(value, int | float) and not isinstance(value, bool), where, "a number")
        return float(value)
    _expect(type(value) is kind, where, getattr(kind, "__name__", str(kind)))
    _expect(kind is not str or len(value) <= LONGEST_TEXT, where, f"at most {LONGEST_TEXT} characters")
    return value


def _one_of(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    (kind,) = (k for k in kinds if k is not type(None))
    return from_json(kind, value, where)


def _build(kind: Any, value: Any, where: str) -> Any:
    _expect(isinstance(value, dict), where, "an object")
    hints = _hints(kind)
    unknown = value.keys() - hints.keys()
    _expect(not unknown, where, f"no {min(map(str, unknown), default=''):.40}")
    lacking = {f.name for f in dataclasses.fields(kind) if _is_required(f)} - value.keys()
    _expect(not lacking, where, f"a value for {min(lacking, default='')}")
    return kind(**{name: from_json(hints[name], v, f"{where}.{name}") for name, v in value.items()})


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return {"code": str, "params": dict[str, Any]} if kind is Note else get_type_hints(kind)


def _is_required(f: dataclasses.Field[Any]) -> bool:
    return f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING


def _expect(holds: bool, where: str, wanted: str) -> None:
    if not holds:
        raise ValueError(f"{where}: expected {wanted}")
