"""How a run was set, as its record holds it: the configuration, and how pictures were framed."""

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class FramingRecord:
    """How pictures and controls were framed."""

    rule: dict[str, Any]  # `framing.table`
    guessed: bool  # nobody noted how the training framed its pictures


@dataclass(frozen=True, kw_only=True)
class RecoveryRecord:
    """`method.config.RecoveryConfig`, field by field."""

    steps: int
    draws: int
    step_size: float | None
    radius: float | None
    t_min: int
    t_max: int | None
    t_sampling: str
    noise: str
    min_gradient_ratio: float
    rows_per_call: int


@dataclass(frozen=True, kw_only=True)
class ConfigRecord:
    """`method.config.RunConfig`, field by field."""

    preset: str
    recovery: RecoveryRecord
    partial: str
    start: str
    encoding: str
    loss_draws: int
    score_noise: Literal["shared", "own"] = "own"  # `method.sampling.ScoreNoise`
    mirror_draws: int = 0  # 0: no mirror test
    mirrored_recovery: bool = False
    views: tuple[str, ...]
    seed: int
    lineup: int | None
