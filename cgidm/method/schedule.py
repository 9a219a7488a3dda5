"""Noise schedules: one table describes DDPM, v-prediction and flow matching.

Every supported family noises a clean sample as

    x_t = alpha_t * x_0 + sigma_t * eps,    eps ~ N(0, I)                                    (Eq. 2 of the paper)

and differs only in the two coefficients and in the timestep that its network gets. A `Schedule` tabulates the three;
`t` is always an integer row of that table.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Schedule:
    """A table of coefficients and timesteps; row 0 has the least noise."""

    alpha: Float[Tensor, " T"]
    sigma: Float[Tensor, " T"]
    timesteps: Float[Tensor, " T"]  # what the network gets as time
    is_flow: bool = False  # rectified flow: losses are of the velocity, see `objective`

    @classmethod
    def ddpm(cls, alphas_cumprod: Float[Tensor, " T"]) -> "Schedule":
        """Make a variance-preserving schedule (Ho et al. 2020): alpha_t^2 = alphas_cumprod_t = 1 - sigma_t^2."""
        rows = torch.arange(len(alphas_cumprod), dtype=torch.float32)
        return cls(alphas_cumprod.sqrt(), (1 - alphas_cumprod).sqrt(), rows)

    @classmethod
    def flow(cls, sigma: Float[Tensor, " T"], num_train_timesteps: int = 1000) -> "Schedule":
        """Make a rectified-flow schedule (Liu et al. 2022): alpha_t = 1 - sigma_t; the timestep is 1000 * sigma_t."""
        return cls(1 - sigma, sigma, num_train_timesteps * sigma, is_flow=True)

    @property
    def is_monotonic(self) -> bool:
        """Whether each row is finite, in [0, 1], and has no less noise than the row before it; at least two rows."""
        inside = all(bool(((0 <= x) & (x <= 1)).all()) for x in (self.alpha, self.sigma))  # false for NaN
        return len(self) > 1 and inside and bool((self.sigma.diff() >= 0).all())

    def __len__(self) -> int:
        return len(self.alpha)

    def to(self, device: torch.device) -> "Schedule":
        """Copy the table to `device`. Copying it in each step would wait for the device."""
        return Schedule(self.alpha.to(device), self.sigma.to(device), self.timesteps.to(device), self.is_flow)

    def add_noise(
        self, x_0: Float[Tensor, "b c h w"], eps: Float[Tensor, "b c h w"], t: Int[Tensor, " b"]
    ) -> Float[Tensor, "b c h w"]:
        """Add noise to every sample, at its own row `t` (Eq. 2)."""
        return self._at(self.alpha, t, x_0) * x_0 + self._at(self.sigma, t, x_0) * eps

    def eps_from_v(
        self, v: Float[Tensor, "b c h w"], x_t: Float[Tensor, "b c h w"], t: Int[Tensor, " b"]
    ) -> Float[Tensor, "b c h w"]:
        """Convert v = alpha_t eps - sigma_t x_0 (Salimans & Ho 2022, app. D); variance-preserving schedules only."""
        return self._at(self.alpha, t, x_t) * v + self._at(self.sigma, t, x_t) * x_t

    def eps_from_flow(
        self, u: Float[Tensor, "b c h w"], x_t: Float[Tensor, "b c h w"], t: Int[Tensor, " b"]
    ) -> Float[Tensor, "b c h w"]:
        """Convert u = eps - x_0; rectified flow only."""
        return x_t + self._at(self.alpha, t, x_t) * u

    def _at(self, table: Tensor, t: Tensor, like: Tensor) -> Float[Tensor, "b 1 1 1"]:
        return table.to(like.device, like.dtype)[t, None, None, None]
