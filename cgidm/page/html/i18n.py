"""Everything that the page says, in every language; English is the master and the answer to an unknown code."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

TABLES = Path(__file__).parent / "languages"
LANGUAGES = ("en", "de", "fr", "es", "ja")
LONGEST_HEADER = 1000  # characters of Accept-Language that are looked at


@cache
def tables() -> dict[str, dict[str, str]]:
    """Language -> key -> text, as `gr.I18n(**tables())` takes it. No text holds HTML; `read.text`, `intro` Markdown."""
    return {code: json.loads((TABLES / f"{code}.json").read_text("utf-8")) for code in LANGUAGES}


def say(language: str, key: str, **values: Any) -> str:
    """The text of that key as plain text, its {placeholders} filled in: not yet escaped for HTML."""
    return table(language)[key].format(**values)


def say_if_known(language: str, key: str) -> str | None:
    """The text of a key that came from a record, if the table has one."""
    return table(language).get(key)


def table(language: str) -> Mapping[str, str]:
    """The texts of a language, or English."""
    return tables().get(language, tables()["en"])


def language_of(accept_language: str | None) -> str:
    """The language that a browser's Accept-Language header likes best, of those there are (RFC 9110, 12.5.4)."""
    best, liked = "en", 0.0
    for wish in (accept_language or "")[:LONGEST_HEADER].split(","):
        tag, *parameters = (part.strip().lower() for part in wish.split(";"))
        code, quality = tag.split("-")[0], _quality(parameters)
        if code == "*":
            code = "en"
        if code in LANGUAGES and quality > liked:
            best, liked = code, quality
    return best


def _quality(parameters: list[str]) -> float:
    """The `q` of one wish: 1 if it is not stated, 0 (not wanted) if it is not a number from 0 to 1."""
    stated = [p.removeprefix("q=").strip() for p in parameters if p.startswith("q=")]
    if not stated:
        return 1.0
    try:
        quality = float(stated[0])
    except ValueError:
        return 0.0
    return quality if 0 <= quality <= 1 else 0.0
