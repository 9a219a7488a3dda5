"""Where scores are kept: one SQLite file, a row for each number, keyed by all that it depends on.

A row is written once and never changed, so to resume is to ask which keys are missing. A unit of work goes in as one
transaction: killed at any moment, a process leaves all rows of a unit or none. Several processes may write; each waits
for its turn.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from cgidm.errors import UserError

WAIT = 60  # seconds for another process's turn
VERSION = 2  # of what a key is made of


@dataclass(frozen=True)
class Row:
    """One number of one decision. Higher scores mean more likely a member."""

    key: str  # of the method's answer for the picture; its measures share it
    dataset: str
    role: str  # of the suspect: trained on these pictures, unrelated to them, or innocent
    concept: str
    suspect: str
    training: str  # how it was trained
    picture: str
    member: int  # 1 or 0
    method: str
    measure: str
    evaluations: int  # of a network, for this picture
    score: float


COLUMNS = tuple(f.name for f in fields(Row))
TYPES = {"member": "INTEGER", "evaluations": "INTEGER", "score": "REAL"}


class Ledger:
    """The rows in the file `path`, which is made if need be."""

    def __init__(self, path: Path):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        columns = ", ".join(f"{c} {TYPES.get(c, 'TEXT')} NOT NULL" for c in COLUMNS)
        with self._connected() as db:
            db.execute("PRAGMA journal_mode = WAL")  # readers and one writer at a time do not block each other
            db.execute(
                f"CREATE TABLE IF NOT EXISTS scores ({columns}, PRIMARY KEY (key, measure, evaluations)) WITHOUT ROWID"
            )
            held = tuple(column[1] for column in db.execute("PRAGMA table_info(scores)"))
        if held != COLUMNS:
            raise UserError("benchmark.ledger_columns", path=str(path), given=list(held))

    def add(self, rows: Sequence[Row]) -> None:
        """Add the rows of one unit, all or none; a key that is there already keeps its row.

        Raises:
            UserError: if the disk is full, or others hold the file for longer than `WAIT`.
        """
        places = ", ".join("?" * len(COLUMNS))
        with self._connected() as db, db:
            db.execute("BEGIN IMMEDIATE")
            db.executemany(f"INSERT OR IGNORE INTO scores VALUES ({places})", [astuple(row) for row in rows])

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Those of `keys` that have no row yet; an answer is written with all its measures or not at all."""
        with self._connected() as db:
            return [k for k in keys if db.execute("SELECT 1 FROM scores WHERE key = ?", (k,)).fetchone() is None]

    def rows(self) -> list[Row]:
        """All rows, in an order that does not depend on who wrote them when."""
        order = "dataset, role, method, suspect, concept, picture, key, measure, evaluations"
        with self._connected() as db:
            return [Row(*values) for values in db.execute(f"SELECT * FROM scores ORDER BY {order}")]

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own for each use: nothing is held between them, or carried into a forked process."""
        try:
            db = sqlite3.connect(self.path, timeout=WAIT, isolation_level=None)
            try:
                yield db
            finally:
                db.close()
        except sqlite3.Error as error:
            raise UserError("benchmark.ledger_failed", path=str(self.path), reason=str(error)) from error


def make_key(**parts: Any) -> str:
    """The SHA-256 of everything that a score depends on: pictures, split, method and its settings, weights, seed."""
    text = json.dumps({"version": VERSION, **parts}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
