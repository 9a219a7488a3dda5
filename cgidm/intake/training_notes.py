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
from math import sqrt
from typing import Any

from ..messages.text import single_line
from .adapters import Adapter
from .note_values import is_absent, read_count, read_number, read_switch, read_table
from .training_amount import read_amount

# what an optimiser's name holds -> what it is called here; the first that fits
OPTIMIZERS = (
    (r"d_?adapt|adafactor|schedule_?free|stable|sophia|came\b", None),  # none that is trained with here
    (r"adamw?_?8bit", "adamw8bit"),
    (r"prodigy", "prodigy"),
    (r"\blion\b|\.lion\.|^lion", "lion"),
    (r"8_?bit", None),
    (r"adamw", "adamw"),
)
SCHEDULES = {  # kohya's and OneTrainer's names
    **{name: name for name in ("constant", "linear", "cosine", "cosine_with_restarts")},
    **{"constant_with_warmup": "constant", "cosine_with_hard_restarts": "cosine_with_restarts"},
}
TIMES = {"uniform": "uniform", "sigmoid": "sigmoid", "flux_shift": "shift"}
SHIFTS = 3.0, 3.3  # of "shift", next to that of FLUX.1 at 1024 pixels: 3.1582
ONE_TRAINER_TIMES = {"UNIFORM": "uniform", "SIGMOID": "uniform", "LOGIT_NORMAL": "sigmoid"}
PEFT_NETWORKS = ("unet.", "transformer.", "")  # how keys of a network begin
FINISHED = 0.95  # of the planned steps
LARGEST_ALPHA = 65_536
MOST_TAGS = 60  # that captions are drawn from


@dataclass(frozen=True, kw_only=True)
class NotedTraining:
    """What is noted; None, or no tags: not noted, or of no kind that is known here.

    Attributes:
        optimizer: its name here.
        optimizer_text: its name in the notes.
        learning_rate: of the network; where kohya notes it, `notes.read_notes` reads it.
        text_learning_rate: of the text encoder.
        batch: of OneTrainer, with accumulation; kohya's is read with the amount.
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
    learning_rate: float | None = None
    text_learning_rate: float | None = None
    batch: int | None = None
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
            *("optimizer", "learning_rate", "text_learning_rate", "batch", "schedule", "warmup", "alpha"),
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


def replaced_rank(adapter: Adapter, metadata: Mapping[str, str]) -> int | None:
    """The noted rank, if no module has it: the file was resized or merged, or the notes are another file's.

    Tools that resize a file often leave its notes as they were. The rank of a Kronecker product is none of one factor.
    kohya's `block_dims`, `img_attn_dim` and the like give parts of a network ranks of their own.
    """
    noted = read_count(metadata.get("ss_network_dim"))
    of_parts = any("dim" in key for key in read_table(metadata.get("ss_network_args")).keys() - {"conv_dim"})
    comparable = adapter.ranks and adapter.method in ("LoRA", "LoCon", "DoRA") and not of_parts
    return noted if comparable and noted not in adapter.ranks else None


def _kohya(metadata: Mapping[str, str]) -> NotedTraining:
    def number(key: str, most: float) -> float | None:
        found = read_number(metadata.get(f"ss_{key}"))
        return found if found is not None and found <= most else None

    noted = single_line(metadata.get("ss_optimizer", ""))
    text = "" if is_absent(noted) else noted
    planned = number("max_train_steps", 1e9)
    # the file of an early epoch has seen the schedule's beginning alone
    shares = [(number("steps", 1e9), planned), (number("epoch", 1e9), number("num_epochs", 1e9))]
    is_finished = all(done is None or of is None or done >= FINISHED * of for done, of in shares)
    schedule = single_line(metadata.get("ss_lr_scheduler", "")).lower()
    text_rate = metadata.get("ss_text_encoder_lr", "").strip("[]").partition(",")[0]  # of several encoders, the first
    times = single_line(metadata.get("ss_timestep_sampling", "")).lower()
    if times == "shift" and SHIFTS[0] <= (number("discrete_flow_shift", 100) or 0) <= SHIFTS[1]:
        times = "flux_shift"
    return NotedTraining(
        optimizer=_optimizer(text),
        optimizer_text=text or None,
        text_learning_rate=read_number(text_rate) if (read_number(text_rate) or 0) <= 100 else None,
        schedule=SCHEDULES.get(schedule) if is_finished or schedule.startswith("constant") else None,
        warmup=_share(number("lr_warmup_steps", 1e9), planned) if is_finished else None,
        alpha=number("network_alpha", LARGEST_ALPHA) or _peft_alpha(metadata),
        caption_dropout=number("caption_dropout_rate", 1),
        noise_offset=number("noise_offset", 1),
        min_snr=number("min_snr_gamma", 1e6) or None,
        times=TIMES.get(times),
        tags=_tags(metadata),
    )


def _peft_alpha(metadata: Mapping[str, str]) -> float | None:
    """Alpha of the network in peft's configuration, as diffusers writes it into the header (`save_lora_weights`).

    Rank-stabilised LoRA divides by the root of the rank: the same as a larger alpha that is divided by the rank.
    """
    noted = read_table(metadata.get("lora_adapter_metadata"))
    start = next((start for start in PEFT_NETWORKS if f"{start}lora_alpha" in noted), "")
    alpha, rank = noted.get(f"{start}lora_alpha"), read_count(noted.get(f"{start}r"))
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < alpha <= LARGEST_ALPHA:
        return None
    if not read_switch(noted.get(f"{start}use_rslora")):
        return float(alpha)
    return alpha * sqrt(rank) if rank is not None and alpha * sqrt(rank) <= LARGEST_ALPHA else None


def _one_trainer(config: Mapping[str, Any]) -> NotedTraining:
    def number(value: Any, most: float) -> float | None:
        return float(value) if type(value) in (int, float) and 0 <= value <= most else None

    def word(value: Any) -> str:
        return single_line(value) if isinstance(value, str) else ""

    size, accumulated = (number(config.get(key), 4096) for key in ("batch_size", "gradient_accumulation_steps"))
    text = word(read_table(config.get("optimizer")).get("optimizer"))
    # its SIGMOID is a ramp over t, which is flat at a weight of 0; LOGIT_NORMAL is the sigmoid of a normal variable
    shifted = any(config.get(key) for key in ("noising_weight", "noising_bias", "min_noising_strength"))
    is_min_snr = word(config.get("loss_weight_fn")).upper() == "MIN_SNR_GAMMA"
    return NotedTraining(
        optimizer=_optimizer(text),
        optimizer_text=text or None,
        learning_rate=number(read_table(config.get("unet")).get("learning_rate"), 100)
        or number(config.get("learning_rate"), 100)
        or None,
        text_learning_rate=number(read_table(config.get("text_encoder")).get("learning_rate"), 100),
        batch=int(batch) or None if (batch := (size or 0) * (accumulated or 1)) <= 4096 else None,
        schedule=SCHEDULES.get(word(config.get("learning_rate_scheduler")).lower()),
        alpha=number(config.get("lora_alpha"), LARGEST_ALPHA) or None,
        caption_dropout=number(read_table(config.get("text_encoder")).get("dropout_probability"), 1),
        noise_offset=number(config.get("offset_noise_weight"), 1),
        min_snr=(number(config.get("loss_weight_strength"), 1e6) or None) if is_min_snr else None,
        times=None if shifted else ONE_TRAINER_TIMES.get(word(config.get("timestep_distribution")).upper()),
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
    amount = read_amount(metadata)
    used = {folder.name for folder in amount.folders}  # not those of DreamBooth's prior
    for folder, tags in read_table(metadata.get("ss_tag_frequency")).items():
        if single_line(folder) not in used:
            continue
        counts.update({single_line(t): n for t, n in read_table(tags).items() if type(n) is int and 0 < n <= 1_000_000})
    counts.pop("", None)
    pictures = amount.pictures
    if not counts or not pictures:  # without the number of pictures no share is known
        return ()
    return tuple((tag, min(1.0, n / pictures)) for tag, n in counts.most_common(MOST_TAGS))
