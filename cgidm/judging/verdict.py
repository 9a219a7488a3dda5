"""From scores to a verdict: an error rate first, an outcome second."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.stats import norm

from ..errors import UserError
from ..messages import Note, note

Outcome = Literal["consistent with training on this image", "weak evidence", "no evidence", "cannot tell"]
LEVEL = 0.05  # false-positive rate of the positive answers, of both together
STRICT_LEVEL = 0.01  # false-positive rate of "consistent with training"; between the two the evidence is weak
# Allowed correlation of the mirror test and of a bank's residuals, as normal scores of unused pictures; `python -m eval
# combined` measures it. The second one is allowed where the mirror test, too, is compared with the bank.
CORRELATION, CORRELATION_IN_BANK = 0.2, 0.35
LARGEST_P = 0.999  # of one test, when two are combined: a p-value of 1, which ranks often have, is no veto
LEAST_POWER = 0.5  # share of used pictures that must be found for silence to be called "no evidence"

SILENT_MIRROR = ("judging.mirror.silent", "judging.mirror.set.silent")  # reasons where the mirror test was asked alone

WitnessName = Literal["mirror", "controls"]  # "controls": or a bank of null models in their place


@dataclass(frozen=True, kw_only=True)
class Witness:
    """One test of a picture, or of a set of pictures.

    Attributes:
        name: which test.
        p_value: None where the test says nothing; see `silent`.
        references: scores of pictures that were not used behind the p-value.
        silent: why there is no p-value.
        framings: how many framings of the picture were tested; the smallest of their p-values counts as often.
    """

    name: WitnessName
    p_value: float | None
    references: int
    silent: Note | None = None
    framings: int = 1


@dataclass(frozen=True)
class Verdict:
    """What may be said of one picture."""

    outcome: Outcome
    p_value: float | None  # None: no controls, or the run cannot be judged
    reason: Note
    controls: int  # scores behind the p-value
    witnesses: tuple[Witness, ...] = ()  # what it rests on


def is_positive(outcome: str) -> bool:
    """Tell whether an outcome speaks for training: "consistent" or "weak evidence", at `LEVEL` together."""
    return outcome == "weak evidence" or outcome.startswith("consistent with training")


def conformal_p_value(score: float, controls: Sequence[float]) -> float:
    """Compute p = (1 + #{control >= score}) / (n + 1), which is never below 1 / (n + 1).

    It is valid whatever the distribution of the scores (Vovk et al. 2005), if pictures that were not used and controls
    are exchangeable.

    Raises:
        UserError: without controls.
    """
    if not controls:
        raise UserError("judging.no_controls")
    return (1 + sum(c >= score for c in controls)) / (len(controls) + 1)


def combine(by_mirror: float, by_bank: float, correlation: float = CORRELATION) -> float:
    """Combine the p-values of the mirror test and of a bank's residuals (Stouffer et al. 1949, for correlated scores).

    p = 1 - Phi((z1 + z2) / sqrt(2 (1 + r))), with z = Phi^-1(1 - p) of each and r = `correlation`. The mirror test
    compares a picture with itself and a residual compares models with each other, so the two hardly depend on each
    other where a picture was not used.

    Args:
        by_mirror: p-value of the mirror test.
        by_bank: p-value of the residual.
        correlation: the allowed one.
    """
    z = sum(norm.isf(min(p, LARGEST_P)) for p in (by_mirror, by_bank))
    return float(norm.sf(z / (2 * (1 + correlation)) ** 0.5))


def is_called(p: float, p_mirror: float, learnt: bool, level: float = LEVEL) -> bool:
    """Tell whether a bank and the mirror test together make a positive answer.

    Args:
        p: of both (`combine`).
        p_mirror: of the mirror test.
        learnt: whether the suspect knows the picture better than its base does, by its residual.
        level: of the answer.
    """
    return p <= level and (learnt or p_mirror <= level)


def ask_controls(score: float | None, controls: Sequence[float], level: float = LEVEL) -> Witness:
    """Compare a score with those of pictures that were not used.

    Args:
        score: the picture's `loss_contrast`; None or not finite where it could not be computed.
        controls: the same score of pictures that were certainly not used.
        level: the test is silent with too few controls to reach it.
    """
    n = len(controls)
    if 1 / (n + 1) > level:
        few = note("judging.few_controls", n=n, need=round(1 / level) - 1, level=level)
        return Witness(name="controls", p_value=None, references=n, silent=few)
    if score is None or not np.isfinite(score):
        return Witness(name="controls", p_value=None, references=n, silent=note("judging.no_score"))
    return Witness(name="controls", p_value=conformal_p_value(score, controls), references=n)


def judge(
    score: float | None,
    controls: Sequence[float],
    blocking: Sequence[Note],
    *,
    distrusted: Sequence[Note] = (),
    mirror: Witness | None = None,
    combined: bool = False,
    mirror_in_bank: bool = False,
    level: float = LEVEL,
    power: float | None = None,
) -> Verdict:
    """Judge one picture.

    Where the mirror test can be asked, it alone decides whether the answer is positive: it has the whole level,
    whatever the controls say. They decide what its silence means. Where it cannot be asked, the controls decide. The
    residuals of a bank, in place of controls, decide together with the mirror test (`combine`). Which of these it is
    does not depend on the scores. A positive answer is "consistent with training" up to `STRICT_LEVEL` and "weak
    evidence" up to `level`.

    By the controls a score <= 0 is never a positive answer, even if all of them score lower: the suspect must know the
    picture better than its base does.

    Args:
        score: the picture's `loss_contrast`; None or not finite where it could not be computed.
        controls: the same score of pictures that were certainly not used.
        blocking: the notes of raised flags that forbid a judgement; the first becomes the reason.
        distrusted: the notes of raised flags that forbid the comparison with controls; the first becomes its reason.
        mirror: what the mirror test says, if it was asked.
        combined: `controls` are the null residuals of a bank, and decide together with the mirror test.
        mirror_in_bank: the mirror test, too, is compared with that bank.
        level: the false-positive rate that a positive answer is held to.
        power: the share of used pictures that would be found by the tests that have a p-value. Where it is below
            `LEAST_POWER`, or was never measured (None), silence is "cannot tell" instead of "no evidence".
    """
    n, by_controls = len(controls), ask_controls(score, controls, level)
    if silent := (*blocking, *distrusted):
        by_controls = silence(by_controls, silent[0])
    if mirror is not None and blocking:
        mirror = silence(mirror, blocking[0])
    witnesses = (by_controls,) if mirror is None else (mirror, by_controls)
    p = by_controls.p_value
    if blocking:
        return Verdict("cannot tell", None, blocking[0], n, witnesses)
    learnt = score is not None and score > 0
    if combined and mirror is not None and mirror.p_value is not None and p is not None:
        both = combine(mirror.p_value, p, CORRELATION_IN_BANK if mirror_in_bank else CORRELATION)
        return _judge_by_both(mirror, mirror.p_value, by_controls, p, both, learnt, level, power)
    if mirror is not None and mirror.p_value is not None:
        outcome, reason = _judge_by_mirror(mirror, mirror.p_value, by_controls, learnt, level, power, mirror_in_bank)
        return Verdict(outcome, mirror.p_value, reason, n, witnesses)
    if p is None:
        return Verdict("cannot tell", None, why_silent(mirror, by_controls), n, witnesses)
    if p <= level and learnt:
        return Verdict(_positive(p), p, _above_controls(p, n), n, witnesses)
    if (unknown := worthless_silence(p, power, level)) is not None:
        return Verdict("cannot tell", p, unknown, n, witnesses)
    if p <= level:
        return Verdict("no evidence", p, note("judging.no_better_than_base", n=n, p=p), n, witnesses)
    reason = note("judging.as_high", n=n, higher=round(p * (n + 1)) - 1, p=p)
    return Verdict("no evidence", p, reason, n, witnesses)


def worthless_silence(p: float, power: float | None, level: float) -> Note | None:
    """Say why it means nothing that the controls find nothing, if it does: too few used pictures would be found."""
    if power is None:
        return note("judging.unknown_power")
    return note("judging.weak_suspect", power=power, level=level, p=p) if power < LEAST_POWER else None


def why_silent(mirror: Witness | None, by_controls: Witness) -> Note:
    """Say why no test has a p-value: without any control, why the mirror test has none."""
    assert by_controls.silent is not None, "a silent test says why"
    if by_controls.references or mirror is None or mirror.silent is None:
        return by_controls.silent
    return mirror.silent


def _positive(p: float) -> Outcome:
    return "consistent with training on this image" if p <= STRICT_LEVEL else "weak evidence"


def _above_controls(p: float, n: int) -> Note:
    """The reason of a positive answer by the controls; with few of them no better one can be had."""
    higher, need = round(p * (n + 1)) - 1, round(1 / STRICT_LEVEL) - 1
    if n < need:
        return note("judging.above_few_controls", n=n, higher=higher, p=p, least=1 / (n + 1), need=need)
    return note("judging.above_controls", n=n, higher=higher, p=p)


def silence(witness: Witness, reason: Note) -> Witness:
    """Take a test's p-value back, for a reason."""
    return replace(witness, p_value=None, silent=reason)


def _judge_by_mirror(
    mirror: Witness,
    p: float,
    by_controls: Witness,
    learnt: bool,
    level: float,
    power: float | None,
    mirror_in_bank: bool,
) -> tuple[Outcome, Note]:
    """Judge by the mirror test.

    Its silence alone is never "no evidence": where the trainer mirrored its pictures it is silent about all of them. If
    the controls find something, the two disagree.
    """
    if p <= level:
        n, tried = mirror.references, mirror.framings
        counts = {"n": n, "higher": round(p / tried * (n + 1)) - 1, "p": p}
        if mirror_in_bank:
            return _positive(p), Note("judging.mirror.knows_by_bank", counts)
        if tried == 1:
            return _positive(p), Note("judging.mirror.knows", counts)
        return _positive(p), note("judging.mirror.knows_in_a_framing", **counts, framings=tried)
    if by_controls.p_value is None:
        return "cannot tell", note("judging.mirror.silent", p=p)
    if by_controls.p_value <= level and learnt:
        return "cannot tell", note(
            "judging.mirror.disagree", n=by_controls.references, p=p, p_controls=by_controls.p_value
        )
    if (unknown := worthless_silence(by_controls.p_value, power, level)) is not None:
        return "cannot tell", unknown
    return "no evidence", note("judging.mirror.neither", n=by_controls.references, p=p, p_controls=by_controls.p_value)


def _judge_by_both(
    mirror: Witness,
    p_mirror: float,
    by_bank: Witness,
    p_bank: float,
    p: float,
    learnt: bool,
    level: float,
    power: float | None,
) -> Verdict:
    """Judge by the mirror test and a bank together; where one of them finds something alone, they disagree.

    A bank makes no positive answer of a picture that the suspect knows no better than its base does.
    """
    n = by_bank.references
    each = {"p": p, "p_mirror": p_mirror, "p_bank": p_bank}
    if is_called(p, p_mirror, learnt, level):
        outcome, reason = _positive(p), note("judging.both.know", **each)
    elif p_mirror <= level:
        outcome, reason = "cannot tell", note("judging.both.mirror_alone", **each)
    elif p_bank <= level and learnt:
        outcome, reason = "cannot tell", note("judging.both.bank_alone", **each)
    elif (unknown := worthless_silence(p_bank, power, level)) is not None:
        outcome, reason = "cannot tell", unknown
    elif p <= level:
        outcome, reason = "no evidence", note("judging.no_better_than_base", n=n, p=p)
    else:
        outcome, reason = "no evidence", note("judging.both.neither", n=n, **each)
    return Verdict(outcome, p, reason, n, (mirror, by_bank))
