"""The blind baseline of a benchmark's split, and how often it trips where it must and where it must not."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cgidm.judging.blind_baseline import BlindTest, blind_test, picture_features
from cgidm.pictures.embedders import SHIPPED_NAME, Embedder, load_embedders
from eval.benchmark.datasets import DatasetManifest


def blind_dataset(dataset: DatasetManifest, data: Path, embedder: Embedder) -> BlindTest:
    """The blind test of a dataset's split: half A against half B, concept by concept.

    In a crossed design, which trains on both halves in turn, a shift cancels in the pooled numbers; a one-sided design
    takes it for membership.
    """
    labelled = [
        (data / picture.file, half, concept.name)
        for concept in dataset.concepts
        for half in (0, 1)
        for picture in concept.halves[half]
    ]
    paths, halves, concepts = zip(*labelled, strict=True)
    features = picture_features(list(paths), embedder)
    return blind_test(features, 1 - np.array(halves), np.array(concepts))


def measure_blind(folders: tuple[Path, Path], embedder: Embedder, count: int = 40, splits: int = 100) -> dict[str, Any]:
    """How often the blind test trips where it must and where it must not, on two folders of different kinds.

    "shifted" puts `count` pictures of the first folder against as many of the second, once for every split. "random"
    halves 2 * `count` pictures of one folder, which differ by nothing; p <= 0.05 must then come in 5 % of the splits.
    """
    rng = np.random.default_rng(0)
    tables = []
    for folder in folders:
        files = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
        chosen = sorted(rng.choice(len(files), min(len(files), 5 * count), replace=False))
        tables.append(picture_features([files[i] for i in chosen], embedder))
    member = np.repeat([1, 0], count)
    report: dict[str, Any] = {"pictures": 2 * count, "splits": splits, "random": {}}

    def trips(draw: Callable[[], list[np.ndarray]]) -> tuple[int, list[float]]:
        found = [blind_test(draw(), member, seed=i) for i in range(splits)]
        return sum(b.p_value <= 0.05 for b in found), [round(b.auc, 3) for b in found]

    def shifted() -> list[np.ndarray]:
        rows = [rng.choice(len(table[0]), count, replace=False) for table in tables]
        return [np.concatenate([a[rows[0]], b[rows[1]]]) for a, b in zip(*tables, strict=True)]

    tripped, aucs = trips(shifted)
    report["shifted"] = {"tripped": tripped, "median_auc": float(np.median(aucs))}
    for folder, table in zip(folders, tables, strict=True):

        def halved(table: list[np.ndarray] = table) -> list[np.ndarray]:
            rows = rng.choice(len(table[0]), 2 * count, replace=False)
            return [part[rows] for part in table]

        tripped, aucs = trips(halved)
        report["random"][folder.name] = {"tripped": tripped, "median_auc": float(np.median(aucs))}
    return report


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    report = measure_blind(tuple(options.folders), load_embedders().ready[SHIPPED_NAME])
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "blind.json").write_text(json.dumps(report, indent=2) + "\n")
    print(report)
