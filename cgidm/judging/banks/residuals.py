"""A picture's score less its own difficulty: what the null models that left it out score it.

Some pictures score high under every suspect of their style, and some low under all. Ranked among the scores of other
pictures, the first are called too often and the second too seldom. A null model that left the picture out has the same
difficulty, so the difference has none. Under the null hypothesis the suspect is one more model that left it out.
"""

from collections.abc import Sequence
from statistics import fmean

from ..flags import Flag, make_flag
from ..mirror_test import MirrorReference
from ..result import RESIDUAL_SCORE, VERDICT_SCORE, judged_score
from ..tables.residual_table import NO_RESIDUALS, OTHER_RESIDUALS, find_residual_table, memorisation
from ..verdict import CORRELATION_IN_BANK, LEVEL, combine, conformal_p_value, is_called
from .mirror_nulls import member_scores
from .null_bank import Bank, NullBank

LEAST_RESIDUALS = round(1 / LEVEL) - 1  # fewer cannot reach the level
NOT_IN_BANK = make_flag("not_in_bank", concerns="controls", leaves_out=True)


def residual(score: float, others: Sequence[float]) -> float:
    """Compute (score - mean(others)) / sqrt(1 + 1 / k) with k other scores of the same picture.

    If all of them are draws of one distribution, its spread does not depend on k.
    """
    return (score - fmean(others)) / (1 + 1 / len(others)) ** 0.5


def null_residuals(bank: NullBank) -> tuple[float, ...]:
    """The residual of every picture under every model that left it out, among the others that did.

    There is none of a picture that a single model left out.
    """
    groups = [bank.scores_without(i) for i in range(len(bank.pictures))]
    return tuple(residual(s, [*g[:j], *g[j + 1 :]]) for g in groups if len(g) > 1 for j, s in enumerate(g))


def residuals_of(bank: Bank | None) -> tuple[float, ...] | None:
    """The null residuals that single pictures are ranked among; None where they are judged by their scores."""
    return reference_residuals(bank.content) if bank is not None and judged_score(bank) == RESIDUAL_SCORE else None


def reference_residuals(bank: NullBank) -> tuple[float, ...]:
    """The null residuals of a bank: its own, or where these are too few, those of its base's table in its own unit."""
    own = null_residuals(bank)
    return own if len(own) >= LEAST_RESIDUALS else table_residuals(bank) or own


def table_residuals(bank: NullBank) -> tuple[float, ...]:
    """The residuals of the base's table, in the unit of the bank; none without a table for such a bank."""
    table = find_residual_table(bank.base, bank.loss_draws)
    unit = memorisation(bank)
    return () if table is None else tuple(unit * r for r in table.residuals_at(unit))


def member_residuals(bank: NullBank) -> tuple[float, ...]:
    """The residual of every picture under every model that was trained on it, as that of a picture in question."""
    found = (_of_picture(m.scores[i], bank.scores_without(i)) for m in bank.models for i in m.trained_on)
    return tuple(r for r in found if r is not None)


def bank_residual(bank: NullBank, sha256: str, score: float) -> float | None:
    """The residual of a picture in question; None if the bank does not have it, or every model was trained on it.

    A picture that the suspect knows no better than its base does has at most 0: see `verdict.judge`.

    Args:
        bank: the null models.
        sha256: of the picture's file.
        score: under the suspect.
    """
    known = next((i for i, p in enumerate(bank.pictures) if p.sha256 == sha256), None)
    return None if known is None else _of_picture(score, bank.scores_without(known))


def bank_power(bank: NullBank, level: float = LEVEL) -> float | None:
    """Count the share of the members of the bank's own models that would be found; None if it shows no rate."""
    ways = (bank.nulls, bank.members) if bank.decoys else (reference_residuals(bank), member_residuals(bank))
    nulls, members = ways
    if not members or 1 / (len(nulls) + 1) > level:
        return None
    return sum(conformal_p_value(r, nulls) <= level and r > 0 for r in members) / len(members)


def combined_power(bank: NullBank, mirror: MirrorReference, level: float = LEVEL) -> float | None:
    """Count the share of these members that the bank and the mirror test find together; None if it shows no rate.

    Args:
        bank: the null models.
        mirror: what the mirror test compares with: the bank's scores.
        level: of the answer.
    """
    nulls = reference_residuals(bank)
    found = []
    for number, i, score in member_scores(bank):
        value = _of_picture(bank.models[number].scores[i], bank.scores_without(i))
        if value is not None and 1 / (len(nulls) + 1) <= level:
            p_mirror = mirror.p_value(mirror.compared(score, bank.pictures[i].sha256))
            p = combine(p_mirror, conformal_p_value(value, nulls), CORRELATION_IN_BANK)
            found.append(is_called(p, p_mirror, value > 0, level))
    return sum(found) / len(found) if found else None


def _of_picture(score: float, others: Sequence[float]) -> float | None:
    if not others:
        return None
    found = residual(score, others)
    return found if score > 0 else min(found, 0.0)


def add_residual(scores: dict[str, float], bank: Bank | None, sha256: str) -> dict[str, float]:
    """Return a picture's scores with its residual after the score that it is of, if there is one."""
    if bank is None or judged_score(bank) != RESIDUAL_SCORE or VERDICT_SCORE not in scores:
        return scores
    found = bank_residual(bank.content, sha256, scores[VERDICT_SCORE])
    return scores if found is None else {**scores, RESIDUAL_SCORE: found}


def residual_flags(bank: NullBank) -> tuple[Flag, ...]:
    """Find whether a picture's residual is compared with those of other artists' works, or cannot be compared."""
    if bank.decoys or len(null_residuals(bank)) >= LEAST_RESIDUALS:
        return ()
    return (OTHER_RESIDUALS,) if len(table_residuals(bank)) >= LEAST_RESIDUALS else (NO_RESIDUALS,)


def not_in_bank_flags(bank: NullBank, sha256: str) -> tuple[Flag, ...]:
    """Find whether the bank cannot say how difficult a picture is."""
    return () if bank.decoys or bank_residual(bank, sha256, 0.0) is not None else (NOT_IN_BANK,)
