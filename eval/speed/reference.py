"""The arm to compare with: the method as the paper's public code runs it, written from its description.

Two whole networks, every weight of which wants a gradient; the prompt is encoded anew in every step, inside the graph;
one picture at a time; each network draws its own noise; one backward pass through the difference of the two losses,
so that both graphs are alive at once. None of this changes what is computed, but for the noise.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cgidm.families.conditioning import FAMILIES

STEP, RADIUS = 2.0, 70.0  # Sec. 4


def reference_dtype(device: torch.device, dtype: torch.dtype) -> torch.dtype:
    """What the public code computes in where ours computes in `dtype`: its half precision is for GPUs."""
    return dtype if device.type == "cuda" else torch.float32


@dataclass(frozen=True, eq=False)
class TwoNetworks:
    """Base and suspect as two whole pipelines."""

    base: Any
    suspect: Any
    prompt: str
    dtype: torch.dtype  # that the networks compute in

    def modules(self) -> list[nn.Module]:
        """The networks and text encoders of both: all that is in the graph."""
        parts = [
            getattr(p, n, None) for p in (self.base, self.suspect) for n in ("unet", "text_encoder", "text_encoder_2")
        ]
        return list({id(m): m for m in parts if isinstance(m, nn.Module)}.values())


def contrast_gradient(
    two: TwoNetworks, z: Tensor, t: Tensor, eps_base: Tensor, eps_tuned: Tensor
) -> tuple[Tensor, Tensor]:
    """Eq. 7 at one (t, eps) and its gradient with respect to `z`; leaves the weights' gradients where they fall."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        contrast = _loss(two, two.base, z, t, eps_base) - _loss(two, two.suspect, z, t, eps_tuned)
        contrast.backward()
    assert z.grad is not None
    return contrast.detach(), z.grad


def _loss(two: TwoNetworks, pipeline: Any, z: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """||eps - eps_model(z_t, t)||^2 (Eq. 3), the text encoder included in the graph."""
    network = FAMILIES[type(pipeline).__name__](pipeline, two.prompt)  # not `condition_on_prompt`: no gradients there
    kept = pipeline.scheduler.alphas_cumprod.to(z.device, z.dtype)[t][:, None, None, None]
    alpha, sigma = kept.sqrt(), (1 - kept).sqrt()
    z_t = alpha * z + sigma * eps
    answer = network.predict(z_t.to(two.dtype), t).to(z.dtype)
    guess = answer if network.prediction == "eps" else alpha * answer + sigma * z_t  # Salimans & Ho 2022, app. D
    return (guess - eps).square().sum()


def recover_one(two: TwoNetworks, z: Tensor, mask: Tensor, start: Tensor, seed: int = 0) -> Iterator[Tensor]:
    """Algorithm 1 on one picture, endlessly; yields what is recovered so far. Closed, it freezes the weights again."""
    generator, x = torch.Generator(z.device).manual_seed(seed), start
    rows = len(two.base.scheduler.alphas_cumprod)
    for module in two.modules():
        module.requires_grad_(True)
    try:
        while True:
            for module in two.modules():
                module.zero_grad()
            t = torch.randint(1, rows, (1,), generator=generator, device=z.device)
            noises = [torch.randn(z.shape, generator=generator, device=z.device, dtype=z.dtype) for _ in range(2)]
            _, gradient = contrast_gradient(two, mask * z + (1 - mask) * x, t, *noises)
            gradient = (1 - mask) * gradient
            x = x + STEP * gradient / gradient.norm().clamp(min=1e-30)
            moved = x - start
            x = start + moved * (RADIUS / moved.norm().clamp(min=1e-30)).clamp(max=1)
            yield mask * z + (1 - mask) * x
    finally:
        for module in two.modules():
            module.zero_grad()
            module.requires_grad_(False)
