"""Text from outside, made safe to show. Standard library alone."""

import re
import sys

LONGEST = 200  # characters of a text from outside


def single_line(text: str, longest: int = LONGEST) -> str:
    """Return `text` on one line, printable characters only, at most `longest` of them.

    A note or a file name may hold terminal commands, line breaks, or a megabyte.
    """
    flat = re.sub(r"\s+", " ", text)
    printable = "".join(c for c in flat if c.isprintable()).strip()
    return printable if len(printable) <= longest else printable[: longest - 1] + "…"


def print_line(text: object, *, to_stderr: bool = False) -> None:
    """Print `text` as one line of a terminal, with its spaces, and a space for each character that is not printable.

    A name of a file or tensor cannot command the terminal, nor begin a line of its own. Letters that the terminal
    lacks become question marks.

    Args:
        text: what is printed, as `str` makes it.
        to_stderr: whether it goes to standard error, and not to standard output.
    """
    stream = sys.stderr if to_stderr else sys.stdout
    line = "".join(c if c.isprintable() else " " for c in str(text))
    encoding = stream.encoding or "utf-8"
    print(line.encode(encoding, "replace").decode(encoding), file=stream)
