"""The drawings of an answer with their texts: a heading, the drawing, a caption."""

from collections.abc import Sequence

from cgidm.evidence.record import PictureRecord, Record

from .i18n import translate
from .markup import html_text, number_or_dash
from .sentences import comparison_key
from .svg import Labels, contrast_svg, distribution_svg, finite_values, format_number, moving_average


def distribution_figure(picture: PictureRecord, record: Record, language: str) -> str:
    """Draw a picture's score among those that it is compared with."""
    score = picture.scores.get(record.judged_by)
    controls = finite_values(record.control_scores)
    if not finite_values([score]) and not controls:
        return ""
    description = translate(language, "drawing.description.none", score=number_or_dash(score))
    if controls:
        values = {
            "n": len(controls),
            "low": format_number(min(controls)),
            "high": format_number(max(controls)),
            "score": number_or_dash(score),
        }
        description = translate(language, comparison_key(record, "drawing.description"), **values)
    title, caption = comparison_key(record, "drawing.title"), comparison_key(record, "drawing.caption")
    mark, zero = (translate(language, key) for key in ("drawing.mark", comparison_key(record, "drawing.zero")))
    labels = Labels(translate(language, title), description, mark, zero)
    return _figure(distribution_svg(score, controls, labels), title, caption, language)


def contrast_figure(values: Sequence[float], language: str, steps: int | None = None) -> str:
    """Draw the contrast along a run; nothing before two steps.

    Args:
        values: the contrast at each step so far.
        language: the visitor's language.
        steps: the steps of the whole run, if it is not over.
    """
    known = finite_values(values)
    if len(known) < 2:
        return ""
    last = format_number(moving_average(known, max(1, len(known) // 10))[-1])
    description = translate(language, "contrast.description", n=len(values), last=last)
    svg = contrast_svg(values, Labels(translate(language, "contrast.title"), description), steps)
    return _figure(svg, "contrast.title", "contrast.caption", language)


def _figure(svg: str, title: str, caption: str, language: str) -> str:
    return (
        f'<figure class="cg-figure"><h3>{html_text(language, title)}</h3>{svg}'
        f"<figcaption>{html_text(language, caption)}</figcaption></figure>"
    )
