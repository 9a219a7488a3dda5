"""Dataclasses as what `json` writes, and back: every value is checked against its type. Standard library alone.

A record of the oldest format is first put into the words of today's.
"""

import dataclasses
import types
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from ..messages import Note

MOST_VALUES = 20_000  # of a list: null scores are thousands
LONGEST_TEXT = 20_000  # characters
TEXT = "evidence.text"  # the code of a note that holds a sentence of a record of format 1


def to_json(value: Any) -> Any:
    """A dataclass, note, tuple or mapping as what `json` writes; `from_json` is its inverse."""
    if isinstance(value, Note):
        return {"code": value.code, "params": to_json(value.params)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [to_json(v) for v in value]
    return value


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


def upgrade_format_1(old: dict[str, Any]) -> dict[str, Any]:
    """Return a record of format 1 in the words of today's; `format` itself stays 1."""
    models, config = dict(old["models"]), dict(old["config"])
    commits = {new: models.pop(f"{role} commit", None) for role, new in (("base", "base"), ("finetuned", "suspect"))}
    embeddings = [models.pop(role) for role in sorted(k for k in models if k.startswith("embedding "))]
    known = {
        "base": models.pop("base", ""),
        "suspect": models.pop("finetuned", ""),
        "prompt": models.pop("prompt", ""),
        "embeddings": embeddings,
        "commits": {role: sha for role, sha in commits.items() if sha is not None},
        "unrelated": models.pop("unrelated", None),
        "unrelated_sha256": models.pop("unrelated SHA-256", None),
        "warning": _optional(_sentence, models.pop("careful", None)),
        "sha256": models.pop("sha256"),
    }
    recovery = {k: v for k, v in config["recovery"].items() if k != "weight_gradients"}
    together, lineup, stopped = old["set"], old.get("lineup"), old["stopped"]
    upgraded = {k: v for k, v in old.items() if k not in ("power", "weight_shift", "seed", "lineup")}
    return upgraded | {
        "format": 1,
        "pictures": [_upgrade_picture(p) for p in old["pictures"]],
        "set": _optional(lambda s: s | {"reason": _sentence(s["reason"])}, together),
        "expected_power": old.get("power"),
        "weight_distance": old.get("weight_shift"),
        "lineup": _optional(
            lambda known: (
                known | {"left_out": [left | {"reason": _sentence(left["reason"])} for left in known["left_out"]]}
            ),
            lineup,
        ),
        "controls": [c | {"notes": [_sentence(n) for n in c["notes"]]} for c in old["controls"]],
        "config": {"lineup": None, "views": ["as given"]} | config | {"recovery": recovery},
        "models": known | {"sha256": known["sha256"]},
        "machine": {"rows_per_call" if k == "rows_at_once" else k: v for k, v in old["machine"].items()},
        "stopped": stopped,
    }


def _upgrade_picture(old: dict[str, Any]) -> dict[str, Any]:
    kept = {k: v for k, v in old.items() if k not in ("path", "shift")}
    flags = [
        {"name": f["name"], "note": _sentence(f["explanation"], raised_if=f["raised_if"]), "blocks_verdict": True}
        for f in old["flags"]
    ]
    return kept | {
        "name": old["path"],
        "notes": [_sentence(n) for n in old["notes"]],
        "not_computed": {score: _sentence(why) for score, why in old["not_computed"].items()},
        "reason": _sentence(old["reason"]),
        "flags": flags,
        "view": old.get("view", "as given"),
        "distance_from_base": old.get("shift"),
    }


def _sentence(text: str, **more: str) -> dict[str, Any]:
    return {"code": TEXT, "params": {"text": text, **more}}


def _optional(change: Callable[[Any], Any], value: Any) -> Any:
    return None if value is None else change(value)
