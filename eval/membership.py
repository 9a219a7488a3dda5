"""`python -m eval membership`: the membership tests of the literature on the suspects of a crossed design.

Every method of `eval.methods` looks at the same suspects and pictures as CGI-DM does in `eval.crossed`, and their
scores go into one ledger. A row's key is made of the picture, the split, the method with its settings, the weights and
the seed: what changes is scored anew, and nothing else is. To resume, run the same command again.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from cgidm.families import load_pair
from cgidm.images import read_picture
from cgidm.intake.layout import open_checkpoint
from cgidm.sampling import picture_generator
from eval.crossed import Concept, Unit, checkpoint_of, plan, train_suspect
from eval.ledger import Ledger, Row, make_key
from eval.methods import METHODS, Method

SEED = 0


@dataclass(frozen=True)
class Task:
    """One suspect's answers for the pictures of one concept by one method."""

    unit: Unit
    method: str
    keys: tuple[str, ...]  # of the unit's pictures


def units(concepts: Sequence[Concept]) -> list[Unit]:
    """Each suspect on its own pictures, and the unrelated and innocent ones that must sit at 0.5."""
    return [unit for unit in plan(concepts) if unit.preset == "fast"]


def tasks(unit: Unit, base: Path, work: Path, methods: Mapping[str, Method] = METHODS) -> list[Task]:
    """What is to be scored of a unit whose suspect has been trained."""
    suspect = base if unit.suspect is None else checkpoint_of(unit.suspect, unit.half, work)
    trained_on = [] if unit.suspect is None else sorted(_file_sha256(p) for p in unit.suspect.halves[unit.half])
    common = {
        "weights": [_weights(base), _weights(suspect)],
        "split": trained_on,
        "prompt": _prompt(unit),
        "seed": SEED,
    }
    found = []
    for name, method in methods.items():
        settings = [name, repr(method)]  # a frozen dataclass shows all its settings
        keys = (make_key(picture=_file_sha256(p), role=unit.role, method=settings, **common) for p, _ in unit.pictures)
        found.append(Task(unit, name, tuple(keys)))
    return found


def describe_plan(concepts: Sequence[Concept], methods: Mapping[str, Method] = METHODS) -> str:
    """What a run from nothing takes, in network evaluations."""
    every = units(concepts)
    pictures = sum(len(unit.pictures) for unit in every)
    suspects = len({unit.suspect_name for unit in every if unit.suspect is not None})
    lines = [f"{suspects} suspects to train, {len(every)} units, {pictures} pictures by each of {len(methods)} methods"]
    lines += [f"{name:24s}{pictures * m.evaluations:>12,} network evaluations" for name, m in methods.items()]
    return "\n".join([*lines, f"{'all':24s}{pictures * sum(m.evaluations for m in methods.values()):>12,}"])


def run_membership(
    concepts: Sequence[Concept],
    base: Path,
    work: Path,
    ledger: Ledger,
    methods: Mapping[str, Method] = METHODS,
    worker: int = 0,
    workers: int = 1,
) -> None:
    """Do this worker's share of what the ledger lacks; suspects are trained first, where they are not there."""
    torch.set_num_threads(max(1, torch.get_num_threads() // workers))
    for unit in units(concepts)[worker::workers]:
        if unit.suspect is not None:
            train_suspect(unit.suspect, unit.half, base, work)
        missing = [task for task in tasks(unit, base, work, methods) if ledger.missing(task.keys)]
        if missing:
            _score(missing, base, work, ledger, methods)


def collect(
    concepts: Sequence[Concept], base: Path, work: Path, ledger: Ledger, methods: Mapping[str, Method] = METHODS
) -> tuple[list[Row], int]:
    """The ledger's rows of exactly this design, in its order, and how many are missing yet."""
    wanted = [key for unit in units(concepts) for task in tasks(unit, base, work, methods) for key in task.keys]
    held = {row.key: row for row in ledger.rows()}
    return [held[key] for key in wanted if key in held], sum(key not in held for key in wanted)


def _score(missing: Sequence[Task], base: Path, work: Path, ledger: Ledger, methods: Mapping[str, Method]) -> None:
    unit = missing[0].unit
    suspect = base if unit.suspect is None else checkpoint_of(unit.suspect, unit.half, work)
    pair = load_pair(str(base), str(suspect), _prompt(unit))
    pictures = [read_picture(path, pair.side) for path, _ in unit.pictures]
    z = pair.codec.encode(torch.stack([p.image for p in pictures]))
    for task in missing:
        method = methods[task.method]
        scores = method(pair, z, [picture_generator(SEED, p.sha256, task.method) for p in pictures]).tolist()
        ledger.add([_row(task, i, method.evaluations, score) for i, score in enumerate(scores)])


def _row(task: Task, i: int, evaluations: int, score: float) -> Row:
    unit, (path, member) = task.unit, task.unit.pictures[i]
    decision = (unit.role, unit.concept.name, unit.suspect_name, unit.mode, path.name, member)
    return Row(task.keys[i], *decision, task.method, evaluations, score)


def _prompt(unit: Unit) -> str:
    return (unit.suspect or unit.concept).training.prompt


@lru_cache(maxsize=10_000)
def _file_sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _weights(folder: Path) -> list[str]:
    """The digests of a model's weight files, and of nothing else in its folder."""
    checkpoint = open_checkpoint(str(folder))
    return [checkpoint.listing.sha256(file) for file in checkpoint.weights]
