"""A LoRA file altered after its training: by a maker who fears the question, or by a tool that rewrites files."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from cgidm.errors import UserError

FILE = "pytorch_lora_weights.safetensors"
UP = (".lora_B.weight", ".lora.up.weight", ".lora_up.weight")  # the factor that a change is scaled by
DOWN = (".lora_A.weight", ".lora.down.weight", ".lora_down.weight")
NOISE_SEED = 0
PRINCIPAL = 0.25  # share of the base weight's singular directions that are its principal subspace

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Alteration:
    """What is done to the factors, in this order.

    Attributes:
        scale: the whole change is multiplied by it.
        noise: standard deviation of what is added to every factor, as a share of its own.
        merged: another LoRA's change is added, as kohya's `merge_lora` and its kin do.
        rank: each module's change is cut to so many singular values, as kohya's `resize_lora` does; None: it is not.
        filtered: share of each module's singular directions that is dropped: those least aligned with the principal
            subspace of the base's weight (after the abstract of BAF, arXiv 2605.10439, whose code is not public).
        weakest: share of these directions that alone stays, the least aligned ones; 0: all stay. With `filtered` of the
            same share the two files add up to the whole change.
        fp8: factors are stored in 8 bits (float8_e4m3fn).
    """

    scale: float = 1.0
    noise: float = 0.0
    merged: bool = False
    rank: int | None = None
    filtered: float = 0.0
    weakest: float = 0.0
    fp8: bool = False

    @property
    def name(self) -> str:
        """In tables."""
        parts = [f"times {self.scale:g}"] * (self.scale != 1) + [f"noise of {self.noise:g} sd"] * (self.noise > 0)
        parts += ["merged with another LoRA"] * self.merged + [f"resized to rank {self.rank}"] * (self.rank is not None)
        parts += [f"{self.filtered:.0%} filtered"] * (self.filtered > 0)
        parts += [f"weakest {self.weakest:.0%} alone"] * (self.weakest > 0) + ["8 bits"] * self.fp8
        return ", ".join(parts) or "not altered"

    @contextmanager
    def checkpoint(self, folder: Path, other: Path | None = None, base: Path | None = None) -> Iterator[Path]:
        """The folder of a checkpoint, altered until the end of the block; the folder itself where nothing changes.

        Args:
            folder: of the checkpoint.
            other: of the LoRA that is merged with it.
            base: of the base model, for a filter.

        Raises:
            UserError: if it is no LoRA with known names of its factors, or has an alpha beside them.
        """
        if self == UNALTERED:
            yield folder
            return
        state = _read(folder)
        with TemporaryDirectory() as altered:
            save_file(dict(self._alter(state, other, base)), Path(altered) / FILE, {"format": "pt"})
            yield Path(altered)

    def _alter(self, state: State, other: Path | None, base: Path | None) -> State:
        g = torch.Generator().manual_seed(NOISE_SEED)
        changed = {}
        for key, value in sorted(state.items()):
            scaled = value * self.scale if key.endswith(UP) else value
            spread = scaled.float().std(correction=0)
            changed[key] = scaled + self.noise * spread * torch.randn(value.shape, generator=g).to(value.dtype)
        if self.merged:
            assert other is not None, "a LoRA to merge with"
            changed = _merge(changed, _read(other))
        if self.rank is not None:
            changed = _keep_directions(changed, lambda module, u, v: torch.arange(self.rank or 0))
        if self.filtered or self.weakest:
            assert base is not None, "a base to compare with"
            weights = {k: v for file in (base / "unet").glob("*.safetensors") for k, v in load_file(file).items()}

            def aligned(module: str, u: Tensor, v: Tensor) -> Tensor:
                order = _by_alignment(weights[f"{module}.weight"].float().flatten(1), u, v)
                aligned = max(1, round((1 - (self.weakest or self.filtered)) * len(order)))
                return (order[aligned:] if self.weakest else order[:aligned]).sort().values

            changed = _keep_directions(changed, aligned)
        if self.fp8:
            changed = {key: value.to(torch.float8_e4m3fn) for key, value in changed.items()}
        return {key: value.contiguous() for key, value in changed.items()}


def _read(folder: Path) -> dict[str, Tensor]:
    state = load_file(folder / FILE) if (folder / FILE).exists() else {}
    if not any(key.endswith(UP) for key in state) or any(key.endswith(".alpha") for key in state):
        raise UserError("error_rates.no_factors", folder=str(folder), accepted=list(UP))
    return state


def _merge(first: State, second: State) -> dict[str, Tensor]:
    """The sum of two changes: factors side by side."""
    return {
        key: torch.cat([value, second[key]], dim=1 if key.endswith(UP) else 0)
        for key, value in first.items()
        if key.endswith((*UP, *DOWN))
    }


def _keep_directions(state: State, choose: Callable[[str, Tensor, Tensor], Tensor]) -> dict[str, Tensor]:
    """Each change with some of its singular directions alone.

    Args:
        state: the factors.
        choose: (module, left directions as columns, right ones as columns) -> indices of those that stay, largest
            singular value first.
    """
    found = dict(state)
    for down_key in [key for key in state if key.endswith(DOWN)]:
        ending = DOWN.index(next(e for e in DOWN if down_key.endswith(e)))
        module = down_key.removesuffix(DOWN[ending])
        up_key = module + UP[ending]
        down, up = state[down_key].float(), state[up_key].float()
        u, s, v = torch.linalg.svd(up.flatten(1) @ down.flatten(1), full_matrices=False)
        rank = min(down.shape[0], len(s))
        kept = choose(module.removeprefix("unet."), u[:, :rank], v[:rank].T)
        kept = kept[kept < rank]
        root = s[kept].sqrt()
        found[up_key] = (u[:, kept] * root).reshape(up.shape[0], len(kept), *up.shape[2:]).to(state[up_key].dtype)
        found[down_key] = (root[:, None] * v[kept]).reshape(len(kept), *down.shape[1:]).to(state[down_key].dtype)
    return found


def _by_alignment(weight: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Indices of the directions, those first that lie most in the principal subspace of a weight."""
    left, _, right = torch.linalg.svd(weight, full_matrices=False)
    principal = max(1, round(PRINCIPAL * min(weight.shape)))
    alignment = (left[:, :principal].T @ u).norm(dim=0) * (right[:principal] @ v).norm(dim=0)
    return alignment.argsort(descending=True)


UNALTERED = Alteration()
