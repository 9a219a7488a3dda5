"""What a visitor reads while they wait: what a run costs, what it can find, how far it is. All of it is HTML."""

from collections.abc import Sequence
from html import escape
from typing import Any, Literal

from .figures import contrast_figure
from .i18n import translate
from .markup import html_text, wrap_page


def progress_html(
    language: str,
    *,
    step: int,
    steps: int,
    remaining: float | None,
    contrast: Sequence[float],
    power: Sequence[str] = (),
) -> str:
    """Show how far the recovery of the pictures is.

    Args:
        language: the visitor's language.
        step: the steps done.
        steps: the steps of the whole run.
        remaining: seconds until the end; None: not known yet.
        contrast: the contrast at each step so far.
        power: sentences about the expected power, as HTML.
    """
    bar = _bar("status.step", language, step, steps, remaining)
    return wrap_page([_power(power), bar, contrast_figure(contrast, language, steps)], language)


def decoys_html(language: str, *, step: int, steps: int, remaining: float | None) -> str:
    """Show how far the recovery of a line-up's decoys is."""
    return wrap_page([_bar("status.decoys", language, step, steps, remaining)], language)


def status_html(language: str, key: str, *, power: Sequence[str] = (), **values: Any) -> str:
    """Show one line about a run without a step to show: `status.queue`, `status.loading`, `status.controls` ..."""
    line = f'<p class="cg-status" role="status">{html_text(language, key, **values)}</p>'
    return wrap_page([_power(power), line], language)


def cost_html(
    language: str,
    *,
    evaluations: int,
    seconds: float | None,
    kind: Literal["cpu", "gpu", "zero"],
    gpu_seconds: float | None = None,
) -> str:
    """State what a run will cost before it starts.

    Args:
        language: the visitor's language.
        evaluations: network evaluations.
        seconds: time on this machine; None: not known.
        kind: what computes.
        gpu_seconds: what ZeroGPU takes from the visitor's daily quota.
    """
    time = "cost.unknown" if seconds is None else "cost"
    lines = [
        translate(language, time, time="" if seconds is None else format_duration(language, seconds)),
        translate(language, "cost.evaluations", n=f"{evaluations:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")),
    ]
    if kind != "zero":
        lines.append(translate(language, f"cost.{kind}"))
    elif gpu_seconds is not None:
        lines.append(translate(language, "cost.zero", seconds=round(gpu_seconds)))
    return wrap_page([f'<p class="cg-cost">{escape(" · ".join(lines))}</p>'], language)


def format_duration(language: str, seconds: float) -> str:
    """Format a time as plain text: seconds up to two minutes, then minutes."""
    if seconds < 120:
        return translate(language, "time.seconds", n=max(1, round(seconds)))
    return translate(language, "time.minutes", n=round(seconds / 60))


def _bar(key: str, language: str, step: int, steps: int, remaining: float | None) -> str:
    left = {} if remaining is None else {"remaining": format_duration(language, remaining)}
    label = escape(translate(language, key if left else f"{key}.first", step=step, steps=steps, **left))
    bar = f'<progress max="{steps}" value="{step}" aria-label="{label}">{step}/{steps}</progress>'
    return f'<p class="cg-status">{label}</p>{bar}'


def _power(sentences: Sequence[str]) -> str:
    return "".join(f'<p class="cg-power">{sentence}</p>' for sentence in sentences)
