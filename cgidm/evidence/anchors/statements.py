"""What a user states about control pictures: who made them, and when. Nothing confirms it; the report says so."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from ...errors import UserError
from ...messages.text import single_line
from ..record import ControlStatementRecord, StatementsRecord

TABLE = "controls.csv"  # beside the control pictures
COLUMNS = ("name", "made_by", "made_on")
LONGEST = 500  # characters of a statement
MAX_TABLE = 1_000_000  # bytes


def read_control_statements(folder: Path | None, text: str | None) -> "ControlStatements":
    """Read what is stated of the control pictures of a folder, and in words.

    Args:
        folder: of control pictures; `controls.csv` in it is read if it is there.
        text: the statement in words.

    Raises:
        UserError: if the table has other columns, or names a picture twice.
    """
    if text is not None and len(text) > LONGEST:
        raise UserError("evidence.long_statement", given=len(text), most=LONGEST)
    rows = _read_table(folder / TABLE) if folder is not None and (folder / TABLE).is_file() else {}
    return ControlStatements(single_line(text, LONGEST) if text else None, rows)


class ControlStatements:
    """What is stated of control pictures: of all in words, and of single ones by the names of their files."""

    def __init__(self, text: str | None, rows: dict[str, ControlStatementRecord]) -> None:
        self.text, self.rows = text, rows

    def of(self, names: Sequence[str]) -> StatementsRecord:
        """Return the statements about the controls of these names, in their order.

        Raises:
            UserError: if the table names a picture that is not among the files of its folder.
        """
        files = [_file_name(name) for name in names]
        made = tuple(self.rows.get(file, ControlStatementRecord()) for file in files) if self.rows else ()
        return StatementsRecord(controls=self.text, of_controls=made)

    def check_names(self, names: Sequence[str]) -> None:
        """See that every picture that the table names is there.

        Raises:
            UserError: if one is not.
        """
        if unknown := sorted(self.rows.keys() - {_file_name(name) for name in names}):
            raise UserError("evidence.statement_of_nothing", table=TABLE, name=unknown[0])


def _read_table(path: Path) -> dict[str, ControlStatementRecord]:
    if path.stat().st_size > MAX_TABLE:
        raise UserError("evidence.statement_table", path=str(path), columns=COLUMNS, given="a larger file")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except ValueError as error:
        raise UserError("evidence.statement_table", path=str(path), columns=COLUMNS, given="no UTF-8") from error
    first = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text), delimiter=";" if first.count(";") > first.count(",") else ",")
    given = [(column or "").strip().lower() for column in reader.fieldnames or ()]
    if not given or given[0] != COLUMNS[0] or not set(given) <= set(COLUMNS):
        raise UserError("evidence.statement_table", path=str(path), columns=COLUMNS, given=given)
    reader.fieldnames = given
    found: dict[str, ControlStatementRecord] = {}
    for row in reader:
        name = (row.get("name") or "").strip()
        if not name:
            continue
        if name in found:
            raise UserError("evidence.statement_twice", path=str(path), name=name)
        values = {c: single_line(v.strip()) or None for c in COLUMNS[1:] if (v := row.get(c))}
        found[name] = ControlStatementRecord(**values)
    return found


def _file_name(path: str) -> str:
    return re.split(r"[\\/]", path)[-1]
