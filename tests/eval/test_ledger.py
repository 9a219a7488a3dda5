"""The ledger: written once, whole units or nothing, by many processes, whatever stops them."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace

from eval.benchmark.ledger import Ledger, make_key
from tests.support.errors import refuses
from tests.support.ledger_rows import ROW, rows


def test_what_was_added_is_there_once_in_one_order(tmp_path):
    ledger = Ledger(tmp_path / "deep" / "scores.db")
    for unit in (2, 0, 1):
        ledger.add(rows(unit))
    ledger.add([replace(ROW, key="0-0", score=9.0)])
    other = Ledger(tmp_path / "other.db")
    for unit in (0, 1, 2):
        other.add(rows(unit))
    assert ledger.rows() == other.rows() and len(ledger.rows()) == 24
    assert ledger.missing(["0-0", "new", "2-7"]) == ["new"]
    assert Ledger(ledger.path).rows() == ledger.rows()


def test_an_answer_has_a_row_for_each_measure_and_is_missing_only_without_any(tmp_path):
    ledger = Ledger(tmp_path / "scores.db")
    ledger.add([ROW, replace(ROW, measure="suspect"), replace(ROW, evaluations=80), ROW])
    assert [(r.measure, r.evaluations) for r in ledger.rows()] == [("contrast", 40), ("contrast", 80), ("suspect", 40)]
    assert ledger.missing(["k", "other"]) == ["other"]


def test_everything_that_a_score_depends_on_is_in_its_key():
    parts = {
        "picture": "aa",
        "split": ["aa", "bb"],
        "method": {"name": "loss", "draws": 20},
        "weights": ["cc"],
        "seed": 0,
    }
    key = make_key(**parts)
    assert key == make_key(**dict(reversed(parts.items()))) and len(key) == 64
    changes = {"picture": "ab", "split": ["aa"], "method": {"name": "loss", "draws": 21}, "weights": ["cd"], "seed": 1}
    assert len({key, *(make_key(**{**parts, name: value}) for name, value in changes.items())}) == 6


WRITER = """
import sys
from pathlib import Path
from eval.benchmark.ledger import Ledger
from tests.support.ledger_rows import rows
ledger = Ledger(Path(sys.argv[1]))
for unit in range(int(sys.argv[2]), int(sys.argv[3])):
    if ledger.missing([r.key for r in rows(unit)]):
        ledger.add(rows(unit))
print("done")
"""


def writer(path, first, last):
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", WRITER, str(path), str(first), str(last)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)


def test_killed_at_any_moment_it_holds_whole_units_and_is_finished_by_the_same_command(tmp_path):
    """Two writers at once, killed again and again; then an undisturbed one must find nothing spoilt."""
    path, undisturbed = tmp_path / "scores.db", tmp_path / "undisturbed.db"
    Ledger(path)
    for _ in range(3):
        both = [writer(path, 0, 3000), writer(path, 0, 3000)]
        before = len(Ledger(path).rows())
        while len(Ledger(path).rows()) < before + 80 and any(p.poll() is None for p in both):
            time.sleep(0.01)
        for process in both:
            process.send_signal(signal.SIGKILL)
            process.communicate()
        assert set(Counter(row.concept for row in Ledger(path).rows()).values()) == {8}
    for target in (path, undisturbed):
        assert writer(target, 0, 60).communicate()[0] == b"done\n"
    done = [row for row in Ledger(path).rows() if row.concept < "c060"]
    assert done == Ledger(undisturbed).rows() and len(done) == 480


def test_a_full_disk_is_said_and_loses_nothing(tmp_path, monkeypatch):
    ledger = Ledger(tmp_path / "scores.db")
    ledger.add(rows(0))
    real = sqlite3.connect

    def full(*args, **kwargs):
        db = real(*args, **kwargs)
        db.execute("PRAGMA max_page_count = 1")  # SQLite's own way to have no room
        return db

    monkeypatch.setattr(sqlite3, "connect", full)
    with refuses("benchmark.ledger_failed", path=str(ledger.path)) as caught:
        ledger.add(rows(1, 2000))
    assert "full" in caught.value.params["reason"]
    monkeypatch.setattr(sqlite3, "connect", real)
    assert len(ledger.rows()) == 8
    ledger.add(rows(1, 2000))
    assert len(ledger.rows()) == 2008


def test_a_file_that_is_none_or_has_other_columns_is_refused(tmp_path):
    (tmp_path / "text.db").write_text("hello, this is no database at all" * 50)
    with refuses("benchmark.ledger_failed", reason="file is not a database"):
        Ledger(tmp_path / "text.db")
    db = sqlite3.connect(tmp_path / "old.db")
    db.execute("CREATE TABLE scores (key TEXT)")
    db.close()
    with refuses("benchmark.ledger_columns", given=["key"]):
        Ledger(tmp_path / "old.db")


def test_a_writer_waits_for_its_turn_and_says_when_it_is_too_long(tmp_path, monkeypatch):
    monkeypatch.setattr("eval.benchmark.ledger.WAIT", 0.2)
    ledger = Ledger(tmp_path / "scores.db")
    holder = sqlite3.connect(ledger.path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with refuses("benchmark.ledger_failed", reason="database is locked"):
        ledger.add(rows(0))
    assert not ledger.rows(), "reading goes on meanwhile"
    holder.execute("COMMIT")
    holder.close()
    ledger.add(rows(0))
