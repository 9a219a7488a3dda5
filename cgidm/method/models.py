"""The interface between the method and a diffusion model: noise predictor, codec, pair."""

import hashlib
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..framing.frame import CentreSquare, Frame, Framing
from ..messages import Note
from .memory_plan import MOST_ROWS, MemoryPlan
from .schedule import Schedule

Prediction = Literal["eps", "v", "flow"]


@runtime_checkable
class EpsModel(Protocol):
    """A noise predictor with frozen weights and fixed conditioning."""

    def predict_eps(self, x_t: Float[Tensor, "b c h w"], t: Int[Tensor, " b"]) -> Float[Tensor, "b c h w"]:
        """Predict the noise in `x_t` at rows `t` of the schedule."""
        ...


@runtime_checkable
class VelocityModel(EpsModel, Protocol):
    """A network that was trained by flow matching: its own answer is the velocity u = eps - x_0."""

    def predict_velocity(self, x_t: Float[Tensor, "b c h w"], t: Int[Tensor, " b"]) -> Float[Tensor, "b c h w"]:
        """Predict the velocity at `x_t`, at rows `t` of the schedule."""
        ...


@runtime_checkable
class Codec(Protocol):
    """Conversion between pictures in [0, 1] and the space that the network denoises."""

    def encode(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b c h w"]:
        """Encode pictures in [0, 1]."""
        ...

    def decode(self, z: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 3 H W"]:
        """Decode latents to pictures in [0, 1]."""
        ...


class IdentityCodec:
    """The codec of pixel models, which denoise the picture itself, scaled to [-1, 1]."""

    def encode(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b 3 H W"]:
        """Scale pictures from [0, 1] to [-1, 1]."""
        return 2 * images - 1

    def decode(self, z: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b 3 H W"]:
        """Scale from [-1, 1] back to [0, 1]."""
        return ((z + 1) / 2).clamp(0, 1)


@dataclass(frozen=True, eq=False)
class NetworkEpsModel:
    """An `EpsModel` made of a network that predicts eps, v or the flow velocity.

    A run's state stays in float32 (float64 in tests) and is cast to `dtype` here. A learnt variance (twice the
    channels) is dropped.

    Attributes:
        network: `(x_t, timestep) -> raw prediction`, with fixed conditioning.
        schedule: the noise schedule.
        prediction: what the network predicts.
        dtype: the precision that the network computes in; None: that of `x_t`.
    """

    network: Callable[[Tensor, Tensor], Tensor]
    schedule: Schedule
    prediction: Prediction
    dtype: torch.dtype | None = None

    def predict_eps(self, x_t: Float[Tensor, "b c h w"], t: Int[Tensor, " b"]) -> Float[Tensor, "b c h w"]:
        """Predict the noise in `x_t` at rows `t` of the schedule."""
        raw = self._predict(x_t, t)
        match self.prediction:
            case "eps":
                return raw
            case "v":
                return self.schedule.eps_from_v(raw, x_t, t)
            case "flow":
                return self.schedule.eps_from_flow(raw, x_t, t)

    def predict_velocity(self, x_t: Float[Tensor, "b c h w"], t: Int[Tensor, " b"]) -> Float[Tensor, "b c h w"]:
        """Predict the velocity at `x_t`, at rows `t` of the schedule; of networks that predict it alone."""
        assert self.prediction == "flow", "a network of rectified flow"
        return self._predict(x_t, t)

    def _predict(self, x_t: Tensor, t: Tensor) -> Tensor:
        timesteps = self.schedule.timesteps.to(x_t.device)[t]
        return self.network(x_t.to(self.dtype or x_t.dtype), timesteps)[:, : x_t.shape[1]].to(x_t.dtype)


@dataclass(frozen=True, kw_only=True)
class OtherAdapter:
    """An adapter that base and suspect both have.

    Attributes:
        name: where it came from.
        scale: what its change is multiplied by.
        sha256: of its weight files, in their order, with spaces between.
    """

    name: str
    scale: float
    sha256: str


@dataclass(frozen=True, eq=False)
class SharedNetwork:
    """One network as base, as suspect, and as both; it belongs to the pair with exactly these two models."""

    base: EpsModel
    suspect: EpsModel
    joint: EpsModel


@dataclass(frozen=True, eq=False)
class ModelPair:
    """The public model and the suspect that was fine-tuned from it, in one latent space.

    Attributes:
        base: the public model.
        suspect: the model that was fine-tuned from it.
        schedule: the noise schedule of both.
        codec: between pictures and latents.
        resolution: side of the square picture that the codec is made for, in pixels.
        trained_framing: how the suspect's training framed its pictures; None: centre squares of `resolution`.
        framing_is_guessed: whether its notes do not say so. Then it is the likeliest one, and pictures that are not
            square are also looked at as centre squares.
        excludes: whether a picture of this width and height was not trained on, by the suspect's notes of its buckets;
            None: they do not say.
        told_of: makes the pair of pictures that were framed so, where the family was trained with sizes and crops as
            conditions (SDXL); None: what the network is told does not depend on the frame.
        prompts: that both are conditioned on; empty: not known.
        device: where both compute.
        fingerprints: weight file -> SHA-256.
        base_files: the weight files that are the base's.
        networks: the owners of the weights: one if base and suspect share theirs, else two.
        modules: every module that computes, base first, then suspect. An adapter's modules share their weights.
        memory: how the pair is held on its device; None: as it was loaded.
        shared_network: where one network can compute both models in one call.
        mirrored_training: whether pictures were mirrored at random in the suspect's training, by its own notes; None:
            they do not say.
        notes: what was assumed to load the suspect: an alpha that its file does not state.
        quantisation: how the networks' weights are packed ("fp8", "nf4"); None: they are not.
        suspect_scale: what the change of an adapter is multiplied by.
        others: adapters that are on both sides.
        as_loaded: whether the suspect was opened as other programs load it, perhaps in part.
        unused_tensors: how many tensors of adapters are not in use.
    """

    base: EpsModel
    suspect: EpsModel
    schedule: Schedule
    _: KW_ONLY
    codec: Codec = field(default_factory=IdentityCodec)
    resolution: int = 512
    trained_framing: Framing | None = None
    framing_is_guessed: bool = False
    excludes: Callable[[int, int], bool | None] | None = None
    told_of: "Callable[[Frame], ModelPair] | None" = None
    prompts: tuple[str, ...] = ()
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    fingerprints: dict[str, str] = field(default_factory=dict)
    base_files: tuple[str, ...] = ()
    networks: tuple[torch.nn.Module, ...] = ()
    modules: tuple[torch.nn.Module, ...] = ()
    memory: MemoryPlan | None = None
    shared_network: SharedNetwork | None = None
    mirrored_training: bool | None = None
    notes: tuple[Note, ...] = ()
    quantisation: str | None = None
    suspect_scale: float = 1.0
    others: tuple[OtherAdapter, ...] = ()
    as_loaded: bool = False
    unused_tensors: int = 0

    @property
    def framing(self) -> Framing:
        """How pictures are framed for this pair."""
        return self.trained_framing or CentreSquare(resolution=self.resolution)

    @property
    def is_full_network(self) -> bool:
        """Whether the suspect has its own network, rather than the base's with an adapter or an embedding."""
        return len(self.networks) == 2

    @property
    def weights_sha256(self) -> str:
        """A digest of both models' weights, whatever their files are called."""
        return hashlib.sha256(" ".join(sorted(self.fingerprints.values())).encode()).hexdigest()

    @property
    def joint(self) -> EpsModel | None:
        """The model that predicts the first half of its rows as the base and the second half as the suspect.

        None if there is none, or if it belongs to a pair in which another base or suspect stood.
        """
        shared = self.shared_network
        if shared is None or shared.base is not self.base or shared.suspect is not self.suspect:
            return None
        return shared.joint

    def rows_per_call(self, wanted: int = MOST_ROWS) -> int:
        """The largest batch given to a network: `wanted`, unless memory allows less. It does not change results."""
        return wanted if self.memory is None else min(wanted, self.memory.rows_per_call)
