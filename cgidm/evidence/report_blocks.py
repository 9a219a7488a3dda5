"""What a report is made of: blocks that `statement` and `sheet` write, and `report` and `pdf` set."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Heading:
    text: str
    level: int = 2  # 1: the report's, 2: a part's, 3: within a part


@dataclass(frozen=True)
class Text:
    text: str
    strong: bool = False


@dataclass(frozen=True)
class Items:
    items: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    rows: tuple[tuple[str, ...], ...]
    widths: tuple[int, ...]  # of the columns, relative
    head: bool = False  # the first row names the columns
    code: bool = False  # the last column holds digests


@dataclass(frozen=True)
class Command:
    text: str


@dataclass(frozen=True)
class Pictures:
    files: tuple[tuple[str, str], ...]  # caption, file in the folder of evidence


@dataclass(frozen=True)
class Panels:
    """The pictures of a line-up's round, each with its images beside each other, small."""

    panels: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]  # letter; caption and file of each image


@dataclass(frozen=True)
class Strip:
    """The score of a picture among those of the control pictures, to be drawn on a line."""

    score: float
    controls: tuple[float, ...]
    called: str = "control pictures"  # what has these scores

    @property
    def ends(self) -> tuple[float, float]:
        """The scores at the ends of the line; zero lies on it."""
        every = (self.score, *self.controls, 0.0)
        low, high = min(every), max(every)
        margin = 0.04 * (high - low) or 0.5
        return low - margin, high + margin

    def place(self, score: float) -> float:
        """Where on the line, 0 to 1."""
        low, high = self.ends
        return (score - low) / (high - low)

    @property
    def said(self) -> str:
        """In words."""
        if not self.controls:
            return f"Score {self.score:.3f}; there are no {self.called}."
        above = sum(c >= self.score for c in self.controls)
        among = f"{len(self.controls)} {self.called} from {min(self.controls):.3f} to {max(self.controls):.3f}"
        return f"Score {self.score:.3f} among {among}; {above} of them score as high."


@dataclass(frozen=True)
class NewPage:
    """What follows begins on a page of its own."""


Block = Heading | Text | Command | Items | Table | Pictures | Panels | Strip | NewPage
