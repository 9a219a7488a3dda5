"""What the mirror test of a run compares with: a bank, a table that ships or somebody made, or reference pictures."""

from collections.abc import Mapping, Sequence

import numpy as np

from ..messages import Note, note
from ..method.mirror import is_symmetric
from ..method.models import ModelPair
from ..pictures.duplicates import near_duplicates
from ..pictures.images import Picture
from .banks.mirror_nulls import UnusedScores, unused_scores
from .banks.null_bank import OTHER_RECIPE, Bank, bank_flags
from .mirror_test import (
    LEAST_REFERENCES,
    MirrorReference,
    NullGroup,
    bank_reference,
    find_mirror_table,
    own_table_reference,
    pictures_reference,
)


def mirror_reference(
    fingerprints: Mapping[str, str],
    mirrored: bool | None,
    draws: int,
    scores: Sequence[float],
    digests: Sequence[str] = (),
    own: Sequence[NullGroup] = (),
    unused: UnusedScores | None = None,
) -> MirrorReference | Note | None:
    """Choose what the mirror test compares with.

    Args:
        fingerprints: weight file -> SHA-256, of base and suspect.
        mirrored: whether the suspect's training mirrored pictures, by its own notes; None: they do not say.
        draws: of the test; 0: it is not asked.
        scores: of reference pictures, under the suspect.
        digests: SHA-256 of each of their files.
        own: null scores of a table that somebody made for this base.
        unused: null scores of a bank that the suspect and its pictures can be compared with.

    Returns:
        The bank if its scores suffice, with what else there is as its shape. Else the base's table if one ships, else
        `own` if it suffices, else `scores`. Why the test is silent; None if it is not asked.
    """
    if not draws:
        return None
    if mirrored:
        return note("judging.mirror.flips")
    others = _without_bank(fingerprints, draws, scores, digests, own)
    if unused is not None and unused.count >= LEAST_REFERENCES:
        shape = others if isinstance(others, MirrorReference) and others.silent is None else None
        by_bank = bank_reference(unused, shape)
        if by_bank.silent is None:
            return by_bank
    return others


def _without_bank(
    fingerprints: Mapping[str, str],
    draws: int,
    scores: Sequence[float],
    digests: Sequence[str],
    own: Sequence[NullGroup],
) -> MirrorReference | Note:
    if (table := find_mirror_table(fingerprints, draws)) is not None:
        return table.reference
    if own:
        found = own_table_reference(own)
        if found.silent is None or not scores:
            return found
    return pictures_reference(scores, digests) if scores else note("judging.mirror.no_reference")


def needed_references(
    pair: ModelPair,
    draws: int,
    pictures: Sequence[Picture],
    given: Sequence[Picture],
    own: Sequence[NullGroup] = (),
) -> list[Picture]:
    """Choose the reference pictures to score, where something asks for them: a bank does, for its shape.

    A copy of a picture in question is left out, and so is a picture that is its own mirror image.

    Args:
        pair: base and suspect.
        draws: of the test.
        pictures: the pictures in question.
        given: the reference pictures.
        own: null scores of a table that somebody made for this base.
    """
    found = mirror_reference(pair.fingerprints, pair.mirrored_training, draws, [0.0], own=own)
    if not isinstance(found, MirrorReference) or found.source != "pictures":
        return []
    seen = [side for p in pictures for side in (p.image, p.image.flip(-1))]
    copies = np.any(near_duplicates(seen, [g.image for g in given]), axis=0).tolist()
    return [g for g, copied in zip(given, copies, strict=True) if not copied and not is_symmetric(g.image)]


def comparable_scores(
    bank: Bank | None, draws: int, distances: Mapping[str, float], weight_distance: float | None
) -> UnusedScores | None:
    """The mirror test's null scores of a run's bank, if the run can be compared with them.

    It cannot be with a bank that moved otherwise than the suspect. Nor can it be where the bank lacks a picture in
    question: nothing then tells the picture's own handedness, and a picture by another artist has another one.

    Args:
        bank: the null models, if there are any.
        draws: of the test.
        distances: of the suspect's predictions from its base's, by the SHA-256 of each picture in question.
        weight_distance: that of a full network's weights.
    """
    found = None if bank is None else unused_scores(bank.content, draws)
    if bank is None or found is None or not distances or not distances.keys() <= found.pictures:
        return None
    return None if OTHER_RECIPE in bank_flags(bank.content, distances, weight_distance) else found
