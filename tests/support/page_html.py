"""All that the page shows of an answer, as one piece of HTML."""

from cgidm.evidence.record import Record
from cgidm.page.html.answer import answer_html, reasons_html
from cgidm.page.html.gallery import pictures_html
from cgidm.page.html.portfolio import gallery_html, portfolio_html, portfolio_reasons_html


def answer_page(record: Record, language: str, *, precomputed: bool = False, url: str = "") -> str:
    """The answer for one picture, and its reasons; a stopped run has none."""
    answer = answer_html(record, language, precomputed=precomputed, url=url)
    if record.stopped is not None:
        return answer
    return (
        answer + pictures_html({"original": url, "mirrored": url}, "picture", language) + reasons_html(record, language)
    )


def portfolio_page(record: Record, language: str, urls: list[str]) -> str:
    """The answer for a set, its pictures, and its reasons."""
    answer = portfolio_html(record, language, urls)
    if record.stopped is not None:
        return answer
    images = [{"original": url, "recovered": url} for url in [*urls, *[""] * len(record.pictures)]]
    gallery = gallery_html(record, language, images[: len(record.pictures)])
    return answer + gallery + portfolio_reasons_html(record, language)
