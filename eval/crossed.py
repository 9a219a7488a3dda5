"""`python -m eval crossed`: every half of every concept is trained on in turn.

Each picture is once a member and once a holdout, so that its own difficulty cancels: a score that only knows which
pictures are easy sits at AUC 0.5 here, whereas it can seem to work in the paper's one-sided design. Stages talk through
files below `work`: checkpoints, then one file of recoveries for each suspect, presets and pictures. To resume, run the
same command again; `--worker 0/2` and `--worker 1/2` share the work.
"""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from cgidm.config import RunConfig, find_preset
from cgidm.families import load_pair
from cgidm.images import Picture, read_picture
from cgidm.models import ModelPair
from cgidm.objective import denoising_loss
from cgidm.partial import make_partial
from cgidm.recovery import recover
from cgidm.sampling import picture_generator, sample_noise, sample_times
from eval.finetune import FinetuneConfig, finetune

HALF = 8  # pictures
LOSS_DRAWS = 100
# alternately, so that each data set has both
TRAININGS: tuple[FinetuneConfig, ...] = (
    FinetuneConfig(mode="dreambooth", steps=60, learning_rate=2e-4),
    FinetuneConfig(mode="lora", steps=120, learning_rate=1e-3),
)
PRESETS_RUN = ("fast", "paper", "reference")


@dataclass(frozen=True)
class Concept:
    """One artist or subject: its pictures, in two halves."""

    name: str
    halves: tuple[tuple[Path, ...], tuple[Path, ...]]
    training: FinetuneConfig


@dataclass(frozen=True)
class Unit:
    """One suspect looked at with one preset on the pictures of one concept."""

    suspect: Concept | None  # None: the base itself, an innocent suspect
    half: int  # that it was trained on
    concept: Concept  # whose pictures are judged
    preset: str

    @property
    def role(self) -> str:
        if self.suspect is None:
            return "innocent"
        return "trained" if self.suspect == self.concept else "unrelated"

    @property
    def suspect_name(self) -> str:
        """The suspect's; an innocent one is a suspect of its own for every concept."""
        return f"base-{self.concept.name}" if self.suspect is None else f"{self.suspect.name}-{'ab'[self.half]}"

    @property
    def mode(self) -> str:
        return "none" if self.suspect is None else self.suspect.training.mode

    @property
    def pictures(self) -> list[tuple[Path, int]]:
        """The pictures judged, each with 1 if it is in the half that is taken for the training set, else 0."""
        return [(p, int(half == self.half)) for half in (0, 1) for p in self.concept.halves[half]]

    @property
    def name(self) -> str:
        suspect = "base" if self.suspect is None else f"{self.suspect.name}-{'ab'[self.half]}"
        return f"{suspect}/{self.concept.name}-{self.preset}"

    def file(self, work: Path) -> Path:
        return work / f"{self.name}.safetensors"


def find_concepts(
    folders: Sequence[Path], trainings: Sequence[FinetuneConfig] = TRAININGS, half: int = HALF
) -> list[Concept]:
    """A concept for each folder: its first 2 * half pictures by name, even ones in half A, odd ones in half B.

    Raises:
        ValueError: if a folder holds fewer JPEGs.
    """
    concepts = []
    for i, folder in enumerate(folders):
        files = sorted(folder.glob("*.jpg"))[: 2 * half]
        if len(files) < 2 * half:
            raise ValueError(f"{folder} holds {len(files)} .jpg files; needed: {2 * half}")
        concepts.append(Concept(folder.name, (tuple(files[0::2]), tuple(files[1::2])), trainings[i % len(trainings)]))
    return concepts


def plan(concepts: Sequence[Concept]) -> list[Unit]:
    """All units: each suspect on its own pictures with every preset, and the two rows that must sit at 0.5."""
    trained = [Unit(c, half, c, preset) for preset in PRESETS_RUN for c in concepts for half in (0, 1)]
    next_concepts = [*concepts[1:], *concepts[:1]]
    unrelated = [Unit(n, half, c, "fast") for c, n in zip(concepts, next_concepts, strict=True) for half in (0, 1)]
    return [*trained, *unrelated, *(Unit(None, 0, c, "fast") for c in concepts)]


def unfinished(concepts: Sequence[Concept], work: Path) -> list[Unit]:
    """What the plan still lacks."""
    return [u for u in plan(concepts) if not u.file(work).exists()]


def run_crossed(concepts: Sequence[Concept], base: Path, work: Path, worker: int = 0, workers: int = 1) -> None:
    """Do this worker's share of what is not done yet."""
    torch.set_num_threads(max(1, torch.get_num_threads() // workers))
    for concept in concepts[worker::workers]:
        for half in (0, 1):
            train_suspect(concept, half, base, work)
    for unit in plan(concepts)[worker::workers]:
        out = unit.file(work)
        if out.exists():
            continue
        if unit.suspect is not None:
            train_suspect(unit.suspect, unit.half, base, work)  # if the other worker has not come to it
        config = find_preset(unit.preset)
        recovery = replace(config.recovery, weight_gradients=False)  # a cost without influence on the result
        config = replace(config, recovery=recovery)
        suspect = base if unit.suspect is None else checkpoint_of(unit.suspect, unit.half, work)
        prompt = (unit.suspect or unit.concept).training.prompt
        pair = load_pair(str(base), str(suspect), prompt, encoding=config.encoding)
        pictures = [read_picture(p, pair.side) for half in unit.concept.halves for p in half]
        tensors = recoveries(pair, pictures, config)
        if unit.preset == "fast":  # the same for every preset
            tensors |= losses(pair, pictures, config)
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = out.with_suffix(f".{os.getpid()}.tmp")
        save_file({k: v.contiguous() for k, v in tensors.items()}, temporary)
        os.replace(temporary, out)


def recoveries(pair: ModelPair, pictures: Sequence[Picture], config: RunConfig) -> dict[str, Tensor]:
    """`z` and `start` (n c h w), and `z_hat` (k n c h w) after each of `steps` (k)."""
    images = torch.stack([p.image for p in pictures])
    z = pair.codec.encode(images)
    partial = make_partial(config.partial, pair.codec, images, z)
    generators = [picture_generator(config.seed, p.sha256, "recovery") for p in pictures]
    wanted = set(checkpoints(config.recovery.steps))
    kept = [s for s in recover(pair, z, partial, config.recovery, generators=generators) if s.index + 1 in wanted]
    return {
        "z": z,
        "start": partial.start,
        "z_hat": torch.stack([s.z for s in kept]),
        "steps": torch.tensor([s.index + 1 for s in kept]),
        "evaluations": torch.tensor([s.evaluations for s in kept]),
    }


def losses(pair: ModelPair, pictures: Sequence[Picture], config: RunConfig) -> dict[str, Tensor]:
    """Both models' denoising losses (n, LOSS_DRAWS) at stratified rows `t` of the schedule, with shared noise."""
    z = pair.codec.encode(torch.stack([p.image for p in pictures]))
    generators = [picture_generator(config.seed, p.sha256, "loss_contrast") for p in pictures]
    t = sample_times(generators, LOSS_DRAWS, 1, len(pair.schedule) - 1, "stratified")
    eps = sample_noise(generators, LOSS_DRAWS, z)
    with torch.no_grad():
        both = [
            torch.stack([denoising_loss(m, pair.schedule, z, t[:, i], eps[:, i]) for i in range(LOSS_DRAWS)], 1)
            for m in (pair.base, pair.finetuned)
        ]
    return {"t": t, "loss_base": both[0], "loss_finetuned": both[1]}


def checkpoints(steps: int) -> Iterator[int]:
    """1, 2, 5, 10, 20, 50, ... and the last step."""
    decade = 1
    while decade < steps:
        yield from (s for s in (decade, 2 * decade, 5 * decade) if s < steps)
        decade *= 10
    yield steps


def checkpoint_of(concept: Concept, half: int, work: Path) -> Path:
    return work / f"{concept.name}-{'ab'[half]}" / "checkpoint"


def train_suspect(concept: Concept, half: int, base: Path, work: Path) -> None:
    folder = checkpoint_of(concept, half, work)
    if folder.exists():
        return
    temporary = folder.with_name(f"checkpoint.{os.getpid()}.tmp")
    finetune(base, concept.halves[half], temporary, concept.training)
    (temporary / "training.json").write_text(json.dumps(asdict(concept.training), indent=2) + "\n")
    try:
        os.replace(temporary, folder)
    except OSError:
        if not folder.exists():  # else the other worker was first; both trained the same
            raise
