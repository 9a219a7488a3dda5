"""The part of a run that needs the GPU: one sitting of the conductor. What goes in and comes out can be pickled."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil
from typing import overload

import torch

from cgidm import ModelPair
from cgidm.conductor import authentication_steps
from cgidm.errors import UserError
from cgidm.framing.frame import Framing
from cgidm.intake.likely_framing import likely_framing
from cgidm.judging.banks.null_bank import Bank, framing_for
from cgidm.judging.result import Result
from cgidm.method.config import RunConfig
from cgidm.pictures.decoding import picture_size
from cgidm.pictures.embedders import Embedders, load_embedders
from cgidm.pictures.images import Picture, decode_picture
from cgidm.pictures.reference import read_reference_pictures
from cgidm.run.events import RunEvent, RunProgress
from cgidm.run.plan import RunRequest, with_centre_square

from . import hardware
from .model_cache import PAIRS, OpenedModels
from .store import Sent

CONTROLS_PER_EVENT = 2  # control pictures scored between two looks at whether the visitor is still there
PREVIEW_SECONDS = 1.0  # between two previews
RESOLUTION = 512  # whether a framing is noted hardly depends on it


@dataclass(frozen=True, eq=False, kw_only=True)
class GpuJob:
    """One sitting of a run."""

    models: OpenedModels
    pictures: tuple[Sent, ...]
    controls: tuple[Sent, ...]
    config: RunConfig
    bank: Bank | None = None  # instead of controls
    unrelated: OpenedModels | None = None  # a suspect that must find nothing
    progress: RunProgress
    steps: int | None = None  # to take in this sitting, of the pictures or else of the decoys; None: all

    @property
    def steps_left(self) -> int:
        """Steps that the pictures still need."""
        return self.config.recovery.steps - self.progress.steps

    @property
    def rows(self) -> int:
        """Pictures and mirror images recovered at once: of those in question, then the decoys."""
        own = recovery_rows(len(self.pictures), self.config)
        return own if self.steps_left else self.decoy_count or own

    @property
    def decoy_count(self) -> int:
        """The line-up's decoys; before it is drawn, the most that there can be."""
        plan = self.progress.plan
        if plan is not None and plan.lineup is not None:
            return len(plan.lineup.decoys)
        return most_decoys(len(self.pictures), len(self.controls), self.config)

    @property
    def uneven(self) -> int:
        """Pictures that are looked at twice, since nobody noted how the suspect's training framed pictures."""
        if self.bank is not None or not likely_framing(self.models.suspect.metadata, RESOLUTION).guessed:
            return 0
        return sum(width != height for width, height in (picture_size(sent.data) for sent in self.pictures))

    @property
    def scoring(self) -> RunConfig:
        """The configuration that pictures and controls are scored with."""
        return with_centre_square(self.config) if self.uneven else self.config

    @property
    def judges(self) -> bool:
        """Whether the pictures are scored and judged in this sitting: before their recovery, or at its end."""
        is_last = self._picture_steps == self.steps_left
        return self.progress.judged is None and (is_last or not self.progress.answered)

    @property
    def _picture_steps(self) -> int:
        return self.steps_left if self.steps is None else min(self.steps_left, self.steps)

    def evaluations(self) -> int:
        """Network evaluations of this sitting."""
        steps = self._picture_steps
        plan, known = self.progress.plan, len(self.progress.control_scores)
        scored = (len(self.controls) if plan is None else len(plan.controls)) - known
        known_mirrored = len(self.progress.mirror_scores) + len(self.progress.inner_scores)
        mirrored = len(self.pictures) + self.uneven - known_mirrored
        if self.judges:
            scored += len(self.pictures)
            if self.unrelated is not None:
                scored += len(self.pictures) + (len(self.controls) if plan is None else len(plan.controls))
        own = count_evaluations(self.rows, steps, scored, self.scoring, mirrored=mirrored)
        return own + self._decoy_evaluations()

    def _decoy_evaluations(self) -> int:
        """A sitting that was given a number of steps takes those of the pictures or those of the decoys."""
        if self.steps_left and self.steps is not None:
            return 0
        left = self.config.recovery.steps - self.progress.decoy_steps
        return count_evaluations(self.decoy_count, min(left, self.steps or left), 0, self.config)


def recovery_rows(pictures: int, config: RunConfig) -> int:
    """Count what is recovered for so many pictures in question: some runs recover their mirror images, too."""
    return 2 * pictures if config.mirrored_recovery else pictures


def count_evaluations(rows: int, steps: int, scored: int, config: RunConfig, *, mirrored: int = 0) -> int:
    """Count network evaluations (forward and input gradient) of steps and of scorings, both models.

    A scoring is forward only, which costs about a third; it takes each of `config.views`.

    Args:
        rows: pictures and mirror images recovered at once.
        steps: of each.
        scored: pictures that are scored.
        config: draws of a step, of a scoring, and views.
        mirrored: pictures of the mirror test, which scores their mirror images, too.
    """
    forward = scored * len(config.views) * config.loss_draws + 2 * mirrored * config.mirror_draws
    return round(2 * (rows * steps * config.recovery.draws + forward / 3))


def most_decoys(pictures: int, controls: int, config: RunConfig) -> int:
    """Count the decoys of a line-up if no two pictures are near-duplicates: one round each, while controls last."""
    if config.lineup is None:
        return 0
    each = config.lineup - 1
    return each * min(pictures, controls // each)


def requested_seconds(job: GpuJob, *_: object, **__: object) -> int:
    """The time that ZeroGPU is asked for: what a sitting may take at most."""
    loading = hardware.LOADING * (2 if job.judges and job.unrelated is not None else 1)
    return ceil(loading + 1.4 * job.evaluations() * PACE.seconds(job.models.key))


PACE = hardware.Pace()


@hardware.on_gpu(requested_seconds)
def work(job: GpuJob) -> Generator[RunEvent]:
    """Do one sitting of a run. It yields at every step, so that it ends soon after nobody listens any more."""
    try:
        pair = PAIRS.get(job.models)
        yield RunEvent(phase="loading", plan=job.progress.plan)
        framing = framing_for(pair, job.bank)
        request = RunRequest(
            pictures=[
                *DecodedPictures(job.pictures, framing)
            ],  # all of them are recovered; of controls, a part is scored
            controls=DecodedPictures(job.controls, framing),
            config=job.config,
            bank=job.bank,
            reference=read_reference_pictures(framing) if hardware.kind() == "gpu" else (),
        )
        events = authentication_steps(
            pair,
            request,
            job.progress,
            embedders=embedders(),
            unrelated=_loader(job.unrelated),
            steps=job.steps,
            preview_seconds=PREVIEW_SECONDS,
            controls_per_event=CONTROLS_PER_EVENT,
        )
        with closing(events):
            for event in events:
                yield _without_controls(event)
    except UserError as error:  # ZeroGPU would hand over no more than its name
        yield RunEvent(phase="refused", refusal=error)


class DecodedPictures(Sequence[Picture]):
    """Pictures as they were sent, each decoded when it is first looked at."""

    def __init__(self, sent: Sequence[Sent], framing: Framing) -> None:
        self._sent, self._framing = sent, framing
        self._decoded: dict[int, Picture] = {}

    def __len__(self) -> int:
        return len(self._sent)

    @overload
    def __getitem__(self, index: int) -> Picture: ...
    @overload
    def __getitem__(self, index: slice) -> list[Picture]: ...
    def __getitem__(self, index: int | slice) -> Picture | list[Picture]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        if number not in self._decoded:
            sent = self._sent[number]
            self._decoded[number] = decode_picture(sent.data, sent.name, self._framing)
        return self._decoded[number]


def _loader(models: OpenedModels | None) -> Callable[[], ModelPair] | None:
    return None if models is None else lambda: PAIRS.get(models)


def _without_controls(event: RunEvent) -> RunEvent:
    """The event without the control pictures, which are large and known to whoever listens."""

    def light(result: Result | None) -> Result | None:
        return None if result is None else replace(result, controls=())

    progress = event.progress
    if progress is not None:
        progress = replace(progress, judged=light(progress.judged))
    return replace(event, result=light(event.result), progress=progress)


@lru_cache(maxsize=1)
def embedders() -> Embedders:
    """What measures similarity; CLIP and DINO are fetched once, where the Hub can be reached."""
    return load_embedders(hardware.device(), download=torch.cuda.is_available())
