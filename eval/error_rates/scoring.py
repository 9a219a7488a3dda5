"""A stage: every suspect of an experiment is asked about the pictures of its own maker, and about some of strangers.

The answers are the verdict's score and the shift, with the draws that a verdict takes. One file for each suspect, below
the working folder; one that is there is not asked again.
"""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from cgidm.method.config import RunConfig
from cgidm.training.scoring import score_pictures
from cgidm.training.split import PictureFile, locate_picture, rank_by_seed
from cgidm.training.trained_model import find_checkpoint
from eval.benchmark.datasets import Manifest
from eval.benchmark.ledger import Row, make_key
from eval.benchmark.plan import Suspect, plan_suspects
from eval.benchmark.stages import Setting


@dataclass(frozen=True)
class Asked:
    """What one suspect answered."""

    dataset: str
    concept: str
    half: int
    training: str
    files: tuple[str, ...]
    member: tuple[int, ...]  # 1 if the suspect was trained on it
    scores: tuple[float, ...]
    shift: tuple[float, ...]
    stranger_files: tuple[str, ...] = ()  # of other makers: what a user would take for controls
    stranger_scores: tuple[float, ...] = ()
    weight_shift: float | None = None


@dataclass(frozen=True)
class AskJob:
    """Ask one suspect."""

    setting: Setting
    suspect: Suspect
    own: tuple[PictureFile, ...]
    strangers: tuple[PictureFile, ...]

    @property
    def name(self) -> str:
        return self.suspect.name

    @property
    def cost(self) -> int:
        """Pictures."""
        return len(self.own) + len(self.strangers)

    @property
    def path(self) -> Path:
        """Where its answers are kept."""
        pictures = [p.sha256 for p in (*self.own, *self.strangers)]
        key = make_key(suspect=self.suspect.model.key(self.setting.base_weights), pictures=pictures)
        return self.setting.work / "asked" / f"{self.suspect.name.replace('/', '-')}-{key[:10]}.json"

    def run(self) -> Iterator[list[Row]]:
        setting, s = self.setting, self.suspect
        model = find_checkpoint(s.model, setting.base_weights, setting.work)
        paths = [locate_picture(setting.data, p) for p in (*self.own, *self.strangers)]
        answers = score_pictures(setting.experiment.base, str(model), s.config.prompt, paths, RunConfig())
        trained, n = {p.sha256 for p in s.pictures}, len(self.own)
        asked = Asked(
            *(s.dataset, s.concept, s.half, s.training),
            tuple(p.file for p in self.own),
            tuple(int(p.sha256 in trained) for p in self.own),
            answers.scores[:n],
            answers.prediction_distances[:n],
            tuple(p.file for p in self.strangers),
            answers.scores[n:],
            answers.weight_distance,
        )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps(asdict(asked)) + "\n")
        temporary.replace(self.path)
        yield []


def ask_jobs(setting: Setting, manifest: Manifest, strangers: Sequence[str] = ()) -> list[AskJob]:
    """One for each suspect. Half A of `strangers` also about a picture of each other maker."""
    first = {
        concept.name: rank_by_seed([*concept.halves[0], *concept.halves[1]], manifest.seed, "strangers", "")[0]
        for name in strangers
        for concept in manifest.datasets[name].concepts
    }
    jobs = []
    for s in plan_suspects(setting.experiment, manifest):
        concept = next(c for c in manifest.datasets[s.dataset].concepts if c.name == s.concept)
        own = tuple(sorted((*concept.halves[0], *concept.halves[1]), key=lambda p: p.file))
        others = (
            tuple(p for name, p in first.items() if name != s.concept) if s.dataset in strangers and s.half == 0 else ()
        )
        jobs.append(AskJob(setting, s, own, others))
    return jobs


def read_asked(jobs: Sequence[AskJob]) -> list[Asked]:
    """What was answered, in the order of the jobs; of jobs not done yet, nothing."""
    return [TypeAdapter(Asked).validate_json(job.path.read_text()) for job in jobs if job.path.exists()]
