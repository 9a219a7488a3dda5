"""From measured pictures to their verdicts: each by itself, and all together."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePath

from ..messages import Note, note
from ..method.mirror import is_symmetric
from ..pictures.duplicates import group_notes, near_duplicates, representatives
from .banks.null_bank import Bank
from .banks.residuals import residuals_of
from .mirror_test import MirrorReference, silent_mirror
from .portfolio import SetVerdict, benjamini_hochberg, holm, judge_set
from .result import INNER_MIRROR_SCORE, MIRROR_SCORE, RESIDUAL_SCORE, VERDICT_SCORE, MeasuredPicture, PictureResult
from .tables.likelihood_ratio import LikelihoodRatio, SuspectLikelihood
from .verdict import LEVEL, Verdict, Witness, judge


def judge_pictures(
    pictures: Sequence[MeasuredPicture],
    nulls: Sequence[float],
    members: Sequence[float] = (),
    *,
    null_residuals: Sequence[float] | None = None,
    mirror: MirrorReference | Note | None = None,
    power: float | None = None,
    control_power: float | None = None,
    likelihood: SuspectLikelihood | None = None,
    combined: bool = True,
) -> tuple[tuple[PictureResult, ...], SetVerdict | None]:
    """Judge each picture by itself and, if there are several, all of them together.

    In the answer for all together near-duplicates count as one, the first of them, whatever their scores. The notes of
    each name the others. A picture whose file forbids to judge it (`Flag.leaves_out`) is left out of it, or of the
    comparison with controls, as long as two others stay. Any other flag of a picture speaks against the whole set.

    Args:
        pictures: scores and flags of each.
        nulls: scores of pictures that were not used: the controls', or a bank's.
        members: scores of pictures that were used, of a bank; they bound the number of used pictures from above.
        null_residuals: of a bank; single pictures are then judged by their residuals. A set is not: a suspect lifts
            all of its works alike, which their own difficulties hide in scores, and not in residuals.
        mirror: what the mirror test compares with, or why it is silent; None: it is not asked.
        power: share of used pictures that would be found by the tests that are asked; None if it was never measured.
        control_power: by the controls or the bank alone: where the mirror test has nothing to say of a picture.
        likelihood: what is known of the mirror test's scores under such a suspect; None if it was never measured.
        combined: residuals decide together with the mirror test. Older records were judged by the latter alone.
    """
    first = representatives(near_duplicates([p.picture.image for p in pictures]))
    notes = group_notes([PurePath(p.picture.name).name for p in pictures], first)
    judged = []
    for measured, more in zip(pictures, notes, strict=True):
        witness = mirror and ask_mirror(mirror, measured)
        score = measured.scores.get(VERDICT_SCORE if null_residuals is None else RESIDUAL_SCORE)
        distrusted = _blocking([measured], "controls")
        against = nulls if null_residuals is None else null_residuals
        known = _power_without(witness, mirror, power, control_power)
        settings = {"mirror": witness, "combined": combined and null_residuals is not None, "power": known}
        settings["mirror_in_bank"] = isinstance(mirror, MirrorReference) and mirror.source == "bank"
        verdict = judge(score, against, _blocking([measured]), distrusted=distrusted, **settings)
        picture = replace(measured.picture, notes=(*measured.picture.notes, *more))
        ratio = likelihood and _likelihood_ratio(likelihood, mirror, measured, verdict)
        judged.append(PictureResult(**{**vars(measured), "picture": picture}, verdict=verdict, likelihood=ratio))
    if len(judged) == 1:
        return tuple(judged), None
    counted = [r for i, r in enumerate(judged) if first[i] == i]
    usable = _without_flagged(counted, "run")
    comparable = _without_flagged(usable, "controls")
    scores = [r.scores.get(VERDICT_SCORE) for r in comparable]
    asymmetric = [r for r in usable if not is_symmetric(r.picture.image)]
    witness = mirror and ask_mirror_of_set(mirror, asymmetric, len(usable))
    distrusted = _blocking(comparable, "controls")
    known = _power_without(witness, mirror, power, control_power)
    others = {"members": members, "mirror": witness, "mirror_pictures": len(asymmetric), "power": known}
    together = judge_set(scores, nulls, _blocking(usable), distrusted=distrusted, **others)
    p_values = [r.verdict.p_value for r in judged]
    return tuple(judged), replace(
        together,
        adjusted=holm(p_values),
        adjusted_bh=benjamini_hochberg(p_values),
        left_out=len(counted) - len(usable),
        not_compared=len(usable) - len(comparable),
    )


def judge_against(
    pictures: Sequence[MeasuredPicture],
    nulls: Sequence[float] | None,
    bank: Bank | None,
    mirror: MirrorReference | Note | None,
    power: float | None,
    likelihood: SuspectLikelihood | None = None,
    *,
    control_power: float | None = None,
    combined: bool = True,
) -> tuple[tuple[PictureResult, ...], SetVerdict | None, tuple[float, ...]]:
    """Judge pictures against controls, or against a bank.

    Args:
        pictures: scores and flags of each.
        nulls: scores of the controls; None: those of the bank.
        bank: null models in place of controls.
        mirror: see `judge_pictures`.
        power: see `judge_pictures`.
        likelihood: see `judge_pictures`.
        control_power: see `judge_pictures`.
        combined: see `judge_pictures`.

    Returns:
        The verdicts, the set's, and the scores that single pictures are compared with.
    """
    if nulls is None:
        nulls = () if bank is None else bank.content.nulls
    members, residuals = () if bank is None else bank.content.members, residuals_of(bank)
    settings = {"null_residuals": residuals, "mirror": mirror, "power": power, "likelihood": likelihood}
    judged, together = judge_pictures(
        pictures, nulls, members, **settings, control_power=control_power, combined=combined
    )
    return judged, together, tuple(nulls) if residuals is None else residuals


def ask_mirror(mirror: MirrorReference | Note, measured: MeasuredPicture) -> Witness:
    """What the mirror test says of a picture; nothing of one that is its own mirror image."""
    if isinstance(mirror, Note):
        return silent_mirror(mirror)
    if is_symmetric(measured.picture.image):
        return silent_mirror(note("judging.mirror.symmetric"))
    inner = measured.scores.get(INNER_MIRROR_SCORE)
    scores = (measured.scores.get(MIRROR_SCORE), *([] if inner is None else [inner]))
    return _either([mirror.ask(s, measured.picture.sha256) for s in scores])


def ask_mirror_of_set(mirror: MirrorReference | Note, asymmetric: Sequence[MeasuredPicture], pictures: int) -> Witness:
    """What the mirror test says of pictures together.

    Args:
        mirror: what it compares with, or why it is silent.
        asymmetric: those that are not their own mirror images.
        pictures: how many there are with those that are.
    """
    if isinstance(mirror, Note):
        return silent_mirror(mirror)
    if len(asymmetric) < 2:
        return silent_mirror(note("judging.mirror.few_in_set", n=len(asymmetric), symmetric=pictures - len(asymmetric)))
    scores = [p.scores.get(MIRROR_SCORE) for p in asymmetric]
    inner = [p.scores.get(INNER_MIRROR_SCORE, own) for p, own in zip(asymmetric, scores, strict=True)]
    digests = [p.picture.sha256 for p in asymmetric]
    return _either([mirror.ask_set(each, digests) for each in (scores, *([inner] if inner != scores else []))])


def _power_without(
    witness: Witness | Note | None,
    mirror: MirrorReference | Note | None,
    power: float | None,
    control_power: float | None,
) -> float | None:
    """The power of the tests that do speak: without the mirror test's where it is asked and has no p-value here."""
    silent = isinstance(mirror, MirrorReference) and isinstance(witness, Witness) and witness.p_value is None
    return control_power if silent else power


def _likelihood_ratio(
    likelihood: SuspectLikelihood, mirror: MirrorReference | Note | None, measured: MeasuredPicture, verdict: Verdict
) -> LikelihoodRatio | None:
    """The ratio of a picture's score: where the mirror test compared it, in one framing, with the base's table."""
    witnesses = [w for w in verdict.witnesses if w.name == "mirror" and w.p_value is not None and w.framings == 1]
    if not witnesses or not isinstance(mirror, MirrorReference) or mirror.source != "table":
        return None
    return likelihood.ratio(measured.scores[MIRROR_SCORE])


def _either(witnesses: Sequence[Witness]) -> Witness:
    """One test for both framings of a picture, since nobody noted which of them the training used.

    The smallest of the p-values counts as often as there are (Bonferroni).
    """
    p_values = [w.p_value for w in witnesses if w.p_value is not None]
    if not p_values:
        return witnesses[0]
    tried = len(p_values)
    least = round(tried / LEVEL) - 1
    if witnesses[0].references < least:  # whatever the scores, no p-value could be small enough
        return silent_mirror(note("judging.mirror.few", n=witnesses[0].references, need=least))
    return replace(witnesses[0], p_value=min(1.0, tried * min(p_values)), silent=None, framings=tried)


def _without_flagged(pictures: Sequence[PictureResult], concerns: str) -> Sequence[PictureResult]:
    """Leave out the pictures whose files forbid it; nothing, where fewer than two would stay."""
    left = [r for r in pictures if not any(f.leaves_out and f.concerns == concerns for f in r.flags)]
    return left if len(left) > 1 else pictures


def _blocking(pictures: Sequence[MeasuredPicture], concerns: str = "run") -> list[Note]:
    """What forbids a verdict, or only the comparison with controls."""
    return [f.note for p in pictures for f in p.flags if f.blocks_verdict and f.concerns == concerns]
