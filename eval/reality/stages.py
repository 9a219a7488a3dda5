"""Stages that resume: each writes one JSON file, and is skipped where that file was written with equal settings.

A stage's key is the digest of its settings, of the version, and of the keys of the stages that it needs. Killed at any
time, a stage has left its file whole or not at all. Within a stage, `Parts` remembers what is done.
"""

import json
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import torch

from cgidm import __version__
from cgidm.errors import UserError
from cgidm.files import remove_leftovers, write_atomically
from cgidm.messages import note
from eval.benchmark.ledger import make_key
from eval.reality.plan import RealityPlan

Need = Literal["gpu", "hub"]


@dataclass(frozen=True)
class Parts:
    """What a stage has done so far, a file for each part."""

    folder: Path

    def remember(self, name: str, make: Callable[[], Any]) -> Any:
        """Return what was remembered under `name`; else make it, as JSON can hold it, and remember it."""
        path = self.folder / f"{name}.json"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(path)
            write_atomically(path, json.dumps(make(), indent=1) + "\n")
        return json.loads(path.read_text(encoding="utf-8"))


@dataclass(frozen=True, kw_only=True)
class Sitting:
    """What a stage is given.

    Attributes:
        plan: what is tried.
        out: folder of the results.
        workers: processes of the benchmark; None: its default.
        engine: "local" or "ray".
        address: of a Ray cluster.
        parts: of this stage.
        found: what the stages before it found, by their names.
        tell: prints a line.
    """

    plan: RealityPlan
    out: Path
    workers: int | None = None
    engine: str = "local"
    address: str | None = None
    parts: Parts = field(default_factory=lambda: Parts(Path()))
    found: Mapping[str, Any] = field(default_factory=dict)
    tell: Callable[[str], None] = print

    @property
    def data(self) -> Path:
        """Folder of the data sets."""
        return self.out / "data"

    @property
    def device(self) -> str:
        """Where networks compute."""
        return "cuda" if torch.cuda.is_available() else "cpu"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage.

    Attributes:
        name: also of its file.
        does: what it does, in words.
        run: does it, and returns what it found, as JSON can hold it.
        settings: what its result depends on.
        seconds: how long it takes, given the seconds of a network evaluation.
        after: stages whose results it needs.
        needs: of the machine.
        repeats: it is quick, and describes the machine of this sitting: it is never skipped.
    """

    name: str
    does: str
    run: Callable[[Sitting], Any]
    settings: Callable[[RealityPlan], Any]
    seconds: Callable[[RealityPlan, float], float]
    after: tuple[str, ...] = ()
    needs: frozenset[Need] = frozenset()
    repeats: bool = False


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """The outcome of a stage, as its file holds it; either `found` or `failed` is set."""

    stage: str
    key: str
    found: Any = None
    failed: str | None = None  # why it broke off
    trace: str | None = None  # of an error that nobody foresaw
    seconds: float = 0.0
    finished: str = ""


def stage_keys(stages: Sequence[Stage], plan: RealityPlan) -> dict[str, str]:
    """Compute the key of each stage; `stages` are in an order in which they can run."""
    keys: dict[str, str] = {}
    for stage in stages:
        before = [keys[name] for name in stage.after]
        keys[stage.name] = make_key(stage=stage.name, settings=stage.settings(plan), version=__version__, after=before)
    return keys


def read_record(out: Path, name: str) -> StageRecord | None:
    """Read a stage's file; None if there is none that can be read."""
    try:
        return StageRecord(**json.loads((out / f"{name}.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def read_done(stages: Iterable[Stage], keys: Mapping[str, str], out: Path) -> dict[str, StageRecord]:
    """Read the stages that are done with equal settings."""
    found = {stage.name: read_record(out, stage.name) for stage in stages}
    return {n: r for n, r in found.items() if r is not None and r.key == keys[n] and r.failed is None}


def run_stage(stage: Stage, key: str, sitting: Sitting) -> StageRecord:
    """Run a stage and write its file; an error becomes a record that says so, and the next call tries again."""
    started = time.monotonic()
    parts = Parts(sitting.out / "parts" / f"{stage.name}-{key[:10]}")
    outcome: dict[str, Any]
    try:
        outcome = {"found": stage.run(replace(sitting, parts=parts))}
    except UserError as error:
        outcome = {"failed": str(error)}
    except Exception as error:  # one stage that breaks must not cost the hour of the others
        reason = note("reality.broke", kind=type(error).__name__, reason=str(error)[:300])
        outcome = {"failed": str(reason), "trace": traceback.format_exc()}
    seconds, time_now = round(time.monotonic() - started, 1), datetime.now(UTC).isoformat(timespec="seconds")
    record = StageRecord(stage=stage.name, key=key, seconds=seconds, finished=time_now, **outcome)
    path = sitting.out / f"{stage.name}.json"
    remove_leftovers(path)
    write_atomically(path, json.dumps(vars(record), indent=1) + "\n")
    return record
