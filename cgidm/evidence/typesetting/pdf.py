"""Typeset the blocks of a report as a PDF of A4 pages. Equal blocks give equal bytes."""

import io
import re
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

from ...messages import Language
from ...resources import japanese_font
from ..reports.blocks import Block, Command, Heading, Items, NewPage, Panels, Pictures, ScoreStrip, Table, Text
from ..reports.language import text_in

MARGIN = 18  # mm
LARGEST = 512  # pixels a side of a picture on typesetter; the files beside the report have all of them
SMALL = 320  # the same, in a line-up, where there are many
TALLEST = 110  # mm, of a picture
SIZES = {1: 17, 2: 12.5, 3: 10}  # points, of headings
JAPANESE = "\u3001-\u30ff\u3400-\u9fff\uff01-\uff60"
OPENING, CLOSING = "「『（〔【〈《", "、。，．：；！？」』）〕】〉》ーっゃゅょッャュョァィゥェォ"  # noqa: RUF001
BREAK = "\u200b"  # where a line may end; typewriter letters lack it, and are broken anywhere
INK, GREY, LINE, RED, BLUE = (27, 36, 48), (86, 96, 114), (160, 168, 182), (179, 38, 30), (43, 95, 180)


def report_pdf(
    blocks: Sequence[Block], read: Callable[[str], bytes], date: datetime, language: Language = "en"
) -> bytes:
    """Typeset the report whose PNGs `read` returns by their names; `date` is the one that the file carries."""
    typesetter = _Typesetter(read, language)
    typesetter.pdf.set_creation_date(date)
    typesetter.pdf.set_title(next(b.text for b in blocks if isinstance(b, Heading)))
    for block in blocks:
        typesetter.add(block)
    return bytes(typesetter.pdf.output())


class _Typesetter:
    """Sets one block below the other. A page breaks between lines, never within a row or picture."""

    def __init__(self, read: Callable[[str], bytes], language: Language) -> None:
        from fpdf import FPDF  # late: nothing but a report needs it

        class Numbered(FPDF):
            def footer(self) -> None:
                self.set_y(-13)
                self.set_font("sans", size=8)
                self.set_text_color(*GREY)
                self.cell(0, 5, text_in(language, "report.page", page=self.page_no(), pages="{nb}"), align="C")

        self.read = read
        self.pdf: Any = Numbered(format="A4")
        self.pdf.set_margins(MARGIN, 15, MARGIN)
        self.pdf.c_margin = 0  # text begins where pictures and lines do
        self.pdf.set_auto_page_break(True, 17)
        self.pdf.set_lang(language)
        for family, style, name in (("sans", "", ""), ("sans", "B", "-Bold"), ("mono", "", "Mono")):
            self.pdf.add_font(family, style, _fonts() / f"DejaVuSans{name}.ttf")
        self.pdf.add_page()

    def add(self, block: Block) -> None:
        """Set a block below the others."""
        pdf = self.pdf
        pdf.set_text_color(*INK)
        match block:
            case Heading(text, level):
                if pdf.will_page_break(30):
                    pdf.add_page()  # a heading stays with what it heads
                pdf.ln({1: 0, 2: 3.5, 3: 2}[level])
                self._font("sans", SIZES[level], "B")
                self._write(text, SIZES[level] * 0.45)
                pdf.ln(1.5 if level < 3 else 0.5)
            case Text(text, strong):
                self._font("sans", 12 if strong else 9.3, "B" if strong else "")
                pdf.set_text_color(*(BLUE if strong else INK))
                self._write(text, 6 if strong else 4.5)
                pdf.ln(1)
            case Command(text):
                self._font("mono", 8)
                pdf.set_fill_color(241, 243, 247)
                self._write(text, 6, fill=True)
                pdf.set_fill_color(255)
                pdf.ln(2)
            case Items(items):
                for item in items:
                    self._font("sans", 9.3)
                    pdf.cell(4, 4.4, "•")
                    self._write(item, 4.4, indent=4)
                    pdf.ln(0.5)
                pdf.ln(0.5)
            case Table():
                self._table(block)
            case Pictures(files):
                self._pictures(files)
            case Panels(panels):
                for first in range(0, len(panels), 2):
                    self._panels(panels[first : first + 2])
            case ScoreStrip():
                self._strip(block)
            case NewPage():
                pdf.add_page()

    def _table(self, table: Table) -> None:
        pdf = self.pdf
        self._font("sans", 8.5)
        pdf.set_draw_color(*LINE)
        borders = "SINGLE_TOP_LINE" if table.head else "NONE"
        with pdf.table(
            col_widths=table.widths,
            borders_layout=borders,
            text_align="LEFT",
            v_align="TOP",
            first_row_as_headings=table.head,
            line_height=4.1,
            padding=(0.5, 2, 0.5, 0),
            align="LEFT",
            wrapmode="CHAR" if table.code else "WORD",
        ) as rows:
            for number, row in enumerate(table.rows):
                cells = rows.row()
                for column, text in enumerate(row):
                    heads = (table.head and number == 0) or (not table.head and column == 0)
                    code = table.code and column == len(row) - 1 and not heads
                    self._font("mono" if code else "sans", 7 if code else 8.5, "B" if heads else "")
                    cells.cell(self._in_font(text), style=self._face())
            self._font("sans", 8.5)  # the table is set when the block ends, its headings in this font
        pdf.ln(1.5)

    def _pictures(self, files: Sequence[tuple[str, str]]) -> None:
        pdf, gap = self.pdf, 4
        side = (pdf.epw - gap * (len(files) - 1)) / len(files)
        height = min(TALLEST, side * max(map(self._steepness, files)))
        if pdf.will_page_break(height + 6):
            pdf.add_page()
        top = pdf.get_y()
        for number, (caption, name) in enumerate(files):
            with Image.open(io.BytesIO(self.read(name))) as picture:
                picture.thumbnail((LARGEST, LARGEST))
                left = pdf.l_margin + number * (side + gap)
                pdf.image(picture, left, top, side, height, alt_text=caption, keep_aspect_ratio=True)
        pdf.set_y(top + height + 0.5)
        self._font("sans", 8)
        pdf.set_text_color(*GREY)
        for number, (caption, _) in enumerate(files):
            pdf.set_x(pdf.l_margin + number * (side + gap))
            pdf.cell(side, 4.5, caption)
        pdf.ln(7)

    def _panels(self, pair: Sequence[tuple[str, Sequence[tuple[str, str]]]]) -> None:
        """Set two pictures of a line-up beside each other."""
        pdf, gap, between = self.pdf, 1.5, 8
        width = (pdf.epw - between) / 2
        side = (width - 2 * gap) / 3
        height = min(TALLEST, side * max(self._steepness(file) for _, files in pair for file in files))
        if pdf.will_page_break(height + 8):
            pdf.add_page()
        top = pdf.get_y()
        self._font("sans", 10, "B")
        for column, (letter, files) in enumerate(pair):
            left = pdf.l_margin + column * (width + between)
            pdf.set_xy(left, top)
            pdf.cell(width, 5, letter)
            for number, (caption, name) in enumerate(files):
                with Image.open(io.BytesIO(self.read(name))) as picture:
                    picture.thumbnail((SMALL, SMALL))
                    words = {"alt_text": f"{letter}: {caption}", "keep_aspect_ratio": True}
                    pdf.image(picture, left + number * (side + gap), top + 5, side, height, **words)
        pdf.set_y(top + height + 8)

    def _steepness(self, file: tuple[str, str]) -> float:
        """A picture's height as a share of its width."""
        with Image.open(io.BytesIO(self.read(file[1]))) as picture:
            return picture.height / picture.width

    def _strip(self, strip: ScoreStrip) -> None:
        pdf = self.pdf
        if pdf.will_page_break(22):
            pdf.add_page()
        top, left, width = pdf.get_y() + 5.5, pdf.l_margin, pdf.epw
        line = top + 7
        pdf.set_draw_color(*GREY)
        pdf.set_line_width(0.25)
        for control in strip.controls:
            x = left + width * strip.position(control)
            pdf.line(x, top + 2, x, line)
        pdf.line(left, line, left + width, line)
        zero, here = (left + width * strip.position(score) for score in (0.0, strip.score))
        pdf.line(zero, line, zero, line + 1.5)
        pdf.set_draw_color(*RED)
        pdf.set_line_width(0.8)
        pdf.line(here, top, here, line + 1)
        pdf.set_line_width(0.2)
        low, high = strip.limits
        self._font("sans", 8)
        self._label(f"{low:.2f}", left, line + 1.5)
        self._label(f"{high:.2f}", left + width, line + 1.5)
        self._label("0", zero, line + 1.5)
        pdf.set_text_color(*RED)
        self._label(strip.label, here, top - 5)
        pdf.set_text_color(*GREY)
        pdf.set_xy(left, line + 6)
        self._write(strip.caption, 4.4)
        pdf.ln(0.5)

    def _label(self, text: str, x: int | float, y: int | float) -> None:
        """Write a text centred at x, but inside the margins."""
        pdf = self.pdf
        width = pdf.get_string_width(text) + 2
        pdf.set_xy(min(max(x - width / 2, pdf.l_margin), pdf.l_margin + pdf.epw - width), y)
        pdf.cell(width, 4, text, align="C")

    def _write(self, text: str, height: int | float, indent: int | float = 0, fill: bool = False) -> None:
        pdf = self.pdf
        pdf.set_x(pdf.l_margin + indent)
        pdf.multi_cell(
            pdf.epw - indent, height, self._in_font(text), align="L", fill=fill, new_x="LMARGIN", new_y="NEXT"
        )

    def _font(self, family: str, size: int | float, style: str = "") -> None:
        self.pdf.set_font(family, style, size)

    def _face(self) -> Any:
        from fpdf.fonts import FontFace

        pdf = self.pdf
        return FontFace(family=pdf.font_family, emphasis=pdf.font_style, size_pt=pdf.font_size_pt)

    def _in_font(self, text: str) -> str:
        """Write a character that no font has as its code, so that none is lost and none can hide."""
        known = self.pdf.current_font.cmap
        if not all(ord(c) in known for c in text):
            known = {*known, *self._japanese()}
        written = "".join(c if ord(c) in known else f"[U+{ord(c):04X}]" for c in text)
        return _with_breaks(written) if ord(BREAK) in self.pdf.current_font.cmap else written

    def _japanese(self) -> Collection[int]:
        """The letters of the Japanese font, which is embedded where a text needs it."""
        if "japanese" not in self.pdf.fonts and japanese_font().is_file():
            self.pdf.add_font("japanese", "", japanese_font())
            self.pdf.set_fallback_fonts(["japanese"], exact_match=False)
        font = self.pdf.fonts.get("japanese")
        return frozenset() if font is None else font.cmap.keys()


def _with_breaks(text: str) -> str:
    """Let lines break between Japanese letters, which no spaces part; no line begins with a closing mark."""
    return re.sub(f"(?<=[{JAPANESE}])(?<![{OPENING}])(?=[{JAPANESE}])(?![{CLOSING}])", BREAK, text)


@lru_cache(maxsize=1)
def _fonts() -> Path:
    """Find the folder of the DejaVu fonts, which come with matplotlib."""
    from matplotlib import get_data_path

    return Path(get_data_path()) / "fonts" / "ttf"
