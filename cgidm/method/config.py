"""The settings of a run: frozen, written into its record, with the paper's values as defaults."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from ..errors import UserError
from .partial import PartialKind, Start
from .sampling import ScoreNoise, TimeSampling
from .views import AS_GIVEN, check_views

STEP_TO_RADIUS = 2 / 70  # Sec. 4: step length 2 within a ball of 70
LINEUP_SIZES = range(2, 21)  # with 20 panels a single round can reach p = 0.05


@dataclass(frozen=True, kw_only=True)
class RecoveryConfig:
    """The settings of the optimisation (Alg. 1)."""

    steps: int = 1000  # Monte Carlo steps N
    draws: int = 1  # samples of (t, eps) averaged in each step
    step_size: float | None = None  # l2, in latent units; None: radius * 2 / 70
    radius: float | None = None  # l2; None: the distance from the start to the picture, 70 on SD 1.4
    t_min: int = 1  # first row of the schedule that is drawn
    t_max: int | None = 999  # last row, inclusive; None or beyond the table: its last row
    t_sampling: TimeSampling = "uniform"
    noise: Literal["shared", "independent"] = "shared"  # of the two models in Eq. 7
    min_gradient_ratio: float = 1e-5  # below it the two models count as the same, and the picture does not move
    rows_per_call: int = 16  # largest batch given to a network; it does not change results

    def __post_init__(self) -> None:
        for name in ("steps", "draws", "rows_per_call"):
            if getattr(self, name) < 1:
                raise UserError("method.not_positive", setting=name, given=getattr(self, name))
        for name in ("step_size", "radius"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise UserError("method.not_a_length", setting=name, given=value)
        if self.t_min < 0 or (self.t_max is not None and self.t_max < self.t_min):
            raise UserError("method.time_range", t_min=self.t_min, t_max=self.t_max)

    def evaluations(self) -> int:
        """Count the network evaluations (forward and input gradient) per picture: both models, every draw."""
        return 2 * self.steps * self.draws


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that a result depends on besides the picture and the two models."""

    preset: str = "paper"
    recovery: RecoveryConfig = field(default_factory=RecoveryConfig)
    partial: PartialKind = "block4"
    start: Start = "reencoded"  # content of the removed cells before the first step
    encoding: Literal["mode", "sample"] = "mode"  # of the autoencoder's posterior; "sample" is unseeded
    loss_draws: int = 20  # stratified samples for `loss_contrast`
    score_noise: ScoreNoise = "shared"  # of `loss_contrast`; "own" against a bank, and in records that do not name it
    mirror_draws: int = 24  # samples of the mirror test for each orientation, even; 0: no mirror test
    mirrored_recovery: bool = False  # recover the mirror image of each picture, too; no verdict rests on it
    views: Sequence[str] = (AS_GIVEN,)  # of each picture; the view with the largest `loss_contrast` counts
    seed: int = 0
    lineup: int | None = None  # panels per round of a line-up, all but one of them decoys; None: no line-up

    def __post_init__(self) -> None:
        object.__setattr__(self, "views", tuple(self.views))  # a record holds a list
        check_views(self.views)
        if self.loss_draws < 1:
            raise UserError("method.not_positive", setting="loss_draws", given=self.loss_draws)
        if self.mirror_draws < 0 or self.mirror_draws % 2:
            raise UserError("method.mirror_draws", given=self.mirror_draws)
        if self.lineup is not None and self.lineup not in LINEUP_SIZES:
            raise UserError("method.lineup_size", given=self.lineup, least=LINEUP_SIZES[0], most=LINEUP_SIZES[-1])


PRESETS: dict[str, RunConfig] = {
    "paper": RunConfig(),
    # The paper's public code, for comparison only. Three of its deviations are left out. Matching a picture with every
    # recovery of its group and choosing a threshold on the evaluated scores belong to an evaluation, not to a run.
    # Gradients of the weights change no result: `eval/speed/reference.py` computes them to measure their cost.
    "reference": RunConfig(preset="reference", recovery=RecoveryConfig(noise="independent"), encoding="sample"),
    # fewer, better-used samples: the middle of the schedule, stratified, averaged; a start without traces of the mask
    "fast": RunConfig(
        preset="fast",
        recovery=RecoveryConfig(steps=40, draws=2, t_min=250, t_max=750, t_sampling="stratified"),
        start="interpolated",
        mirrored_recovery=True,
    ),
}


def find_preset(name: str) -> RunConfig:
    """Find a preset by its name.

    Raises:
        UserError: if there is none.
    """
    if name not in PRESETS:
        raise UserError("method.unknown_preset", given=name, accepted=list(PRESETS))
    return PRESETS[name]
