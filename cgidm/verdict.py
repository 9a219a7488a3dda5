"""From scores to words: an error rate first, an outcome second."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from typing import Any, Literal

import numpy as np
from scipy.stats import permutation_test

from .errors import UserError

Outcome = Literal["consistent with training on this image", "no evidence", "cannot tell"]
SetOutcome = Literal["consistent with training on some of these images", "no evidence", "cannot tell"]
LEVEL = 0.05  # false-positive rate that a verdict is held to


@dataclass(frozen=True)
class Verdict:
    """What may be said of one picture."""

    outcome: Outcome
    p_value: float | None  # None: no controls, or the run cannot be judged
    reason: str  # one sentence
    controls: int  # negatives behind the p-value


def conformal_p_value(score: float, controls: Sequence[float]) -> float:
    """p = (1 + #{control >= score}) / (n + 1): valid whatever the scores' distribution (Vovk et al. 2005).

    Valid under exchangeability: were the picture not used, it would be one more control. Never below 1 / (n + 1).

    Raises:
        UserError: without controls.
    """
    if not controls:
        raise UserError("no control pictures were given; accepted: at least 1 picture known not to be in the set")
    return (1 + sum(c >= score for c in controls)) / (len(controls) + 1)


def judge(score: float | None, controls: Sequence[float], blocking: Sequence[str], level: float = LEVEL) -> Verdict:
    """One picture's verdict. `blocking` are the explanations of raised flags that forbid a judgement.

    `score` has a natural zero, "the suspect knows the picture as well as its base does". At or below it no picture is
    called consistent, however low the controls lie: one that merely lost less than they did was not learnt.
    """
    n = len(controls)
    if blocking:
        return Verdict("cannot tell", None, blocking[0], n)
    if score is None or not np.isfinite(score):
        return Verdict("cannot tell", None, "The score could not be computed.", n)
    if 1 / (n + 1) > level:
        need = round(1 / level) - 1
        reason = f"{n} control pictures cannot show an error rate of {level:.0%}; give at least {need}."
        return Verdict("cannot tell", None, reason, n)
    p = conformal_p_value(score, controls)
    if p <= level and score <= 0:
        reason = "It scores above the controls, but the suspect knows it no better than its base does."
        return Verdict("no evidence", p, reason, n)
    if p <= level:
        reason = f"Of {n} control pictures, {round(p * (n + 1)) - 1} score as high."
        return Verdict("consistent with training on this image", p, reason, n)
    return Verdict("no evidence", p, "Control pictures score as high. This does not mean that it was not used.", n)


@dataclass(frozen=True)
class SetVerdict:
    """What may be said of several pictures together."""

    outcome: SetOutcome
    p_value: float | None
    reason: str
    pictures: int
    controls: int


def judge_set(
    scores: Sequence[float | None], controls: Sequence[float], blocking: Sequence[str], level: float = LEVEL
) -> SetVerdict:
    """One answer for a set of pictures, by the permutation test of its mean score against the controls'.

    It says that some were used, not which: a single picture has its own verdict. As for one picture, a set that the
    suspect knows no better than its base does, on average, is not called consistent.
    """
    sizes = (len(scores), len(controls))
    known = [s for s in scores if s is not None and np.isfinite(s)]
    if blocking:
        return SetVerdict("cannot tell", None, blocking[0], *sizes)
    if len(known) < len(scores):
        return SetVerdict("cannot tell", None, f"{len(scores) - len(known)} scores could not be computed.", *sizes)
    if min(sizes) < 2 or 1 / comb(sum(sizes), len(scores)) > level:
        reason = f"{sizes[0]} pictures against {sizes[1]} controls cannot show an error rate of {level:.0%}; give more."
        return SetVerdict("cannot tell", None, reason, *sizes)
    p = portfolio_p_value(known, controls)
    if p > level:
        reason = "Together they score no higher than the controls. This does not mean that none was used."
        return SetVerdict("no evidence", p, reason, *sizes)
    if np.mean(known) <= 0:
        reason = "Together they score above the controls, but the suspect knows them no better than its base does."
        return SetVerdict("no evidence", p, reason, *sizes)
    reason = f"Together they score higher than {sizes[1]} controls; it does not say which of them were used."
    return SetVerdict("consistent with training on some of these images", p, reason, *sizes)


def portfolio_p_value(scores: Sequence[float], controls: Sequence[float], seed: int = 0) -> float:
    """Permutation test: is the mean score of a set higher than that of the controls? One-sided.

    Raises:
        UserError: with fewer than two pictures on either side.
    """
    if len(scores) < 2 or len(controls) < 2:
        raise UserError(f"{len(scores)} pictures, {len(controls)} controls were given; accepted: at least 2 of each")

    def difference(x: np.ndarray, y: np.ndarray, axis: int) -> Any:
        return x.mean(axis=axis) - y.mean(axis=axis)

    rng = np.random.default_rng(seed)
    samples = (np.asarray(scores), np.asarray(controls))
    return float(permutation_test(samples, difference, alternative="greater", n_resamples=9999, rng=rng).pvalue)
