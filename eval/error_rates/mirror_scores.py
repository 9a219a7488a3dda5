"""Score every suspect of an experiment by the mirror test, on its artist's pictures; some on reference pictures.

Each suspect has one file below the working folder; a suspect whose file exists is not scored again. The losses of the
base, which are the same for every suspect, are kept beside them.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from pydantic import TypeAdapter
from torch import Tensor

from cgidm.families import load_pair
from cgidm.files import write_atomically
from cgidm.framing.frame import Framing
from cgidm.framing.table import framing_to_table
from cgidm.judging.mirror_test import MIRROR_SEED
from cgidm.method.config import RunConfig
from cgidm.method.mirror import (
    BLOCKS,
    encode_both,
    mirror_differences,
    mirror_losses,
    mirror_score,
)
from cgidm.method.models import EpsModel, ModelPair
from cgidm.pictures.images import read_picture
from cgidm.training.split import PictureFile, locate_picture, rank_by_seed
from cgidm.training.trained_model import find_checkpoint
from eval.benchmark.datasets import Concept, Manifest
from eval.benchmark.ledger import Row, make_key
from eval.benchmark.plan import Suspect, plan_suspects
from eval.benchmark.stages import Setting
from eval.error_rates.alteration import UNALTERED, Alteration

FOLDER = "mirror"  # below the working folder
BASE_FOLDER = "mirror-base"
SEED = MIRROR_SEED
MOST_PICTURES = 120  # of one suspect that are scored, half of them members: a mixture has hundreds
REFERENCE_DRAWN = "mirror reference"  # enters the draw of the suspects that are scored on reference pictures


@dataclass(frozen=True, kw_only=True)
class MirrorScores:
    """The scores of pictures under one suspect. Its fields are the keys of the file.

    Attributes:
        dataset: name of the dataset.
        concept: the artist or subject.
        half: half of the split that the suspect was trained on, 0 or 1.
        training: name of the training.
        files: the concept's pictures.
        member: 1 for each picture that the suspect was trained on, else 0.
        scores: score of each picture.
        reference: scores of the reference pictures; empty if they were not scored.
    """

    dataset: str
    concept: str
    half: int
    training: str
    files: tuple[str, ...]
    member: tuple[int, ...]
    scores: tuple[float, ...]
    reference: tuple[float, ...] = ()

    @property
    def artist(self) -> str:
        """Whose works they are: the folder of the pictures; the concept's name of a mixture."""
        folders = {file.rpartition("/")[0] for file in self.files}
        return folders.pop() if len(folders) == 1 else self.concept

    def of(self, member: int) -> list[float]:
        """The scores of members (1) or holdouts (0)."""
        return [s for s, m in zip(self.scores, self.member, strict=True) if m == member]


@dataclass(frozen=True)
class MirrorJob:
    """Score one suspect."""

    setting: Setting
    suspect: Suspect
    pictures: tuple[PictureFile, ...]
    reference: tuple[Path, ...]
    draws: int = RunConfig().mirror_draws
    alteration: Alteration = UNALTERED
    framing: Framing | None = None  # of the pictures; None: centre squares

    def altered(self, alteration: Alteration) -> "MirrorJob":
        """The same suspect, its file altered."""
        return replace(self, alteration=alteration)

    def framed(self, framing: Framing | None) -> "MirrorJob":
        """The same suspect, its pictures looked at in another framing."""
        return replace(self, framing=framing)

    @property
    def name(self) -> str:
        """The suspect's name."""
        return self.suspect.name

    @property
    def cost(self) -> int:
        """The number of pictures."""
        return len(self.pictures) + len(self.reference)

    @property
    def path(self) -> Path:
        """The file of its scores."""
        how: dict[str, Any] = {"draws": self.draws, "seed": SEED, "blocks": BLOCKS}
        if self.alteration != UNALTERED:
            how["alteration"] = asdict(self.alteration)
        how |= _framing_key(self.framing)
        pictures = [p.sha256 for p in self.pictures] + [
            hashlib.sha256(p.read_bytes()).hexdigest() for p in self.reference
        ]
        key = make_key(suspect=self.suspect.model.key(self.setting.base_weights), pictures=pictures, how=how)
        return self.setting.work / FOLDER / f"{self.suspect.name.replace('/', '-')}-{key[:10]}.json"

    def run(self) -> Iterator[list[Row]]:
        """Score the pictures and write the file; the ledger gets no row."""
        setting, s = self.setting, self.suspect
        model = find_checkpoint(s.model, setting.base_weights, setting.work)
        paths = [*(locate_picture(setting.data, p) for p in self.pictures), *self.reference]
        with self.alteration.checkpoint(model) as folder:
            pair = load_pair(setting.experiment.base, str(folder), s.config.prompt)
            scores = [score_by_mirror(setting, s.config.prompt, pair, path, self.draws, self.framing) for path in paths]
        trained, n = {p.sha256 for p in s.pictures}, len(self.pictures)
        found = MirrorScores(
            dataset=s.dataset,
            concept=s.concept,
            half=s.half,
            training=s.training,
            files=tuple(p.file for p in self.pictures),
            member=tuple(int(p.sha256 in trained) for p in self.pictures),
            scores=tuple(scores[:n]),
            reference=tuple(scores[n:]),
        )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, json.dumps(asdict(found)) + "\n")
        yield []


def score_by_mirror(
    setting: Setting,
    prompt: str,
    pair: ModelPair,
    path: Path,
    draws: int = RunConfig().mirror_draws,
    framing: Framing | None = None,
) -> float:
    """Score one picture; the base's losses are computed once for all suspects.

    Args:
        setting: its working folder keeps these losses.
        prompt: of both models.
        pair: base and suspect.
        path: the picture.
        draws: of the test.
        framing: of the picture; None: its centre square.
    """
    picture = read_picture(path, framing or pair.resolution)
    z = encode_both(pair.codec, picture.image[None])

    def losses(model: EpsModel) -> Float[Tensor, "1 2 n h w"]:
        return mirror_losses(model, pair.schedule, z, draws, SEED, pair.rows_per_call())

    how = {"draws": draws, "seed": SEED, "prompt": prompt, **_framing_key(framing)}
    kept = setting.work / BASE_FOLDER / f"{make_key(base=setting.base_weights, picture=picture.sha256, **how)}.pt"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        temporary = kept.with_suffix(f".{os.getpid()}")
        torch.save(losses(pair.base), temporary)
        temporary.replace(kept)
    return mirror_score(mirror_differences(torch.load(kept), losses(pair.suspect))).item()


def mirror_jobs(
    setting: Setting, manifest: Manifest, reference: Sequence[Path] = (), suspects: int = 0
) -> list[MirrorJob]:
    """Return one job for each suspect.

    Args:
        setting: what the jobs share.
        manifest: the pictures.
        reference: reference pictures.
        suspects: how many suspects of each training are scored on them, no two of one concept.
    """
    jobs, drawn = [], _draw_concepts(manifest, suspects)
    for s in plan_suspects(setting.experiment, manifest):
        concept = next(c for c in manifest.datasets[s.dataset].concepts if c.name == s.concept)
        crossed = s.half == 0 and (s.dataset, s.concept) in drawn
        jobs.append(MirrorJob(setting, s, _pictures(concept), tuple(reference) if crossed else ()))
    return jobs


def read_mirror_scores(jobs: Sequence[MirrorJob]) -> list[MirrorScores]:
    """Return the scores of all finished jobs, in the order of the jobs."""
    return [TypeAdapter(MirrorScores).validate_json(job.path.read_text()) for job in jobs if job.path.exists()]


def _pictures(concept: Concept) -> tuple[PictureFile, ...]:
    """The pictures of both halves; of a large concept as many of each as `MOST_PICTURES` allows, drawn by lot."""
    halves = [rank_by_seed(half, SEED, "mirror", concept.name)[: MOST_PICTURES // 2] for half in concept.halves]
    return tuple(sorted((p for half in halves for p in half), key=lambda p: p.file))


def _draw_concepts(manifest: Manifest, count: int) -> set[tuple[str, str]]:
    """Draw concepts of all datasets by the hash of their names."""
    names = [(d, c.name) for d, found in manifest.datasets.items() for c in found.concepts]
    return set(sorted(names, key=lambda name: make_key(draw=REFERENCE_DRAWN, concept=name[1]))[:count])


def _framing_key(framing: Framing | None) -> dict[str, Any]:
    """What enters the keys of scores: nothing for centre squares."""
    return {} if framing is None else {"framing": framing_to_table(framing)}
