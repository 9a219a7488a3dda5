"""How a suspect was trained, by what its file notes: optimiser, schedule, noise, captions.

kohya's scripts and musubi-tuner note `ss_...` (https://github.com/kohya-ss/sd-scripts, `train_network.py`;
https://github.com/kohya-ss/musubi-tuner, `hv_train_network.py`). OneTrainer notes its settings in `ot_config` if the
user wants it to (https://github.com/Nerogar/OneTrainer, `modules/util/config/TrainConfig.py`). What is not noted is not
known, and what is noted can be edited by anyone.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..messages.text import single_line
from .note_values import read_number, read_table
from .training_amount import read_amount

# what an optimiser's name holds -> what it is called here; the first that fits
OPTIMIZERS = (
    (r"adamw?_?8bit", "adamw8bit"),
    (r"prodigy", "prodigy"),
    (r"\blion\b|\.lion\.|^lion", "lion"),
    (r"d_?adapt|adafactor|schedule_?free|sophia|came\b|8bit", None),  # none that is trained with here
    (r"adamw", "adamw"),
)
SCHEDULES = {  # kohya's and OneTrainer's names
    **{name: name for name in ("constant", "linear", "cosine", "cosine_with_restarts")},
    **{"constant_with_warmup": "constant", "cosine_with_hard_restarts": "cosine_with_restarts"},
}
TIMES = {"uniform": "uniform", "sigmoid": "sigmoid"}
MOST_TAGS = 60  # that captions are drawn from


@dataclass(frozen=True, kw_only=True)
class NotedTraining:
    """What is noted; None, or no tags: not noted, or of no kind that is known here.

    Attributes:
        optimizer: its name here.
        optimizer_text: its name in the notes.
        text_learning_rate: of the text encoder.
        schedule: of the learning rate.
        warmup: share of the steps.
        alpha: of the adapter.
        caption_dropout: share of the presentations without a caption.
        noise_offset: standard deviation of what is added to a whole channel.
        min_snr: bound of the signal-to-noise ratio in the loss.
        times: law of the time.
        tags: words of the captions, each with the share of the captions that hold it, the most frequent first.
    """

    optimizer: str | None = None
    optimizer_text: str | None = None
    text_learning_rate: float | None = None
    schedule: str | None = None
    warmup: float | None = None
    alpha: float | None = None
    caption_dropout: float | None = None
    noise_offset: float | None = None
    min_snr: float | None = None
    times: str | None = None
    tags: tuple[tuple[str, float], ...] = ()

    @property
    def settings(self) -> dict[str, Any]:
        """What is known, by the names of `training.settings.TrainerSettings` and of the recipe."""
        names = (
            *("optimizer", "text_learning_rate", "schedule", "warmup", "alpha"),
            *("caption_dropout", "noise_offset", "min_snr", "times"),
        )
        found = {name: value for name in names if (value := getattr(self, name)) is not None}
        return found | ({"tags": self.tags} if self.tags else {})


def read_training(metadata: Mapping[str, str]) -> NotedTraining:
    """Read what a file notes of its training.

    Args:
        metadata: the `__metadata__` of a safetensors header.
    """
    config = read_table(metadata.get("ot_config"))
    return _one_trainer(config) if config else _kohya(metadata)


def _kohya(metadata: Mapping[str, str]) -> NotedTraining:
    def number(key: str, most: float) -> float | None:
        found = read_number(metadata.get(f"ss_{key}"))
        return found if found is not None and found <= most else None

    text = single_line(metadata.get("ss_optimizer", ""))
    schedule = single_line(metadata.get("ss_lr_scheduler", "")).lower()
    text_rate = metadata.get("ss_text_encoder_lr", "").strip("[]").partition(",")[0]  # of several encoders, the first
    times = single_line(metadata.get("ss_timestep_sampling", "")).lower()
    return NotedTraining(
        optimizer=_optimizer(text),
        optimizer_text=text or None,
        text_learning_rate=read_number(text_rate) if (read_number(text_rate) or 0) <= 100 else None,
        schedule=SCHEDULES.get(schedule),
        warmup=_share(number("lr_warmup_steps", 1e9), number("max_train_steps", 1e9)),
        alpha=number("network_alpha", 65_536) or None,
        caption_dropout=number("caption_dropout_rate", 1),
        noise_offset=number("noise_offset", 1),
        min_snr=number("min_snr_gamma", 1e6) or None,
        times=TIMES.get(times),
        tags=_tags(metadata),
    )


def _one_trainer(config: Mapping[str, Any]) -> NotedTraining:
    def number(value: Any, most: float) -> float | None:
        return float(value) if type(value) in (int, float) and 0 <= value <= most else None

    def word(value: Any) -> str:
        return single_line(value) if isinstance(value, str) else ""

    text = word(read_table(config.get("optimizer")).get("optimizer"))
    is_min_snr = word(config.get("loss_weight_fn")).upper() == "MIN_SNR_GAMMA"
    return NotedTraining(
        optimizer=_optimizer(text),
        optimizer_text=text or None,
        schedule=SCHEDULES.get(word(config.get("learning_rate_scheduler")).lower()),
        alpha=number(config.get("lora_alpha"), 65_536) or None,
        caption_dropout=number(read_table(config.get("text_encoder")).get("dropout_probability"), 1),
        noise_offset=number(config.get("offset_noise_weight"), 1),
        min_snr=(number(config.get("loss_weight_strength"), 1e6) or None) if is_min_snr else None,
        times=TIMES.get(word(config.get("timestep_distribution")).lower()),
    )


def _optimizer(text: str) -> str | None:
    name = text.partition("(")[0].lower()
    return next((ours for pattern, ours in OPTIMIZERS if re.search(pattern, name)), None)


def _share(part: float | None, whole: float | None) -> float | None:
    """Of warm-up steps in all; a share is noted as such by some."""
    if part is None or (part > 0 and not whole):
        return None
    share = part if part < 1 else part / (whole or 1)
    return share if share <= 1 else None


def _tags(metadata: Mapping[str, str]) -> tuple[tuple[str, float], ...]:
    """The tags of all folders, with their share of the captions."""
    counts: Counter[str] = Counter()
    for tags in read_table(metadata.get("ss_tag_frequency")).values():
        counts.update({single_line(t): n for t, n in read_table(tags).items() if type(n) is int and 0 < n <= 1_000_000})
    counts.pop("", None)
    pictures = read_amount(metadata).pictures
    if not counts or not pictures:  # without the number of pictures no share is known
        return ()
    return tuple((tag, min(1.0, n / pictures)) for tag, n in counts.most_common(MOST_TAGS))
