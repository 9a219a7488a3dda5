"""The blind sheet of a line-up: what an observer sees.

It is made of the number of panels in each round alone, so that no word of it can betray the answer.
"""

from collections.abc import Iterator, Sequence

from ..judging.lineup import LETTERS, UNKNOWN
from .report_blocks import Block, Heading, Items, Panels, Text

# role of a picture's three images, in the order in which they are shown -> caption
ROLES = {"original": "Original", "partial": "Half removed", "recovered": "Recovered"}
TITLE = "Line-up: which picture came back best?"
INSTRUCTIONS = (
    "Each picture is shown three times: the original, the half of it that was kept, and the original with the gaps "
    "filled by a program. The pictures of a round are in random order.",
    "In each round, choose the picture whose missing half came back best. Look at the gaps of the second image: there, "
    "the third image should be like the first.",
    f"Write down one letter for each round. “{UNKNOWN}” means that you cannot tell. It counts as a wrong choice.",
    "Choose alone. Choose in all rounds before anybody tells you an answer. Do not change a choice afterwards.",
    "Do not choose if you know one of the pictures, handed one over, or were told anything about them. Say so, and "
    "leave the choice to somebody else.",
)


def lineup_sheet(sizes: Sequence[int]) -> Iterator[Block]:
    """Write the instructions and the rounds.

    Args:
        sizes: the number of panels of each round.
    """
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
    """Name the file of one image on the sheet; rounds count from 1."""
    return f"lineup/{number}-{letter}-{role}.png"
