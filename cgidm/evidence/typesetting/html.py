"""Typeset the blocks of a report as one HTML page that needs no other file."""

import base64
import html as escaping
import io
from collections.abc import Callable, Sequence

from PIL import Image

from ...messages import Language
from ..reports.blocks import Block, Command, Heading, Items, NewPage, Panels, Pictures, ScoreStrip, Table, Text

STYLE = (
    ":root{color-scheme:light}body{font:16px/1.5 system-ui,sans-serif;max-width:56em;margin:2em auto;padding:0 1em;"
    "color:#1b2430;background:#fff}h1{line-height:1.2}h2{border-top:1px solid #c9cfdb;padding-top:.7em;margin-top:1.3em"
    "}h3{margin:1.2em 0 .3em}p.answer{font-size:1.25em;font-weight:700;border-left:5px solid #2b5fb4;padding-left:.6em}"
    "figure{display:inline-block;width:31%;margin:0 2% 0 0}.four figure{width:23%}"
    "figure img{width:100%;image-rendering:pixelated}"
    "figcaption,.caption{color:#566072;font-size:.9em}table{border-collapse:collapse;margin:.6em 0;width:100%}"
    "p,li,td,th{overflow-wrap:anywhere}td,th{padding:.2em 1em .2em 0;text-align:left;vertical-align:top}"
    "thead th{border-bottom:1px solid #c9cfdb}tbody tr{border-bottom:1px solid #eceff4}"
    "code{font-size:.78em;overflow-wrap:anywhere}pre{background:#f1f3f7;padding:.6em .8em;white-space:pre-wrap}"
    ".panels{display:grid;grid-template-columns:repeat(auto-fill,minmax(20em,1fr));gap:1em}"
    "section{break-inside:avoid}section b{display:block;font-size:1.2em}"
    "svg{width:100%;height:auto}@media print{hr{break-after:page;border:0}}hr{visibility:hidden;margin:0}"
)
SMALL = 320  # pixels a side of a picture in a line-up; the files beside the report have all of them
WIDTH, HEIGHT = 720, 74  # of a strip, in its own units


def report_html(blocks: Sequence[Block], read: Callable[[str], bytes], language: Language = "en") -> str:
    """Typeset the report whose PNGs `read` returns by their names. Every text is escaped."""
    title = next(_text(b.text) for b in blocks if isinstance(b, Heading))
    return (
        f"<!doctype html><html lang='{language}'><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width'>"
        f"<title>{title}</title><style>{STYLE}</style>\n" + "\n".join(_block(b, read) for b in blocks) + "\n</html>\n"
    )


def _block(block: Block, read: Callable[[str], bytes]) -> str:
    match block:
        case Heading(text, level):
            return f"<h{level}>{_text(text)}</h{level}>"
        case Text(text, strong):
            return f"<p class='answer'>{_text(text)}</p>" if strong else f"<p>{_text(text)}</p>"
        case Command(text):
            return f"<pre>{_text(text)}</pre>"
        case Items(items):
            return f"<ul>{''.join(f'<li>{_text(i)}</li>' for i in items)}</ul>"
        case Table():
            return _table(block)
        case Pictures(files):
            images = "".join(_figure(caption, caption, read(name)) for caption, name in files)
            return f"<div class='four'>{images}</div>" if len(files) > 3 else images
        case Panels(panels):
            return f"<div class='panels'>{''.join(_panel(letter, files, read) for letter, files in panels)}</div>"
        case ScoreStrip():
            return f"{_strip(block)}<p class='caption'>{_text(block.caption)}</p>"
        case NewPage():
            return "<hr>"


def _table(table: Table) -> str:
    columns = "".join(f"<col style='width:{100 * w / sum(table.widths):.0f}%'>" for w in table.widths)
    head = "".join(f"<th>{_text(c)}</th>" for c in table.rows[0]) if table.head else ""
    body = "".join(_row(row, table) for row in table.rows[table.head :])
    return f"<table><colgroup>{columns}</colgroup><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _row(row: tuple[str, ...], table: Table) -> str:
    cells = [_text(c) for c in row]
    if table.code:
        cells[-1] = f"<code>{cells[-1]}</code>"
    first = f"<td>{cells[0]}</td>" if table.head else f"<th>{cells[0]}</th>"
    return f"<tr>{first}{''.join(f'<td>{c}</td>' for c in cells[1:])}</tr>"


def _panel(letter: str, files: Sequence[tuple[str, str]], read: Callable[[str], bytes]) -> str:
    """Typeset one picture of a line-up, small: in full resolution, many of them would be too much for a page."""
    images = []
    for caption, name in files:
        with Image.open(io.BytesIO(read(name))) as image:
            image.thumbnail((SMALL, SMALL))
            small = io.BytesIO()
            image.save(small, "PNG")
        images.append(_figure(f"{letter}: {caption}", caption, small.getvalue()))
    return f"<section><b>{_text(letter)}</b>{''.join(images)}</section>"


def _figure(alt: str, caption: str, png: bytes) -> str:
    data = base64.b64encode(png).decode()
    return f"<figure><img alt='{alt}' src='data:image/png;base64,{data}'><figcaption>{caption}</figcaption></figure>"


def _strip(strip: ScoreStrip) -> str:
    """Draw a line with a stroke for each control picture, and a marked one for the picture."""
    low, high = strip.limits
    ticks = "".join(f"<path d='M{WIDTH * strip.position(c):.1f} 26v20'/>" for c in strip.controls)
    zero, here = WIDTH * strip.position(0.0), WIDTH * strip.position(strip.score)
    anchor = "end" if here > 0.85 * WIDTH else "start" if here < 0.15 * WIDTH else "middle"
    return (
        f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' role='img' font-size='12' fill='#566072'>"
        f"<path d='M0 46H{WIDTH}' stroke='#8a93a5'/><path d='M{zero:.1f} 46v6' stroke='#8a93a5'/>"
        f"<g stroke='#5b6578' stroke-opacity='.55' stroke-width='1.5'>{ticks}</g>"
        f"<path d='M{here:.1f} 18v32' stroke='#b3261e' stroke-width='3'/>"
        f"<text x='{here:.1f}' y='13' text-anchor='{anchor}' fill='#b3261e'>{_text(strip.label)}</text>"
        f"<text x='0' y='66'>{low:.2f}</text><text x='{WIDTH}' y='66' text-anchor='end'>{high:.2f}</text>"
        f"<text x='{zero:.1f}' y='66' text-anchor='middle'>0</text></svg>"
    )


def _text(value: str) -> str:
    return escaping.escape(value)
