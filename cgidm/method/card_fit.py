"""Which card a model fits, from counted bytes: the rule that a loaded pair is planned by, asked beforehand."""

from collections.abc import Mapping

from .memory_plan import MemoryPlan, plan_memory

CARDS = (8, 12, 16, 24, 48, 96)  # GB of memory


def plan_for_memory(counted: Mapping[str, int], free: int, *, recovery: bool, networks: int = 1) -> MemoryPlan:
    """Plan how a model would be held in `free` bytes of a GPU.

    Args:
        counted: bytes of "network" and "codec"; of a row's "forward" pass, and of its "backward" pass with activations
            that are computed twice; of a "picture" through the autoencoder, and "picture_tiled".
        free: bytes.
        recovery: whether gradients are needed, or a verdict alone.
        networks: 1 if base and suspect share one, as with a LoRA, else 2.
    """

    def row(twice: bool) -> int:
        return counted["backward" if recovery else "forward"]

    def picture(tiling: bool) -> int:
        return counted["picture_tiled" if tiling else "picture"]

    return plan_memory(free, (counted["network"],) * networks, counted["codec"], row, picture, host=False)


def smallest_card(counted: Mapping[str, int], *, recovery: bool, networks: int = 1) -> tuple[int, MemoryPlan] | None:
    """Find the smallest of `CARDS` that a model fits, and how it is held there; None: none of them."""
    plans = ((c, plan_for_memory(counted, int(c * 1e9), recovery=recovery, networks=networks)) for c in CARDS)
    return next(((card, plan) for card, plan in plans if plan.fits), None)
