"""The blind sheet of a line-up: what an observer sees.

It is made of the number of panels in each round alone, so that no word of it can betray the answer.
"""

from collections.abc import Iterator, Sequence

from ..judging.lineup import LETTERS, UNKNOWN
from ..messages import Language
from .reports.blocks import Block, Heading, Items, Panels, Text
from .reports.language import text_in

ROLES = ("original", "partial", "recovered")  # of a picture's three images, in the order in which they are shown
PARTS = ("images", "choose", "write", "alone", "strangers")  # of the instructions


def lineup_sheet(sizes: Sequence[int], language: Language = "en") -> Iterator[Block]:
    """Write the instructions and the rounds.

    Args:
        sizes: the number of panels of each round.
        language: of the sheet.
    """
    yield Items(tuple(text_in(language, f"report.sheet.{part}", unknown=UNKNOWN) for part in PARTS))
    captions = {role: text_in(language, f"report.role.{role}") for role in ROLES}
    for number, size in enumerate(sizes, 1):
        yield Heading(text_in(language, "report.sheet.round", number=number, of=len(sizes)))
        letters = LETTERS[:size]
        yield Panels(
            tuple((a, tuple((captions[role], panel_name(number, a, role)) for role in ROLES)) for a in letters)
        )
        choice = {"number": number, "last": letters[-1], "unknown": UNKNOWN}
        yield Text(text_in(language, "report.sheet.choice", **choice))


def panel_name(number: int, letter: str, role: str) -> str:
    """Name the file of one image on the sheet; rounds count from 1."""
    return f"lineup/{number}-{letter}-{role}.png"
