"""What a visitor reads while they wait: what a run costs, what it can find, how far it is. All of it is HTML."""

from collections.abc import Sequence
from html import escape
from typing import Any, Literal

from .i18n import translate
from .markup import html_text, wrap_page


def bar_html(language: str, key: str, *, share: float | None, power: Sequence[str] = (), **values: Any) -> str:
    """Show a line about a part of a run, and a bar for the whole of it.

    Args:
        language: the visitor's language.
        key: of the line's text.
        share: how much of the whole run is done, from 0 to 1; None: not known.
        power: sentences about the expected power, as HTML.
        values: of the line's text, none of them from outside.
    """
    line = escape(translate(language, key, **values))
    if share is None:
        return wrap_page([f'<p class="cg-status" role="status">{line}</p>', _power(power)], language)
    percent = round(100 * share)
    bar = f'<progress max="100" value="{percent}" aria-label="{line}">{percent} %</progress>'
    return wrap_page([f'<p class="cg-status" role="status">{line}</p>', bar, _power(power)], language)


def status_html(language: str, key: str, *, power: Sequence[str] = (), **values: Any) -> str:
    """Show one line about a run without a share to show: `status.queue`, `status.loading`, `status.finished` ..."""
    line = f'<p class="cg-status" role="status">{html_text(language, key, **values)}</p>'
    return wrap_page([line, _power(power)], language)


def error_html(sentence: str, language: str) -> str:
    """Show what went wrong, which stays until it is mended; `sentence` is HTML."""
    return wrap_page([f'<p class="cg-error" role="alert">{sentence}</p>'], language)


def stale_html(language: str) -> str:
    """Say that the answer below belongs to other settings than the form's."""
    return wrap_page([f'<p class="cg-stale" role="status">{html_text(language, "stale")}</p>'], language)


def cost_html(
    language: str,
    *,
    seconds: tuple[float, float],
    answer_seconds: tuple[float, float],
    kind: Literal["cpu", "gpu", "zero"],
    gpu_seconds: float | None = None,
) -> str:
    """State what a run will cost before it starts.

    Args:
        language: the visitor's language.
        seconds: time on this machine until its end, from and to.
        answer_seconds: the same until its answer.
        kind: what computes.
        gpu_seconds: what ZeroGPU takes from the visitor's daily quota.
    """
    low, high, first, last = (format_duration(language, s) for s in (*seconds, *answer_seconds))
    lines = [translate(language, "cost", low=low, high=high, first=first, last=last)]
    if kind == "zero" and gpu_seconds is not None:
        lines.append(translate(language, "cost.zero", seconds=round(gpu_seconds)))
    elif kind == "cpu":
        lines.append(translate(language, "cost.cpu"))
    said = "<br>".join(map(escape, lines))
    return wrap_page([f'<p class="cg-cost">{said}</p>'], language)


def format_duration(language: str, seconds: float) -> str:
    """Format a time as plain text: seconds up to two minutes, then minutes."""
    if seconds < 120:
        return translate(language, "time.seconds", n=max(1, round(seconds)))
    return translate(language, "time.minutes", n=round(seconds / 60))


def _power(sentences: Sequence[str]) -> str:
    return "".join(f'<p class="cg-power">{sentence}</p>' for sentence in sentences)
