"""Make the Japanese font of reports: the kana, signs and common kanji of M PLUS 1, as TrueType outlines.

python -m scripts.subset_font Mplus1-Regular.otf    # of the M+ FONTS project, under the SIL Open Font License
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fontTools import subset
from fontTools.pens.cu2quPen import Cu2QuPen
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.ttLib import TTFont, newTable

from cgidm.messages import translations
from cgidm.resources import japanese_font

TOLERANCE = 1.0  # units of 1000 an em, between cubic and quadratic outlines
SIGNS, KANA, COMMON_KANJI = (1, 2), (4, 5), (16, 47)  # rows of JIS X 0208
FULL_WIDTH = range(0xFF01, 0xFF61)
TABLES = ["BASE", "DSIG", "FFTM", "GDEF", "GPOS", "GSUB", "VORG", "gasp", "vhea", "vmtx"]


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("font", type=Path)
    font = TTFont(parser.parse_args().font, recalcTimestamp=False)
    options = subset.Options(hinting=False, layout_features=[], name_IDs=["*"], drop_tables=TABLES)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=[ord(c) for c in letters()])
    subsetter.subset(font)
    use_quadratic_outlines(font)
    font.save(japanese_font())


def letters() -> set[str]:
    """What the font is to hold: common letters, and those of every sentence of ours; Latin is another font's."""
    rows = {c for first, last in (SIGNS, KANA, COMMON_KANJI) for c in characters_of(first, last)}
    ours = {c for sentence in translations("ja").values() for c in sentence}
    return {c for c in rows | ours | set(map(chr, FULL_WIDTH)) if ord(c) > 0x2000}


def characters_of(first: int, last: int) -> Iterator[str]:
    """The characters of some rows of JIS X 0208."""
    for row in range(first, last + 1):
        for cell in range(1, 95):
            try:
                yield bytes((0xA0 + row, 0xA0 + cell)).decode("euc_jp")
            except UnicodeDecodeError:
                continue


def use_quadratic_outlines(font: TTFont) -> None:
    """Replace the cubic outlines, which some readers of PDF do not draw as our typesetter embeds them."""
    order, glyphs = font.getGlyphOrder(), font.getGlyphSet()
    outlines = {}
    for name in order:
        pen = TTGlyphPen(None)
        glyphs[name].draw(Cu2QuPen(pen, TOLERANCE, reverse_direction=True))
        outlines[name] = pen.glyph()
    font["loca"], font["glyf"] = newTable("loca"), newTable("glyf")
    font["glyf"].glyphOrder, font["glyf"].glyphs = order, outlines
    del font["CFF "]
    largest: Any = font["maxp"]
    largest.tableVersion, largest.maxZones = 0x00010000, 1
    for field in ("TwilightPoints", "Storage", "FunctionDefs", "InstructionDefs", "StackElements"):
        setattr(largest, f"max{field}", 0)
    largest.maxSizeOfInstructions = largest.maxComponentElements = 0
    names: Any = font["post"]
    names.formatType, names.extraNames, names.mapping = 3.0, [], {}
    font.sfntVersion = "\0\1\0\0"


if __name__ == "__main__":
    main()
