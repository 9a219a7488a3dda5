"""What a visitor leaves here, and when it goes: one folder a visit, nothing outside it.

Under `private/` lie the pictures as they were sent and the state of runs; nothing there is ever served. Under `shown/`
lie the results, each run in a folder with a name that cannot be guessed, served as files; what an observer of its
line-up sees lies in another, from whose name the first cannot be found. All go `KEPT` seconds after their last use, or
at once when the visitor asks for it.
"""

import hashlib
import json
import re
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cgidm.evidence.bundle_writer import LINEUP
from cgidm.judging.lineup import Lineup, read_lineup
from cgidm.judging.null_bank import Bank, read_bank
from cgidm.method.run_state import RunState

from .model_cache import Wanted

ROOT = Path(tempfile.gettempdir()) / "cgidm-visits"
PROCESS = secrets.token_hex(8)  # of a server that was killed nothing is busy any more
KEPT = 3600  # seconds after the last use
TOKEN = re.compile(r"[A-Za-z0-9_-]{32}")
NAME = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Sent:
    """A picture as it was sent: its name, stripped of folders, and its bytes, unaltered."""

    name: str
    data: bytes
    notes: tuple[str, ...] = ()  # what its record has to say beside what is seen when it is decoded


@dataclass(frozen=True, eq=False)
class Progress:
    """Where a run was put down."""

    state: RunState | None = None  # None: before its first step
    control_scores: tuple[float, ...] = ()  # of the first controls
    spent: float = 0.0  # seconds
    foreseen: dict[str, Any] | None = None  # what of the record is known beforehand: its power
    lineup: Lineup | None = None  # where one was asked for, once it is drawn
    decoys: RunState | None = None  # of the line-up; begun when the pictures are done


@dataclass(frozen=True)
class Run:
    """One run of a visit."""

    private: Path
    shown: Path

    @property
    def name(self) -> str:
        return self.private.name

    @property
    def state_path(self) -> Path:
        return self.private / "state.safetensors"

    @property
    def decoys_path(self) -> Path:
        return self.private / "decoys.safetensors"

    @property
    def blind(self) -> Path:
        """What an observer of the line-up sees, beside nothing else: its address does not lead to the results."""
        return self.shown.with_name(_blind_name(self.name))

    @property
    def asked(self) -> dict[str, Any]:
        """What was asked for: models, settings, names of the pictures."""
        return json.loads((self.private / "asked.json").read_text())

    def pictures(self) -> list[Sent]:
        return self._read("pictures")

    def controls(self) -> list[Sent]:
        return self._read("controls")

    def bank(self) -> Bank | None:
        """The bank of null models that was handed over instead of controls."""
        return next((read_bank(p.read_bytes(), p.name) for p in (self.private / "bank").glob("*")), None)

    def suspect_file(self) -> str | None:
        """The suspect that was handed over as a file."""
        return next((str(p) for p in (self.private / "suspect").glob("*")), None)

    def wanted(self) -> Wanted:
        """Its models, as they were named."""
        asked = self.asked
        return Wanted(asked["base"], asked["suspect"], self.suspect_file(), asked["prompt"])

    def write(
        self,
        asked: dict[str, Any],
        pictures: Sequence[Sent],
        controls: Sequence[Sent],
        upload: str | None,
        bank: Bank | None,
    ) -> None:
        """Keep all that the run needs, so that it can be taken up after the visitor's page is gone."""
        for part, sent in (("pictures", pictures), ("controls", controls)):
            (self.private / part).mkdir(parents=True)
            for number, picture in enumerate(sent):
                (self.private / part / f"{number:03d}").write_bytes(picture.data)
        if upload is not None:
            (self.private / "suspect").mkdir()
            shutil.copyfile(upload, self.private / "suspect" / "upload.safetensors")
        if bank is not None:
            (self.private / "bank").mkdir()
            (self.private / "bank" / bank.name).write_bytes(bank.data)
        names = {"pictures": [p.name for p in pictures], "controls": [c.name for c in controls]}
        noted = {"pictures": [p.notes for p in pictures], "controls": [c.notes for c in controls]}
        (self.private / "asked.json").write_text(json.dumps(asked | {"names": names, "notes": noted}))
        self.shown.mkdir(parents=True)

    def record(self) -> dict[str, Any] | None:
        """The record of the run, finished or stopped; None before there is one."""
        try:
            record = json.loads((self.shown / "result.json").read_text())
        except (FileNotFoundError, json.JSONDecodeError):  # none yet, or the server was killed while it wrote it
            return None
        whole = (self.shown / "evidence.zip").is_file() and not self.state_path.is_file()
        return record if record["stopped"] or whole else None

    @property
    def finished(self) -> bool:
        """Has it come to its end?"""
        record = self.record()
        return record is not None and record["stopped"] is None

    @property
    def kept(self) -> bool:
        """Is it still there? A visitor may have it deleted while it is carried out."""
        return (self.private / "asked.json").is_file()

    @property
    def busy(self) -> bool:
        """Is somebody carrying it out?"""
        try:
            return (self.private / "busy").read_text() == PROCESS
        except FileNotFoundError:
            return False

    @contextmanager
    def carried_out(self) -> Iterator[None]:
        """Busy until the end of the block, however it ends."""
        (self.private / "busy").write_text(PROCESS)
        try:
            yield
        finally:
            (self.private / "busy").unlink(missing_ok=True)

    def progress(self) -> Progress:
        """Where it was put down."""
        if not self.state_path.is_file():
            return Progress()
        beside = json.loads((self.private / "beside.json").read_text())
        scores, lineup = tuple(beside["control_scores"]), read_lineup(beside)
        decoys = RunState.load(self.decoys_path) if self.decoys_path.is_file() else None
        return Progress(RunState.load(self.state_path), scores, beside["spent"], beside["foreseen"], lineup, decoys)

    def keep(self, progress: Progress) -> None:
        """Put the run down here; the state is written last, so that the rest is there when it is."""
        state = progress.state
        assert state is not None
        beside = {"control_scores": progress.control_scores, "spent": progress.spent, "foreseen": progress.foreseen}
        beside["lineup"] = None if progress.lineup is None else progress.lineup.describe()
        whole = self.private / "beside.tmp"
        whole.write_text(json.dumps(beside))
        whole.replace(self.private / "beside.json")
        if progress.decoys is not None:
            progress.decoys.save(self.decoys_path)
        state.save(self.state_path)
        (self.private.parent / "used").write_text(str(time.time()))  # a run may take longer than a visit is kept

    def write_record(self, record: dict[str, Any]) -> None:
        """The record of a run that was put down, whole or not at all."""
        whole = self.private / "result.tmp"
        whole.write_text(json.dumps(record))
        whole.replace(self.shown / "result.json")

    def settle(self) -> None:
        """Its evidence is packed: let nothing remain to be taken up, and put the line-up where observers look."""
        shutil.rmtree(self.blind, ignore_errors=True)
        if (self.shown / LINEUP).is_file():
            self.blind.mkdir()
            for part in (self.shown / LINEUP, self.shown / "lineup"):
                part.rename(self.blind / part.name)
        for path in self.shown.glob("live-*.png"):
            path.unlink()
        self.state_path.unlink(missing_ok=True)
        self.decoys_path.unlink(missing_ok=True)

    def choices(self) -> list[list[str]]:
        """What every observer of the line-up chose, one after the other."""
        path = self.private / "choices"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []

    def keep_choice(self, picks: Sequence[str]) -> None:
        """Note what one observer has chosen, for as long as the run is kept; it is never altered."""
        with (self.private / "choices").open("a") as file:
            file.write(f"{json.dumps(list(picks))}\n")

    def _read(self, part: str) -> list[Sent]:
        asked = self.asked
        of = zip(asked["names"][part], asked["notes"][part], strict=True)
        return [
            Sent(name, (self.private / part / f"{i:03d}").read_bytes(), tuple(notes))
            for i, (name, notes) in enumerate(of)
        ]


class Visit:
    """The runs of one visitor, who alone knows its token."""

    def __init__(self, token: str | None = None) -> None:
        """Take up the visit of `token`, or begin one: a token that no visit can have is not an error."""
        self.token = token if token and TOKEN.fullmatch(token) else secrets.token_urlsafe(24)
        # folders are named by a hash: whoever sees the address of a picture does not learn the token
        self._name = hashlib.sha256(self.token.encode()).hexdigest()[:32]

    @property
    def folder(self) -> Path:
        return ROOT / "private" / self._name

    def begin(
        self,
        asked: dict[str, Any],
        pictures: Sequence[Sent],
        controls: Sequence[Sent] = (),
        upload: str | None = None,
        bank: Bank | None = None,
    ) -> Run:
        """A new run with all that it needs."""
        sweep()
        run = self._run(secrets.token_hex(16))
        run.write({**asked, "when": time.time()}, pictures, controls, upload, bank)
        self.touch()
        return run

    def find(self, name: str | None) -> Run | None:
        """The run of that name, if it is this visitor's."""
        if not name or not NAME.fullmatch(name) or not (self.folder / name / "asked.json").is_file():
            return None
        self.touch()
        return self._run(name)

    def runs(self) -> list[Run]:
        """Every run of this visit, the newest first."""
        found = [self._run(p.parent.name) for p in self.folder.glob("*/asked.json")]
        return sorted(found, key=lambda run: -run.asked["when"])

    def touch(self) -> None:
        """Count the hour from now."""
        if self.folder.is_dir():
            (self.folder / "used").write_text(str(time.time()))

    def remember(self, uploads: Sequence[str]) -> None:
        """Note which of gradio's files this visitor sent, so that they can be deleted with the rest."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "uploads").open("a") as file:  # a line each: several may be noted at once
            file.write("".join(f"{json.dumps(path)}\n" for path in uploads))

    def uploads(self) -> set[str]:
        """The files that were noted."""
        path = self.folder / "uploads"
        return {json.loads(line) for line in path.read_text().splitlines()} if path.is_file() else set()

    def forget(self) -> int:
        """Delete everything at once; returns how many runs there were."""
        runs = self.runs()
        _remove(self.folder)
        return len(runs)

    def _run(self, name: str) -> Run:
        return Run(self.folder / name, ROOT / "shown" / name)


def sweep(now: float | None = None, uploads: Path | None = None) -> None:
    """Delete the visits whose last use was more than `KEPT` seconds ago, and what broken uploads left in `uploads`."""
    limit = (time.time() if now is None else now) - KEPT
    for folder in (ROOT / "private").glob("*"):
        used = folder / "used"
        if _older(used if used.is_file() else folder, limit):
            _remove(folder)
    kept = {name for run in (ROOT / "private").glob("*/*/") for name in (run.name, _blind_name(run.name))}
    for folder in (ROOT / "shown").glob("*"):  # written by a run whose visit was deleted meanwhile
        if _older(folder, limit) and folder.name not in kept:
            shutil.rmtree(folder, ignore_errors=True)
    for file in uploads.glob("tmp*") if uploads else ():  # gradio deletes what has arrived, and not these
        if _older(file, limit):
            file.unlink(missing_ok=True)


def keep_sweeping(uploads: Path, every: float = 300) -> threading.Event:
    """Sweep whether or not anybody comes, until the event is set or the process ends."""
    ended = threading.Event()

    def sweep_on() -> None:
        while not ended.wait(every):
            sweep(uploads=uploads)

    threading.Thread(target=sweep_on, name="sweep", daemon=True).start()
    return ended


def _older(path: Path, limit: float) -> bool:
    try:
        return path.stat().st_mtime < limit
    except FileNotFoundError:  # swept by somebody else
        return False


def _remove(folder: Path) -> None:
    for run in folder.glob("*/"):
        for name in (run.name, _blind_name(run.name)):
            shutil.rmtree(ROOT / "shown" / name, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def _blind_name(run: str) -> str:
    return hashlib.sha256(f"line-up of {run}".encode()).hexdigest()[:32]
