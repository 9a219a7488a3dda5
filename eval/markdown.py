"""A Markdown table. Standard library alone, so that every room may use it."""

from collections.abc import Iterable, Sequence


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, spaced: bool = False) -> str:
    """Return a Markdown table without a trailing newline.

    Args:
        columns: heads.
        rows: cells, as many as there are columns; `str` makes their texts.
        spaced: write the rule below the heads as `| --- |` instead of `|---|`.
    """
    rule = f"|{' --- |' * len(columns)}" if spaced else f"|{'---|' * len(columns)}"
    return "\n".join([_line(columns), rule, *map(_line, rows)])


def _line(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(_cell, cells))} |"


def _cell(value: object) -> str:
    return str(value).replace("|", r"\|")
