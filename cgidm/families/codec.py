"""A diffusers autoencoder seen as a `Codec`."""

from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor


class VaeCodec:
    """Pictures in [0, 1] <-> scaled (and, where the model has one, shifted) latents.

    "mode" takes the most likely latent; "sample" draws from the posterior with the global generator, unseeded, as the
    paper's public code does.
    """

    def __init__(self, vae: Any, encoding: Literal["mode", "sample"] = "mode"):
        self.vae, self.encoding = vae, encoding
        self.scale = float(vae.config.scaling_factor)
        self.shift = float(getattr(vae.config, "shift_factor", None) or 0.0)

    @torch.no_grad()
    def encode(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b c h w"]:
        posterior = self.vae.encode((2 * images - 1).to(self.vae.dtype)).latent_dist
        z = posterior.mode() if self.encoding == "mode" else posterior.sample()
        return (z.to(images.dtype) - self.shift) * self.scale

    @torch.no_grad()
    def decode(self, z: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 3 H W"]:
        image = self.vae.decode((z / self.scale + self.shift).to(self.vae.dtype)).sample
        return ((image.to(z.dtype) + 1) / 2).clamp(0, 1)
