"""The one place that finds a text of the page in the visitor's language.

`languages/<code>.json` holds the page's own texts by key, folders beside it those of a part: `languages/check/`.
The sentences of the library are those of `cgidm.messages`, by code. An unknown language is answered in English.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, get_args

from cgidm.messages import Language, Note, render, translations

TABLES = Path(__file__).parent / "languages"
LANGUAGES: tuple[Language, ...] = get_args(Language)
LONGEST_HEADER = 1000  # characters of Accept-Language that are read


@cache
def tables() -> dict[str, dict[str, str]]:
    """Return the page's texts: language -> key -> text, as `gr.I18n(**tables())` takes them.

    No text holds HTML. `read.text` and `intro` hold Markdown.
    """
    files = {code: (TABLES / f"{code}.json", *sorted(TABLES.glob(f"*/{code}.json"))) for code in LANGUAGES}
    return {code: {k: v for f in files[code] for k, v in json.loads(f.read_text("utf-8")).items()} for code in files}


@cache
def message_tables() -> dict[str, dict[str, str]]:
    """Return the library's messages: language -> code -> sentence. English is missing: it is the library's own."""
    return {code: dict(translations(code)) for code in LANGUAGES if code != "en"}


def translate(language: str, key: str, **values: Any) -> str:
    """Return a text of the page with its {placeholders} filled in: plain text, not yet escaped for HTML."""
    return table_for(language)[key].format(**values)


def translate_if_known(language: str, key: str) -> str | None:
    """Return a text of the page by a key that came from a record; None if there is no such text."""
    return table_for(language).get(key)


def translate_note(language: str, note: Note) -> str:
    """Return what a note of the library says: plain text, in English if the language has no sentence for it."""
    return render(note.code, note.params, message_tables().get(language))


def has_translation(language: str, note: Note) -> bool:
    """Tell whether `translate_note` answers in that language, and not in English."""
    return note.code in message_tables().get(language, {})


def table_for(language: str) -> Mapping[str, str]:
    """Return the page's texts in a language, or in English."""
    return tables().get(language, tables()["en"])


def known_language(language: str) -> Language:
    """Return a language that the page speaks: the one that is given, or English."""
    codes = dict(zip(LANGUAGES, LANGUAGES, strict=True))
    return codes.get(language, "en")  # type: ignore[call-overload]


def choose_language(accept_language: str | None) -> str:
    """Choose the language that a browser's Accept-Language header prefers (RFC 9110, 12.5.4)."""
    best, preference = "en", 0.0
    for wish in (accept_language or "")[:LONGEST_HEADER].split(","):
        tag, *parameters = (part.strip().lower() for part in wish.split(";"))
        code, quality = tag.split("-")[0], _quality(parameters)
        if code == "*":
            code = "en"
        if code in LANGUAGES and quality > preference:
            best, preference = code, quality
    return best


def _quality(parameters: list[str]) -> float:
    """Return the `q` of one wish: 1 if it is not stated, 0 (not wanted) if it is not a number from 0 to 1."""
    stated = [p.removeprefix("q=").strip() for p in parameters if p.startswith("q=")]
    if not stated:
        return 1.0
    try:
        quality = float(stated[0])
    except ValueError:
        return 0.0
    return quality if 0 <= quality <= 1 else 0.0
