"""The bar that a run at a terminal shows."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

from ..messages.text import single_line
from ..method.config import RunConfig
from .events import RunEvent


@contextmanager
def progress_bar(config: RunConfig) -> Iterator[Callable[[RunEvent], None]]:
    """A bar of steps, of the pictures and then of a line-up's decoys, where somebody looks at a terminal.

    The answers are printed when they are there, before the recovery.
    """
    steps = config.recovery.steps * (1 if config.lineup is None else 2)
    with tqdm(total=steps, desc="recovering", unit="step", disable=None, leave=False) as bar:

        def advance(event: RunEvent) -> None:
            if event.phase in ("step", "decoys"):
                bar.update()
            elif event.phase == "answered" and event.result is not None:
                for r in event.result.pictures:
                    p = "" if r.verdict.p_value is None else f" (p = {r.verdict.p_value:.2g})"
                    bar.write(f"before the recovery: {single_line(r.picture.name)}: {r.verdict.outcome}{p}")
                if event.result.together is not None:
                    bar.write(f"before the recovery: together: {event.result.together.outcome}")

        yield advance
