"""Load damaged models until something other than a refusal comes out: `python -m scripts.fuzz_models --count 2000`.

`--adapters 1000` does the same with adapters of flow transformers: one header or tensor is changed at random.

Every case is a tiny random pipeline with one JSON value or one safetensors header changed at random, from a seed. It
must load, or be refused by a `UserError`, in less than a second and without much memory. Anything else is printed, and
the exit code is 1.
"""

import argparse
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cgidm.errors import UserError
from cgidm.families import load_pair
from cgidm.families.adapters import apply_adapter, share_weights
from cgidm.intake.layout import open_checkpoint
from tests.support.damaged_adapters import make_adapter_mutations
from tests.support.damaged_models import Mutation, make_mutations, save_families
from tests.support.flow_networks import tiny_transformer

SLOWEST = 1.0  # seconds of processor time that a case may take
LARGEST = 400  # MB by which the process may grow over all cases
REFUSED = 3e9  # bytes more than at the start that the system refuses to give, so that no case takes the machine


@dataclass
class Findings:
    """What became of the cases."""

    outcomes: Counter[str] = field(default_factory=Counter)  # "loaded", or the code of the refusal
    failures: list[str] = field(default_factory=list)  # exceptions that are no refusal, and slow cases
    slowest: float = 0.0  # seconds
    growth: float = 0.0  # MB

    def add(self, what: str, load: Callable[[], object]) -> None:
        """Load a case, and count what becomes of it."""
        start = time.process_time()
        outcome = _outcome(load)
        seconds, kind = time.process_time() - start, outcome.splitlines()[0]
        self.outcomes[kind] += 1
        self.slowest = max(self.slowest, seconds)
        if "\n" in outcome:
            self.failures.append(f"{what}\n{outcome}")
        if seconds > SLOWEST:
            self.failures.append(f"{what}: {seconds:.1f} s ({kind})")
        if (done := self.outcomes.total()) % 100 == 0:
            print(f"{done} cases, {len(self.failures)} failures", file=sys.stderr, flush=True)


def fuzz_models(count: int, seed: int, folder: Path) -> Findings:
    """Load `count` damaged models, written into `folder` in turn."""
    found = Findings()
    save_families(folder / "sound")
    for name in sorted(p.name for p in (folder / "sound").iterdir()):  # what is imported and cached first is not theirs
        load_pair(*(str(folder / "sound" / name / role) for role in ("base", "suspect")), "a b")
    before = _peak()
    for number, case in enumerate(make_mutations(folder / "sound", folder / "case", count, seed)):
        what = f"case {number}: {case.family} as {case.role}, {case.change}"
        found.add(what, lambda case=case: _load(case, folder / "sound"))
    found.growth = _peak() - before
    if found.growth > LARGEST:
        found.failures.append(f"the process grew by {found.growth:.0f} MB")
    return found


def fuzz_adapters(count: int, seed: int, folder: Path) -> Findings:
    """Apply `count` damaged adapters of flow transformers, written into `folder` in turn."""
    found, networks = Findings(), {}
    for number, case in enumerate(make_adapter_mutations(folder, count, seed)):
        if case.family not in networks:
            networks[case.family] = tiny_transformer(case.family)
        what = f"adapter {number}: {case.family}, {case.change}"
        found.add(what, lambda case=case: _adapt(networks[case.family], case.file))
    return found


def _adapt(network: Any, file: Path) -> None:
    """Apply an adapter to a network on shared weights, and forget it."""
    apply_adapter(SimpleNamespace(transformer=share_weights(network)), open_checkpoint(file))


def _load(case: Mutation, sound: Path) -> None:
    """Load the pair of a case."""
    roles = {role: str(sound / case.family / role) for role in ("base", "suspect")} | {case.role: str(case.folder)}
    load_pair(roles["base"], roles["suspect"], "a b")


def _outcome(load: Callable[[], object]) -> str:
    """Return "loaded", the code of the refusal, or several lines of a traceback."""
    try:
        load()
    except UserError as error:
        bad = "\n" in str(error) or "allocate" in str(error)
        return f"a refusal of several lines, or for want of memory\n{error}" if bad else error.code
    except Exception as error:
        return f"{type(error).__name__}\n{traceback.format_exc(limit=-6)}"
    return "loaded"


def _limit_memory() -> None:
    """Bound the data of this process, where the system tells and limits it (Linux)."""
    status = Path("/proc/self/status")
    if status.exists():
        held = next(
            int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmData")
        )
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (int(held + REFUSED), hard))


def _peak() -> float:
    """The most memory that this process has held, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def main() -> int:
    """Run the cases that the command line names, and print what became of them."""
    parser = argparse.ArgumentParser(description="Load damaged models.")
    parser.add_argument("--count", type=int, default=2000, help="cases (2000)")
    parser.add_argument("--adapters", type=int, default=0, help="damaged adapters of flow transformers besides (0)")
    parser.add_argument("--seed", type=int, default=0, help="of the cases (0)")
    options = parser.parse_args()
    _limit_memory()
    with tempfile.TemporaryDirectory() as folder:
        models = fuzz_models(options.count, options.seed, Path(folder)) if options.count else Findings()
        adapters = fuzz_adapters(options.adapters, options.seed, Path(folder))
    for count, found in ((options.count, models), (options.adapters, adapters)):
        for outcome, times in found.outcomes.most_common():
            print(f"{times:5d}  {outcome}")
        print("\n".join(found.failures))
        print(f"{count} cases, {len(found.failures)} failures; slowest {found.slowest:.2f} s, {found.growth:.0f} MB")
    return bool(models.failures or adapters.failures)


if __name__ == "__main__":
    sys.exit(main())
