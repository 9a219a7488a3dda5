"""From measured pictures to their verdicts: each by itself, and all together."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePath

from ..messages import Note
from ..pictures.duplicates import group_notes, near_duplicates, representatives
from .portfolio import SetVerdict, holm, judge_set
from .result import VERDICT_SCORE, MeasuredPicture, PictureResult
from .verdict import judge


def judge_pictures(
    pictures: Sequence[MeasuredPicture],
    nulls: Sequence[float],
    members: Sequence[float] = (),
    *,
    power: float | None = None,
) -> tuple[tuple[PictureResult, ...], SetVerdict | None]:
    """Judge each picture by itself and, if there are several, all of them together.

    In the answer for all together near-duplicates count as one, the first of them, whatever their scores. The notes of
    each name the others.

    Args:
        pictures: scores and flags of each.
        nulls: scores of pictures that were not used: the controls', or a bank's.
        members: scores of pictures that were used, of a bank; they bound the number of used pictures from above.
        power: share of used pictures that would be found; None if it was never measured.
    """
    first = representatives(near_duplicates([p.picture.image for p in pictures]))
    notes = group_notes([PurePath(p.picture.name).name for p in pictures], first)
    judged = []
    for measured, more in zip(pictures, notes, strict=True):
        verdict = judge(measured.scores.get(VERDICT_SCORE), nulls, _blocking([measured]), power=power)
        picture = replace(measured.picture, notes=(*measured.picture.notes, *more))
        judged.append(PictureResult(**{**vars(measured), "picture": picture}, verdict=verdict))
    if len(judged) == 1:
        return tuple(judged), None
    counted = [r for i, r in enumerate(judged) if first[i] == i]
    scores = [r.scores.get(VERDICT_SCORE) for r in counted]
    together = judge_set(scores, nulls, _blocking(counted), members=members, power=power)
    return tuple(judged), replace(together, adjusted=holm([r.verdict.p_value for r in judged]))


def _blocking(pictures: Sequence[MeasuredPicture]) -> list[Note]:
    """What forbids a verdict."""
    return [f.note for p in pictures for f in p.flags if f.blocks_verdict]
