"""The bases of the cases, with tiny random networks."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from diffusers import EDMEulerScheduler

from tests.support import formats, tiny_families


def _stable_diffusion_xl_edm() -> Any:
    """A descendant of SDXL with EDM's noise, as its scheduler states."""
    pipeline = tiny_families.stable_diffusion_xl()
    pipeline.scheduler = EDMEulerScheduler()
    return pipeline


BASES: Mapping[str, Callable[[], Any]] = {
    **{name: formats.BASES[name] for name in ("SD 1.x", "SDXL", "SD 3")},
    "SDXL (v)": tiny_families.V_PREDICTION["sdxl-v"],
    "SDXL (v, zero SNR)": tiny_families.V_PREDICTION["sdxl-v-zero-snr"],
    "SDXL (EDM)": _stable_diffusion_xl_edm,
}


def make_base(name: str) -> Any:
    """A pipeline of the base, as it lies on disk: the same numbers each time."""
    return BASES[name]()


class Shelf:
    """Bases on disk, each written when it is first needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def place(self, name: str) -> Path:
        """Where the base lies."""
        place = self.folder / name
        if not place.exists():
            make_base(name).save_pretrained(place)
        return place
