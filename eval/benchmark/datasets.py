"""`python -m eval prepare`: which pictures an experiment uses, and which half of its concept each is in.

All of it stands in one file, `manifest.json`, before anything is trained: every picture with the SHA-256 of its bytes,
every picture left out with the reason. The same inputs give the same bytes.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from cgidm.errors import UserError
from cgidm.files import write_atomically
from cgidm.messages import render
from cgidm.pictures.folders import list_picture_files
from cgidm.pictures.images import read_picture
from cgidm.training.split import PictureFile, rank_by_seed, split_in_halves
from eval.benchmark.duplicates import Rule, find_near_duplicates, find_rule
from eval.benchmark.experiment import Dataset, Experiment

FIXED_HALVES = ("member", "holdout")  # folders inside a concept's that fix its halves A and B
CHECK_SIDE = 64  # pixels: a picture is opened only to know that it can be
REASONS_SHOWN = 3  # in an error


@dataclass(frozen=True)
class Concept:
    """One artist or subject: its pictures in halves A and B."""

    name: str
    halves: tuple[tuple[PictureFile, ...], tuple[PictureFile, ...]]


@dataclass(frozen=True)
class Dropped:
    """One picture that is not used."""

    file: str  # below the data folder
    reason: str


@dataclass(frozen=True)
class DatasetManifest:
    """The concepts of one dataset."""

    name: str
    rule: str  # by which near-duplicates were found
    concepts: tuple[Concept, ...]
    dropped: tuple[Dropped, ...]


@dataclass(frozen=True)
class Manifest:
    """All pictures of an experiment."""

    experiment: str
    seed: int
    datasets: dict[str, DatasetManifest]


def prepare(experiment: Experiment, data: Path, out: Path) -> Manifest:
    """Choose and split the pictures of every dataset and write the manifest to `out`, whole or not at all.

    Raises:
        UserError: if a folder or a concept is not there, or a concept has too few pictures that can be used.
    """
    datasets = {n: _prepare_dataset(n, d, experiment.seed, data) for n, d in experiment.datasets.items()}
    manifest = Manifest(experiment.name, experiment.seed, datasets)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, json.dumps(asdict(manifest), indent=1) + "\n")
    return manifest


def load_manifest(path: Path) -> Manifest:
    """Read what `prepare` wrote.

    Raises:
        UserError: if there is none, or it is not one.
    """
    try:
        return TypeAdapter(Manifest).validate_python(json.loads(path.read_text()))
    except FileNotFoundError:
        raise UserError("benchmark.no_manifest", path=str(path)) from None
    except (OSError, ValidationError, ValueError) as error:
        raise UserError("benchmark.not_a_manifest", path=str(path), reason=str(error).splitlines()[0]) from None


def _prepare_dataset(name: str, dataset: Dataset, seed: int, data: Path) -> DatasetManifest:
    if dataset.pictures is not None and (dataset.pictures < 2 or dataset.pictures % 2):
        raise UserError("benchmark.picture_count", dataset=name, given=dataset.pictures)
    rule = find_rule(dataset.near_duplicates)
    concepts, dropped = [], []
    for folder in _concept_folders(name, dataset, data):
        concept, out = _prepare_concept(folder, name, dataset, seed, data, rule)
        concepts.append(concept)
        dropped += out
    if dataset.joined is not None:
        halves = (tuple(p for c in concepts for p in c.halves[half]) for half in (0, 1))
        concepts = [Concept(dataset.joined, (next(halves), next(halves)))]
    return DatasetManifest(name, rule.name, tuple(concepts), tuple(dropped))


def _concept_folders(name: str, dataset: Dataset, data: Path) -> list[Path]:
    below = Path(dataset.folder)
    if below.is_absolute() or ".." in below.parts:
        raise UserError("benchmark.folder_outside", dataset=name, given=dataset.folder)
    if not (data / below).is_dir():
        missing = {"dataset": name, "folder": str(data / below)}
        if dataset.fetch:
            raise UserError("benchmark.unknown_folder_fetch", **missing, source=dataset.fetch, data=str(data))
        raise UserError("benchmark.unknown_folder", **missing)
    there = {p.name: p for p in sorted((data / below).iterdir()) if p.is_dir() and not p.name.startswith(".")}
    wanted = len(there) if dataset.concepts is None else dataset.concepts
    if not isinstance(wanted, int):
        nested = [c for c in wanted if "/" in c and ".." not in Path(c).parts]
        there |= {c: data / below / c for c in nested if (data / below / c).is_dir()}
        if lacking := [c for c in wanted if c not in there]:
            raise UserError(
                "benchmark.unknown_concept",
                dataset=name,
                folder=str(data / below),
                given=lacking[0],
                accepted=list(there),
            )
        return [there[c] for c in dict.fromkeys(wanted)]
    if not 1 <= wanted <= len(there):
        counts = {"least": max(wanted, 1), "given": len(there)}
        raise UserError("benchmark.too_few_concepts", dataset=name, folder=str(data / below), **counts)
    return list(there.values())[:wanted]


def _prepare_concept(
    folder: Path, name: str, dataset: Dataset, seed: int, data: Path, rule: Rule
) -> tuple[Concept, list[Dropped]]:
    fixed = [folder / half for half in FIXED_HALVES]
    groups = [list_picture_files(folder)]
    if any(half.is_dir() for half in fixed):
        if groups[0]:
            raise UserError("benchmark.pictures_beside_halves", folder=str(folder))
        groups = [list_picture_files(half) if half.is_dir() else [] for half in fixed]
    usable, dropped = _usable([path for group in groups for path in group], data, rule)

    chosen = [[usable[path] for path in group if path in usable] for group in groups]
    needed = (dataset.pictures or 2) // len(groups)
    for group, pictures in zip(groups, chosen, strict=True):
        if len(pictures) < needed:
            where = f"{name}/{folder.name}" + ("" if len(groups) == 1 else f"/{FIXED_HALVES[groups.index(group)]}")
            raise _too_few(where, len(pictures), needed, dropped)
    drawn = [rank_by_seed(pictures, seed, name, folder.name) for pictures in chosen]
    if dataset.pictures is not None:
        drawn = [pictures[:needed] for pictures in drawn]
    a, b = drawn if len(drawn) == 2 else split_in_halves(drawn[0], seed, name, folder.name)
    return Concept(folder.name, (tuple(a), tuple(b))), dropped


def _usable(paths: Sequence[Path], data: Path, rule: Rule) -> tuple[dict[Path, PictureFile], list[Dropped]]:
    """Those that can be opened and are no near-duplicates of earlier ones, and why the others are left out."""
    usable: dict[Path, PictureFile] = {}
    dropped: list[Dropped] = []
    for path in paths:
        file = path.relative_to(data).as_posix()
        try:
            if not file.isprintable():
                raise UserError("benchmark.picture_path")
            usable[path] = PictureFile(file, read_picture(path, CHECK_SIDE).sha256)
        except OSError as error:
            dropped.append(Dropped(file, f"cannot be read: {error.strerror}"))
        except UserError as error:  # a manifest is the same wherever the data lies
            dropped.append(Dropped(file, render(error.code, error.params | {"path": file})))
    for path, kept in find_near_duplicates(list(usable), rule).items():
        dropped.append(Dropped(usable.pop(path).file, f"near-duplicate of {usable[kept].file} ({rule.name})"))
    return usable, dropped


def _too_few(where: str, count: int, needed: int, dropped: Sequence[Dropped]) -> UserError:
    counts = {"concept": where, "least": needed, "given": count}
    if not dropped:
        return UserError("benchmark.too_few_pictures", **counts)
    reasons = [d.reason if d.file in d.reason else f"{d.file}: {d.reason}" for d in dropped[:REASONS_SHOWN]]
    more = ["..."] if len(dropped) > REASONS_SHOWN else []
    return UserError("benchmark.too_few_pictures_left", **counts, dropped=len(dropped), reasons=[*reasons, *more])
