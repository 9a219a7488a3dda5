"""Values in a file's notes: everything is text there, and some of it is JSON. What is none reads as nothing."""

import json
import math
import re
from typing import Any

LARGEST = 1e10  # a Unix time is smaller
ABSENT = ("", "none", "null", "nan", "n/a", "undefined")  # in lower case


def is_absent(text: str) -> bool:
    """Whether a text says that there is no value."""
    return text.strip().lower() in ABSENT


def read_number(text: Any) -> float | None:
    """A number of at most `LARGEST`, not negative; None for any other text."""
    match = re.fullmatch(r"\s*(\d{1,12}(?:\.\d{0,20})?(?:[eE][-+]?\d{1,3})?)\s*", text if isinstance(text, str) else "")
    number = float(match[1]) if match else math.inf
    return number if number <= LARGEST else None


def read_count(value: Any) -> int | None:
    """A whole number from 1 to `LARGEST`, as a number of JSON or as text; None for anything else."""
    number = read_number(value) if isinstance(value, str) else value
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number <= LARGEST:
        return None
    return int(number) if number == int(number) else None


def read_switch(value: Any) -> bool | None:
    """Whether a switch is on, as JSON or as text; None for anything else."""
    if isinstance(value, str):
        return {"true": True, "1": True, "false": False, "0": False}.get(value.strip().lower())
    return bool(value) if isinstance(value, bool | int) and value in (0, 1) else None


def read_list(value: Any) -> list[dict[str, Any]]:
    """The JSON objects of a list, given as text or as itself; else none."""
    found = _read_json(value)
    return [part for part in found if isinstance(part, dict)] if isinstance(found, list) else []


def read_table(value: Any) -> dict[str, Any]:
    """A JSON object, given as text or as itself; else an empty one."""
    found = _read_json(value)
    return found if isinstance(found, dict) else {}


def _read_json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None
