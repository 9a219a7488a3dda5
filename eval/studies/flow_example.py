"""`python -m eval flow-shipped`: the flow model's shipped LoRA judged as a user would, recovery included."""

import argparse
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from cgidm.conductor import authenticate
from cgidm.families import load_pair
from cgidm.judging.result import Result
from cgidm.method.config import PRESETS
from cgidm.pictures.images import Picture, read_picture
from eval.studies.shipped import member_above_holdout

CONFIG = replace(PRESETS["fast"], mirrored_recovery=False)


def measure_flow_example(assets: Path, out: Path) -> dict[str, Any]:
    """Judge its members and holdouts against the same artist's controls; `example.json` and `example.png` in `out`."""
    folder = assets / "mini-flow" / "example"
    about = json.loads((folder / "example.json").read_text())
    pair = load_pair(str(assets / "mini-flow"), str(folder / "checkpoint"), about["prompt"])
    drawings = folder / about["pictures"]
    parts = {role: _read(drawings / role, pair.resolution) for role in ("member", "holdout")}
    controls = _read(assets / "controls" / drawings.name, pair.resolution)
    pictures = [p for part in parts.values() for p in part]
    is_member = np.repeat([1, 0], [len(part) for part in parts.values()])
    result = authenticate(pair, pictures, controls, config=CONFIG)
    report = {
        "pictures": {role: len(part) for role, part in parts.items()},
        "controls": len(controls),
        "auc": {name: _area(result, is_member, name) for name in result.pictures[0].scores},
        "outcomes": {
            role: dict(Counter(r.verdict.outcome for r, m in zip(result.pictures, is_member, strict=True) if m == i))
            for role, i in (("member", 1), ("holdout", 0))
        },
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "example.json").write_text(json.dumps(report, indent=1) + "\n")
    member_above_holdout(result, is_member).save(out / "example.png")
    return report


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    print(json.dumps(measure_flow_example(options.assets, options.out / "mini-flow"), indent=1))


def _read(folder: Path, side: int) -> list[Picture]:
    return [read_picture(p, side) for p in sorted(folder.iterdir()) if p.suffix == ".jpg"]


def _area(result: Result, is_member: np.ndarray, name: str) -> float:
    return round(float(roc_auc_score(is_member, [r.scores[name] for r in result.pictures])), 4)
