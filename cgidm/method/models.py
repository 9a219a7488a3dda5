"""What the method needs of a diffusion model, and nothing more."""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .memory_plan import MOST_ROWS, MemoryPlan
from .schedule import Schedule

Prediction = Literal["eps", "v", "flow"]


@runtime_checkable
class EpsModel(Protocol):
    """A noise predictor whose weights are frozen and whose conditioning is already bound."""

    def predict_eps(self, x_t: Float[Tensor, "b c h w"], t: Int[Tensor, " b"]) -> Float[Tensor, "b c h w"]: ...


@runtime_checkable
class Codec(Protocol):
    """Between pictures in [0, 1] and the space that the network denoises."""

    def encode(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b c h w"]: ...

    def decode(self, z: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 3 H W"]: ...


class IdentityCodec:
    """Pixel models denoise the picture itself, scaled to [-1, 1]."""

    def encode(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b 3 H W"]:
        return 2 * images - 1

    def decode(self, z: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b 3 H W"]:
        return ((z + 1) / 2).clamp(0, 1)


@dataclass(frozen=True, eq=False)
class NetworkEpsModel:
    """A network that predicts eps, v or the flow velocity, seen as an eps-predictor.

    The state of a run stays in float32 (or float64 in tests); `dtype` is what the network computes in, and the cast
    happens here, at the edge. A learnt variance (twice the channels) is dropped.
    """

    network: Callable[[Tensor, Tensor], Tensor]  # (x_t, timestep) -> raw prediction; conditioning bound
    schedule: Schedule
    prediction: Prediction
    dtype: torch.dtype | None = None  # None: whatever x_t comes in

    def predict_eps(self, x_t: Float[Tensor, "b c h w"], t: Int[Tensor, " b"]) -> Float[Tensor, "b c h w"]:
        timesteps = self.schedule.timesteps.to(x_t.device)[t]
        raw = self.network(x_t.to(self.dtype or x_t.dtype), timesteps)[:, : x_t.shape[1]].to(x_t.dtype)
        match self.prediction:
            case "eps":
                return raw
            case "v":
                return self.schedule.eps_from_v(raw, x_t, t)
            case "flow":
                return self.schedule.eps_from_flow(raw, x_t, t)


@dataclass(frozen=True, eq=False)
class Shared:
    """One network seen as base, as suspect, and as both; a pair in which one of them was replaced is not this pair."""

    base: EpsModel
    suspect: EpsModel
    joint: EpsModel


@dataclass(frozen=True, eq=False)
class ModelPair:
    """The public model and the suspect that was fine-tuned from it, in one latent space."""

    base: EpsModel
    suspect: EpsModel
    schedule: Schedule
    _: KW_ONLY
    codec: Codec = field(default_factory=IdentityCodec)
    resolution: int = 512  # pixels: side of the square that the codec is made for
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    fingerprints: dict[str, str] = field(default_factory=dict)  # weight file -> SHA-256
    networks: tuple[torch.nn.Module, ...] = ()  # behind base and suspect: one if their weights are the same
    modules: tuple[torch.nn.Module, ...] = ()  # that compute: an adapter's two share their weights
    memory: MemoryPlan | None = None  # None: held as it came
    shared: Shared | None = None  # where one network can answer as both

    @property
    def is_full_network(self) -> bool:
        """Whether the suspect has its own network, rather than the base's with an adapter or an embedding."""
        return len(self.networks) == 2

    @property
    def joint(self) -> EpsModel | None:
        """Answers the first half of its rows as the base, the second as the suspect. Not those of another pair."""
        if self.shared is None or self.shared.base is not self.base or self.shared.suspect is not self.suspect:
            return None
        return self.shared.joint

    def rows_per_call(self, wanted: int = MOST_ROWS) -> int:
        """The most rows in work at a moment: as wanted, unless memory allows less. No influence on the result."""
        return wanted if self.memory is None else min(wanted, self.memory.rows_per_call)
