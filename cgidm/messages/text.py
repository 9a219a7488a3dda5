"""Text from outside, made safe to show. Standard library alone."""

import re

LONGEST = 200  # characters of a text from outside


def single_line(text: str, longest: int = LONGEST) -> str:
    """Return `text` on one line, printable characters only, at most `longest` of them.

    A note or a file name may hold terminal commands, line breaks, or a megabyte.
    """
    flat = re.sub(r"\s+", " ", text)
    printable = "".join(c for c in flat if c.isprintable()).strip()
    return printable if len(printable) <= longest else printable[: longest - 1] + "…"
