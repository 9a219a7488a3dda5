"""What a visitor leaves here, and when it goes: one folder a visit, nothing outside it.

`private/` holds the pictures as they were sent and the progress of runs; nothing there is ever served. `shown/` holds
the results, served as files: each run has a folder with a name that cannot be guessed. What an observer of its line-up
sees has another folder, from whose name the first cannot be found. Everything is deleted `LIFETIME` seconds after its
last use, or at once when the visitor asks for it.
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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cgidm.errors import UserError
from cgidm.evidence.bundle_writer import LINEUP
from cgidm.evidence.record import Record, read_record, record_bytes
from cgidm.evidence.seal import RECORD
from cgidm.files import write_atomically
from cgidm.judging.banks.null_bank import Bank, read_bank
from cgidm.run.events import STATE, RunProgress

from .model_cache import RequestedModels
from .settings import RunSettings

ROOT = Path(tempfile.gettempdir()) / "cgidm-visits"
PROCESS = secrets.token_hex(8)  # this process: the locks of an earlier one are ignored
LIFETIME = 3600  # seconds after the last use
REQUEST = "request.json"
ANSWER = "answer.json"
STOPPED = "stopped"
TOKEN = re.compile(r"[A-Za-z0-9_-]{32}")
NAME = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Sent:
    """A picture as it was sent: its name, stripped of folders, and its bytes, unaltered."""

    name: str
    data: bytes


@dataclass(frozen=True)
class Run:
    """One run of a visit."""

    private_dir: Path
    public_dir: Path

    @property
    def name(self) -> str:
        """The name of its folders, which cannot be guessed."""
        return self.private_dir.name

    @property
    def lineup_dir(self) -> Path:
        """What an observer of the line-up sees, beside nothing else: its address does not lead to the results."""
        return self.public_dir.with_name(_lineup_name(self.name))

    @property
    def settings(self) -> RunSettings:
        """Models and settings, as the visitor chose them."""
        return RunSettings(**self._request()["settings"])

    @property
    def started(self) -> float:
        """When the run was requested, in seconds since 1970."""
        return self._request()["started"]

    @property
    def picture_names(self) -> list[str]:
        """The names of its pictures, in their order."""
        return self._request()["pictures"]

    @property
    def control_count(self) -> int:
        """How many control pictures it has."""
        return len(self._request()["controls"])

    def pictures(self) -> list[Sent]:
        """The pictures to judge, as they were sent."""
        return self._read("pictures")

    def controls(self) -> list[Sent]:
        """The control pictures, as they were sent."""
        return self._read("controls")

    def bank(self) -> Bank | None:
        """The bank of null models that was handed over instead of controls."""
        return next((read_bank(p.read_bytes(), p.name) for p in (self.private_dir / "bank").glob("*")), None)

    def suspect_file(self) -> str | None:
        """The suspect that was handed over as a file."""
        return next((str(p) for p in (self.private_dir / "suspect").glob("*") if p.suffix != ".json"), None)

    def files(self, part: str) -> list[str]:
        """What was handed over for a part of the form, as files: "pictures", "controls", "suspect" or "bank"."""
        pattern = "*/*" if part in ("pictures", "controls") else "*"
        return [str(path) for path in sorted((self.private_dir / part).glob(pattern))]

    def requested_models(self) -> RequestedModels:
        """Its models, as they were named."""
        settings = self.settings
        return RequestedModels(settings.base, settings.suspect, self.suspect_file(), settings.prompt)

    def write(
        self,
        settings: RunSettings,
        pictures: Sequence[Sent],
        controls: Sequence[Sent],
        uploads: Sequence[str],
        bank: Bank | None,
    ) -> None:
        """Keep all that the run needs, so that it can be taken up after the visitor's page is gone.

        Files keep their own names, which gradio has made safe: the form shows them again.
        """
        for part, sent in (("pictures", pictures), ("controls", controls)):
            (self.private_dir / part).mkdir(parents=True)
            for number, picture in enumerate(sent):
                (self.private_dir / part / f"{number:03d}").mkdir()
                (self.private_dir / part / f"{number:03d}" / picture.name).write_bytes(picture.data)
        if uploads:
            (self.private_dir / "suspect").mkdir()
        for upload in uploads:
            shutil.copyfile(upload, self.private_dir / "suspect" / Path(upload).name)  # a record says this name
        if bank is not None:
            (self.private_dir / "bank").mkdir()
            (self.private_dir / "bank" / bank.name).write_bytes(bank.data)
        request = {
            "settings": asdict(settings),
            "started": time.time(),
            "pictures": [p.name for p in pictures],
            "controls": [c.name for c in controls],
        }
        (self.private_dir / REQUEST).write_text(json.dumps(request))
        self.public_dir.mkdir(parents=True)

    def record(self) -> Record | None:
        """The record of the run, finished or stopped; None before there is one."""
        try:
            record = read_record((self.public_dir / RECORD).read_bytes(), self.name)
        except (FileNotFoundError, UserError):  # none yet, or the server was killed while it wrote it
            return None
        is_packed = (self.public_dir / "evidence.zip").is_file() and not (self.private_dir / STATE).is_file()
        return record if record.stopped or is_packed else None

    def answer(self) -> Record | None:
        """The answer that was there before the recovery, while that goes on; None before there is one."""
        try:
            return read_record((self.private_dir / ANSWER).read_bytes(), self.name)
        except (FileNotFoundError, UserError):
            return None

    @property
    def is_finished(self) -> bool:
        """Has it come to its end?"""
        record = self.record()
        return record is not None and record.stopped is None

    @property
    def exists(self) -> bool:
        """Is it still there? A visitor may have it deleted while it is executed."""
        return (self.private_dir / REQUEST).is_file()

    @property
    def is_locked(self) -> bool:
        """Is somebody executing it?"""
        try:
            return (self.private_dir / "busy").read_text() == PROCESS
        except FileNotFoundError:
            return False

    @property
    def is_stopped(self) -> bool:
        """Did its visitor stop it, and not go on since?"""
        return (self.private_dir / STOPPED).is_file()

    def note_stop(self) -> None:
        """Note that its visitor stopped it."""
        (self.private_dir / STOPPED).touch()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Locked until the end of the block, however it ends."""
        (self.private_dir / STOPPED).unlink(missing_ok=True)
        (self.private_dir / "busy").write_text(PROCESS)
        try:
            yield
        finally:
            (self.private_dir / "busy").unlink(missing_ok=True)

    def progress(self) -> RunProgress:
        """Where it was put down."""
        return RunProgress.load(self.private_dir)

    def save_progress(self, progress: RunProgress) -> None:
        """Put the run down here."""
        progress.save(self.private_dir)
        (self.private_dir.parent / "used").write_text(str(time.time()))  # a run may take longer than a visit is kept

    def write_record(self, record: Record) -> None:
        """Write the record of a run that was put down, whole or not at all."""
        write_atomically(self.public_dir / RECORD, record_bytes(record))

    def write_answer(self, record: Record) -> None:
        """Keep the answer that is there before the recovery."""
        write_atomically(self.private_dir / ANSWER, record_bytes(record))

    def finalize(self) -> None:
        """Its evidence is packed: leave nothing to be taken up, and put the line-up where observers look."""
        shutil.rmtree(self.lineup_dir, ignore_errors=True)
        if (self.public_dir / LINEUP).is_file():
            self.lineup_dir.mkdir()
            for part in (self.public_dir / LINEUP, self.public_dir / "lineup"):
                part.rename(self.lineup_dir / part.name)
        for path in self.public_dir.glob("live-*.png"):
            path.unlink()
        RunProgress.delete(self.private_dir)
        (self.private_dir / ANSWER).unlink(missing_ok=True)

    def choices(self) -> list[list[str]]:
        """What every observer of the line-up chose, one after the other."""
        path = self.private_dir / "choices"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []

    def keep_choice(self, picks: Sequence[str]) -> None:
        """Note what one observer has chosen, for as long as the run is kept; it is never altered."""
        with (self.private_dir / "choices").open("a") as file:
            file.write(f"{json.dumps(list(picks))}\n")

    def _request(self) -> dict[str, Any]:
        return json.loads((self.private_dir / REQUEST).read_text())

    def _read(self, part: str) -> list[Sent]:
        names = self._request()[part]
        folder = self.private_dir / part
        return [Sent(name, (folder / f"{i:03d}" / name).read_bytes()) for i, name in enumerate(names)]


class Visit:
    """The runs of one visitor, who alone knows its token."""

    def __init__(self, token: str | None = None) -> None:
        """Take up the visit of `token`, or begin one: a token that no visit can have is not an error."""
        self.token = token if token and TOKEN.fullmatch(token) else secrets.token_urlsafe(24)
        # folders are named by a hash: whoever sees the address of a picture does not learn the token
        self._name = hashlib.sha256(self.token.encode()).hexdigest()[:32]

    @property
    def folder(self) -> Path:
        """Its private folder."""
        return ROOT / "private" / self._name

    def begin(
        self,
        settings: RunSettings,
        pictures: Sequence[Sent],
        controls: Sequence[Sent] = (),
        uploads: Sequence[str] = (),
        bank: Bank | None = None,
    ) -> Run:
        """A new run with all that it needs; `uploads` are the suspect's file and what belongs beside it."""
        sweep()
        run = self._run(secrets.token_hex(16))
        run.write(settings, pictures, controls, uploads, bank)
        self.touch()
        return run

    def find(self, name: str | None) -> Run | None:
        """The run of that name, if it is this visitor's."""
        if not name or not NAME.fullmatch(name) or not (self.folder / name / REQUEST).is_file():
            return None
        self.touch()
        return self._run(name)

    def runs(self) -> list[Run]:
        """Every run of this visit, the newest first."""
        found = [self._run(p.parent.name) for p in self.folder.glob(f"*/{REQUEST}")]
        return sorted(found, key=lambda run: -run.started)

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
    """Delete the visits last used more than `LIFETIME` seconds ago, and what broken uploads left in `uploads`."""
    limit = (time.time() if now is None else now) - LIFETIME
    for folder in (ROOT / "private").glob("*"):
        used = folder / "used"
        if _older(used if used.is_file() else folder, limit):
            _remove(folder)
    kept = {name for run in (ROOT / "private").glob("*/*/") for name in (run.name, _lineup_name(run.name))}
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
        for name in (run.name, _lineup_name(run.name)):
            shutil.rmtree(ROOT / "shown" / name, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def _lineup_name(run: str) -> str:
    return hashlib.sha256(f"line-up of {run}".encode()).hexdigest()[:32]
