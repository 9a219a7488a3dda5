"""From measured pictures to their verdicts: each by itself, and all together."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePath

from ..messages import Note
from ..pictures.duplicates import group_notes, near_duplicates, representatives
from .mirror_test import MirrorReference, silent_mirror
from .portfolio import SetVerdict, holm, judge_set
from .result import MIRROR_SCORE, RESIDUAL_SCORE, VERDICT_SCORE, MeasuredPicture, PictureResult
from .verdict import judge


def judge_pictures(
    pictures: Sequence[MeasuredPicture],
    nulls: Sequence[float],
    members: Sequence[float] = (),
    *,
    null_residuals: Sequence[float] | None = None,
    mirror: MirrorReference | Note | None = None,
    power: float | None = None,
) -> tuple[tuple[PictureResult, ...], SetVerdict | None]:
    """Judge each picture by itself and, if there are several, all of them together.

    In the answer for all together near-duplicates count as one, the first of them, whatever their scores. The notes of
    each name the others.

    Args:
        pictures: scores and flags of each.
        nulls: scores of pictures that were not used: the controls', or a bank's.
        members: scores of pictures that were used, of a bank; they bound the number of used pictures from above.
        null_residuals: of a bank; single pictures are then judged by their residuals. A set is not: a suspect lifts
            all of its works alike, which their own difficulties hide in scores, and not in residuals.
        mirror: what the mirror test compares with, or why it is silent; None: it is not asked.
        power: share of used pictures that would be found; None if it was never measured.
    """
    first = representatives(near_duplicates([p.picture.image for p in pictures]))
    notes = group_notes([PurePath(p.picture.name).name for p in pictures], first)
    judged = []
    for measured, more in zip(pictures, notes, strict=True):
        own = measured.scores.get(MIRROR_SCORE)
        witness = silent_mirror(mirror) if isinstance(mirror, Note) else mirror and mirror.ask(own)
        score = measured.scores.get(VERDICT_SCORE if null_residuals is None else RESIDUAL_SCORE)
        distrusted = _blocking([measured], "controls")
        against = nulls if null_residuals is None else null_residuals
        verdict = judge(score, against, _blocking([measured]), distrusted=distrusted, mirror=witness, power=power)
        picture = replace(measured.picture, notes=(*measured.picture.notes, *more))
        judged.append(PictureResult(**{**vars(measured), "picture": picture}, verdict=verdict))
    if len(judged) == 1:
        return tuple(judged), None
    counted = [r for i, r in enumerate(judged) if first[i] == i]
    scores = [r.scores.get(VERDICT_SCORE) for r in counted]
    own = [r.scores.get(MIRROR_SCORE) for r in counted]
    witness = silent_mirror(mirror) if isinstance(mirror, Note) else mirror and mirror.ask_set(own)
    distrusted = _blocking(counted, "controls")
    others = {"members": members, "mirror": witness, "power": power}
    together = judge_set(scores, nulls, _blocking(counted), distrusted=distrusted, **others)
    return tuple(judged), replace(together, adjusted=holm([r.verdict.p_value for r in judged]))


def _blocking(pictures: Sequence[MeasuredPicture], concerns: str = "run") -> list[Note]:
    """What forbids a verdict, or only the comparison with controls."""
    return [f.note for p in pictures for f in p.flags if f.blocks_verdict and f.concerns == concerns]
