"""Score every suspect of an experiment on its own artist's pictures, and some suspects on other artists' pictures.

The scores are the verdict's, with the draws that a verdict takes. Each suspect has one file below the working folder; a
suspect whose file exists is not scored again.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from cgidm.files import write_atomically
from cgidm.method.config import RunConfig
from cgidm.training.scoring import score_pictures
from cgidm.training.split import PictureFile, locate_picture, rank_by_seed
from cgidm.training.trained_model import find_checkpoint
from eval.benchmark.datasets import Manifest
from eval.benchmark.ledger import Row, make_key
from eval.benchmark.plan import Suspect, plan_suspects
from eval.benchmark.stages import Setting

FOLDER = "scores"  # below the working folder
OTHER_ARTISTS_DRAW = "strangers"  # enters the draw of their pictures, which must not change


@dataclass(frozen=True, kw_only=True)
class SuspectScores:
    """The scores of pictures under one suspect. Its fields are the keys of the file.

    Attributes:
        dataset: name of the dataset.
        concept: the artist.
        half: half of the split that the suspect was trained on, 0 or 1.
        training: name of the training.
        files: the artist's pictures.
        member: 1 for each picture that the suspect was trained on, else 0.
        scores: score of each picture.
        prediction_distances: distance of the suspect's predictions from the base's, for each picture.
        other_files: pictures by other artists, which a user would take for controls.
        other_scores: score of each of these.
        weight_distance: distance of the suspect's weights from the base's; None for an adapter.
    """

    dataset: str
    concept: str
    half: int
    training: str
    files: tuple[str, ...]
    member: tuple[int, ...]
    scores: tuple[float, ...]
    prediction_distances: tuple[float, ...]
    other_files: tuple[str, ...] = ()
    other_scores: tuple[float, ...] = ()
    weight_distance: float | None = None


@dataclass(frozen=True)
class SuspectJob:
    """Score one suspect on pictures by its own artist and by others."""

    setting: Setting
    suspect: Suspect
    own: tuple[PictureFile, ...]
    other_artists: tuple[PictureFile, ...]

    @property
    def name(self) -> str:
        """The suspect's name."""
        return self.suspect.name

    @property
    def cost(self) -> int:
        """The number of pictures."""
        return len(self.own) + len(self.other_artists)

    @property
    def path(self) -> Path:
        """The file of its scores."""
        pictures = [p.sha256 for p in (*self.own, *self.other_artists)]
        key = make_key(suspect=self.suspect.model.key(self.setting.base_weights), pictures=pictures)
        return self.setting.work / FOLDER / f"{self.suspect.name.replace('/', '-')}-{key[:10]}.json"

    def run(self) -> Iterator[list[Row]]:
        """Score the pictures and write the file; the ledger gets no row."""
        setting, s = self.setting, self.suspect
        model = find_checkpoint(s.model, setting.base_weights, setting.work)
        paths = [locate_picture(setting.data, p) for p in (*self.own, *self.other_artists)]
        found = score_pictures(setting.experiment.base, str(model), s.config.prompt, paths, RunConfig())
        trained, n = {p.sha256 for p in s.pictures}, len(self.own)
        scores = SuspectScores(
            dataset=s.dataset,
            concept=s.concept,
            half=s.half,
            training=s.training,
            files=tuple(p.file for p in self.own),
            member=tuple(int(p.sha256 in trained) for p in self.own),
            scores=found.scores[:n],
            prediction_distances=found.prediction_distances[:n],
            other_files=tuple(p.file for p in self.other_artists),
            other_scores=found.scores[n:],
            weight_distance=found.weight_distance,
        )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, json.dumps(asdict(scores)) + "\n")
        yield []


def suspect_jobs(setting: Setting, manifest: Manifest, crossed_datasets: Sequence[str] = ()) -> list[SuspectJob]:
    """Return one job for each suspect.

    Args:
        setting: what the jobs share.
        manifest: the pictures.
        crossed_datasets: datasets whose half-A suspects are also scored on one picture of each other artist.
    """
    first = {
        concept.name: rank_by_seed([*concept.halves[0], *concept.halves[1]], manifest.seed, OTHER_ARTISTS_DRAW, "")[0]
        for name in crossed_datasets
        for concept in manifest.datasets[name].concepts
    }
    jobs = []
    for s in plan_suspects(setting.experiment, manifest):
        concept = next(c for c in manifest.datasets[s.dataset].concepts if c.name == s.concept)
        own = tuple(sorted((*concept.halves[0], *concept.halves[1]), key=lambda p: p.file))
        crossed = s.dataset in crossed_datasets and s.half == 0
        others = tuple(p for name, p in first.items() if name != s.concept) if crossed else ()
        jobs.append(SuspectJob(setting, s, own, others))
    return jobs


def read_scores(jobs: Sequence[SuspectJob]) -> list[SuspectScores]:
    """Return the scores of all finished jobs, in the order of the jobs."""
    return [TypeAdapter(SuspectScores).validate_json(job.path.read_text()) for job in jobs if job.path.exists()]
