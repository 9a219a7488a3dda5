"""The first answer about a picture: the mirror test and the negative control before it, forward passes alone."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from cgidm.judging.negative_controls import BASE_VS_ITSELF_DRAWS, measure_round_trips
from cgidm.method.config import RunConfig, find_preset
from cgidm.method.mirror import encode_both
from cgidm.method.models import ModelPair
from cgidm.method.partial import make_partial
from eval.speed.clock import Plan, Timing, time_call
from eval.speed.pieces import Pieces, count_codec_calls

EVALUATIONS = 4 * RunConfig().mirror_draws + 2 * BASE_VS_ITSELF_DRAWS  # two models, a picture and its mirror image
SMALL = 16**3  # numbers of a latent: on a CPU, larger ones gain nothing from company in a batch


def is_large(device: torch.device, latent: tuple[int, int, int]) -> bool:
    """Whether a model of such latents is timed a row at a time."""
    return device.type == "cpu" and prod(latent) > SMALL


@dataclass(frozen=True)
class FirstAnswer:
    """What it costs.

    Attributes:
        call: both models' calls with `rows` rows each.
        rows: of a call.
        autoencoder: its part: both orientations, whether the picture was generated, the start of the recovery.
    """

    call: Timing
    rows: int
    autoencoder: Timing

    @property
    def seconds_per_evaluation(self) -> float:
        """Of one forward pass of one model on one row."""
        return self.call.median / (2 * self.rows)


def time_first_answer(pair: ModelPair, latent: tuple[int, int, int], plan: Plan) -> FirstAnswer:
    """Time one call of each model, and what the autoencoder does."""
    device = pair.device
    rows = pair.rows_per_call()
    image = torch.rand(1, 3, pair.resolution, pair.resolution, generator=torch.Generator().manual_seed(0)).to(device)
    x = torch.randn(rows, *latent, generator=torch.Generator().manual_seed(0)).to(device)
    t = torch.linspace(1, len(pair.schedule) - 1, rows).long().to(device)
    return FirstAnswer(
        time_call(_without_gradient(lambda: [m.predict_eps(x, t) for m in (pair.base, pair.suspect)]), device, plan),
        rows,
        time_call(_without_gradient(lambda: look_and_prepare(pair, image)), device, plan),
    )


def put_together(pair: ModelPair, latent: tuple[int, int, int], pieces: Pieces) -> FirstAnswer:
    """What it costs by the pieces of a large model."""
    return FirstAnswer(pieces.forward, 1, pieces.autoencoder(count_codec_calls(pair, latent, look_and_prepare)))


def look_and_prepare(pair: ModelPair, image: Tensor) -> None:
    """The autoencoder's part: both orientations, whether the picture was generated, the start of the recovery."""
    config = find_preset("fast")
    encode_both(pair.codec, image)
    measure_round_trips(pair, image)
    z = pair.codec.encode(image)  # a run also prepares its recovery before it answers
    pair.codec.decode(make_partial(config.partial, pair.codec, image, z, config.start).start)


def _without_gradient(call: Callable[[], object]) -> Callable[[], object]:
    def run() -> object:
        with torch.no_grad():
            return call()

    return run
