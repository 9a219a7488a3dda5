"""How long to train a null model where the suspect's steps are unknown: until it is as far from the base."""

from collections.abc import Callable, Sequence

import numpy as np

from ..messages import Note, note
from .scoring import ModelScores

FIRST_STEPS, MOST_STEPS = 5, 640  # presentations of each picture


def match_steps(suspect: ModelScores, measure: Callable[[int], float], report: Callable[[Note], None]) -> int:
    """Return the presentations of each picture that move a model as far from the base as the suspect.

    The presentations are doubled until the model is further away than the suspect, at most to `MOST_STEPS`. The result
    is interpolated between the last two.

    Args:
        suspect: what the suspect says of the pictures.
        measure: trains with a number of presentations and returns the model's distance from the base.
        report: called with each finding.
    """
    wanted = suspect.distance_from_base
    measure_note = note("training.by_weights")
    if suspect.weight_distance is None:
        measure_note = note("training.by_predictions")
    report(note("training.steps_unknown", distance=round(wanted, 4), measure=measure_note))
    steps, tried = FIRST_STEPS, []
    while True:
        distance = measure(steps)
        report(note("training.steps_tried", steps=steps, distance=round(distance, 4)))
        tried.append((steps, distance))
        if distance >= wanted or 2 * steps > MOST_STEPS:
            break
        steps *= 2
    chosen = interpolate_steps(tried, wanted)
    report(note("training.steps_chosen", steps=chosen))
    return chosen


def interpolate_steps(tried: Sequence[tuple[int, float]], distance: float) -> int:
    """Interpolate the steps after which a model is `distance` away from its base.

    The interpolation is a power law through the last two trials: a network's weights move with about the square root
    of the steps, an adapter's predictions in proportion. Outside of the trials the nearer one is returned.

    Args:
        tried: (steps, distance) of each trial, in increasing order.
        distance: the distance wanted.
    """
    most, furthest = tried[-1]
    if distance >= furthest:
        return most
    steps, distances = np.log(tried[-2:]).T
    return round(float(np.exp(np.interp(np.log(max(distance, 1e-30)), distances, steps))))
