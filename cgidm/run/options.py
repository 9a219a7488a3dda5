"""What follows from the options of a run at the command line."""

import argparse
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ..method.config import RunConfig, find_preset
from ..method.views import VIEWS

PLAN = "--plan"


class OptionKind(NamedTuple):
    """What makes a value of a text, and the value without any."""

    make: Callable[[str], Any] | None
    default: Any


def option_kinds(add_options: Callable[[argparse.ArgumentParser], None]) -> Mapping[str, OptionKind]:
    """Return the options that a function adds to a parser, by the names of their values."""
    parser = argparse.ArgumentParser(add_help=False)
    add_options(parser)
    return {a.dest: OptionKind(a.type if callable(a.type) else None, a.default) for a in parser._actions}


def names_plan(arguments: Sequence[str]) -> bool:
    """Tell whether the arguments are of a run that follows a plan."""
    return arguments[:1] == ["authenticate"] and any(a == PLAN or a.startswith(f"{PLAN}=") for a in arguments)


def leave_to_plan(parser: argparse.ArgumentParser) -> None:
    """Let the options of a parser be left out: none is needed, and one that is not given has no value."""
    for action in parser._actions:
        if not isinstance(action, argparse._HelpAction):
            action.required, action.default = False, argparse.SUPPRESS
            action.nargs = "*" if action.nargs == "+" else action.nargs


def read_config(options: argparse.Namespace) -> RunConfig:
    """The configuration that the options of a run state.

    Raises:
        UserError: if a value is out of range.
    """
    preset = find_preset(options.preset)
    given = {k: v for k in ("steps", "radius") if (v := getattr(options, k)) is not None}
    recovery = dataclasses.replace(preset.recovery, **given)
    views = tuple(VIEWS) if options.search else preset.views
    mirror = {} if options.mirror else {"mirror_draws": 0, "mirrored_recovery": False}
    return dataclasses.replace(
        preset, seed=options.seed, recovery=recovery, views=views, lineup=options.lineup, **mirror
    )
