"""`python -m eval prepare`: which pictures an experiment uses, and which half of its concept each is in.

All of it stands in one file, `manifest.json`, before anything is trained: every picture with the SHA-256 of its bytes,
every picture left out with the reason. The same inputs give the same bytes.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from cgidm.errors import UserError
from cgidm.pictures.images import read_picture
from eval.benchmark.duplicates import Rule, find_rule, near_duplicates
from eval.benchmark.experiment import Dataset, Experiment

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
FIXED_HALVES = ("member", "holdout")  # folders inside a concept's that fix its halves A and B
CHECK_SIDE = 64  # pixels: a picture is opened only to know that it can be
REASONS_SHOWN = 3  # in an error


@dataclass(frozen=True)
class Picture:
    """One picture that is used."""

    file: str  # below the data folder, with forward slashes
    sha256: str  # of the file's bytes


@dataclass(frozen=True)
class Concept:
    """One artist or subject: its pictures in halves A and B."""

    name: str
    halves: tuple[tuple[Picture, ...], tuple[Picture, ...]]


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
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(json.dumps(asdict(manifest), indent=1) + "\n")
        os.replace(temporary, out)
    finally:
        temporary.unlink(missing_ok=True)
    return manifest


def load_manifest(path: Path) -> Manifest:
    """Read what `prepare` wrote.

    Raises:
        UserError: if there is none, or it is not one.
    """
    try:
        return TypeAdapter(Manifest).validate_python(json.loads(path.read_text()))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: run `python -m eval prepare` first") from None
    except (OSError, ValidationError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise UserError(f"{path} is not a manifest ({first}): run `python -m eval prepare` again") from None


def read_checked(data: Path, picture: Picture) -> Path:
    """The path of a picture whose bytes are still those that the manifest states.

    Raises:
        UserError: if the file is gone, cannot be read, or holds other bytes.
    """
    path = data / picture.file
    again = "run `python -m eval prepare` again"
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise UserError(f"{path} is gone since the manifest was prepared: put it back, or {again}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): mend that, or {again}") from None
    if digest != picture.sha256:
        raise UserError(f"{path} has changed since it was prepared: {again}")
    return path


def split(pictures: Sequence[Picture], seed: int, dataset: str, concept: str) -> tuple[list[Picture], list[Picture]]:
    """Halves A and B, drawn by the seed; of an odd number A, which a one-sided design trains on, has one more.

    A picture's rank is a hash of its own bytes with the seed and the two names: other concepts change nothing, nor
    does a file's name. Ranks go to A and B in turn, so that asking for more pictures moves none to the other half.
    """
    ranked = ranked_by_seed(pictures, seed, dataset, concept)
    return ranked[0::2], ranked[1::2]


def ranked_by_seed(pictures: Sequence[Picture], seed: int, dataset: str, concept: str) -> list[Picture]:
    """The pictures in an order that the seed draws."""

    def rank(picture: Picture) -> tuple[str, str]:
        text = json.dumps((seed, dataset, concept, picture.sha256))  # no two sets of names run together
        return hashlib.sha256(text.encode()).hexdigest(), picture.file

    return sorted(pictures, key=rank)


def _prepare_dataset(name: str, dataset: Dataset, seed: int, data: Path) -> DatasetManifest:
    if dataset.pictures is not None and (dataset.pictures < 2 or dataset.pictures % 2):
        raise UserError(f"dataset {name}: pictures is {dataset.pictures}; accepted: an even number from 2 on")
    rule = find_rule(dataset.near_duplicates)
    concepts, dropped = [], []
    for folder in _concept_folders(name, dataset, data):
        concept, out = _prepare_concept(folder, name, dataset, seed, data, rule)
        concepts.append(concept)
        dropped += out
    return DatasetManifest(name, rule.name, tuple(concepts), tuple(dropped))


def _concept_folders(name: str, dataset: Dataset, data: Path) -> list[Path]:
    below = Path(dataset.folder)
    if below.is_absolute() or ".." in below.parts:
        raise UserError(f"dataset {name}: folder {dataset.folder!r} does not lie below the one given by --data")
    if not (data / below).is_dir():
        get = f": `python -m eval fetch {dataset.fetch} --data {data}` downloads it" if dataset.fetch else ""
        raise UserError(f"dataset {name}: the folder {data / below} does not exist{get}")
    there = {p.name: p for p in sorted((data / below).iterdir()) if p.is_dir() and not p.name.startswith(".")}
    wanted = len(there) if dataset.concepts is None else dataset.concepts
    if not isinstance(wanted, int):
        if lacking := [c for c in wanted if c not in there]:
            raise UserError(f"dataset {name}: {data / below} has no {lacking[0]!r}; accepted: {', '.join(there)}")
        return [there[c] for c in dict.fromkeys(wanted)]
    if not 1 <= wanted <= len(there):
        needed = f"needed: {max(wanted, 1)}, one for each concept"
        raise UserError(f"dataset {name}: {data / below} has {len(there)} folders of pictures; {needed}")
    return list(there.values())[:wanted]


def _prepare_concept(
    folder: Path, name: str, dataset: Dataset, seed: int, data: Path, rule: Rule
) -> tuple[Concept, list[Dropped]]:
    fixed = [folder / half for half in FIXED_HALVES]
    groups = [_picture_files(folder)]
    if any(half.is_dir() for half in fixed):
        if groups[0]:
            raise UserError(f"{folder} has pictures beside {fixed[0].name}/ and {fixed[1].name}/: move them into these")
        groups = [_picture_files(half) if half.is_dir() else [] for half in fixed]
    usable, dropped = _usable([path for group in groups for path in group], data, rule)

    chosen = [[usable[path] for path in group if path in usable] for group in groups]
    needed = (dataset.pictures or 2) // len(groups)
    for group, pictures in zip(groups, chosen, strict=True):
        if len(pictures) < needed:
            where = f"{name}/{folder.name}" + ("" if len(groups) == 1 else f"/{FIXED_HALVES[groups.index(group)]}")
            raise UserError(_too_few(where, len(pictures), needed, dropped))
    drawn = [ranked_by_seed(pictures, seed, name, folder.name) for pictures in chosen]
    if dataset.pictures is not None:
        drawn = [pictures[:needed] for pictures in drawn]
    a, b = drawn if len(drawn) == 2 else split(drawn[0], seed, name, folder.name)
    return Concept(folder.name, (tuple(a), tuple(b))), dropped


def _picture_files(folder: Path) -> list[Path]:
    """The files with a picture's name, by name; what is hidden (macOS writes `._1.jpg` beside `1.jpg`) is none."""
    files = (p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    return sorted(p for p in files if not p.is_dir())


def _usable(paths: Sequence[Path], data: Path, rule: Rule) -> tuple[dict[Path, Picture], list[Dropped]]:
    """Those that can be opened and are no near-duplicates of earlier ones, and why the others are left out."""
    usable: dict[Path, Picture] = {}
    dropped: list[Dropped] = []
    for path in paths:
        file = path.relative_to(data).as_posix()
        try:
            if not file.isprintable():
                raise UserError("its path has characters that cannot be printed: rename it")
            usable[path] = Picture(file, read_picture(path, CHECK_SIDE).sha256)
        except OSError as error:
            dropped.append(Dropped(file, f"cannot be read: {error.strerror}"))
        except UserError as error:  # its text names the path, and a manifest is the same wherever the data lies
            dropped.append(Dropped(file, str(error).replace(str(path), file)))
    for path, kept in near_duplicates(list(usable), rule).items():
        dropped.append(Dropped(usable.pop(path).file, f"near-duplicate of {usable[kept].file} ({rule.name})"))
    return usable, dropped


def _too_few(where: str, count: int, needed: int, dropped: Sequence[Dropped]) -> str:
    text = f"{where}: {count} pictures can be used; needed: {needed}. {len(dropped)} of the concept were dropped"
    if not dropped:
        return f"{text}: add pictures"
    reasons = [d.reason if d.file in d.reason else f"{d.file}: {d.reason}" for d in dropped[:REASONS_SHOWN]]
    more = f"; and {len(dropped) - REASONS_SHOWN} more" if len(dropped) > REASONS_SHOWN else ""
    return f"{text}: {'; '.join(reasons)}{more}"
