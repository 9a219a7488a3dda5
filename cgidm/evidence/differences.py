"""Plain data compared leaf by leaf: what a record states, beside what follows from its scores."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isclose, isnan
from typing import Any

from ..messages.text import single_line

NOTHING = "nothing"  # in place of a value that is not there
LONGEST = 240  # characters of a value that is printed
ROUNDING = 1e-9  # of a derived number, relative: another processor may add up in another order


@dataclass(frozen=True)
class Difference:
    """A value of a record that does not follow from its scores."""

    path: str  # "pictures[0].p_value"
    recorded: Any
    expected: Any

    def __str__(self) -> str:
        return f"{single_line(self.path)}: recorded {_short(self.recorded)}, but {_short(self.expected)} follows"


def differences(recorded: Any, expected: Any, path: str = "") -> Iterator[Difference]:
    """Compare plain data leaf by leaf; numbers may differ by rounding."""
    if isinstance(recorded, dict) and isinstance(expected, dict):
        for key in dict.fromkeys((*recorded, *expected)):
            where = f"{path}.{key}" if path else str(key)
            yield from differences(recorded.get(key, NOTHING), expected.get(key, NOTHING), where)
        if recorded.keys() == expected.keys() and list(recorded) != list(expected):
            yield Difference(path, list(recorded), list(expected))
    elif isinstance(recorded, list) and isinstance(expected, list) and len(recorded) == len(expected):
        for i, (a, b) in enumerate(zip(recorded, expected, strict=True)):
            yield from differences(a, b, f"{path}[{i}]")
    elif not _same(recorded, expected):
        yield Difference(path, recorded, expected)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, bool) or isinstance(b, bool) or not (isinstance(a, int | float) and isinstance(b, int | float)):
        return type(a) is type(b) and a == b
    return (isnan(a) and isnan(b)) or isclose(a, b, rel_tol=ROUNDING, abs_tol=1e-15)


def _short(value: Any) -> str:
    return single_line(repr(value), LONGEST)
