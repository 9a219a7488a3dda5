"""A diffusers autoencoder as a `Codec`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

Encoding = Literal["mode", "sample"]


@dataclass(frozen=True, eq=False)
class VaeCodec:
    """Pictures in [0, 1] <-> scaled (and, where the model has one, shifted) latents.

    Pictures pass through one by one. An autoencoder's activations are many times larger than a network's, batches are
    no faster, and each result stays independent of its batch.

    Attributes:
        vae: the autoencoder, a diffusers model.
        encoding: "mode" takes the most likely latent. "sample" draws from the posterior with the global generator,
            unseeded, as the paper's public code does.
        load: called before each use; a `WeightOffloader` brings the autoencoder onto the device here.
    """

    vae: Any
    encoding: Encoding = "mode"
    load: Callable[[], None] | None = None

    @property
    def scaling_factor(self) -> float:
        """The factor between the autoencoder's latents and the network's."""
        return float(self.vae.config.scaling_factor)

    @property
    def shift_factor(self) -> float:
        """The offset between the autoencoder's latents and the network's."""
        return float(getattr(self.vae.config, "shift_factor", None) or 0.0)

    @torch.no_grad()
    def encode(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b c h w"]:
        """Encode pictures in [0, 1]."""
        self._load()
        return torch.cat([self._encode(image) for image in images.split(1)])

    @torch.no_grad()
    def encode_together(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b c h w"]:
        """Encode pictures in [0, 1] in one call, whose last bits may depend on the batch; for trainings."""
        self._load()
        return self._encode(images)

    @torch.no_grad()
    def decode(self, z: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 3 H W"]:
        """Decode latents to pictures in [0, 1]."""
        self._load()
        return torch.cat([self._decode(latent) for latent in z.split(1)])

    def _load(self) -> None:
        if self.load is not None:
            self.load()

    def _encode(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b c h w"]:
        posterior = self.vae.encode(self._input((2 * image - 1).to(self.vae.dtype))).latent_dist
        z = posterior.mode() if self.encoding == "mode" else posterior.sample()
        return self._scaled(z.to(image.dtype))

    def _decode(self, z: Float[Tensor, "1 c h w"]) -> Float[Tensor, "1 3 H W"]:
        image = self._output(self.vae.decode(self._unscaled(z).to(self.vae.dtype)).sample)
        return ((image.to(z.dtype) + 1) / 2).clamp(0, 1)

    def _input(self, image: Tensor) -> Tensor:
        return image

    def _output(self, image: Tensor) -> Tensor:
        return image

    def _scaled(self, z: Tensor) -> Tensor:
        return (z - self.shift_factor) * self.scaling_factor

    def _unscaled(self, z: Tensor) -> Tensor:
        return z / self.scaling_factor + self.shift_factor


class FrameCodec(VaeCodec):
    """The autoencoder of a video model (Wan's, in Qwen-Image and Krea 2): a picture is a film of one frame.

    Each channel of its latents has a mean and a standard deviation of its own, in its configuration.
    """

    def _input(self, image: Tensor) -> Tensor:
        return image.unsqueeze(2)

    def _output(self, image: Tensor) -> Tensor:
        return image.squeeze(2)

    def _scaled(self, z: Tensor) -> Tensor:
        mean, deviation = self._moments(z)
        return ((z - mean) / deviation).squeeze(2)

    def _unscaled(self, z: Tensor) -> Tensor:
        mean, deviation = self._moments(z)
        return z.unsqueeze(2) * deviation + mean

    def _moments(self, z: Tensor) -> list[Tensor]:
        config = self.vae.config
        return [z.new_tensor(x).reshape(1, -1, 1, 1, 1) for x in (config.latents_mean, config.latents_std)]


class PatchCodec(VaeCodec):
    """The autoencoder of FLUX.2: the channels of squares of 2 x 2 cells are normalised, by what it saw in training.

    The cells are put back in their places afterwards.
    """

    def _scaled(self, z: Tensor) -> Tensor:
        mean, deviation = self._moments(z)
        return pixel_shuffle((pixel_unshuffle(z, 2) - mean) / deviation, 2)

    def _unscaled(self, z: Tensor) -> Tensor:
        mean, deviation = self._moments(z)
        return pixel_shuffle(pixel_unshuffle(z, 2) * deviation + mean, 2)

    def _moments(self, z: Tensor) -> list[Tensor]:
        norm = self.vae.bn
        variance = norm.running_var.to(z.dtype) + self.vae.config.batch_norm_eps
        return [x.to(z).reshape(1, -1, 1, 1) for x in (norm.running_mean, variance.sqrt())]
