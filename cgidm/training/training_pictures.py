"""The pictures of a training: framed, drawn in batches of one size, cropped and augmented, encoded."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ..framing.frame import CentreSquare, Frame, Framing
from ..framing.table import framing_of_table
from ..pictures.images import read_picture
from .defences import defend
from .networks.trainee import Trainee
from .settings import TrainerSettings

Draw = Callable[[torch.Generator], list[int]]
Encode = Callable[[Sequence[int]], tuple[Tensor, Tensor]]  # latents, and what a network is told of their frames


def load_training_pictures(
    trainee: Trainee, pictures: Sequence[Path], settings: TrainerSettings, seed: int
) -> tuple[Draw, Encode]:
    """Read the pictures of a training.

    Args:
        trainee: its autoencoder encodes.
        pictures: their files.
        settings: framing and augmentation.
        seed: of the training.

    Returns:
        What draws the indices of a batch of one size, each picture as often as any other; and what encodes chosen
        ones: latents, with the six numbers that a trainer of SDXL tells the network of each frame. Latents are computed
        once, unless every step crops or augments anew.
    """
    resolution, codec = trainee.plain.resolution, trainee.codec
    framing = CentreSquare(resolution=resolution) if settings.framing is None else framing_of_table(settings.framing)
    device = trainee.network.device
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
        z = [codec.encode_together(image[None])[0] for image in images]
        told = torch.tensor([frame.size_conditions for frame in frames], device=device)
        return draw, lambda chosen: (torch.stack([z[i] for i in chosen]), told[list(chosen)])
    # not the training's own generator: it draws the same pictures, times and noises with and without augmentation
    generator, defence = torch.Generator().manual_seed(seed + 1), settings.defence

    def augmented(chosen: Sequence[int]) -> tuple[Tensor, Tensor]:
        parts = [_crop(images[i], frames[i], generator) if crops else (images[i], frames[i]) for i in chosen]
        batch = torch.stack([image for image, _ in parts])
        told = torch.tensor([frame.size_conditions for _, frame in parts], device=device)
        return codec.encode_together(batch if defence is None else defend(batch, defence, generator)), told

    return draw, augmented


class _Uncropped:
    """A framing that keeps all of a scaled picture, so that a part can be chosen later."""

    def __init__(self, framing: Framing) -> None:
        self.framing = framing
        self.most_pixels = framing.most_pixels

    def frame(self, width: int, height: int) -> Frame:
        frame = self.framing.frame(width, height)
        return replace(frame, corner=(0, 0), size=frame.scaled)


def _crop(image: Tensor, frame: Frame, generator: torch.Generator) -> tuple[Tensor, Frame]:
    """A part of the frame's size, chosen at random, and its frame."""
    width, height = frame.size
    room = image.shape[-1] - width, image.shape[-2] - height
    left, top = (int(torch.randint(r + 1, (), generator=generator)) for r in room)
    told = frame.told and (*frame.told[:2], top, left, *frame.told[4:])
    return image[:, top : top + height, left : left + width], replace(frame, corner=(left, top), told=told)


def _drawer(sizes: Sequence[tuple[int, int]], batch: int) -> Draw:
    alike = {size: [i for i, other in enumerate(sizes) if other == size] for size in dict.fromkeys(sizes)}

    def draw(generator: torch.Generator) -> list[int]:
        group = next(iter(alike.values()))
        if len(alike) > 1:
            group = alike[sizes[int(torch.randint(len(sizes), (), generator=generator))]]
        return [group[i] for i in torch.randint(len(group), (batch,), generator=generator).tolist()]

    return draw
