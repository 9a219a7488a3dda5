"""How a suspect's trainer framed the pictures, and which buckets held any, by what its file notes.

kohya's scripts note sizes of buckets, never their step; with a configuration file they leave out `bucket_no_upscale`
too (https://github.com/kohya-ss/sd-scripts, `train_network.py`). Both are inferred from the buckets that hold pictures,
and named in `assumed`. musubi-tuner notes no buckets (https://github.com/kohya-ss/musubi-tuner,
`src/musubi_tuner/dataset/image_video_dataset.py`, `get_metadata`). OneTrainer notes its settings in `ot_config`, if the
user wants it to. ai-toolkit (`jobs/process/BaseSDTrainProcess.py`, `update_training_metadata`), SimpleTuner and the
scripts of diffusers note nothing of it: then the framings are not known, and are never guessed.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from ..errors import UserError
from ..framing.frame import Framing, Resample
from ..framing.kohya import Kohya
from ..framing.musubi import Musubi
from ..framing.one_trainer import OneTrainer
from ..framing.settings import LARGEST_SIDE
from .note_values import LARGEST, is_absent, read_list, read_number, read_switch, read_table

Size = tuple[int, int]
Trainer = Literal["kohya", "musubi", "one_trainer", "ai_toolkit"]

STEPS = (64, 32, 16, 8)  # plausible ones of kohya's buckets, the default first
MOST_SETS = 64  # of pictures; a file with more is not read
MOST_BUCKETS = 4_096
INTERPOLATIONS: Mapping[str, Resample] = {  # kohya's names for the filters that a frame can name
    "lanczos": "lanczos",
    "lanczos4": "lanczos",
    "bilinear": "bilinear",
    "linear": "bilinear",
    "bicubic": "bicubic",
    "cubic": "bicubic",
    "area": "area",
    "box": "box",
}
STEPS_OF_MODELS = {  # OneTrainer's, by how the type of the model begins
    **{"STABLE_DIFFUSION_1": 8, "STABLE_DIFFUSION_2": 8, "STABLE_DIFFUSION_XL": 64, "FLUX_DEV": 64, "FLUX_FILL": 64},
    **{"PIXART": 16, "SANA": 32, "WUERSTCHEN": 128, "STABLE_CASCADE": 128, "KREA": 64},
}


@dataclass(frozen=True, kw_only=True)
class FramingNotes:
    """What is known; None: not known.

    Attributes:
        trainer: whose notes these are, where they tell.
        framings: one for each set of pictures and resolution that differs, as the rules of `cgidm.framing`.
        assumed: settings of these that the file does not note: inferred from its buckets, or the trainer's default.
        bucket_counts: pictures by width and height of their bucket, each as often as an epoch shows it, with pictures
            of DreamBooth's prior. A bucket that is not here held none.
    """

    trainer: Trainer | None = None
    framings: tuple[Framing, ...] | None = None
    assumed: tuple[str, ...] = ()
    bucket_counts: Mapping[Size, int] | None = None

    def excludes(self, width: int, height: int) -> bool | None:
        """Whether a picture of this size was not trained on, if the notes are true: its bucket held none.

        This holds for the file itself. Another copy of the picture may have had another size, and another bucket. The
        picture is tried upright and lying, since kohya's scripts ignore the rotation that a file states, and with every
        step that the buckets allow, since none is noted. Without upscaling a bucket says nothing of a picture's shape.
        """
        counts = self.bucket_counts
        if self.framings is None or counts is None or any(getattr(f, "no_upscale", False) for f in self.framings):
            return None
        tried = {f for framing in self.framings for f in _with_other_steps(framing, counts)}
        sizes = {s for pair in ((width, height), (height, width)) for s in _sizes(tried, *pair)}
        return not any(counts.get(size) for size in sizes)


def read_framing(metadata: Mapping[str, str]) -> FramingNotes:
    """Read what a file notes of the framing of its pictures.

    Args:
        metadata: the `__metadata__` of a safetensors header.
    """
    if any(key.startswith("ot_") for key in metadata):
        return _one_trainer(read_table(metadata.get("ot_config")))
    if read_table(metadata.get("software")).get("name") == "ai-toolkit" or "training_info" in metadata:
        return FramingNotes(trainer="ai_toolkit")
    sets = read_list(metadata.get("ss_datasets"))
    if "ss_num_train_items" in metadata or any("bucket_no_upscale" in each for each in sets):
        return _musubi(sets)
    if sets or "ss_enable_bucket" in metadata:
        return _kohya(sets or [_only_set(metadata)])
    return FramingNotes(trainer="kohya") if "ss_sd_scripts_commit_hash" in metadata else FramingNotes()


def _with_other_steps(framing: Framing, held: Mapping[Size, int]) -> Iterator[Framing]:
    """The framing, and it with every other step that its buckets allow."""
    yield framing
    if not isinstance(framing, Kohya) or not framing.buckets:
        return
    for step in STEPS:
        try:
            other = replace(framing, step=step)
        except UserError:
            continue
        if _holds(other, held):
            yield other


def _sizes(framings: Iterable[Framing], width: int, height: int) -> Iterator[Size]:
    """The sizes that these framings give a picture, without those that could not use it."""
    for framing in framings:
        try:
            yield framing.frame(width, height).size
        except UserError:
            continue


def _only_set(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The notes of a training without a configuration file, in the form of those with one."""
    numbers = {key: read_number(metadata.get(f"ss_{key}")) for key in ("min_bucket_reso", "max_bucket_reso")}
    truths = {"enable_bucket": "enable_bucket", "no_upscale": "bucket_no_upscale", "random_crop": "random_crop"}
    sides = re.findall(r"\d{1,6}", metadata.get("ss_resolution", "")[:40])
    return {
        **{key: int(number) if number is not None else None for key, number in numbers.items()},
        **{key: read_switch(metadata.get(f"ss_{note}")) for key, note in truths.items()},
        "resolution": [int(side) for side in (sides * 2 if len(sides) == 1 else sides)],
        "resize_interpolation": metadata.get("ss_resize_interpolation"),
        "face_crop": not is_absent(metadata.get("ss_face_crop_aug_range", "")),
        "bucket_info": read_table(metadata.get("ss_bucket_info")),
    }


def _kohya(sets: list[dict[str, Any]]) -> FramingNotes:
    nothing = FramingNotes(trainer="kohya")
    used = [each for each in sets if not _is_prior(each)]
    if not used or len(used) > MOST_SETS:
        return nothing
    tables = [_bucket_counts(each.get("bucket_info")) for each in used]
    counts: Counter[Size] = Counter()
    for table in tables:
        counts.update(table or {})
    known = dict(counts) if all(tables) else None
    framings: list[Framing] = []
    assumed: set[str] = set()
    for each, table in zip(used, tables, strict=True):
        found = _kohya_framing(each, table)
        if found is None:
            return replace(nothing, bucket_counts=known)
        framings.append(found[0])
        assumed |= found[1]
    return replace(nothing, framings=_distinct(framings), assumed=tuple(sorted(assumed)), bucket_counts=known)


def _kohya_framing(notes: Mapping[str, Any], held: Mapping[Size, int] | None) -> tuple[Kohya, set[str]] | None:
    """The framing of a set of pictures, and the names of its settings that are not noted."""
    buckets, resolution = notes.get("enable_bucket"), _size(notes.get("resolution"))
    if not isinstance(buckets, bool) or resolution is None or (notes.get("face_crop") and not buckets):
        return None
    subsets = [each for each in read_list(notes.get("subsets")) if not each.get("is_reg")]
    crops = [each["random_crop"] for each in (notes, *subsets) if isinstance(each.get("random_crop"), bool)]
    names = [each.get("resize_interpolation") for each in (notes, *subsets)]
    filters: list[Resample] = [INTERPOLATIONS[n] for n in names if isinstance(n, str) and n in INTERPOLATIONS]
    interpolation: Resample | None = filters[0] if filters else None
    assumed = set() if crops else {"random_crop"}
    try:
        plain = Kohya(resolution=resolution, buckets=False, random_crop=any(crops), interpolation=interpolation)
    except UserError:
        return None
    if not buckets:
        return plain, assumed
    least, most = notes.get("min_bucket_reso"), notes.get("max_bucket_reso")
    if type(least) is not int or type(most) is not int:
        return None
    stated = notes.get("no_upscale")
    for no_upscale in (False, True) if stated is None else (bool(stated),):
        for step in STEPS:
            try:
                framing = replace(
                    plain, buckets=True, least_side=least, most_side=most, step=step, no_upscale=no_upscale
                )
            except UserError:
                continue
            if _holds(framing, held or ()):
                return framing, assumed | {"step"} | ({"no_upscale"} if stated is None else set())
    return None


def _holds(framing: Kohya, sizes: Iterable[Size]) -> bool:
    """Whether all these sizes can be buckets of `framing`."""
    possible = framing.sizes
    if possible is not None:
        return set(sizes) <= set(possible)
    most, step = framing.most_pixels, framing.step
    return all(width * height <= most and width % step == 0 and height % step == 0 for width, height in sizes)


def _is_prior(notes: Mapping[str, Any]) -> bool:
    """Whether a set holds pictures of DreamBooth's prior alone."""
    subsets = read_list(notes.get("subsets"))
    return bool(subsets) and all(each.get("is_reg") for each in subsets)


def _bucket_counts(info: Any) -> dict[Size, int] | None:
    """Pictures by bucket; None if there are none, or if any part cannot be read."""
    entries = read_table(read_table(info).get("buckets"))
    if not entries or len(entries) > MOST_BUCKETS:
        return None
    counts: Counter[Size] = Counter()
    for entry in entries.values():
        size, count = _size(read_table(entry).get("resolution")), read_table(entry).get("count")
        if size is None or type(count) is not int or not 0 <= count <= LARGEST:
            return None
        counts[size] += count
    return dict(counts)


def _musubi(sets: list[dict[str, Any]]) -> FramingNotes:
    nothing = FramingNotes(trainer="musubi")
    framings: list[Framing] = []
    for each in sets[: MOST_SETS + 1]:
        resolution, buckets = _size(each.get("resolution")), each.get("enable_bucket")
        no_upscale = each.get("bucket_no_upscale")
        if resolution is None or not isinstance(buckets, bool) or not isinstance(no_upscale, bool):
            return nothing
        try:
            framings.append(Musubi(resolution=resolution, buckets=buckets, no_upscale=no_upscale))
        except UserError:
            return nothing
    if not framings or len(framings) > MOST_SETS:
        return nothing
    return replace(nothing, framings=_distinct(framings), assumed=("step",))


def _one_trainer(config: Mapping[str, Any]) -> FramingNotes:
    nothing = FramingNotes(trainer="one_trainer")
    buckets = config.get("aspect_ratio_bucketing", True)
    concepts = [each for each in read_list(config.get("concepts")) if each.get("enabled", True) is True]
    if "resolution" not in config or not isinstance(buckets, bool) or len(concepts) > MOST_SETS:
        return nothing
    kind = config.get("model_type")
    steps = [step for name, step in STEPS_OF_MODELS.items() if isinstance(kind, str) and kind.startswith(name)]
    assumed = {"buckets"} if "aspect_ratio_bucketing" not in config else set[str]()
    assumed |= set() if steps else {"step"}
    framings: list[Framing] = []
    for image in [read_table(each.get("image")) for each in concepts] or [{}]:
        overridden = image.get("enable_resolution_override") is True
        jitter = image.get("enable_crop_jitter")
        assumed |= set() if isinstance(jitter, bool) else {"random_crop"}
        targets = _targets(image.get("resolution_override") if overridden else config["resolution"])
        if not targets or (not buckets and any(isinstance(target, tuple) for target in targets)):
            return nothing
        plain = OneTrainer(buckets=buckets, step=(steps or [64])[0], random_crop=jitter is not False)
        try:
            for target in targets:
                exact = isinstance(target, tuple)
                framings.append(replace(plain, exact_size=target) if exact else replace(plain, resolution=target))
        except UserError:
            return nothing
    return replace(nothing, framings=_distinct(framings), assumed=tuple(sorted(assumed)))


def _targets(resolution: Any) -> list[int | Size]:
    """The resolutions of a text like "512", "512, 768", or "832x1216"; none if it is no such text."""
    text = str(resolution) if type(resolution) is int and 0 < resolution <= LARGEST_SIDE else resolution
    if not isinstance(text, str) or len(text) > 400:
        return []
    if exact := re.fullmatch(r"\s*(\d{1,6})x(\d{1,6})\s*", text):
        return [(int(exact[1]), int(exact[2]))]
    parts = [part.strip() for part in text.split(",")]
    return [int(part) for part in parts] if all(re.fullmatch(r"[0-9]{1,6}", part) for part in parts) else []


def _distinct(framings: Iterable[Framing]) -> tuple[Framing, ...]:
    return tuple(dict.fromkeys(framings))


def _size(value: Any) -> Size | None:
    """A width and a height; None for anything else."""
    if isinstance(value, list) and len(value) == 2 and all(type(n) is int and 0 < n <= LARGEST_SIDE for n in value):
        return value[0], value[1]
    return None
