"""What is said while somebody waits: what a run will cost, what it can find, how far it is; as HTML.

`foreseen` is what of the record is known before the run: its power, once the models are loaded.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Literal

from .figures import contrast_figure
from .i18n import say
from .markup import whole, words
from .sentences import power_sentences


def progress_html(
    language: str,
    *,
    step: int,
    steps: int,
    remaining: float | None,
    contrast: Sequence[float | None],
    foreseen: Mapping[str, Any] | None = None,
) -> str:
    """How far a run is: words, a bar, and the contrast so far. `remaining` in seconds; None: not known yet."""
    bar = _bar("status.step", language, step, steps, remaining)
    return whole([_foreseen(foreseen, language), bar, contrast_figure(contrast, language, steps)], language)


def decoys_html(language: str, *, step: int, steps: int, remaining: float | None) -> str:
    """How far a run is whose pictures are judged, and whose line-up is still being made."""
    return whole([_bar("status.decoys", language, step, steps, remaining)], language)


def status_html(language: str, key: str, *, foreseen: Mapping[str, Any] | None = None, **values: Any) -> str:
    """One line about a run that has no step to show: `status.queue`, `status.loading`, `status.controls` ..."""
    line = f'<p class="cg-status" role="status">{words(language, key, **values)}</p>'
    return whole([_foreseen(foreseen, language), line], language)


def cost_html(
    language: str,
    *,
    evaluations: int,
    seconds: float | None,
    kind: Literal["cpu", "gpu", "zero"],
    asked: float | None = None,
) -> str:
    """What a run will cost before it starts; `asked`: seconds of the daily quota that ZeroGPU is asked for."""
    time = "cost.unknown" if seconds is None else "cost"
    lines = [
        say(language, time, time="" if seconds is None else duration(language, seconds)),
        say(language, "cost.evaluations", n=f"{evaluations:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")),
    ]
    if kind != "zero":
        lines.append(say(language, f"cost.{kind}"))
    elif asked is not None:
        lines.append(say(language, "cost.zero", asked=round(asked)))
    return whole([f'<p class="cg-cost">{escape(" · ".join(lines))}</p>'], language)


def duration(language: str, seconds: float) -> str:
    """A time in words, plain text: seconds up to two minutes, then minutes."""
    if seconds < 120:
        return say(language, "time.seconds", n=max(1, round(seconds)))
    return say(language, "time.minutes", n=round(seconds / 60))


def _bar(key: str, language: str, step: int, steps: int, remaining: float | None) -> str:
    left = {} if remaining is None else {"remaining": duration(language, remaining)}
    said = escape(say(language, key if left else f"{key}.first", step=step, steps=steps, **left))
    bar = f'<progress max="{steps}" value="{step}" aria-label="{said}">{step}/{steps}</progress>'
    return f'<p class="cg-status">{said}</p>{bar}'


def _foreseen(foreseen: Mapping[str, Any] | None, language: str) -> str:
    """What such a run can find."""
    return "".join(f'<p class="cg-foreseen">{said}</p>' for said in power_sentences(foreseen or {}, language))
