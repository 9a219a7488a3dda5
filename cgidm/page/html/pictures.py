"""What the page shows of pictures while they arrive: small, with the part that will be looked at, and their count."""

from collections.abc import Sequence
from dataclasses import dataclass

from cgidm.judging.verdict import LEVEL
from cgidm.messages import Note

from .markup import escape_untrusted, html_text, note_html, picture_source, wrap_page

NEEDED = round(1 / LEVEL) - 1  # control pictures
LOST = 0.01  # the share of a picture that is worth a word


@dataclass(frozen=True, kw_only=True)
class LookedAt:
    """One picture that arrived."""

    name: str
    url: str | None  # a data URL; None: it cannot be read
    size: tuple[int, int]  # width and height in pixels
    lost: float  # the share that is not looked at
    refused: Note | None  # why it cannot be used
    again: bool  # the same file is there already


def looked_at_html(pictures: Sequence[LookedAt], most: int, language: str) -> str:
    """Show each picture, and how many there are; nothing before the first.

    Args:
        pictures: in their order.
        most: how many there may be.
        language: the visitor's language.
    """
    if not pictures:
        return ""
    usable = sum(p.refused is None for p in pictures)
    key = "pictures.too_many" if usable > most else "pictures.one" if usable == 1 else "pictures.count"
    lines = [html_text(language, key, n=usable, most=most)] if usable else []
    if usable < len(pictures):
        lines.append(html_text(language, "pictures.left_out", n=len(pictures) - usable))
    if any(p.lost > LOST for p in pictures):
        lines.append(html_text(language, "pictures.frame"))
    items = "".join(_item(picture, language) for picture in pictures)
    said = "".join(f"<p>{line}</p>" for line in lines)
    return wrap_page([f'<div class="cg-count" role="status">{said}</div><ul class="cg-seen">{items}</ul>'], language)


def control_count_html(given: int, most: int, language: str) -> str:
    """Say how many control pictures are there, of those that are needed."""
    key = "controls.too_many" if given > most else "controls.enough" if given >= NEEDED else "controls.count"
    line = html_text(language, key, n=given, need=NEEDED, most=most)
    return wrap_page([f'<p class="cg-count" role="status">{line}</p>'], language)


def _item(picture: LookedAt, language: str) -> str:
    name = escape_untrusted(picture.name)
    if picture.refused is not None:
        return f'<li class="cg-refused"><strong>{name}</strong><br>{note_html(picture.refused, language)}</li>'
    source = picture_source(picture.url or "")
    image = "" if source is None else f'<img src="{source}" alt="{name}">'
    facts = [f"{picture.size[0]} \N{MULTIPLICATION SIGN} {picture.size[1]}"]
    if picture.lost > LOST:
        facts.append(html_text(language, "pictures.lost", percent=round(100 * picture.lost)))
    if picture.again:
        facts.append(html_text(language, "pictures.again"))
    return f"<li>{image}<span>{name}</span><small>{' · '.join(facts)}</small></li>"
