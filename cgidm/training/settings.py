"""How a model is fine-tuned: what a recipe states and a training follows. A setting left alone is a plain training."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from ..errors import UserError
from .defences import Defence

Mode = Literal["dreambooth-prior", "dreambooth", "lora", "textual-inversion"]
AdapterKind = Literal["lora", "dora", "loha", "lokr"]
Layers = Literal["all", "everything", "transformer", "attention"]
OptimizerName = Literal["adamw", "adamw8bit", "lion", "prodigy"]
ScheduleName = Literal["constant", "linear", "cosine", "cosine_with_restarts"]
TimeLaw = Literal["uniform", "sigmoid", "u-shaped", "shift"]
BOUNDS: Mapping[str, tuple[float, float]] = {
    **{"batch": (1, 4096), "learning_rate": (0, 100), "text_learning_rate": (0, 100), "prior_pictures": (1, 10_000)},
    **{"rank": (1, 4096), "alpha": (1e-6, 65_536), "rank_decay": (0, 100), "warmup": (0, 1), "restarts": (1, 1000)},
    **{"vectors": (1, 77)},
    **{"caption_dropout": (0, 1), "noise_offset": (0, 1), "min_snr": (1e-6, 1e6), "steps_per_picture": (1, 100_000)},
}
# what every digest of a model holds; later settings enter it only if they are not left alone
FIRST = ("mode", "batch", "learning_rate", "prior_weight", "prior_pictures", "rank", "defence")


@dataclass(frozen=True, kw_only=True)
class TrainerSettings:
    """Settings of a training, whatever pictures and prompt it is given.

    Attributes:
        mode: DreamBooth with or without prior loss, an adapter, or a word's embedding.
        batch: pictures of an optimiser step.
        learning_rate: the rate after the warm-up. Prodigy multiplies its own estimate by it: 1 is usual.
        prior_weight: weight of DreamBooth's prior loss.
        prior_pictures: pictures of the class prompt that the base makes for it.
        rank: of the adapter.
        defence: an augmentation of every training picture (Sec. 4.5); "flip" is what trainers call flips.
        framing: of the pictures, as `framing.table` writes it; None: centre squares. A rule that crops at random does
            so at every step.
        adapter: the kind of adapter: plain, weight-decomposed (DoRA), Hadamard (LoHa) or Kronecker product (LoKr).
        alpha: the adapter's change is multiplied by alpha / rank; None: alpha is the rank.
        layers: which the adapter changes: "all" are attention and convolutions, "everything" feed-forward layers as
            well (LoCon); "transformer" are the transformer blocks alone, as kohya's plain LoRA has them; "attention"
            are its projections alone, as in diffusers' scripts.
        text_encoder: whether an adapter changes the text encoder as well. DreamBooth always trains it.
        text_learning_rate: that of an adapter's text encoder; None: `learning_rate`. Prodigy has one for all.
        rank_decay: T-LoRA's exponent (arXiv 2507.05964): the rank falls from `rank` at the least noise to half of it
            at the most; None: it does not.
        optimizer: which moves the weights.
        schedule: of the learning rate, as diffusers names it.
        warmup: share of the steps in which the rate rises from 0.
        restarts: cycles of "cosine_with_restarts".
        caption_dropout: share of the presentations with an empty caption.
        noise_offset: standard deviation of what is added to all cells of a channel alike.
        min_snr: bound of the signal-to-noise ratio in the weight of the loss (arXiv 2303.09556); None: no weight.
        times: law of the time t: uniform; the sigmoid of a normal variable; high at both ends; or that sigmoid shifted
            towards noise, as trainers of FLUX.1 have it.
        word: that a textual inversion teaches; the prompt holds it, or is blank.
        vectors: of that word.
        initial_word: whose vectors they start as.
    """

    mode: Mode = "dreambooth"
    batch: int = 1
    learning_rate: float = 2e-6
    prior_weight: float = 1.0
    prior_pictures: int = 20
    rank: int = 16
    defence: Defence | None = None
    framing: Mapping[str, Any] | None = None
    adapter: AdapterKind = "lora"
    alpha: float | None = None
    layers: Layers = "all"
    text_encoder: bool = False
    text_learning_rate: float | None = None
    rank_decay: float | None = None
    optimizer: OptimizerName = "adamw"
    schedule: ScheduleName = "constant"
    warmup: float = 0.0
    restarts: int = 1
    caption_dropout: float = 0.0
    noise_offset: float = 0.0
    min_snr: float | None = None
    times: TimeLaw = "uniform"
    word: str | None = None
    vectors: int = 1
    initial_word: str = "art"

    def check(self) -> None:
        """Refuse settings that no training can follow.

        Raises:
            UserError: if a number is out of its bounds.
        """
        for name in BOUNDS:
            value = getattr(self, name, None)
            if value is not None and not is_in_bounds(name, value):
                least, most = BOUNDS[name]
                raise UserError("training.out_of_bounds", setting=name, given=value, least=least, most=most)
        if self.mode != "lora" and (self.adapter != "lora" or self.alpha is not None or self.rank_decay is not None):
            raise UserError("training.only_of_adapters", settings=["adapter", "alpha", "rank_decay"], mode=self.mode)
        teaches = self.mode == "textual-inversion"
        if teaches != (self.word is not None) or (not teaches and self.initial_word != TrainerSettings.initial_word):
            raise UserError("training.word_of_embeddings", mode=self.mode, word=self.word or "")
        if self.rank_decay is not None and self.adapter != "lora":
            raise UserError("training.rank_decay_of_lora", adapter=self.adapter)


def is_in_bounds(name: str, value: float) -> bool:
    """Whether a training can follow a number; whether it is wise is another question."""
    least, most = BOUNDS[name]
    return least <= value <= most


def settings_to_table(settings: TrainerSettings) -> dict[str, Any]:
    """The settings as a plain table, without those that leave a training plain.

    Models that were trained before a setting existed keep their digest.
    """
    later = {f.name: f.default for f in fields(TrainerSettings) if f.name not in FIRST}
    later |= dict.fromkeys(("captions", "tags"), ())
    return {name: value for name, value in asdict(settings).items() if name not in later or value != later[name]}
