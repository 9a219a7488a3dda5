"""What a file's writer noted about its training: a hint for base and prompt, since anyone can edit it."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from ..messages.text import single_line
from .note_values import is_absent, read_list, read_number, read_switch, read_table
from .training_amount import read_amount

FIELDS = {  # note -> the keys that hold it, the first one present counts
    "title": ("modelspec.title", "ss_output_name"),
    "author": ("modelspec.author",),
    "licence": ("modelspec.license",),
    "date": ("modelspec.date",),
    "base model": ("ss_sd_model_name", "ss_base_model_version"),
    "architecture": ("modelspec.architecture", "ss_base_model_version"),
    "network": ("ss_network_module",),
    "extracted by": ("extraction_method",),
    "rank": ("ss_network_dim", "lora_rank"),
    "alpha": ("ss_network_alpha", "lora_alpha"),
    "optimiser": ("ss_optimizer",),
    "batch": ("ss_total_batch_size", "ss_batch_size_per_device"),
    "gradient accumulation": ("ss_gradient_accumulation_steps",),
    "pictures with repeats": ("ss_num_train_images", "ss_num_train_items"),
    "pictures of a prior": ("ss_num_reg_images",),
    "epochs": ("ss_epoch",),
    "epochs planned": ("ss_num_epochs",),
    "steps": ("ss_steps", "global_step"),
    "steps planned": ("ss_max_train_steps",),
    "resolution": ("modelspec.resolution", "ss_resolution"),
    "learning rate": ("ss_unet_lr", "ss_learning_rate"),
    "text encoder's learning rate": ("ss_text_encoder_lr",),
    "schedule": ("ss_lr_scheduler",),
    "warm-up steps": ("ss_lr_warmup_steps",),
    "settings of the network": ("ss_network_args",),
    "captions dropped": ("ss_caption_dropout_rate",),
    "captions shuffled": ("ss_shuffle_caption",),
    "words kept in place": ("ss_keep_tokens",),
    "clip skip": ("ss_clip_skip",),
    "noise offset": ("ss_noise_offset",),
    "multi-resolution noise": ("ss_multires_noise_iterations",),
    "its discount": ("ss_multires_noise_discount",),
    "input perturbation": ("ss_ip_noise_gamma",),
    "Min-SNR": ("ss_min_snr_gamma",),
    "debiased loss": ("ss_debiased_estimation",),
    "zero terminal SNR": ("ss_zero_terminal_snr",),
    "law of the time": ("ss_timestep_sampling",),
    "colours changed": ("ss_color_aug",),
    "crops around faces": ("ss_face_crop_aug_range",),
    "base's SHA-256": ("ss_new_sd_model_hash", "ss_sd_model_hash"),
    "VAE's SHA-256": ("ss_new_vae_hash",),
    "weights' SHA-256": ("sshs_model_hash", "modelspec.hash_sha256"),
    "comment": ("ss_training_comment", "modelspec.description"),
}
NOTHING = ("False", "0", "0.0", "{}")  # how a setting that was left alone is noted
ALWAYS = ("rank", "alpha", "batch", "pictures with repeats", "epochs", "steps", "learning rate", "title")
HASH_OF_NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # SHA-256 of no bytes
PLACEHOLDER = {"actfig": 1}  # early ai-toolkit notes this word instead of the trigger (`update_training_metadata`)
USUAL = 0.5  # share of the captions that hold what a picture is probably captioned with
TAGS_SHOWN = 12
EPOCH_OF_TRAINERS = 1_600_000_000  # September 2020: no trainer of today is older


@dataclass(frozen=True)
class TrainingNotes:
    """The notes of a file, made safe to display."""

    fields: Mapping[str, str]
    tags: tuple[tuple[str, int], ...]  # the most frequent ones, with their counts
    prompts: tuple[str, ...]  # what the pictures were probably captioned with, the likeliest first
    mirrored: bool | None = None  # whether the training mirrored pictures at random; None: not noted
    trained_until: date | None = None  # when the training ended, UTC
    trained_from: date | None = None  # when it began, UTC

    @property
    def prompt(self) -> str | None:
        """The likeliest of `prompts`."""
        return self.prompts[0] if self.prompts else None


def read_notes(metadata: Mapping[str, str]) -> TrainingNotes:
    """Read the notes of kohya's scripts (`ss_...`), of the model specification (`modelspec...`), and of other trainers.

    Args:
        metadata: the `__metadata__` of a safetensors header.
    """
    fields = {}
    for note, keys in FIELDS.items():
        value = next((v for k in keys if not is_absent(v := single_line(metadata.get(k, "")))), None)
        if value is not None and (value not in NOTHING or note in ALWAYS):
            fields[note] = value
    fields = _of_trainers(metadata) | fields
    if fields.get("weights' SHA-256", "").lower() == HASH_OF_NOTHING:
        del fields["weights' SHA-256"]  # ai-toolkit's fault
    folders, amount = read_table(metadata.get("ss_tag_frequency")), read_amount(metadata)
    counts: Counter[str] = Counter()
    for tags in folders.values():
        counts.update(
            {single_line(t): n for t, n in read_table(tags).items() if type(n) is int and n > 0 and single_line(t)}
        )
    if counts == PLACEHOLDER and "training_info" in metadata:
        counts.clear()
    return TrainingNotes(
        fields,
        tuple(counts.most_common(TAGS_SHOWN)),
        _prompts([*folders, *(folder.name for folder in amount.folders)], counts, amount.pictures),
        _mirrored(metadata),
        _day(metadata.get("ss_training_finished_at")) or _written_until(metadata),
        _day(metadata.get("ss_training_started_at")),
    )


def _day(seconds: str | None) -> date | None:
    """The day of a Unix time, unless it is too early for a trainer of today."""
    number = read_number(seconds)
    return datetime.fromtimestamp(number, UTC).date() if number is not None and number >= EPOCH_OF_TRAINERS else None


def _written_until(metadata: Mapping[str, str]) -> date | None:
    """The last day, UTC, on which a trainer may have written the file, unless that is too early for one of today.

    `modelspec.date` is when a file was written: a merge or a resize makes it later than the training. Without a zone it
    is a local time, of as much as 12 hours behind UTC. Where no trainer left notes, it may be the base's.
    """
    if not any(key.startswith(("ss_", "ot_")) for key in metadata):
        return None
    try:
        written = datetime.fromisoformat(metadata.get("modelspec.date", "").strip())
        latest = written.astimezone(UTC) if written.tzinfo else written.replace(tzinfo=UTC) + timedelta(hours=12)
    except (ValueError, OverflowError):
        return None
    return latest.date() if latest.timestamp() >= EPOCH_OF_TRAINERS else None


def _of_trainers(metadata: Mapping[str, str]) -> dict[str, str]:
    """Which trainer wrote the file, and what only some note: ai-toolkit's steps and epochs (from 0), names of sets."""
    software, run = read_table(metadata.get("software")), read_table(metadata.get("training_info"))
    config = read_table(metadata.get("ot_config"))
    commits = (("OneTrainer", "ot_revision"), ("kohya's scripts", "ss_sd_scripts_commit_hash"))
    noted = ((name, single_line(metadata.get(key, ""))[:12]) for name, key in commits)
    trainer = next((f"{name}, commit {commit}" for name, commit in noted if not is_absent(commit)), "")
    named = [software[key] for key in ("name", "version") if isinstance(software.get(key), str)]
    found = {
        "trainer": single_line(" ".join(named)) or trainer or ("OneTrainer" if config else ""),
        "steps": single_line(str(run.get("step", ""))),
        "epochs": single_line(str(run.get("epoch", ""))),
        "epochs planned": single_line(str(config.get("epochs", ""))),
        "sets of pictures": single_line(", ".join(_sets(metadata, config))),
    }
    return {note: text for note, text in found.items() if not is_absent(text)}


def _sets(metadata: Mapping[str, str], config: Mapping[str, Any]) -> Iterator[str]:
    """OneTrainer's concepts and musubi's folders by name, whose pictures are not counted; a name may be an artist's."""
    for concept in read_list(config.get("concepts")):
        names = (concept.get(key) for key in ("name", "path"))
        if text := next((re.split(r"[\\/]", name)[-1] for name in names if isinstance(name, str) and name), None):
            repeats = concept.get("balancing") if concept.get("balancing_strategy") == "REPEATS" else None
            yield text + (f" (repeats {repeats:g})" if isinstance(repeats, int | float) else "")
    for dataset in read_list(metadata.get("ss_datasets")):
        for kind in ("image_directory", "image_jsonl_file", "video_directory", "video_jsonl_file"):
            if isinstance(name := dataset.get(kind), str) and name:
                repeats = dataset.get("num_repeats")
                yield name + (f" (repeats {repeats:g})" if isinstance(repeats, int | float) else "")


def _prompts(folders: Iterable[str], counts: Counter[str], pictures: int | None) -> tuple[str, ...]:
    """The probable prompts: the most frequent caption tag, and what kohya's folders `<repeats>_<prompt>` name.

    A tag that few pictures have is none of all: captions may be sentences, each another one. It comes last.
    """
    tag, count = counts.most_common(1)[0] if counts else (None, 0)
    named = [match[1] for folder in folders if (match := re.fullmatch(r"\d+_(.+)", single_line(folder)))]
    usual = tag is not None and (not pictures or count >= USUAL * pictures)
    found = [tag, *named] if usual else [*named, tag]
    return tuple(dict.fromkeys(p for p in found if p))


def _mirrored(metadata: Mapping[str, str]) -> bool | None:
    """Whether any set of pictures was trained with flips.

    kohya's scripts note `ss_flip_aug`, and with several sets `flip_aug` of each in `ss_datasets`:
    https://github.com/kohya-ss/sd-scripts, `train_network.py`. OneTrainer notes its settings in `ot_config` if the user
    wants it to: `concepts[].image.enable_random_flip`, `enable_fixed_flip`.
    """
    said = [read_switch(metadata.get("ss_flip_aug"))]
    for dataset in read_list(metadata.get("ss_datasets")):
        said += [read_switch(part.get("flip_aug")) for part in (dataset, *read_list(dataset.get("subsets")))]
    for concept in read_list(read_table(metadata.get("ot_config")).get("concepts")):
        image = read_table(concept.get("image"))
        said += [read_switch(image.get(key)) for key in ("enable_random_flip", "enable_fixed_flip")]
    stated = [flips for flips in said if flips is not None]
    return any(stated) if stated else None
