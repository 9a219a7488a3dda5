"""`python -m eval banks`: shipped suspects judged with the shipped banks, and what a bank takes for its own recipe."""

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from cgidm.conductor import authenticate
from cgidm.families import load_pair
from cgidm.judging.banks.null_bank import OTHER_RECIPE, NullBank, bank_flags, open_bank
from cgidm.judging.banks.residuals import bank_power
from cgidm.judging.result import Result
from cgidm.judging.tables.power import Kind, PowerTable, find_power_table
from cgidm.judging.verdict import is_positive
from cgidm.method.config import find_preset
from cgidm.pictures.images import read_picture
from eval.markdown import markdown_table

FEW = (1, 3, 10)  # pictures in question
DRAWS = 200  # of so many pictures
COLUMNS = (
    "bank",
    "null scores",
    "members found",
    "holdouts called",
    "of all together used",
    f"own models taken ({', '.join(map(str, FEW))} pictures)",
    "of half the presentations taken",
)


def measure_banks(assets: Path, out: Path, preset: str = "fast") -> dict[str, Any]:
    """Judge members and holdouts of every suspect that has a bank, and write `banks.json` to `out`."""
    report: dict[str, Any] = {"preset": preset, "banks": {}}
    for folder in sorted(p.parent for p in (assets / "banks").glob("*/bank.json")):
        bank, example = open_bank(folder), assets / "examples" / folder.name
        prompt = json.loads((example / "example.json").read_text())["prompt"]
        pair = load_pair(str(assets / "mini"), str(example / "checkpoint"), prompt)
        paths = {part: sorted((example / part).iterdir()) for part in ("member", "holdout")}
        pictures = [read_picture(p, pair.resolution) for part in paths.values() for p in part]
        alone = replace(find_preset(preset), mirror_draws=0)  # what the bank finds by itself
        result = authenticate(pair, pictures, config=alone, bank=bank)
        table = find_power_table(list(pair.fingerprints.values()), assets)
        report["banks"][folder.name] = {
            **bank.describe(),
            "power": bank_power(bank.content),
            **_judged(result, len(paths["member"])),
            "taken": {} if table is None else count_taken(bank.content, moved_by_half(table, bank.content)),
        }
    out.mkdir(parents=True, exist_ok=True)
    (out / "banks.json").write_text(json.dumps(report, indent=2) + "\n")
    return report


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    print(banks_table(measure_banks(options.assets, options.out)), end="")


def _judged(result: Result, members: int) -> dict[str, Any]:
    """Outcomes of members and holdouts, the answer for all together, what speaks against it."""
    assert result.together is not None
    outcomes = [r.verdict.outcome for r in result.pictures]
    together = asdict(result.together)
    return {
        "member": Counter(outcomes[:members]),
        "holdout": Counter(outcomes[members:]),
        "set": {k: together[k] for k in ("outcome", "p_value", "used")},
        "flags": Counter(f.name for r in result.pictures for f in r.flags),
        "shift": fmean(r.distance_from_base for r in result.pictures if r.distance_from_base is not None),
        "weight_shift": result.weight_distance,
    }


def moved_by_half(table: PowerTable, bank: NullBank) -> float:
    """How far a suspect of half of the presentations moves, as a share: the largest that was measured for its kind."""
    kind: Kind = "dreambooth" if bank.is_full_network else "lora"
    rows = [r for r in table.rows if r.kind == kind]
    return max(
        a.distance_from_base / b.distance_from_base
        for a in rows
        for b in rows
        if (a.images, a.rank, 2 * a.steps_per_picture) == (b.images, b.rank, b.steps_per_picture)
    )


def count_taken(bank: NullBank, half: float) -> dict[str, dict[str, float]]:
    """The share of suspects that a bank takes for its own recipe, by how many pictures are in question.

    Each of its models in turn is the suspect of the others: as it is ("same"), and as if it had moved only `half` of
    its way.
    """
    rng, shares = np.random.default_rng(0), {"same": 1.0, "half": half}
    found: dict[str, dict[str, float]] = {}
    for few in FEW:
        drawn = [rng.choice(len(bank.pictures), few, replace=False).tolist() for _ in range(DRAWS)]
        found[str(few)] = {name: _taken(bank, drawn, share) for name, share in shares.items()}
    return found


def _taken(bank: NullBank, drawn: Sequence[Sequence[int]], share: float) -> float:
    taken = []
    for n, model in enumerate(bank.models):
        others = bank.model_copy(update={"models": bank.models[:n] + bank.models[n + 1 :]})
        weights = None if model.weight_distance is None else share * model.weight_distance
        for few in drawn:
            shifts = {bank.pictures[i].sha256: share * model.prediction_distances[i] for i in few}
            taken.append(OTHER_RECIPE not in bank_flags(others, shifts, weights))
    return float(np.mean(taken))


def banks_table(report: dict[str, Any]) -> str:
    """The README's table."""
    rows = []
    for name, b in report["banks"].items():
        called = [sum(n for said, n in b[part].items() if is_positive(said)) for part in ("member", "holdout")]
        counts = [f"{n} of {sum(b[part].values())}" for n, part in zip(called, ("member", "holdout"), strict=True)]
        used, taken = b["set"]["used"], b["taken"].values()
        shares = [", ".join(f"{t[k]:.0%}" for t in taken) for k in ("same", "half")]
        rows.append([f"`{name}`", b["nulls"], *counts, f"{used['low']} to {used['high']}", *shares])
    return markdown_table(COLUMNS, rows) + "\n"
