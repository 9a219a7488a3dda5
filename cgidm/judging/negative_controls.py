"""Negative controls of a run: comparisons that must find nothing. One that finds something forbids a verdict."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image

from ..errors import UserError
from ..framing.frame import Framing
from ..method.models import ModelPair
from ..method.sampling import picture_generator
from ..method.scores import loss_contrast
from ..pictures.embedders import Embedder
from ..pictures.images import Picture
from .blind_baseline import blind_test, picture_features
from .flags import Flag, make_flag
from .generated import GENERATED_RATIO, round_trip_ratio
from .verdict import LEVEL, conformal_p_value

BASE_VS_ITSELF_LIMIT = 1e-4  # of `loss_contrast`; half precision on the CPU gives 0, learned pictures 0.01 and more
BASE_VS_ITSELF_DRAWS = 2
LEAST_FOR_BLIND_TEST = 10  # pictures, and controls: with fewer the blind test finds nothing (`blind_test`)

LEAST_ALIKE = round(1 / LEVEL) - 1  # controls of the kind of the picture
OTHER_SHAPES = make_flag("other_shapes", concerns="controls", least=LEAST_ALIKE)
OTHER_FRAMING = make_flag("other_framing", concerns="controls")
UNSTABLE = make_flag("unstable", limit=BASE_VS_ITSELF_LIMIT)
GENERATED = make_flag("generated", leaves_out=True, limit=GENERATED_RATIO)
STANDS_OUT = make_flag("stands_out", concerns="controls", level=LEVEL)
SHIFTED_CONTROLS = make_flag("shifted_controls", concerns="controls", level=LEVEL)


def measure_round_trips(pair: ModelPair, images: Float[Tensor, "b 3 H W"]) -> list[float]:
    """Measure `round_trip_ratio` of each picture with the pair's autoencoder."""
    return round_trip_ratio(pair.codec, images.to(pair.device)).tolist()


def generated_flags(round_trip: float) -> tuple[Flag, ...]:
    """Find whether a model with this autoencoder made a picture."""
    return (GENERATED,) if round_trip > GENERATED_RATIO else ()


def score_base_vs_itself(pair: ModelPair, z: Float[Tensor, "b c h w"], seed: int) -> float:
    """Score the first picture of latents `z` with the base in the suspect's place."""
    same = replace(pair, suspect=pair.base)
    return loss_contrast(same, z[:1], BASE_VS_ITSELF_DRAWS, [picture_generator(seed, "innocent", "innocent")]).item()


def unstable_flags(base_vs_itself: float) -> tuple[Flag, ...]:
    """Find whether the base, compared with itself, seems to know a picture."""
    return () if abs(base_vs_itself) <= BASE_VS_ITSELF_LIMIT else (UNSTABLE,)


def other_shapes_flags(picture: Picture, controls: Sequence[Picture]) -> tuple[Flag, ...]:
    """Find whether a picture that is looked at twice is compared with controls that are squares.

    The larger of two looks at one square is hardly larger than either; of a bucket and a square it is.
    """
    if picture.square is None or not controls:
        return ()
    return (OTHER_SHAPES,) if sum(c.square is not None for c in controls) < LEAST_ALIKE else ()


def other_framing_flags(noted: Framing | None, picture: Picture) -> tuple[Flag, ...]:
    """Find whether a bank's models saw another part of the picture than the suspect's training did, by its notes."""
    if noted is None or picture.frame is None:
        return ()
    try:
        expected = noted.frame(*picture.frame.original).size
    except UserError:  # a picture that the trainer could not have used
        return (OTHER_FRAMING,)
    return () if expected == picture.frame.size else (OTHER_FRAMING,)


def unrelated_suspect_flags(scores: Sequence[float], control_scores: Sequence[float]) -> list[tuple[Flag, ...]]:
    """Find, for each picture, whether an unrelated suspect of the same base tells it from the controls.

    Args:
        scores: of the pictures, under the unrelated suspect.
        control_scores: of the controls, under the unrelated suspect.
    """
    if not control_scores:
        return [() for _ in scores]
    return [(STANDS_OUT,) if conformal_p_value(s, control_scores) <= LEVEL and s > 0 else () for s in scores]


def measure_blind(
    pictures: Sequence[Float[Tensor, "3 _ _"]], controls: Sequence[Float[Tensor, "3 _ _"]], embedder: Embedder | None
) -> float | None:
    """Test whether a classifier that sees no model tells the pictures from the controls; returns its p-value.

    None without an embedder, or with fewer than `LEAST_FOR_BLIND_TEST` of either.
    """
    if embedder is None or min(len(pictures), len(controls)) < LEAST_FOR_BLIND_TEST:
        return None
    images = [to_pil_image(image.cpu()) for image in (*pictures, *controls)]
    label = torch.cat([torch.ones(len(pictures)), torch.zeros(len(controls))]).numpy()
    return float(blind_test(picture_features(images, embedder), label).p_value)


def shifted_control_flags(blind_p_value: float | None) -> tuple[Flag, ...]:
    """Find whether the controls are other pictures than those in question; None: it was not tested."""
    return (SHIFTED_CONTROLS,) if blind_p_value is not None and blind_p_value <= LEVEL else ()
