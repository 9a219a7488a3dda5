"""Negative controls of a run: questions whose answer must be no. One that is answered yes forbids a verdict."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image

from ..method.models import ModelPair
from ..method.sampling import picture_generator
from ..method.scores import loss_contrast
from ..pictures.embedders import Embedder
from .blind_baseline import blind_test, picture_features
from .flags import Flag, make_flag
from .generated import GENERATED_RATIO, round_trip_ratio
from .verdict import LEVEL, conformal_p_value

INNOCENT_LIMIT = 1e-4  # of `loss_contrast`; half precision on the CPU gives 0, learnt pictures 0.01 and more
LEAST_FOR_BLIND = 10  # pictures on either side: with fewer the blind test finds nothing (`blind.blind_test`)

UNSTABLE = make_flag("unstable", limit=INNOCENT_LIMIT)
GENERATED = make_flag("generated", limit=GENERATED_RATIO)
STANDS_OUT = make_flag("stands_out", level=LEVEL)
SHIFTED_CONTROLS = make_flag("shifted_controls", level=LEVEL)


def generated_flags(pair: ModelPair, images: Float[Tensor, "b 3 H W"]) -> list[tuple[Flag, ...]]:
    """Of each picture: was it made by a model with this autoencoder?"""
    ratios = round_trip_ratio(pair.codec, images.to(pair.device))
    return [(GENERATED,) if ratio > GENERATED_RATIO else () for ratio in ratios.tolist()]


def innocent_flags(pair: ModelPair, z: Float[Tensor, "b c h w"], seed: int) -> tuple[Flag, ...]:
    """Is the base, as its own suspect, without any knowledge of the first picture?"""
    innocent = replace(pair, suspect=pair.base)
    score = loss_contrast(innocent, z[:1], 2, [picture_generator(seed, "innocent", "innocent")])
    return () if score.abs().item() <= INNOCENT_LIMIT else (UNSTABLE,)


def stands_out_flags(scores: Sequence[float], control_scores: Sequence[float]) -> list[tuple[Flag, ...]]:
    """Of each picture, from scores under an unrelated suspect of the same base."""
    if not control_scores:
        return [() for _ in scores]
    return [(STANDS_OUT,) if conformal_p_value(s, control_scores) <= LEVEL and s > 0 else () for s in scores]


def blind_flags(
    pictures: Sequence[Float[Tensor, "3 H W"]], controls: Sequence[Float[Tensor, "3 H W"]], embedder: Embedder | None
) -> tuple[Flag, ...]:
    """Can pictures be told from controls by what they show? Silent where there are too few to find out."""
    if embedder is None or min(len(pictures), len(controls)) < LEAST_FOR_BLIND:
        return ()
    shown = [to_pil_image(image.cpu()) for image in (*pictures, *controls)]
    label = torch.cat([torch.ones(len(pictures)), torch.zeros(len(controls))]).numpy()
    return (SHIFTED_CONTROLS,) if blind_test(picture_features(shown, embedder), label).p_value <= LEVEL else ()
