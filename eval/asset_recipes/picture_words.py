"""Captions that say what a picture's pixels say: colours, where they lie, how dark, how full.

Titles and artists' names tell a small model little about a small picture; words that follow from the pixels can be
learnt, so a model trained on them listens to its prompt.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageCms

# sRGB of the colour words; a pixel gets the word that is nearest in CIELAB
COLOURS = {
    "black": (10, 10, 10),
    "white": (245, 245, 245),
    "gray": (128, 128, 128),
    "red": (200, 30, 35),
    "maroon": (95, 25, 30),
    "orange": (240, 140, 30),
    "yellow": (245, 220, 60),
    "beige": (220, 200, 160),
    "brown": (115, 75, 45),
    "olive": (120, 115, 60),
    "green": (50, 140, 60),
    "turquoise": (80, 190, 185),
    "blue": (50, 100, 200),
    "navy": (30, 40, 85),
    "purple": (125, 60, 150),
    "pink": (240, 160, 185),
}
NAMES = tuple(COLOURS)
THUMBNAIL = 32  # pixels of the thumbnail that is described
LEAST_SHARE = 0.07  # of the picture, for a colour to be named
MOST_COLOURS = 4
LEAST_SHARE_OF_PLACE = 0.5  # of a place, for its colour to be named
DARK, BRIGHT = 35, 72  # mean lightness L*, of 100
PLAIN, DETAILED = 3.0, 9.0  # mean step of L* between neighbours of the thumbnail
PART_PROBABILITY = 0.75  # chance that a part of a caption stays, in training


@dataclass(frozen=True)
class Caption:
    """What may be said of one picture: its title or kind, and the parts that its pixels tell."""

    title: str
    parts: tuple[str, ...]

    def full(self) -> str:
        """Everything that is known."""
        return ", ".join((self.title, *self.parts))

    def shortened(self, generator: np.random.Generator) -> str:
        """Some of the parts, at random and in a random order: users' prompts name some things and not others."""
        said = [part for part in (self.title, *self.parts) if generator.random() < PART_PROBABILITY]
        head, tail = said[:1], said[1:]
        generator.shuffle(tail)
        return ", ".join([*head, *tail])


def describe_picture(picture: np.ndarray) -> tuple[str, ...]:
    """Phrases for a picture `h w 3`, uint8: its colours, where they lie, its lightness, its fullness."""
    thumbnail = Image.fromarray(picture).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    lab = _lab(np.asarray(thumbnail))
    distance = ((lab[:, :, None] - _lab(np.array([list(COLOURS.values())], np.uint8))) ** 2).sum(-1)
    nearest = distance.argmin(-1)
    parts = [_main_colours(nearest)]
    third = THUMBNAIL // 3
    places = {
        "top": nearest[:third],
        "middle": nearest[third : THUMBNAIL - third, third : THUMBNAIL - third],
        "bottom": nearest[THUMBNAIL - third :],
    }
    for place, pixels in places.items():
        share = np.bincount(pixels.ravel(), minlength=len(NAMES)) / pixels.size
        if share.max() >= LEAST_SHARE_OF_PLACE:
            parts.append(f"{NAMES[share.argmax()]} {place}")
    lightness = lab[..., 0]
    step = (np.abs(np.diff(lightness, axis=0)).mean() + np.abs(np.diff(lightness, axis=1)).mean()) / 2
    parts += _word_outside(float(lightness.mean()), DARK, BRIGHT, ("dark", "bright"))
    parts += _word_outside(float(step), PLAIN, DETAILED, ("plain", "detailed"))
    return tuple(part for part in parts if part)


def caption_variants(captions: Sequence[Caption], count: int, seed: int = 0) -> list[list[str]]:
    """For each picture its full caption and `count - 1` shortened ones."""
    generator = np.random.default_rng(seed)
    return [[c.full(), *(c.shortened(generator) for _ in range(count - 1))] for c in captions]


def _main_colours(nearest: np.ndarray) -> str:
    share = np.bincount(nearest.ravel(), minlength=len(NAMES)) / nearest.size
    order = [i for i in np.argsort(-share, kind="stable")[:MOST_COLOURS] if share[i] >= LEAST_SHARE]
    return " ".join(NAMES[i] for i in order)


def _word_outside(value: float, low: float, high: float, words: tuple[str, str]) -> list[str]:
    if value < low:
        return [words[0]]
    return [words[1]] if value > high else []


def _lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB of sRGB pixels `h w 3`: L* in 0 to 100, a* and b* in -128 to 127."""
    coded = np.asarray(ImageCms.applyTransform(Image.fromarray(rgb), _TO_LAB)).astype(float)
    ab = np.where(coded[..., 1:] > 127, coded[..., 1:] - 256, coded[..., 1:])  # Pillow keeps them as signed bytes
    return np.concatenate([coded[..., :1] * 100 / 255, ab], -1)


_TO_LAB = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
