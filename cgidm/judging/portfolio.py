"""Several pictures of one artist: were some of them used, how many at least and at most, and which stand out."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from typing import Literal

import numpy as np
from scipy.stats import false_discovery_control

from ..errors import UserError
from ..messages import Note, note
from .verdict import LEVEL, STRICT_LEVEL, Witness, is_positive, silence, why_silent, worthless_silence

SetOutcome = Literal["consistent with training on some of these images", "weak evidence", "no evidence", "cannot tell"]
RESAMPLES = 9_999


@dataclass(frozen=True)
class Used:
    """Bounds on how many of a set were used. Both hold together with a probability of at least 1 - level."""

    low: int
    high: int
    bounded_above: bool  # False: without scores of known members only `low` says anything


@dataclass(frozen=True, kw_only=True)
class SetVerdict:
    """What may be said of several pictures together."""

    outcome: SetOutcome
    p_value: float | None
    reason: Note
    pictures: int
    controls: int
    used: Used | None = None
    witnesses: tuple[Witness, ...] = ()  # what it rests on
    adjusted: tuple[float | None, ...] = ()  # each picture's p-value after Holm's correction for their number
    adjusted_bh: tuple[float | None, ...] = ()  # the same after Benjamini and Hochberg's
    left_out: int = 0  # pictures that a flag forbids to judge: the answer is not about them
    not_compared: int = 0  # further pictures that a flag forbids to compare with controls

    @property
    def notes(self) -> tuple[Note, ...]:
        """What keeps some pictures out."""
        codes = {"left_out": self.left_out, "not_compared": self.not_compared}
        return tuple(note(f"judging.set.{code}", n=n) for code, n in codes.items() if n)


def judge_set(
    scores: Sequence[float | None],
    controls: Sequence[float],
    blocking: Sequence[Note],
    *,
    distrusted: Sequence[Note] = (),
    members: Sequence[float] = (),
    mirror: Witness | None = None,
    mirror_pictures: int | None = None,
    level: float = LEVEL,
    power: float | None = None,
) -> SetVerdict:
    """Judge a set of pictures together: by the mirror test, else by the permutation test of its mean score.

    A positive answer is that some were used, not which: a single picture has its own verdict. By the controls it needs
    at least one score above 0. The mean would not do: strong fine-tuning lowers the scores of unused pictures.

    Args:
        scores: the verdict's score of each picture; None where it could not be computed.
        controls: the same score of pictures that were certainly not used.
        blocking: the notes of raised flags that forbid a judgement; the first becomes the reason.
        distrusted: the notes of raised flags that forbid the comparison with controls; the first becomes its reason.
        members: scores of pictures under models that are known to have been trained on them, in the suspect's way.
            They bound the number of used pictures from above.
        mirror: what the mirror test says of the set, if it was asked.
        mirror_pictures: how many pictures that is about; all, if not given.
        level: the false-positive rate that a positive answer is held to; see `verdict.judge`.
        power: the share of used pictures that would be found, where it is known; see `verdict.judge`.
    """
    known = [s for s in scores if s is not None and np.isfinite(s)]
    by_controls = _ask_controls(scores, controls, level)
    if silent := (*blocking, *distrusted):
        by_controls = silence(by_controls, silent[0])
    if mirror is not None and blocking:
        mirror = silence(mirror, blocking[0])
    p = by_controls.p_value
    used = None if p is None else count_used(known, controls, members, level)
    found = {"pictures": len(scores), "n": len(controls), "p": p}

    def verdict(outcome: SetOutcome, p: float | None, reason: Note, used: Used | None = None) -> SetVerdict:
        return SetVerdict(
            outcome=outcome,
            p_value=p,
            reason=reason,
            pictures=len(scores),
            controls=len(controls),
            used=used,
            witnesses=(by_controls,) if mirror is None else (mirror, by_controls),
        )

    if blocking:
        return verdict("cannot tell", None, blocking[0])
    learnt = used is not None and used.low > 0  # the bound is 0 where no picture is better known than to the base
    if mirror is not None and mirror.p_value is not None:
        outcome, reason = _judge_by_mirror(
            mirror, mirror.p_value, by_controls, learnt, mirror_pictures or len(scores), level, power
        )
        agree = is_positive(outcome) and learnt
        return verdict(outcome, mirror.p_value, reason, used if agree else None)
    if p is None:
        return verdict("cannot tell", None, why_silent(mirror, by_controls))
    if p <= level and learnt:
        reason = Note("judging.set.above_controls", found)
        return verdict(_positive(p), p, reason, used)
    if (unknown := worthless_silence(p, power, level)) is not None:
        return verdict("cannot tell", p, unknown, used)
    if p <= level:
        return verdict("no evidence", p, Note("judging.set.no_better_than_base", found), used)
    return verdict("no evidence", p, Note("judging.set.as_high", found), used)


def _positive(p: float) -> SetOutcome:
    return "consistent with training on some of these images" if p <= STRICT_LEVEL else "weak evidence"


def _judge_by_mirror(
    mirror: Witness, p: float, by_controls: Witness, learnt: bool, pictures: int, level: float, power: float | None
) -> tuple[SetOutcome, Note]:
    """Judge by the mirror test, as `verdict.judge` does for one picture."""
    counts = {"pictures": pictures, "n": by_controls.references, "p": p}
    if p <= level:
        found = {"pictures": pictures, "n": mirror.references, "p": p}
        return _positive(p), Note("judging.mirror.set.knows", found)
    if by_controls.p_value is None:
        return "cannot tell", note("judging.mirror.set.silent", pictures=pictures, p=p)
    if by_controls.p_value <= level and learnt:
        return "cannot tell", Note("judging.mirror.set.disagree", {**counts, "p_controls": by_controls.p_value})
    if (unknown := worthless_silence(by_controls.p_value, power, level)) is not None:
        return "cannot tell", unknown
    return "no evidence", Note("judging.mirror.set.neither", {**counts, "p_controls": by_controls.p_value})


def _ask_controls(scores: Sequence[float | None], controls: Sequence[float], level: float) -> Witness:
    """Compare the mean score of a set with the controls'."""
    known, n = [s for s in scores if s is not None and np.isfinite(s)], len(controls)
    silent = None
    if min(len(scores), n) < 2 or 1 / comb(len(scores) + n, n) > level:
        silent = note("judging.set.few", pictures=len(scores), n=n, level=level)
    elif missing := len(scores) - len(known):
        silent = note("judging.set.no_scores", missing=missing, pictures=len(scores))
    p = portfolio_p_value(known, controls) if silent is None else None
    return Witness(name="controls", p_value=p, references=n, silent=silent)


def portfolio_p_value(scores: Sequence[float], controls: Sequence[float], seed: int = 0) -> float:
    """Test whether the mean score of a set is higher than that of the controls, by permutations; one-sided.

    p = (1 + #{permuted mean >= observed}) / (permutations + 1) is valid if the set and the controls are exchangeable
    under the null hypothesis (Phipson and Smyth 2010).

    Raises:
        UserError: with fewer than two pictures on either side.
    """
    if len(scores) < 2 or len(controls) < 2:
        raise UserError("judging.set.too_small", pictures=len(scores), controls=len(controls))
    return _mean_test(np.asarray(scores, float), np.asarray(controls, float), seed)


def count_used(
    scores: Sequence[float], controls: Sequence[float], members: Sequence[float] = (), level: float = LEVEL
) -> Used:
    """Bound the number of used pictures, by inverting the permutation test.

    "At most k were used" means that n - k of them are like the controls. Whichever they are, their mean is no lower
    than that of the n - k lowest scores, so a test of these is valid. `low` is the smallest k that is not rejected. In
    the same way, with scores of known members, `high` is the largest number of pictures whose highest scores could be
    members'.

    Each bound has half of `level`. The exception is "none was used", which is the set's own verdict and is tested at
    `level`: so the two cannot contradict each other, and where none was used `high` cannot err. No picture that scores
    0 or less counts for `low`: see `verdict.judge`.
    """
    s = np.sort(np.asarray(scores, float))
    low = _unlike(s, np.asarray(controls, float), level, level / 2)
    high = len(s) - (_unlike(np.sort(-s), -np.asarray(members, float), level / 2) if len(members) > 1 else 0)
    low = min(low, int((s > 0).sum()))
    return Used(low, max(low, high), len(members) > 1)


def holm(p_values: Sequence[float | None]) -> tuple[float | None, ...]:
    """Adjust p-values by Holm's step-down procedure (Holm 1979).

    The rate of *any* wrong call among the pictures is then at most the level, whatever the dependence between them. A
    picture without a p-value takes no part.
    """
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, i) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        adjusted[i] = largest
    return tuple(adjusted)


def benjamini_hochberg(p_values: Sequence[float | None]) -> tuple[float | None, ...]:
    """Adjust p-values by the step-up procedure of Benjamini and Hochberg (1995).

    Of the pictures that are named because their adjusted p-value is at most the level, that share is named by mistake
    on average. This holds for conformal p-values that share their references (Bates et al. 2023, Theorem 2). A picture
    without a p-value takes no part.
    """
    known = [p for p in p_values if p is not None]
    adjusted = iter(false_discovery_control(known).tolist() if known else ())
    return tuple(None if p is None else next(adjusted) for p in p_values)


def _unlike(ascending: np.ndarray, reference: np.ndarray, first: float, then: float | None = None) -> int:
    """Find the smallest k for which all but the k largest could be drawn like `reference`; `first` tests k = 0."""
    for k in range(len(ascending)):
        level = first if k == 0 or then is None else then
        if _mean_test(ascending[: len(ascending) - k], reference) > level:
            return k
    return len(ascending)


def _mean_test(x: np.ndarray, reference: np.ndarray, seed: int = 0) -> float:
    """Compute the one-sided permutation test of mean(x) > mean(reference)."""
    pooled = np.concatenate([x, reference])
    rng = np.random.default_rng(seed)
    drawn = rng.permuted(np.tile(pooled, (RESAMPLES, 1)), axis=1)[:, : len(x)].mean(1)
    tie = 1e-12 * np.abs(pooled).max()  # sums of the same numbers in another order differ by rounding
    return (1 + int((drawn >= x.mean() - tie).sum())) / (RESAMPLES + 1)
