"""From what the checks of a run measured to its flags: in the run, and wherever somebody reads its record again."""

from collections.abc import Mapping, Sequence

from ..intake.known_bases.table import find_known_base
from ..method.views import CENTRE_SQUARE
from ..pictures.images import Picture
from .banks.null_bank import OTHER_HANDS, OTHER_RECIPE, Bank, bank_flags
from .banks.residuals import NOT_IN_BANK, not_in_bank_flags, residual_flags
from .flags import (
    FLAT,
    INDISTINGUISHABLE,
    NOT_FINITE,
    UNKNOWN_BASE,
    Flag,
    PictureChecks,
    RunChecks,
    check_recovery,
    flat_flags,
    in_part_flags,
)
from .negative_controls import (
    GENERATED,
    OTHER_FRAMING,
    OTHER_SHAPES,
    SHIFTED_CONTROLS,
    STANDS_OUT,
    UNSTABLE,
    generated_flags,
    other_framing_flags,
    other_shapes_flags,
    shifted_control_flags,
    unrelated_suspect_flags,
    unstable_flags,
)
from .tables.residual_table import NO_RESIDUALS, OTHER_RESIDUALS

KNOWN_FLAGS = {
    flag.name: flag
    for flag in (
        *(FLAT, INDISTINGUISHABLE, NOT_FINITE, UNSTABLE, GENERATED, STANDS_OUT, SHIFTED_CONTROLS, OTHER_SHAPES),
        *(OTHER_FRAMING, NOT_IN_BANK, OTHER_HANDS, OTHER_RECIPE, OTHER_RESIDUALS, NO_RESIDUALS, UNKNOWN_BASE),
    )
}


def flags_of_run(
    pictures: Sequence[Picture], run: RunChecks, checks: Sequence[PictureChecks]
) -> list[tuple[Flag, ...]]:
    """Find what forbids every test of each picture, whatever it is compared with."""
    unstable = unstable_flags(run.base_vs_itself)
    return [
        (
            *unstable,
            *flat_flags(picture.image),
            *generated_flags(measured.round_trip),
            *in_part_flags(run.unused_tensors),
        )
        for picture, measured in zip(pictures, checks, strict=True)
    ]


def name_known_base(fingerprints: Mapping[str, str], base_files: Sequence[str]) -> str | None:
    """Name the public base that a run's base is, by its digests; None if it is none that is known.

    Args:
        fingerprints: weight file -> SHA-256, of base and suspect.
        base_files: the files that are the base's.
    """
    known = find_known_base({file: fingerprints[file] for file in base_files if file in fingerprints})
    return None if known is None else known.name


def base_flags(fingerprints: Mapping[str, str], base_files: Sequence[str]) -> tuple[Flag, ...]:
    """Find whether the base is none of the public bases that are known; models without files raise no flag."""
    return (UNKNOWN_BASE,) if fingerprints and name_known_base(fingerprints, base_files) is None else ()


def find_flags(
    pictures: Sequence[Picture],
    run: RunChecks,
    checks: Sequence[PictureChecks],
    *,
    controls: Sequence[Picture],
    views: Sequence[str],
    bank: Bank | None,
    distances: Sequence[float],
    weight_distance: float | None,
    of_base: tuple[Flag, ...] = (),
) -> list[tuple[Flag, ...]]:
    """Find what speaks against each picture's number, but for what its recovery shows.

    Args:
        pictures: the pictures in question.
        run: what was measured once.
        checks: what was measured of each picture.
        controls: the control pictures that are used.
        views: that were scored.
        bank: null models in place of controls.
        distances: of the suspect's predictions from its base's, of each picture.
        weight_distance: of a full network; None of an adapter.
        of_base: `base_flags`.
    """
    scores = [p.unrelated_score for p in checks]
    of_each: Sequence[tuple[Flag, ...]] = [()] * len(pictures)
    if known := [s for s in scores if s is not None]:
        of_each = unrelated_suspect_flags(known, run.unrelated_control_scores)
    if bank is not None:
        by_digest = {p.sha256: d for p, d in zip(pictures, distances, strict=True)}
        common = (*bank_flags(bank.content, by_digest, weight_distance), *residual_flags(bank.content))
        of_each = [
            (*not_in_bank_flags(bank.content, p.sha256), *other_framing_flags(run.noted_framing, p)) for p in pictures
        ]
    else:
        common = shifted_control_flags(run.blind_p_value)
        if CENTRE_SQUARE in views:
            shapes = [other_shapes_flags(p, controls) for p in pictures]
            of_each = [(*own, *more) for own, more in zip(of_each, shapes, strict=True)]
    return [
        (*of_run, *own, *common, *of_base)
        for of_run, own in zip(flags_of_run(pictures, run, checks), of_each, strict=True)
    ]


def add_recovery_flags(
    flags: Sequence[tuple[Flag, ...]], checks: Sequence[PictureChecks], contrasts: Sequence[Sequence[float]]
) -> list[tuple[Flag, ...]]:
    """Put what each picture's recovery shows before its other flags.

    Args:
        flags: of each picture, from `find_flags`.
        checks: with their gradient ratios.
        contrasts: of each picture, of each step.
    """
    found = []
    for others, measured, contrast in zip(flags, checks, contrasts, strict=True):
        assert measured.gradient_ratio is not None, "a recovery has gradients"
        found.append((*check_recovery(contrast, measured.gradient_ratio), *others))
    return found
