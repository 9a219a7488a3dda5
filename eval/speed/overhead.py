"""The overhead of a picture: what it costs besides its recovery."""

import torch
from torch import Tensor

from cgidm.method.config import RunConfig
from cgidm.method.models import ModelPair
from cgidm.method.partial import make_partial
from cgidm.method.scores import loss_contrast
from eval.speed.clock import Plan, Timing, time_call

DRAWS = 10  # of `loss_contrast`, timed and multiplied: a picture's 20 draws are two calls of 10


def time_overhead(pair: ModelPair, latent: tuple[int, int, int], plan: Plan) -> Timing:
    """Time the overhead: two encodings, three decodings and one `loss_contrast`."""
    device = pair.device
    images = torch.rand(1, 3, pair.resolution, pair.resolution, generator=torch.Generator().manual_seed(0)).to(device)
    z = torch.randn(1, *latent, generator=torch.Generator().manual_seed(0)).to(device)

    def loss() -> None:
        loss_contrast(pair, z, DRAWS, [torch.Generator().manual_seed(0)])

    codec, score = time_call(lambda: prepare_and_show(pair, images), device, plan), time_call(loss, device, plan)
    times = RunConfig().loss_draws // DRAWS
    low, median, high = (getattr(codec, n) + times * getattr(score, n) for n in ("low", "median", "high"))
    return Timing(median, low, high, score.repeats)


def prepare_and_show(pair: ModelPair, images: Tensor) -> None:
    """The autoencoder's part: pictures made ready for their recovery, and decoded after it."""
    config = RunConfig()
    encoded = pair.codec.encode(images)
    partial = make_partial(config.partial, pair.codec, images, encoded, config.start)
    for decoded in (partial.start, encoded):
        pair.codec.decode(decoded)
