"""A LoRA file altered by its maker: its change scaled, or noise on its factors."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import load_file, save_file

from cgidm.errors import UserError

FILE = "pytorch_lora_weights.safetensors"
UP = (".lora_B.weight", ".lora.up.weight", ".lora_up.weight")  # the factor that a change is scaled by
NOISE_SEED = 0


@dataclass(frozen=True)
class Alteration:
    """What is done to the factors.

    Attributes:
        scale: the whole change is multiplied by it.
        noise: standard deviation of what is added to every factor, as a share of its own.
    """

    scale: float = 1.0
    noise: float = 0.0

    @property
    def name(self) -> str:
        """In tables."""
        parts = [f"times {self.scale:g}"] * (self.scale != 1) + [f"noise of {self.noise:g} sd"] * (self.noise > 0)
        return ", ".join(parts) or "not altered"

    @contextmanager
    def checkpoint(self, folder: Path) -> Iterator[Path]:
        """The folder of a checkpoint, altered until the end of the block; the folder itself where nothing changes.

        Raises:
            UserError: if it is no LoRA with known names of its factors.
        """
        if self == UNALTERED:
            yield folder
            return
        state = load_file(folder / FILE) if (folder / FILE).exists() else {}
        if not any(key.endswith(UP) for key in state):
            raise UserError("error_rates.no_factors", folder=str(folder), accepted=list(UP))
        with TemporaryDirectory() as altered:
            save_file(self._alter(state), Path(altered) / FILE, {"format": "pt"})
            yield Path(altered)

    def _alter(self, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        g = torch.Generator().manual_seed(NOISE_SEED)
        changed = {}
        for key, value in sorted(state.items()):
            scaled = value * self.scale if key.endswith(UP) else value
            spread = scaled.float().std(correction=0)
            changed[key] = scaled + self.noise * spread * torch.randn(value.shape, generator=g).to(value.dtype)
        return changed


UNALTERED = Alteration()
