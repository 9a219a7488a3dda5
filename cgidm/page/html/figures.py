"""The drawings of an answer with their words: a heading, the drawing, what it shows."""

from collections.abc import Mapping, Sequence
from typing import Any

from .i18n import say
from .markup import as_number, shown_number, words
from .sentences import VERDICT_SCORE, against
from .svg import Labels, contrast_svg, distribution_svg, finite, moving_average, number


def distribution_figure(picture: Mapping[str, Any], record: Mapping[str, Any], language: str) -> str:
    """A picture's score among those that it is compared with."""
    score = as_number(picture["scores"].get(VERDICT_SCORE))
    controls = finite([*map(as_number, record["control_scores"])])
    if not finite([score]) and not controls:
        return ""
    shown = shown_number(score)
    about = say(language, "drawing.description.none", score=shown)
    if controls:
        ends = {"low": number(min(controls)), "high": number(max(controls))}
        about = say(language, against(record, "drawing.description"), n=len(controls), score=shown, **ends)
    title, caption = against(record, "drawing.title"), against(record, "drawing.caption")
    labels = Labels(say(language, title), about, say(language, "drawing.mark"), say(language, "drawing.zero"))
    return _figure(distribution_svg(score, controls, labels), title, caption, language)


def contrast_figure(values: Sequence[float | None], language: str, steps: int | None = None) -> str:
    """The contrast along a run; nothing before two steps. `steps` are those of the whole run, if it is not over."""
    known = finite([as_number(v) for v in values])
    if len(known) < 2:
        return ""
    last = number(moving_average(known, max(1, len(known) // 10))[-1])
    labels = Labels(say(language, "contrast.title"), say(language, "contrast.description", n=len(values), last=last))
    svg = contrast_svg([as_number(v) for v in values], labels, steps)
    return _figure(svg, "contrast.title", "contrast.caption", language)


def _figure(svg: str, title: str, caption: str, language: str) -> str:
    return (
        f'<figure class="cg-figure"><h3>{words(language, title)}</h3>{svg}'
        f"<figcaption>{words(language, caption)}</figcaption></figure>"
    )
