"""The pictures of a training: framed, drawn in batches of one size, cropped and augmented, encoded."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..framing.frame import CentreSquare, Frame, Framing
from ..framing.table import framing_of_table
from ..pictures.images import read_picture
from .defences import defend
from .settings import TrainerSettings

Draw = Callable[[torch.Generator], list[int]]
Encode = Callable[[Sequence[int]], Tensor]


def load_training_pictures(
    pipe: Any, pictures: Sequence[Path], settings: TrainerSettings, seed: int
) -> tuple[Draw, Encode]:
    """Read the pictures of a training.

    Args:
        pipe: the pipeline; its autoencoder encodes.
        pictures: their files.
        settings: framing and augmentation.
        seed: of the training.

    Returns:
        What draws the indices of a batch of one size, each picture as often as any other; and what encodes chosen
        ones. Latents are computed once, unless every step crops or augments anew.
    """
    resolution = pipe.unet.config.sample_size * pipe.vae_scale_factor
    framing = CentreSquare(resolution=resolution) if settings.framing is None else framing_of_table(settings.framing)
    device = pipe.unet.device
    crops = getattr(framing, "random_crop", False)
    frames: list[Frame] = []
    images = []
    for path in pictures:
        picture = read_picture(path, _Uncropped(framing) if crops else framing)
        assert picture.frame is not None, "a picture that was read has a frame"
        frames.append(framing.frame(*picture.frame.original))
        images.append(picture.image.to(device))
    draw = _drawer([frame.size for frame in frames], settings.batch)
    if settings.defence is None and not crops:
        z = [encode(pipe, image[None])[0] for image in images]
        return draw, lambda chosen: torch.stack([z[i] for i in chosen])
    # not the training's own generator: it draws the same pictures, times and noises with and without augmentation
    generator, defence = torch.Generator().manual_seed(seed + 1), settings.defence

    def augmented(chosen: Sequence[int]) -> Tensor:
        parts = [_crop(images[i], frames[i], generator) if crops else images[i] for i in chosen]
        batch = torch.stack(parts)
        return encode(pipe, batch if defence is None else defend(batch, defence, generator))

    return draw, augmented


@torch.no_grad()
def encode(pipe: Any, images: Tensor) -> Tensor:
    """Encode pictures in [0, 1]."""
    return pipe.vae.encode(2 * images - 1).latent_dist.mode() * pipe.vae.config.scaling_factor


class _Uncropped:
    """A framing that keeps all of a scaled picture, so that a part can be chosen later."""

    def __init__(self, framing: Framing) -> None:
        self.framing = framing
        self.most_pixels = framing.most_pixels

    def frame(self, width: int, height: int) -> Frame:
        frame = self.framing.frame(width, height)
        return replace(frame, corner=(0, 0), size=frame.scaled)


def _crop(image: Tensor, frame: Frame, generator: torch.Generator) -> Tensor:
    """A part of the frame's size, chosen at random."""
    width, height = frame.size
    room = image.shape[-1] - width, image.shape[-2] - height
    left, top = (int(torch.randint(r + 1, (), generator=generator)) for r in room)
    return image[:, top : top + height, left : left + width]


def _drawer(sizes: Sequence[tuple[int, int]], batch: int) -> Draw:
    alike = {size: [i for i, other in enumerate(sizes) if other == size] for size in dict.fromkeys(sizes)}

    def draw(generator: torch.Generator) -> list[int]:
        group = next(iter(alike.values()))
        if len(alike) > 1:
            group = alike[sizes[int(torch.randint(len(sizes), (), generator=generator))]]
        return [group[i] for i in torch.randint(len(group), (batch,), generator=generator).tolist()]

    return draw
