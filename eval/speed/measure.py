"""One measurement after another of one pair of models, as long as time and memory last."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from cgidm.families.memory import set_checkpointing
from cgidm.method.memory_plan import free_memory
from cgidm.method.models import ModelPair
from cgidm.method.run_state import continue_recovery
from eval.speed.arms import Arm, Recovery, begin, draw_latents, preset_of, stepping, stepping_reference, timed_config
from eval.speed.clock import LONG, Budget, Plan, Timing, time_call
from eval.speed.first_answer import EVALUATIONS, is_large, put_together, time_first_answer
from eval.speed.fit import fit_line
from eval.speed.memory import OUT_OF_MEMORY, read_peak, reset_peak, resident_memory
from eval.speed.needs import Needs, count_needs, fits
from eval.speed.overhead import prepare_and_show, time_overhead
from eval.speed.pieces import Pieces, count_codec_calls, time_pieces
from eval.speed.reference import TwoNetworks, reference_dtype
from eval.speed.subjects import PairKind, Subject
from eval.speed.work import count_flops

NO_MEMORY, NO_TIME, OVERFLOW = "out of memory", "out of time", "not finite"
LARGEST_CALL = 32  # rows of a batch; above, a step is more calls of the same size


@dataclass(frozen=True)
class Settings:
    """What is asked for."""

    device: torch.device
    dtype: torch.dtype  # that the networks compute in; on a CPU those of the reference in float32
    arms: tuple[Arm, ...]
    pictures: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    steps: tuple[int, ...] = (5, 10, 20)  # of the linearity table
    longest: float = 4.0  # seconds for one measurement, warm-up included
    warm_ups: int = 2
    least: int = 3  # repeats
    most: int = 30


@dataclass(eq=False)
class PairReport:
    """What was measured of one model as one kind of pair; it fills as the run goes on."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list)  # seconds of runs of so many steps


@dataclass(eq=False)
class Measurer:
    """Takes the measurements of one pair."""

    subject: Subject
    kind: PairKind
    settings: Settings
    budget: Budget
    tell: Callable[[str], None]
    report: PairReport = field(default_factory=PairReport)
    flops: int | None = None  # of one evaluation
    _needs: Needs | None = None  # of a large model on a CPU
    _pieces: Pieces | None = None  # of the same
    _again: bool = False  # whether activations are computed twice, because they do not fit otherwise
    _before: dict[str, Any] | None = None  # the last row of this arm

    def run(self) -> PairReport:
        """The reference first, then ours; no two of which are in memory together."""
        s = self.settings
        self.report.facts |= {"model": self.subject.name, "pair": self.kind, "side": self.subject.resolution}
        if self._is_large and self.subject.shapes is not None:
            compares = "reference" in s.arms and self.subject.open_two is not None
            whole = self.subject.shapes(reference_dtype(s.device, s.dtype)) if compares else None
            self._needs = count_needs(self.subject.shapes(s.dtype), s.dtype, whole)
            self.report.facts["needs"] = asdict(self._needs)
        if "reference" in s.arms and self.subject.open_two is not None:
            self._measure_reference(self.subject.open_two)
        reset_peak(s.device)
        try:
            pair = self._open_pair()
        except OUT_OF_MEMORY:
            self._keep("paper", 1, None, NO_MEMORY)
            return self.report
        self._take_facts(pair)
        for arm in ("paper", "fast"):
            if arm in s.arms:
                self._measure_arm(pair, arm)
        if "answer" in s.arms:
            self._measure_answer(pair)
        if "paper" in s.arms:
            if not self._again:
                self._measure_checkpointed(pair)
            self._measure_steps(pair)
        return self.report

    @property
    def _is_large(self) -> bool:
        return is_large(self.settings.device, self.subject.latent)

    def _open_pair(self) -> ModelPair:
        """The pair; of a large one activations are computed twice if they do not fit.

        Raises:
            MemoryError: if it does not fit then either.
        """
        s, needs = self.settings, self._needs
        if needs is not None:
            weights, free = needs.full if self.kind == "full" else needs.lora, free_memory(s.device)
            self._again = not fits(weights, needs.row, free)
            if self._again and not fits(weights, needs.row_again, free):
                raise MemoryError
        pair = self.subject.open_pair(self.kind, s.device, s.dtype)
        for network in pair.modules if self._again else ():
            set_checkpointing(network, on=True)
        return pair

    def _measure_reference(self, open_two: Callable[[PairKind, torch.device, torch.dtype], TwoNetworks]) -> None:
        s, latents = self.settings, draw_latents(self.subject.latent, 1, self.settings.device)
        reset_peak(s.device)
        needed = None if self._needs is None else self._needs.reference
        try:
            if needed is not None and not fits(needed, 0, free_memory(s.device)):
                raise MemoryError
            two = open_two(self.kind, s.device, reference_dtype(s.device, s.dtype))
        except OUT_OF_MEMORY:
            self._keep("reference", 1, None, NO_MEMORY)
            return
        self._measure("reference", 1, stepping_reference(two, latents))

    def _take_facts(self, pair: ModelPair) -> None:
        """What holds for all arms: the arithmetic of an evaluation, and what a picture costs beside them."""
        s, latents = self.settings, draw_latents(self.subject.latent, 1, self.settings.device)
        facts = self.report.facts
        facts["resident_bytes"] = resident_memory(s.device)
        facts["parameters"] = sum(w.numel() for network in pair.networks for w in network.parameters())
        if self._needs is not None:
            self._time_pieces(pair)
            return
        try:
            reset_peak(s.device)
            ends = time_overhead(pair, self.subject.latent, self._plan())
            facts |= {"ends": asdict(ends), "ends_seconds": ends.median, "ends_peak_bytes": read_peak(s.device)}
            with stepping(pair, "paper", latents) as step:
                self.flops = count_flops(step) // 2
            facts["flops_per_evaluation"] = self.flops
        except OUT_OF_MEMORY:
            self.tell(f"{self.subject.name} {self.kind}: {NO_MEMORY} at the ends")

    def _time_pieces(self, pair: ModelPair) -> None:
        """The same of a large model, by its pieces and by the count on tensors without numbers."""
        assert self._needs is not None
        latent, device, facts = self.subject.latent, self.settings.device, self.report.facts
        reset_peak(device)
        try:
            self._pieces = time_pieces(pair, latent, self._plan())
        except OUT_OF_MEMORY:
            self.tell(f"{self.subject.name} {self.kind}: {NO_MEMORY} at the ends")
            return
        ends = self._pieces.overhead(count_codec_calls(pair, latent, prepare_and_show))
        facts |= {"pieces": asdict(self._pieces), "ends": asdict(ends), "ends_seconds": ends.median}
        facts["ends_peak_bytes"] = read_peak(device)
        self.flops = facts["flops_per_evaluation"] = self._needs.flops
        seconds = {name: piece.median for name, piece in vars(self._pieces).items()}
        self.tell(f"{self.subject.name} {self.kind}: " + ", ".join(f"{n} {s:.1f} s" for n, s in seconds.items()))

    def _measure_arm(self, pair: ModelPair, arm: Recovery) -> None:
        self._before = None
        draws = preset_of(arm).draws
        for pictures in self.settings.pictures:
            if pictures > 1 and draws > 1 and pictures * draws > LARGEST_CALL:
                break
            same = self._same_call(arm, pictures)
            if same is not None:
                self._keep(arm, pictures, Timing(**same["step"]), None, same["peak_bytes"], self._again)
                continue
            latents = draw_latents(self.subject.latent, pictures, self.settings.device)
            if not self._measure(arm, pictures, stepping(pair, arm, latents, self._is_large), self._again):
                break

    def _same_call(self, arm: Recovery, pictures: int) -> dict[str, Any] | None:
        """The row of another arm whose step is the same call: of a large model, a step of either has one draw."""
        rows = self.report.rows if self._is_large else []
        alike = (r for r in rows if r["arm"] not in (arm, "reference", "answer") and r["pictures"] == pictures)
        return next((r for r in alike if r["step"] and r["checkpointing"] == self._again), None)

    def _measure_answer(self, pair: ModelPair) -> None:
        """One picture's first answer; its forward passes are timed a call at a time, and multiplied."""
        device = self.settings.device
        reset_peak(device)
        row: dict[str, Any] = {"model": self.subject.name, "pair": self.kind, "arm": "answer", "pictures": 1}
        row |= {"checkpointing": False, "step": None, "not_measured": None}
        if self.budget.left <= 0 and self._pieces is None:
            self.report.rows.append(row | {"not_measured": NO_TIME})
            return
        try:
            if self._pieces is not None:
                found = put_together(pair, self.subject.latent, self._pieces)
            else:
                found = time_first_answer(pair, self.subject.latent, self._plan())
        except OUT_OF_MEMORY:
            self.report.rows.append(row | {"not_measured": NO_MEMORY})
            return
        row |= {
            "rows_per_call": found.rows,
            "step": asdict(found.call),
            "evaluations_per_picture": EVALUATIONS,
            "seconds_per_evaluation": found.seconds_per_evaluation,
            "recovery_seconds_per_picture": found.seconds_per_evaluation * EVALUATIONS,
            "ends_seconds": found.autoencoder.median,
            "peak_bytes": read_peak(device) if self._pieces is None else self.report.facts["ends_peak_bytes"],
        }
        self.report.rows.append(row)
        self.tell(
            f"{self.subject.name} {self.kind} answer: {1000 * found.seconds_per_evaluation:.2f} ms a forward pass"
        )

    def _measure_checkpointed(self, pair: ModelPair) -> None:
        """Activations computed twice instead of kept; diffusers 0.42 does so wherever gradients flow, in `eval` too."""
        networks: list[Any] = [n for n in pair.modules if getattr(n, "_supports_gradient_checkpointing", False)]
        for network in networks:
            network.enable_gradient_checkpointing()
        latents = draw_latents(self.subject.latent, 1, self.settings.device)
        self._before = None
        self._measure("paper", 1, stepping(pair, "paper", latents, self._is_large), checkpointing=True)
        for network in networks:
            network.disable_gradient_checkpointing()

    def _measure_steps(self, pair: ModelPair) -> None:
        """One picture's runs of a few lengths, from the state before the first step to the last result."""
        s = self.settings
        each = next((r["step"]["median"] for r in self.report.rows if r["arm"] == "paper" and r["step"]), 0.0)
        latents, seconds = draw_latents(self.subject.latent, 1, s.device), []
        for steps in s.steps:
            if 3 * steps * each > self.budget.left:
                return
            run = _run_of(pair, latents, steps, self._is_large)
            timing = time_call(run, s.device, Plan(s.longest, 1, min(3, s.least), 5))
            seconds.append(timing.median)
            self.report.steps.append({"steps": steps, **asdict(timing)})
        line = fit_line(s.steps, seconds)
        self.report.facts["steps_line"] = asdict(line) if line else None

    def _measure(
        self,
        arm: Recovery,
        pictures: int,
        opened: AbstractContextManager[Callable[[], Tensor]],
        checkpointing: bool = False,
    ) -> bool:
        """Time the steps of one arm; False if there was no time or memory for it."""
        why_not = self._foresee(pictures)
        if why_not:
            self._keep(arm, pictures, None, why_not, checkpointing=checkpointing)
            return False
        device, taken = self.settings.device, []
        reset_peak(device)
        try:
            with opened as step:
                timing = time_call(lambda: taken.__setitem__(slice(None), [step()]), device, self._plan())
        except OUT_OF_MEMORY:
            self._keep(arm, pictures, None, NO_MEMORY, checkpointing=checkpointing)
            return False
        if not bool(taken[0].isfinite().all()):
            self._keep(arm, pictures, None, OVERFLOW, checkpointing=checkpointing)
            return False
        self._keep(arm, pictures, timing, None, read_peak(device), checkpointing)
        return True

    def _plan(self) -> Plan:
        s = self.settings
        return Plan(max(0.05, min(s.longest, self.budget.left / 30)), s.warm_ups, s.least, s.most)

    def _foresee(self, pictures: int) -> str | None:
        """Why a measurement should not be begun: cost and memory grow with the pictures of the last one."""
        last, s = self._before, self.settings
        if self.budget.left <= 0:
            return NO_TIME
        if last is None:
            # a gradient takes about as long as the forward pass before it
            step = 0.0 if self._pieces is None else 2 * self._pieces.forward.median
            return NO_TIME if (1 if step > LONG else s.warm_ups) * step > self.budget.left else None
        times = pictures / last["pictures"]
        if last["step"]["median"] * times * (s.warm_ups + s.least) > self.budget.left:
            return NO_TIME
        free = free_memory(s.device)
        if s.device.type == "cpu" and free is not None and last["used_bytes"] * times > 0.9 * free:
            return NO_MEMORY  # where the system would kill the process instead of refusing
        return None

    def _keep(
        self,
        arm: Recovery,
        pictures: int,
        timing: Timing | None,
        why_not: str | None,
        peak: int | None = None,
        checkpointing: bool = False,
    ) -> None:
        config, facts = timed_config(arm, pictures, self._is_large and arm != "reference"), self.report.facts
        row: dict[str, Any] = {
            "model": self.subject.name,
            "pair": self.kind,
            "arm": arm,
            "pictures": pictures,
            "rows_per_call": 1 if arm == "reference" else min(config.rows_per_call, pictures * config.draws),
            "checkpointing": checkpointing,
            "step": asdict(timing) if timing else None,
            "not_measured": why_not,
        }
        if timing:
            evaluations = preset_of(arm).evaluations()
            each = timing.median / (2 * config.draws * pictures)
            row |= {
                "evaluations_per_picture": evaluations,
                "seconds_per_evaluation": each,
                "recovery_seconds_per_picture": each * evaluations,
                "peak_bytes": peak,
                "used_bytes": max(0, (peak or 0) - (facts.get("resident_bytes") or 0)),
            }
            self._before = row
        self.report.rows.append(row)
        said = f"{1000 * row['seconds_per_evaluation']:.2f} ms an evaluation" if timing else why_not
        checkpointed = ", checkpointed" if checkpointing else ""
        self.tell(f"{self.subject.name} {self.kind} {arm} {pictures}{checkpointed}: {said}")


def _run_of(pair: ModelPair, latents: Any, steps: int, one_by_one: bool) -> Callable[[], None]:
    def run() -> None:
        config = timed_config("paper", len(latents.z), one_by_one)
        _exhaust(islice(continue_recovery(pair, begin(latents), config, steps), steps))

    return run


def _exhaust(items: Iterable[object]) -> None:
    for _ in items:
        pass
