"""A large model's picture, put together from single calls: one encoding, one decoding, one forward pass.

On a CPU such a model gains nothing from company in a batch, so that a picture costs its calls.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cgidm.method.config import RunConfig
from cgidm.method.models import Codec, ModelPair
from eval.speed.clock import Plan, Timing, time_call


@dataclass(frozen=True)
class Pieces:
    """The seconds of single calls of one row; a forward pass is that of both models, one after the other."""

    encoding: Timing
    decoding: Timing
    forward: Timing

    def overhead(self, calls: "CodecCalls") -> Timing:
        """What a picture costs besides its recovery: the autoencoder, and both models at every draw."""
        return _sum((calls.encodings, self.encoding), (calls.decodings, self.decoding), (_DRAWS, self.forward))

    def autoencoder(self, calls: "CodecCalls") -> Timing:
        """The autoencoder's part alone."""
        return _sum((calls.encodings, self.encoding), (calls.decodings, self.decoding))


_DRAWS = RunConfig().loss_draws


def time_pieces(pair: ModelPair, latent: tuple[int, int, int], plan: Plan) -> Pieces:
    """Time each of them."""
    x = torch.randn(1, *latent, generator=torch.Generator().manual_seed(0))
    image = torch.rand(1, 3, pair.resolution, pair.resolution, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([len(pair.schedule) // 2])
    calls: tuple[Callable[[], object], ...] = (
        lambda: pair.codec.encode(image),
        lambda: pair.codec.decode(x),
        lambda: [m.predict_eps(x, t) for m in (pair.base, pair.suspect)],
    )
    with torch.no_grad():
        return Pieces(*(time_call(call, pair.device, plan) for call in calls))


@dataclass
class CodecCalls(Codec):
    """An autoencoder that computes nothing and counts the pictures that it is given."""

    latent: tuple[int, int, int]
    resolution: int
    encodings: int = 0
    decodings: int = 0

    def encode(self, images: Tensor) -> Tensor:
        """Latents without content."""
        self.encodings += len(images)
        return torch.zeros(len(images), *self.latent)

    def decode(self, z: Tensor) -> Tensor:
        """Pictures without content."""
        self.decodings += len(z)
        return torch.zeros(len(z), 3, self.resolution, self.resolution)


def count_codec_calls(
    pair: ModelPair, latent: tuple[int, int, int], work: Callable[[ModelPair, Tensor], object]
) -> CodecCalls:
    """How often `work` on a pair and one picture encodes and decodes."""
    calls = CodecCalls(latent, pair.resolution)
    work(replace(pair, codec=calls), torch.zeros(1, 3, pair.resolution, pair.resolution))
    return calls


def _sum(*parts: tuple[int, Timing]) -> Timing:
    low, median, high = (sum(n * getattr(each, k) for n, each in parts) for k in ("low", "median", "high"))
    return Timing(median, low, high, min(each.repeats for _, each in parts))
