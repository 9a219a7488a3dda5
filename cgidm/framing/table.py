"""A framing as a plain table, so that a record can hold it and a reader can make it again."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from math import isfinite
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ..errors import UserError
from ..messages.text import single_line
from .ai_toolkit import AiToolkit
from .diffusers_scripts import DiffusersScript
from .frame import CentreSquare, Framing
from .kohya import Kohya
from .musubi import Musubi
from .one_trainer import OneTrainer
from .settings import LARGEST_SIDE, check_between
from .simple_tuner import SimpleTuner

RULES: Mapping[str, type[Any]] = {
    "centre_square": CentreSquare,
    "kohya": Kohya,
    "musubi": Musubi,
    "one_trainer": OneTrainer,
    "ai_toolkit": AiToolkit,
    "simple_tuner": SimpleTuner,
    "diffusers": DiffusersScript,
}


def framing_to_table(framing: Framing) -> dict[str, Any]:
    """The rule's name as `rule`, and all its settings: numbers, texts, truths, lists of two numbers, or None.

    Raises:
        TypeError: if the framing is of no rule in `RULES`.
    """
    for rule, kind in RULES.items():
        if type(framing) is kind:
            settings = {field.name: getattr(framing, field.name) for field in fields(kind)}
            return {"rule": rule, **{k: list(v) if isinstance(v, tuple) else v for k, v in settings.items()}}
    raise TypeError(f"no rule makes {type(framing).__name__}")


def framing_of_table(table: Mapping[str, Any]) -> Framing:
    """The framing that `table` states; settings that it leaves out have the trainer's defaults.

    Args:
        table: what `framing_to_table` returned, or the same from JSON. Anyone may have edited it.

    Raises:
        UserError: if the rule or a setting is unknown, lacking, or not of its kind.
    """
    rule = table.get("rule")
    if not isinstance(rule, str) or rule not in RULES:
        raise UserError("framing.unknown_rule", accepted=sorted(RULES), given=_named(rule))
    kind = RULES[rule]
    hints, settings = get_type_hints(kind), {k: v for k, v in table.items() if k != "rule"}
    known = {field.name: field for field in fields(kind)}
    for name, field in known.items():
        if name not in settings and field.default is MISSING:
            raise UserError("framing.missing_setting", rule=rule, setting=name)
    read: dict[str, Any] = {}
    for name, value in settings.items():
        if name not in known:
            raise UserError("framing.unknown_setting", rule=rule, accepted=sorted(known), given=_named(name))
        pair = isinstance(value, list) and tuple in _alternatives(hints[name])
        read[name] = tuple(value) if pair else value
        if not _fits(hints[name], read[name]):
            expected = single_line(str(hints[name]).replace("<class '", "").replace("'>", "").replace("typing.", ""))
            raise UserError("framing.bad_value", rule=rule, setting=name, expected=expected, given=_named(value))
    framing: Framing = kind(**read)
    if isinstance(framing, CentreSquare):
        check_between(rule, "resolution", framing.resolution, 1, LARGEST_SIDE)
    return framing


def _alternatives(hint: Any) -> set[Any]:
    """What a hint is made of: the parts of a union, else itself; of `tuple[int, int]`, `tuple`."""
    parts = get_args(hint) if NoneType in get_args(hint) else (hint,)
    return {get_origin(part) or part for part in parts}


def _fits(hint: Any, value: Any) -> bool:
    """Whether a value is of the kind that a field of a rule is declared with."""
    arguments = get_args(hint)
    if get_origin(hint) is Literal:
        return isinstance(value, str) and value in arguments
    if get_origin(hint) is tuple:
        return isinstance(value, tuple) and len(value) == len(arguments) and all(map(_fits, arguments, value))
    if arguments:  # a union
        return any(_fits(part, value) for part in arguments)
    if hint is float:
        return type(value) is int or (type(value) is float and isfinite(value))
    return type(value) is hint


def _named(value: Any) -> str:
    return single_line(value if isinstance(value, str) else repr(value))
