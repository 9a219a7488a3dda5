"""What can be judged on this machine, as HTML: a table of the families, and one sentence on a suspect's card."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from cgidm.method.card_fit import CARDS

from ..runs import hardware
from ..runs.family_fits import ModelFit, family_fits, split_family, uncounted_families
from ..runs.model_cache import MAX_DOWNLOAD
from .i18n import translate
from .markup import headed_table, html_text, wrap_page

SHARING = ("adapter", "textual inversion")  # kinds that share the network of their base


def fits_html(language: str) -> str:
    """List the families, whether each can be judged here, and which card would do."""
    kind, memory = hardware.kind(), hardware.gpu_memory()
    about = html_text(language, f"fits.about.{kind}", gb=_gigabytes(memory), name=hardware.describe())
    lines = [about, html_text(language, "fits.download", gb=_gigabytes(MAX_DOWNLOAD))]
    shipped = [html_text(language, f"fits.{key}") for key in ("shipped", "yes", "no_card")]
    rows = [["—", shipped[0], f"● {shipped[1]}", shipped[2]]]
    rows += [[*_named(fit), _here(fit, language), escape(_size(fit, language))] for fit in family_fits()]
    unknown = html_text(language, "fits.uncounted")
    rows += [[escape(family), "—", unknown, unknown] for family in uncounted_families()]
    heads = [html_text(language, f"fits.head.{name}") for name in ("family", "model", "here", "card")]
    table = headed_table("fits", html_text(language, "fits.table"), heads, rows, {2, 3})
    paragraphs = "".join(f"<p>{line}</p>" for line in lines)
    return wrap_page([paragraphs, table, f"<p>{html_text(language, 'fits.counted')}</p>"], language)


def judged_html(found: Mapping[str, Any], language: str, *, shipped: bool = False) -> str:
    """Say whether a suspect can be judged on this machine; where it does not fit, which card would do.

    Args:
        found: what `inspect_checkpoint` returned.
        language: the visitor's language.
        shipped: the suspect ships with the page.
    """
    if shipped:
        return html_text(language, "card.judged.here")
    if found["family"] is None:
        return html_text(language, "card.judged.base")
    families = split_family(found["family"])
    if not families:
        return html_text(language, "card.judged.family")
    fits = family_fits(families, networks=1 if found["kind"] in SHARING else 2)
    kind = hardware.kind()
    if kind == "cpu":
        return _joined([html_text(language, "card.judged.gpu"), *_cards(fits, language)])
    if not fits:
        return html_text(language, "fits.card.uncounted")
    able = [fit for fit in fits if fit.can_run]
    if len(able) == len(fits):
        return _joined([html_text(language, "card.judged.here"), *(_cards(fits, language) if kind == "zero" else [])])
    others = [fit for fit in fits if not fit.can_run]
    if able:
        titles = ", ".join(fit.title for fit in able)
        return _joined([html_text(language, "fits.card.some", models=titles), *_reasons(others, language)])
    return _joined([html_text(language, "fits.card.not_here"), *_reasons(others, language)])


def _reasons(others: Sequence[ModelFit], language: str) -> list[str]:
    """Why models cannot be judged here: the card, or the download."""
    small = [fit for fit in others if fit.fits_memory is False]
    rest = [fit for fit in others if fit.fits_memory is not False]
    reasons = _cards(small, language)
    if rest:
        titles = ", ".join(fit.title for fit in rest)
        reasons.append(html_text(language, "fits.card.download", models=titles, gb=_gigabytes(MAX_DOWNLOAD)))
    return reasons


def _cards(fits: Sequence[ModelFit], language: str) -> list[str]:
    """One sentence: which card the smallest of some models needs, and which the largest."""
    if not fits:
        return []
    small, large = fits[0], fits[-1]
    if small.card is None:
        return [html_text(language, "fits.card.none", model=small.title, gb=CARDS[-1])]
    if small.card == large.card:
        key = "fits.card.one" if len(fits) == 1 else "fits.card.all"
        return [html_text(language, key, model=small.title, gb=small.card)]
    ends = {"small": small.title, "low": small.card, "large": large.title, "high": _size(large, language)}
    return [html_text(language, "fits.card.range", **ends)]


def _named(fit: ModelFit) -> list[str]:
    return [escape(fit.family), escape(fit.title)]


def _here(fit: ModelFit, language: str) -> str:
    if fit.can_run:
        return f"● {html_text(language, 'fits.lent' if fit.fits_memory is None else 'fits.yes')}"
    too_large = fit.fits_memory is not False and not fit.fits_download and hardware.kind() != "cpu"
    return f"○ {html_text(language, 'fits.no.download' if too_large else 'fits.no')}"


def _size(fit: ModelFit, language: str) -> str:
    """The card that a model fits, as plain text."""
    return translate(language, "fits.card.more" if fit.card is None else "fits.card.size", gb=fit.card or CARDS[-1])


def _gigabytes(size: int | None) -> str:
    return "—" if size is None else f"{size / 1e9:.0f}"


def _joined(sentences: Sequence[str]) -> str:
    return " ".join(sentences)
