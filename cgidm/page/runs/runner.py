"""A run from its request to its evidence: in chunks, put down at every pause, taken up where it was left."""

import dataclasses
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from cgidm.authenticate import Result
from cgidm.errors import UserError
from cgidm.evidence.bundle_writer import as_record, pack_evidence, pixels, write_evidence
from cgidm.judging.lineup import Lineup
from cgidm.judging.null_bank import check_bank
from cgidm.method.config import RunConfig
from cgidm.method.run_state import RunState
from cgidm.pictures.images import decode_picture
from cgidm.resources import SHIPPED

from ..handlers.request import default_controls
from . import hardware
from .download_cache import fetch_models
from .gpu_worker import PACE, Job, Update, work
from .model_cache import Opened, open_models
from .settings import make_config
from .store import Progress, Run, Sent

KEPT_EVERY = 5.0  # seconds between two states on disk: what a pulled plug costs
Phase = Literal["loading", "foreseen", "controls", "step", "judged", "decoys", "paused", "finished"]
Trouble = Literal["quota", "busy", "memory", "aborted"]


@dataclass(frozen=True)
class Moment:
    """Where a run stands, for whoever shows it."""

    phase: Phase
    done: int = 0
    of: int = 0
    remaining: float | None = None  # seconds
    contrast: tuple[float, ...] = ()  # mean over the pictures, of the steps of this sitting
    changed: bool = False  # there are new pictures in the run's folder
    foreseen: dict[str, Any] | None = None  # what of the record is known before the first step
    trouble: Trouble | None = None  # why it paused, if nobody asked it to


def carry_out(run: Run, token: str | None = None) -> Generator[Moment]:
    """Do what `run` asks for, from wherever it was put down, yielding often. Closing the iterator puts it down.

    Raises:
        UserError: if a model or picture cannot be used.
    """
    if run.finished:
        yield Moment("finished")
        return
    with run.carried_out():
        yield from _carry_out(run, token)


def _carry_out(run: Run, token: str | None) -> Generator[Moment]:
    yield Moment("loading")
    models = open_models(run.wanted(), token)
    fetch_models(models)
    check_fits(run, models)
    config, bank = config_of(run), run.bank()
    kept, controls = run.progress(), tuple(run.controls())
    scores = kept.control_scores or KNOWN.get(models, controls, config)
    pictures = tuple(run.pictures())
    job = Job(models, pictures, controls, config, bank, scores, kept.foreseen, kept.lineup, kept.state, kept.decoys)
    job = dataclasses.replace(job, spent=kept.spent)
    diary = _Diary(run, models, kept)
    try:
        while not diary.finished and run.kept:
            with closing(work(dataclasses.replace(job, steps=_steps_in_a_chunk(job)))) as updates:
                for update in updates:
                    if not run.kept:
                        return
                    yield diary.note(update)
            job = diary.next(job)
    except Exception as error:
        trouble = explain(error)
        if trouble is None:
            raise
        diary.put_down()
        yield Moment("paused", *diary.place, trouble=trouble)
    finally:
        if len(diary.scores) == len(controls):
            KNOWN.put(models, controls, config, diary.scores)
        diary.put_down()


def config_of(run: Run) -> RunConfig:
    """The settings that were asked for."""
    asked = run.asked
    return make_config(asked["preset"], asked["seed"], asked["steps"], asked["search"], asked["lineup"])


def check_fits(run: Run, models: Opened) -> None:
    """See that a bank which was handed over is of these models; they have been downloaded.

    Raises:
        UserError: if it was made for others, or for other settings.
    """
    if (bank := run.bank()) is not None:
        fingerprints = {f: models.base.listing.sha256(f) for f in models.base.weights}
        check_bank(bank, fingerprints, models.suspect.whole, config_of(run), models.prompt)


class _ShippedScores:
    """Scores of the control pictures that ship, by all that they depend on. Nothing of a visitor's is kept here."""

    def __init__(self) -> None:
        self._scores: dict[tuple[Any, ...], tuple[float, ...]] = {}

    def get(self, models: Opened, controls: Sequence[Sent], config: RunConfig) -> tuple[float, ...]:
        key = self._key(models, controls, config)
        return () if key is None else self._scores.get(key, ())

    def put(self, models: Opened, controls: Sequence[Sent], config: RunConfig, scores: tuple[float, ...]) -> None:
        key = self._key(models, controls, config)
        if key is not None and len(self._scores) < 100:
            self._scores[key] = scores

    def _key(self, models: Opened, controls: Sequence[Sent], config: RunConfig) -> tuple[Any, ...] | None:
        if models.example is None or list(controls) != default_controls(SHIPPED + models.example):
            return None
        return models.key, config.loss_draws, config.views, config.seed


KNOWN = _ShippedScores()


class _Diary:
    """Keeps what comes of a run: on disk, and for the person who watches."""

    def __init__(self, run: Run, models: Opened, kept: Progress) -> None:
        self.run, self.models = run, models
        self.foreseen: dict[str, Any] | None = kept.foreseen
        self.lineup: Lineup | None = kept.lineup
        self.decoys: RunState | None = kept.decoys
        self.judged: Result | None = None
        self.state: RunState | None = None
        self.scores: tuple[float, ...] = ()
        self.spent = 0.0
        self.finished = False
        self.place = (0, 0)
        self._result: Result | None = None
        self._contrast: list[float] = []
        self._first: tuple[float, int] | None = None  # when which step was done
        self._last = self._written = time.monotonic()

    def note(self, update: Update) -> Moment:
        if update.refused is not None:
            raise UserError(update.refused)
        self.scores = update.control_scores or self.scores
        if update.phase == "loaded":
            return Moment("loading", foreseen=self.foreseen)
        if update.phase == "foreseen":
            self.foreseen, self.lineup = update.foreseen, update.lineup
            return Moment("foreseen", foreseen=self.foreseen)
        if update.phase == "controls":
            self._first = None  # what takes its time now is no step
            return Moment("controls", update.done, update.of, foreseen=self.foreseen)
        self.place = (update.done, update.of)
        if update.phase == "decoys":
            return self._note_decoys(update)
        if update.contrast:
            self._contrast.append(sum(update.contrast) / len(update.contrast))
        pictures = max(1, len(update.contrast))
        remaining = self._remaining(*self.place, pictures, self._decoy_count * update.of / pictures)
        if update.result is None:
            return Moment("step", *self.place, remaining, tuple(self._contrast), foreseen=self.foreseen)
        assert update.state is not None
        self.state, self._result, self.spent = update.state, update.result, update.spent
        if update.phase == "done":
            self._write_evidence()
            self.finished = True
            return Moment("finished", *self.place, 0.0, tuple(self._contrast), True)
        write_live(self.run.shown, self._result, self.place[0])
        if update.phase == "judged":
            self.judged, self._first = update.result, None
            self.place = (self._decoy_steps, update.of)
            self.put_down()
            return Moment("judged", *self.place, changed=True)
        if time.monotonic() - self._written > KEPT_EVERY:
            self.put_down()
        return Moment("step", *self.place, remaining, tuple(self._contrast), True, self.foreseen)

    def next(self, job: Job) -> Job:
        """The chunk after the one that was noted."""
        known = {"control_scores": self.scores, "foreseen": self.foreseen, "lineup": self.lineup}
        stands = {"state": self.state, "decoys": self.decoys, "judged": self.judged, "spent": self.spent}
        return dataclasses.replace(job, **known, **stands)

    def put_down(self) -> None:
        """Write the state that the run can be taken up from, and its record so far.

        The evidence waits for the end: a run is put down in the loop that serves everybody.
        """
        if self.finished or self.state is None or self._result is None or not self.run.kept:
            return
        self.run.keep(Progress(self.state, self.scores, self.spent, self.foreseen, self.lineup, self.decoys))
        record = as_record(self._result, self.models.described())
        if self.judged is not None:  # the answer is there, and its evidence is not
            record["stopped"] = {"step": self._decoy_steps, "of": self.place[1], "decoys": True}
        self.run.write_record(record)
        self._written = time.monotonic()

    @property
    def _decoy_count(self) -> int:
        return 0 if self.lineup is None else len(self.lineup.decoys)

    @property
    def _decoy_steps(self) -> int:
        return 0 if self.decoys is None else self.decoys.steps

    def _note_decoys(self, update: Update) -> Moment:
        if update.decoys is not None:
            self.decoys, self.spent = update.decoys, update.spent
            if time.monotonic() - self._written > KEPT_EVERY:
                self.put_down()
        return Moment("decoys", *self.place, self._remaining(*self.place, self._decoy_count))

    def _write_evidence(self) -> None:
        assert self._result is not None
        folder = self.run.shown
        side = self._result.pictures[0].picture.image.shape[-1]
        controls = [decode_picture(sent.data, sent.name, side) for sent in self.run.controls()]
        write_evidence(self._result, folder, self.models.described(), controls)
        pack_evidence(folder, folder / "evidence.zip")
        self.run.settle()

    def _remaining(self, done: int, of: int, rows: int, later: float = 0) -> float | None:
        """Seconds until the end, by the steps of these `rows` so far; `later` is as much work as so many more steps."""
        now = time.monotonic()
        if self._first is None:
            self._first = (now, done)
        begun, first = self._first
        if done - first < 2:
            return None
        each = (now - begun) / (done - first)
        if self._result is not None:
            PACE.learn(self.models.key, each / (2 * self._result.config.recovery.draws * rows))
        return each * (of - done + later)


def write_live(folder: Path, result: Result, step: int) -> None:
    """The first picture of a run in progress: `live-original.png`, `live-partial.png`, `live-<step>.png`.

    The folder is there: what a visitor had deleted does not come back.
    """
    first = result.pictures[0]
    for name, image in (("original", first.picture.image), ("partial", first.partial)):
        if not (folder / f"live-{name}.png").exists():
            Image.fromarray(pixels(image)).save(folder / f"live-{name}.png")
    old = sorted(folder.glob("live-[0-9]*.png"))[:-2]  # a page may still be fetching the last two
    for path in old:
        path.unlink()
    Image.fromarray(pixels(first.recovered)).save(folder / f"live-{step:05d}.png")


def live_images(folder: Path) -> dict[str, str]:
    """Role -> file of what `write_live` wrote last."""
    recovered = sorted(folder.glob("live-[0-9]*.png"))
    if not recovered:
        return {}
    return {
        "original": str(folder / "live-original.png"),
        "partial": str(folder / "live-partial.png"),
        "recovered": str(recovered[-1]),
    }


def _steps_in_a_chunk(job: Job) -> int | None:
    if hardware.kind() != "zero":
        return None
    each = job.rows * 2 * job.config.recovery.draws * PACE.seconds(job.models.key)
    return max(1, int(hardware.ASKED_AT_ONCE / each))


def explain(error: Exception) -> Trouble | None:
    """What a refusal or an accident of the GPU means, after which a run can go on; None for any other error."""
    if isinstance(error, UserError):
        return None
    said = f"{getattr(error, 'title', '')} {error}".lower()
    if "quota" in said or "illegal duration" in said:
        return "quota"
    if "queue timeout" in said or "no gpu" in said or "credits" in said:
        return "busy"
    if "out of memory" in said:
        return "memory"
    if "worker error" in said or "aborted" in said or "cuda" in said:
        return "aborted"
    return None
