"""The blocks of a report: `report` and `lineup_sheet` write them, `report_html` and `report_pdf` typeset them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Heading:
    """A heading."""

    text: str
    level: int = 2  # 1: the report's, 2: a part's, 3: within a part


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    strong: bool = False


@dataclass(frozen=True)
class Items:
    """A list."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table."""

    rows: tuple[tuple[str, ...], ...]
    widths: tuple[int, ...]  # of the columns, relative
    head: bool = False  # the first row names the columns
    code: bool = False  # the last column holds digests


@dataclass(frozen=True)
class Command:
    """A line to be typed at a terminal."""

    text: str


@dataclass(frozen=True)
class Pictures:
    """Images beside each other."""

    files: tuple[tuple[str, str], ...]  # caption, file in the folder of evidence


@dataclass(frozen=True)
class Panels:
    """The pictures of a line-up's round, each with its images beside each other, small."""

    panels: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]  # letter; caption and file of each image


@dataclass(frozen=True)
class ScoreStrip:
    """The score of a picture among those of the control pictures, drawn on a line. Positions on it are 0 to 1."""

    score: float
    controls: tuple[float, ...]
    caption: str  # the same in words
    label: str  # of the score's own stroke

    @property
    def limits(self) -> tuple[float, float]:
        """The lowest and the highest score of the line; zero lies on it."""
        every = (self.score, *self.controls, 0.0)
        low, high = min(every), max(every)
        margin = 0.04 * (high - low) or 0.5
        return low - margin, high + margin

    def position(self, score: float) -> float:
        """Return the position of a score on the line."""
        low, high = self.limits
        return (score - low) / (high - low)


@dataclass(frozen=True)
class NewPage:
    """A page break."""


Block = Heading | Text | Command | Items | Table | Pictures | Panels | ScoreStrip | NewPage
