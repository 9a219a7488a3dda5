"""`python -m eval shipped`: the shipped examples judged, with the two rows that must sit at chance.

For every suspect: AUC of members against holdouts of each score; false positives among holdouts. "innocent": base
against base. "unrelated": the other example's suspect on these pictures, over random splits into two halves.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.metrics import roc_auc_score

from cgidm.conductor import authenticate
from cgidm.evidence.bundle_writer import images_in_a_row
from cgidm.families import load_pair
from cgidm.judging.result import Result
from cgidm.judging.verdict import is_positive
from cgidm.method.config import find_preset
from cgidm.pictures.embedders import load_embedders
from cgidm.pictures.images import Picture, read_picture

SPLITS = 200


def measure_shipped(assets: Path, out: Path, preset: str = "fast") -> dict:
    """Judge all shipped pictures and write `shipped.json` and a picture for each example to `out`."""
    config, embedders = find_preset(preset), load_embedders()
    alone = replace(config, mirrored_recovery=False)
    folders = sorted(p.parent for p in (assets / "examples").glob("*/example.json"))
    out.mkdir(parents=True, exist_ok=True)
    report: dict = {"preset": preset, "examples": {}}
    for folder, other in zip(folders, [*folders[1:], folders[0]], strict=True):
        prompt = json.loads((folder / "example.json").read_text())["prompt"]
        suspect, base = str(folder / "checkpoint"), str(assets / "mini")
        pair = load_pair(base, suspect, prompt)
        members, holdouts = (_pictures(folder / part, pair.resolution) for part in ("member", "holdout"))
        controls = _pictures(assets / "controls" / folder.name, pair.resolution)
        pictures, is_member = [*members, *holdouts], np.repeat([1, 0], [len(members), len(holdouts)])
        start = time.monotonic()
        result = authenticate(pair, pictures, controls, config=config, embedders=embedders)
        innocent = authenticate(load_pair(base, base, prompt), pictures, controls, config=alone)
        unrelated = authenticate(load_pair(base, str(other / "checkpoint"), prompt), pictures, controls, config=config)
        report["examples"][folder.name] = {
            "auc": _areas(result, is_member),
            "means": {
                name: [round(float(_scores(result, name)[is_member == m].mean()), 4) for m in (1, 0)]
                for name in result.pictures[0].scores
            },
            "outcomes": {
                part: [r.verdict.outcome for r, m in zip(result.pictures, is_member, strict=True) if m == role]
                for part, role in (("member", 1), ("holdout", 0))
            },
            "innocent": {
                "outcomes": sorted({r.verdict.outcome for r in innocent.pictures}),
                "flags": sorted({f.name for r in innocent.pictures for f in r.flags}),
            },
            "unrelated_auc": {
                name: _split_areas(_scores(unrelated, name))
                for name in ("loss_contrast", "removed_alignment", "alignment_difference")
            },
            "unrelated_consistent": sum(is_positive(r.verdict.outcome) for r in unrelated.pictures),
            "seconds": round(time.monotonic() - start, 1),
        }
        member_above_holdout(result, is_member).save(out / f"{folder.name}.png")
    (out / "shipped.json").write_text(json.dumps(report, indent=2) + "\n")
    return report


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    measure_shipped(options.assets, options.out, options.preset)


def member_above_holdout(result: Result, is_member: np.ndarray) -> Image.Image:
    """The images of the member and of the holdout whose alignment is the median of its kind."""
    order = np.argsort(_scores(result, "removed_alignment"))
    chosen = [[i for i in order if is_member[i] == role][sum(is_member == role) // 2] for role in (1, 0)]
    strips = np.concatenate([np.asarray(images_in_a_row(result.pictures[i])) for i in chosen])
    return Image.fromarray(strips).resize((2 * strips.shape[1], 2 * strips.shape[0]), Image.Resampling.LANCZOS)


def _pictures(folder: Path, side: int) -> list[Picture]:
    return [read_picture(p, side) for p in sorted(folder.iterdir())]


def _scores(result: Result, name: str) -> np.ndarray:
    return np.array([r.scores[name] for r in result.pictures])


def _areas(result: Result, is_member: np.ndarray) -> dict[str, float]:
    names = result.pictures[0].scores
    return {name: round(float(roc_auc_score(is_member, _scores(result, name))), 4) for name in names}


def _split_areas(scores: np.ndarray) -> dict[str, float]:
    """Mean and deviation of the AUC when the pictures are split into two halves at random."""
    rng = np.random.default_rng(0)
    labels = np.arange(len(scores)) % 2
    areas = [roc_auc_score(rng.permutation(labels), scores) for _ in range(SPLITS)]
    return {"mean": round(float(np.mean(areas)), 4), "sd": round(float(np.std(areas)), 4), "splits": SPLITS}
