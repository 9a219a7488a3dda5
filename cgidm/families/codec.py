"""A diffusers autoencoder seen as a `Codec`."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor


class VaeCodec:
    """Pictures in [0, 1] <-> scaled (and, where the model has one, shifted) latents.

    "mode" takes the most likely latent; "sample" draws from the posterior with the global generator, unseeded, as the
    paper's public code does. Pictures go through one by one: an autoencoder's activations are many times larger than a
    network's, it is no slower so, and what becomes of a picture does not depend on its batch.
    """

    def __init__(self, vae: Any, encoding: Literal["mode", "sample"] = "mode"):
        self.vae, self.encoding = vae, encoding
        self.scale = float(vae.config.scaling_factor)
        self.shift = float(getattr(vae.config, "shift_factor", None) or 0.0)
        self.before: Callable[[], None] | None = None  # called before it computes: to have it on the device

    @torch.no_grad()
    def encode(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b c h w"]:
        self._come()
        return torch.cat([self._encode(image) for image in images.split(1)])

    @torch.no_grad()
    def decode(self, z: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 3 H W"]:
        self._come()
        return torch.cat([self._decode(latent) for latent in z.split(1)])

    def _come(self) -> None:
        if self.before is not None:
            self.before()

    def _encode(self, image: Float[Tensor, "1 3 H W"]) -> Float[Tensor, "1 c h w"]:
        posterior = self.vae.encode((2 * image - 1).to(self.vae.dtype)).latent_dist
        z = posterior.mode() if self.encoding == "mode" else posterior.sample()
        return (z.to(image.dtype) - self.shift) * self.scale

    def _decode(self, z: Float[Tensor, "1 c h w"]) -> Float[Tensor, "1 3 H W"]:
        image = self.vae.decode((z / self.scale + self.shift).to(self.vae.dtype)).sample
        return ((image.to(z.dtype) + 1) / 2).clamp(0, 1)
