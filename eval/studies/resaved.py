"""`python -m eval resaved`: does a file that is saved anew get another p-value?

Whoever wants another answer can save a picture again and again. Here an unused picture of each shipped suspect is saved
200 times, without loss and with, and every copy is judged. The noise that a score meets does not depend on the file, so
only what saving changes of the pixels can move the p-value. The last row is how it was when each file drew its own.
"""

import argparse
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cgidm.families import load_pair
from cgidm.judging.mirror_choice import mirror_reference
from cgidm.judging.mirror_test import MirrorReference
from cgidm.judging.scoring import score_controls, score_mirror
from cgidm.judging.verdict import conformal_p_value
from cgidm.method.config import RunConfig, find_preset
from cgidm.method.models import ModelPair
from cgidm.pictures.folders import picture_files
from cgidm.pictures.images import Picture, decode_picture, read_picture
from eval.markdown import markdown_table

COPIES = 200
QUALITIES = (85, 98)  # of lossy copies: what programs save at when nobody asks for small files
CHUNK = 10  # pictures scored at once
TESTS = {
    "mirror": "mirror test",
    "shared": "control test",
    "own": "control test, each file with its own noise",
}


def measure_resaved(assets: Path, out: Path, copies: int = COPIES, preset: str = "fast") -> dict[str, Any]:
    """Judge copies of an unused picture of every shipped suspect; write `resaved.json` and `resaved.md`."""
    config, suspects = find_preset(preset), {}
    for folder in sorted(p.parent for p in (assets / "examples").glob("*/example.json")):
        prompt = json.loads((folder / "example.json").read_text())["prompt"]
        pair = load_pair(str(assets / "mini"), str(folder / "checkpoint"), prompt)
        path = picture_files(folder / "holdout", "holdout")[0]
        controls = [
            read_picture(p, pair.resolution) for p in picture_files(assets / "controls" / folder.name, "controls")
        ]
        saved = [decode_picture(data, name, pair.resolution) for name, data in save_copies(path, copies)]
        found = judge_copies(pair, saved, controls, config)
        suspects[folder.name] = {"picture": path.name, "copies": len(saved), **found}
    report = {"qualities": QUALITIES, "suspects": suspects}
    out.mkdir(parents=True, exist_ok=True)
    (out / "resaved.json").write_text(json.dumps(report, indent=1) + "\n")
    (out / "resaved.md").write_text(resaved_table(report))
    return report


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    print(resaved_table(measure_resaved(options.assets, options.out)), end="")


def save_copies(path: Path, copies: int) -> Iterator[tuple[str, bytes]]:
    """Save a picture file anew: half of the copies without loss, half with; no two files have the same bytes."""
    image, rng = Image.open(path).convert("RGB"), np.random.default_rng(0)
    for i in range(copies):
        kind, quality = ("png", "webp", "jpeg", "webp")[i % 4], int(rng.integers(*QUALITIES, endpoint=True))
        how = ({}, {"lossless": True}, {"quality": quality, "subsampling": i % 3}, {"quality": quality})[i % 4]
        note = Image.Exif()
        note[0x010E] = f"copy {i}"  # its description
        file = io.BytesIO()
        image.save(file, kind, exif=note, **how)
        yield f"{i}.{kind}", file.getvalue()


def judge_copies(
    pair: ModelPair, saved: Sequence[Picture], controls: Sequence[Picture], config: RunConfig
) -> dict[str, Any]:
    """The p-values of the copies by each test, and how they spread: of p, and of ranks among the references."""
    mirror = mirror_reference(pair.fingerprints, pair.mirrored_training, config.mirror_draws, ())
    assert isinstance(mirror, MirrorReference), "the shipped base has a table"
    values = {
        "mirror": [
            mirror.p_value(s)
            for s in _score_each(saved, _pixels, lambda p: [m.value for m in score_mirror(pair, p, config)])
        ]
    }
    references = {"mirror": len(mirror.scores)}
    for noise, key in (("shared", _pixels), ("own", _bytes)):
        score = partial(score_controls, pair, config=replace(config, score_noise=noise))
        against = score(controls)
        values[noise] = [conformal_p_value(s, against) for s in _score_each(saved, key, score)]
        references[noise] = len(against)
    return {name: spread_of(p, references[name]) for name, p in values.items()}


def _score_each(
    saved: Sequence[Picture],
    key: Callable[[Picture], object],
    score: Callable[[Sequence[Picture]], Sequence[float]],
) -> list[float]:
    """Score pictures a few at a time, and those of one key once: what they meet is the same."""
    distinct = {key(p): p for p in saved}
    given = list(distinct.values())
    scores = [s for i in range(0, len(given), CHUNK) for s in score(given[i : i + CHUNK])]
    found = dict(zip(distinct, scores, strict=True))
    return [found[key(p)] for p in saved]


def _pixels(picture: Picture) -> bytes:
    return picture.image.numpy().tobytes()


def _bytes(picture: Picture) -> str:
    return picture.sha256


def spread_of(p_values: Sequence[float], references: int) -> dict[str, Any]:
    """Summarise the p-values of copies; a rank is 1 / (references + 1)."""
    deviation = float(np.std(p_values, ddof=1))
    return {
        "references": references,
        "least": round(min(p_values), 4),
        "largest": round(max(p_values), 4),
        "deviation": round(deviation, 5),
        "ranks": round(deviation * (references + 1), 3),
    }


def resaved_table(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    least, most = report["qualities"]
    text = (
        "An unused picture of each shipped suspect, saved anew, `python -m eval resaved`: half of the copies without "
        f"loss (PNG, WebP), half with (JPEG, WebP; quality {least} to {most})."
    )
    return f"{text}\n\n{spread_table(report)}\n"


def spread_table(report: Mapping[str, Any]) -> str:
    """A row for each suspect and test; the docs show it, too."""
    columns = ("suspect", "copies", "judged by", "p", "standard deviation of p", "in ranks of the references")
    rows = [
        [
            f"`{name}`",
            suspect["copies"],
            f"{label}, {suspect[test]['references']} references",
            f"{suspect[test]['least']:.3f} to {suspect[test]['largest']:.3f}",
            f"{suspect[test]['deviation']:.4f}",
            f"{suspect[test]['ranks']:.2f}",
        ]
        for name, suspect in report["suspects"].items()
        for test, label in TESTS.items()
    ]
    return markdown_table(columns, rows)
