"""Suspects of the embedded flow model by artists who set no threshold: one LoRA an artist, kept at several doses."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cgidm.judging.mirror_test import MirrorTable
from cgidm.training.split import PictureFile, locate_picture
from eval.benchmark.datasets import Concept, prepare
from eval.benchmark.experiment import load_experiment
from eval.benchmark.flow_lora import FlowRecipe, train_flow_lora
from eval.error_rates.flow.loras import EXPERIMENT

DOSES = (5, 10, 20, 40, 60, 100)  # presentations of each picture
RECIPE = FlowRecipe(times="sigmoid", presentations=DOSES[-1])


@dataclass(frozen=True)
class Artist:
    """An artist, half of whose pictures a suspect is trained on.

    Attributes:
        dataset: name of the dataset.
        name: folder of the pictures.
        half: the half that is trained on, 0 or 1.
        halves: the pictures.
        data: the folder that the dataset's folder is in.
    """

    dataset: str
    name: str
    half: int
    halves: tuple[tuple[PictureFile, ...], ...]
    data: Path

    @property
    def files(self) -> tuple[str, ...]:
        """The pictures of both halves."""
        return tuple(p.file for some in self.halves for p in some)

    @property
    def member(self) -> tuple[int, ...]:
        """1 for each picture that the suspect was trained on, else 0."""
        return tuple(int(i == self.half) for i, some in enumerate(self.halves) for _ in some)

    @property
    def paths(self) -> list[Path]:
        """The files of both halves."""
        return [locate_picture(self.data, p) for some in self.halves for p in some]

    @property
    def members(self) -> list[Path]:
        """The files that the suspect is trained on."""
        return [locate_picture(self.data, p) for p in self.halves[self.half]]


def find_artists(data: Path, work: Path, table: MirrorTable) -> list[Artist]:
    """Find the artists of the experiment without a score in the table; one in two is trained on the second half."""
    seen = {g.artist for g in table.groups}
    manifest = prepare(load_experiment(EXPERIMENT), data, work / "manifest.json")
    found = [(d, c) for d, some in manifest.datasets.items() for c in some.concepts if _folders(c).isdisjoint(seen)]
    return [Artist(d, c.name, i % 2, tuple(map(tuple, c.halves)), data) for i, (d, c) in enumerate(found)]


def find_suspect(base: Path, work: Path, artist: Artist, dose: int, doses: Sequence[int] = DOSES) -> Path:
    """Return the folder of the artist's LoRA after so many presentations; all of them are trained where one lacks."""
    identity = hashlib.sha256(f"{RECIPE} {artist.half} {artist.files}".encode()).hexdigest()[:10]
    folders = {n: work / "loras" / f"{artist.dataset}-{artist.name}-{n}-{identity}" for n in doses}
    if not all((folder / "pytorch_lora_weights.safetensors").exists() for folder in folders.values()):
        *earlier, last = doses
        train_flow_lora(base, artist.members, folders[last], RECIPE, earlier={n: folders[n] for n in earlier})
    return folders[dose]


def _folders(concept: Concept) -> set[str]:
    return {p.file.rpartition("/")[0] for half in concept.halves for p in half}
