"""What a run is made of while it goes on: its progress and its events. All of it can be pickled.

`conductor.authentication_steps` yields `RunEvent`s. Some of them hold a `RunProgress`, from which the run can be
taken up again: in another process, or after a crash from the files that `RunProgress.save` wrote.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from ..errors import UserError
from ..files import write_atomically
from ..judging.result import Result
from ..method.mirror import MirrorScore
from ..method.run_state import RunState, load_states, save_states
from .plan import RunPlan, read_plan

Phase = Literal[
    "loading",  # the models are being loaded
    "planned",  # `plan` is known
    "mirror",  # some pictures were scored by the mirror test: the pictures in question, then reference pictures
    "controls",  # some control pictures were scored
    "answered",  # `result` has the verdicts, and nothing is recovered yet
    "step",  # a step of the pictures' recovery
    "preview",  # the same, with `result` as if the run had been stopped here
    "judged",  # the pictures have their verdicts; a line-up's decoys are still to be recovered
    "decoys",  # a step of the decoys' recovery
    "paused",  # the run was put down: the steps of this sitting are done, or `trouble`
    "finished",  # `result` is complete
    "refused",  # `refusal` says why the run cannot go on
]
Trouble = Literal["quota", "busy", "memory", "aborted"]
FILE, STATE, DECOYS = "progress.json", "state.safetensors", "decoys.safetensors"


@dataclass(frozen=True, eq=False, kw_only=True)
class RunProgress:
    """Where a run stands: everything that its next step depends on. Its tensors are on the CPU."""

    plan: RunPlan | None = None  # None: not begun
    mirror_scores: tuple[MirrorScore, ...] = ()  # of the pictures
    inner_scores: tuple[MirrorScore, ...] = ()  # of the centre squares of those that are not square, if looked at
    reference_scores: tuple[float, ...] = ()  # of the first reference pictures
    control_scores: tuple[float, ...] = ()  # of the first controls that are used; before there is a plan, of the first
    states: tuple[RunState, ...] = ()  # of the pictures' recovery, one for each size; none: not begun
    judged: Result | None = None  # of the pictures; not saved, since it can be computed again
    decoys: tuple[RunState, ...] = ()  # of the decoys' recovery, begun when the pictures are judged
    answered: bool = False  # the verdicts were told before the recovery
    seconds: float = 0.0  # spent so far

    @property
    def steps(self) -> int:
        """Steps taken of the pictures' recovery."""
        return min((state.steps for state in self.states), default=0)

    @property
    def decoy_steps(self) -> int:
        """Steps taken of the decoys' recovery."""
        return min((state.steps for state in self.decoys), default=0)

    def save(self, folder: Path) -> None:
        """Write the progress to `folder`, its states last: where they are, the rest is there, too."""
        assert self.states and self.plan is not None, "a run is saved once it has begun"
        names = ("mirror_scores", "inner_scores", "reference_scores", "control_scores", "answered", "seconds")
        table = {"plan": asdict(self.plan), **{name: getattr(self, name) for name in names}}
        write_atomically(folder / FILE, json.dumps(table))
        if self.decoys:
            save_states(folder / DECOYS, self.decoys)
        save_states(folder / STATE, self.states)

    @classmethod
    def load(cls, folder: Path) -> "RunProgress":
        """Read what `save` wrote; a progress that has not begun, if nothing was.

        Raises:
            UserError: if a file is damaged.
        """
        if not (folder / STATE).is_file():
            return cls()
        try:
            table = json.loads((folder / FILE).read_text())
            plan = read_plan(table["plan"])
            mirror, inner = (_read_scores(table.get(name, ())) for name in ("mirror_scores", "inner_scores"))
            reference = tuple(map(float, table.get("reference_scores", ())))
            controls, seconds = tuple(map(float, table["control_scores"])), float(table["seconds"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError("run.damaged_progress", file=FILE, problem=str(error)) from error
        decoys = load_states(folder / DECOYS) if (folder / DECOYS).is_file() else ()
        return cls(
            plan=plan,
            mirror_scores=mirror,
            inner_scores=inner,
            reference_scores=reference,
            control_scores=controls,
            states=load_states(folder / STATE),
            decoys=decoys,
            answered=bool(table.get("answered")),
            seconds=seconds,
        )

    @staticmethod
    def delete(folder: Path) -> None:
        """Take away what `save` wrote: the run cannot be taken up any more."""
        for name in (STATE, DECOYS, FILE):
            (folder / name).unlink(missing_ok=True)


def _read_scores(rows: Iterable[Sequence[float]]) -> tuple[MirrorScore, ...]:
    return tuple(MirrorScore(*map(float, row)) for row in rows)


@dataclass(frozen=True, eq=False, kw_only=True)
class RunEvent:
    """Something that happened in a run.

    The conductor fills in the first block; who shows a run to somebody adds the second.
    """

    phase: Phase
    done: int = 0  # pictures or controls scored, or steps done, of the phase
    of: int = 0
    plan: RunPlan | None = None
    contrast: tuple[float, ...] = ()  # of this step: each picture's, Eq. 7 per latent entry
    progress: RunProgress | None = None  # with every phase but "loading", "step" and "refused"
    result: Result | None = None  # with "answered", "preview", "judged", "paused" and "finished"

    refusal: UserError | None = None
    trouble: Trouble | None = None
    remaining: float | None = None  # seconds until the end
    curve: tuple[float, ...] = ()  # mean contrast over the pictures, of every step seen so far

    def __str__(self) -> str:
        """One line for a log: "step 3 of 40"."""
        return f"{self.phase} {self.done} of {self.of}" if self.of else self.phase
