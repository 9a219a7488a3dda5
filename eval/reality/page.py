"""The page of what holds: `reality.html` and `reality.md`, of the same blocks as a report."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from cgidm.evidence.reports.blocks import Block, Heading, Items, Table, Text
from cgidm.evidence.typesetting.html import report_html
from cgidm.files import write_atomically
from eval.markdown import markdown_table
from eval.reality.findings import NO, NOT_RUN, UNKNOWN, YES, ClaimRow
from eval.reality.stages import Stage, StageRecord

HEAD = ("claim", "ours", "paper, or known", "holds", "command")
WIDTHS = (4, 4, 2, 2, 5)
TITLE = "What holds on the real thing"
RULES = (
    f"{YES}: equal to what is known, or the paper's number lies at or below ours, or within our 95 % interval.",
    f"{NO}: neither. With so few pictures an interval is wide: only large differences are findings.",
    f"{UNKNOWN}: no public source states one. The number is recorded.",
    f"{NOT_RUN}: the stage has no result yet, or the model does not fit this machine.",
)


def write_page(
    out: Path, stages: Sequence[Stage], records: Mapping[str, StageRecord], rows: Sequence[ClaimRow], machine: str
) -> None:
    """Write both files into `out`. Nothing is sent anywhere."""
    blocks = page_blocks(stages, records, rows, machine)
    write_atomically(out / "reality.html", report_html(blocks, lambda name: (out / name).read_bytes()))
    write_atomically(out / "reality.md", blocks_as_markdown(blocks))


def page_blocks(
    stages: Sequence[Stage], records: Mapping[str, StageRecord], rows: Sequence[ClaimRow], machine: str
) -> list[Block]:
    """The page: how much holds, the rules, what does not hold, and a table for each stage."""
    blocks: list[Block] = [
        Heading(TITLE, 1),
        Text(count_claims(rows), strong=True),
        Text(machine),
        Items(RULES),
    ]
    failed = [row for row in rows if row.holds.startswith(NO)]
    if failed:
        blocks += [Heading("What does not hold"), _table(failed)]
    for stage in stages:
        own = [row for row in rows if row.part == stage.name]
        if own:
            record = records.get(stage.name)
            told = "" if record is None else f" ({record.seconds:.0f} s, {record.finished})"
            blocks += [Heading(f"{stage.name}{told}"), Text(stage.does), _table(own)]
    return blocks


def count_claims(rows: Sequence[ClaimRow]) -> str:
    """How many claims hold, and how many do not."""
    counts = Counter(NO if row.holds.startswith(NO) else row.holds for row in rows)
    parts = [(YES, "hold"), (NO, "do not hold"), (UNKNOWN, "have no known value"), (NOT_RUN, "were not run")]
    return f"Of {len(rows)} claims " + ", ".join(f"{counts[holds]} {words}" for holds, words in parts) + "."


def blocks_as_markdown(blocks: Sequence[Block]) -> str:
    """The same blocks as Markdown."""
    parts = []
    for block in blocks:
        match block:
            case Heading(text, level):
                parts.append(f"{'#' * level} {text}")
            case Text(text, strong):
                parts.append(f"**{text}**" if strong else text)
            case Items(items):
                parts.append("\n".join(f"- {item}" for item in items))
            case Table(rows):
                quoted = [(*row[:-1], f"`{row[-1]}`") for row in rows[1:]]
                parts.append(markdown_table(rows[0], quoted))
            case _:
                raise AssertionError(block)
    return "\n\n".join(parts) + "\n"


def _table(rows: Sequence[ClaimRow]) -> Table:
    cells = tuple((row.claim, row.ours, row.known, row.holds, row.command) for row in rows)
    return Table((HEAD, *cells), WIDTHS, head=True, code=True)
