"""Which published models fit this machine: by counted bytes, and by what the page downloads at most.

`model_sizes.json` is written by `python -m eval fits`; the rule is that of a run's own memory plan.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from cgidm.intake.family import JUDGED
from cgidm.method.card_fit import plan_for_memory, smallest_card

from . import hardware
from .model_cache import MAX_DOWNLOAD

SIZES = Path(__file__).parent / "model_sizes.json"


@dataclass(frozen=True, kw_only=True)
class ModelFit:
    """Whether a model fits.

    Attributes:
        family: of `JUDGED`.
        title: the model's name.
        card: GB of the smallest usual card that it fits; None: of none.
        fits_memory: whether it fits this machine's GPU; None: that is not known, or there is none.
        fits_download: whether the page downloads as much.
    """

    family: str
    title: str
    card: int | None
    fits_memory: bool | None
    fits_download: bool

    @property
    def can_run(self) -> bool:
        """Whether nothing speaks against judging it here."""
        return self.fits_memory is not False and self.fits_download and hardware.kind() != "cpu"


def family_fits(families: tuple[str, ...] = JUDGED, *, networks: int = 1) -> list[ModelFit]:
    """List the counted models of families, from the smallest of each; a family that was not counted has none.

    Args:
        families: of `JUDGED`.
        networks: 1 if base and suspect share one, as with a LoRA, else 2.
    """
    free = hardware.gpu_memory()
    return [_fit(family, model, free, networks) for family in families for model in _sizes().get(family, ())]


def uncounted_families() -> list[str]:
    """List the families that can be judged, but whose memory was not counted."""
    return [family for family in JUDGED if family not in _sizes()]


def split_family(stated: str) -> tuple[str, ...]:
    """Return the families that a suspect may be of ("Lumina 2 or Z-Image"), as far as they can be judged."""
    return tuple(family for family in stated.split(" or ") if family in JUDGED)


def _fit(family: str, model: Mapping[str, Any], free: int | None, networks: int) -> ModelFit:
    counted = {name: count for name, count in model.items() if name != "title"}
    card = smallest_card(counted, recovery=True, networks=networks)
    plan = None if free is None else plan_for_memory(counted, free, recovery=True, networks=networks)
    return ModelFit(
        family=family,
        title=model["title"],
        card=None if card is None else card[0],
        fits_memory=None if plan is None else plan.fits,
        fits_download=model["network"] + model["codec"] + model["text_encoders"] <= MAX_DOWNLOAD,
    )


@cache
def _sizes() -> Mapping[str, list[dict[str, Any]]]:
    return json.loads(SIZES.read_text(encoding="utf-8"))
