"""The blind sheet of a line-up: what an observer sees.

It is made of the number of panels in each round and of nothing else, so that no word of it can betray which is which.
"""

from collections.abc import Iterator, Sequence

from ..judging.lineup import LETTERS, UNKNOWN
from .report_blocks import Block, Heading, Items, Panels, Text

# role of a picture's three images, in the order in which they are shown -> caption
ROLES = {"original": "Original", "partial": "Half removed", "recovered": "Recovered"}
TITLE = "Line-up: which picture came back best?"
INSTRUCTIONS = (
    "Of each picture you see the original, the half of it that was kept, and what a program put into the gaps. The "
    "pictures of a round stand in random order.",
    "In each round choose the one whose missing half came back best: whose third image is closest to its first, where "
    "the second has gaps.",
    f"Write down one letter for each round. “{UNKNOWN}” says that you cannot tell, and counts as a wrong choice.",
    "Choose alone, and in all rounds before anybody tells you an answer. A choice is not changed afterwards.",
    "Whoever knows one of the pictures, handed one over, or was told anything about them cannot be the observer: then "
    "say so, and leave it to somebody else.",
)


def sheet(sizes: Sequence[int]) -> Iterator[Block]:
    """The instructions and the rounds, which show so many panels each."""
    yield Items(INSTRUCTIONS)
    for number, size in enumerate(sizes, 1):
        yield Heading(f"Round {number} of {len(sizes)}")
        letters = LETTERS[:size]
        yield Panels(
            tuple(
                (a, tuple((caption, panel_name(number, a, role)) for role, caption in ROLES.items())) for a in letters
            )
        )
        yield Text(f"Round {number}: I choose (A to {letters[-1]}, or {UNKNOWN}) ________")


def panel_name(number: int, letter: str, role: str) -> str:
    """The file of one image on the sheet; rounds count from 1."""
    return f"lineup/{number}-{letter}-{role}.png"
