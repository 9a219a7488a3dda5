"""The scores of pictures among those of controls, drawn by matplotlib."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font

from ..messages.text import single_line
from ..resources import japanese_font


def draw_scores(pictures: Sequence[tuple[str, float]], others: Sequence[float], score: str, compared: str) -> Figure:
    """Draw one row of marks for all controls, and one for each picture, with its name.

    Args:
        pictures: name and score of each.
        others: scores of what they are compared with.
        score: the name of the score.
        compared: what they are compared with: "controls".

    Returns:
        the figure; nothing is written or displayed.
    """
    figure = Figure(figsize=(7, 1.6 + 0.25 * len(pictures)), layout="constrained")
    axes = figure.subplots()
    axes.eventplot([list(others)], colors="#5b6578", linelengths=0.8, linewidths=1)
    fonts = _fonts()
    for number, (name, value) in enumerate(pictures, 1):
        axes.plot(value, -number, "D", color="#b3261e")
        axes.annotate(
            _drawable(name, fonts),
            (value, -number),
            xytext=(8, -3),
            textcoords="offset points",
            family=fonts,
            parse_math=False,  # a name may hold two dollar signs
        )
    axes.axvline(0.0, color="#c9cfdb", zorder=0)
    axes.set(xlabel=score, yticks=[0], ylim=(-len(pictures) - 0.8, 1.2))
    axes.set_yticklabels([compared])
    return figure


def _fonts() -> list[str]:
    """The families in which a name is drawn: the Japanese one, which ships, where the usual one has no letter."""
    usual = FontProperties().get_name()
    file = japanese_font()
    if not file.is_file():
        return [usual]
    if all(known.fname != str(file) for known in fontManager.ttflist):
        fontManager.addfont(file)
    return [usual, FontProperties(fname=file).get_name()]


def _drawable(name: str, fonts: Sequence[str]) -> str:
    """The name on one line, with the codes of characters that no font has: matplotlib would warn of them."""
    known = [get_font(findfont(family)) for family in fonts]
    line = single_line(name)
    return "".join(c if any(f.get_char_index(ord(c)) for f in known) else f"[U+{ord(c):04X}]" for c in line)
