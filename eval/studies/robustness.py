"""`python -m eval robustness`: is a copy of a trained picture still recognised, with and without a search over views?

The shipped suspects were trained on their members as they are; a user holds a copy that was flipped, cropped,
compressed, scaled or perturbed. It is judged against the controls as they are: without the search by the copy itself,
with it by the view of the copy that scores highest, and so are the controls.
"""

import argparse
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from cgidm.families import load_pair
from cgidm.judging.scoring import score_views
from cgidm.judging.verdict import LEVEL, is_positive, judge
from cgidm.method.config import RunConfig, find_preset
from cgidm.method.models import ModelPair
from cgidm.method.views import CROP, JPEG_QUALITY, VIEWS, Framed, crop
from cgidm.pictures.folders import picture_files
from cgidm.pictures.images import Picture, from_uint8, read_picture, to_uint8
from eval.markdown import markdown_table

OTHER_CROP = 0.8  # of the side
NOISE = 8 / 255  # the largest change of a value: as strong as protections that are hardly seen
BATCH = 20  # pictures scored at once
SEARCH = ("without", "with")


def perturb(image: Framed) -> Framed:
    """Uniform noise on every value, the same for the same picture: in strength what a protection adds."""
    seed = int.from_bytes(hashlib.sha256(to_uint8(image).tobytes()).digest()[:7], "big")
    noise = torch.rand(image.shape, generator=torch.Generator().manual_seed(seed))
    return (image + NOISE * (2 * noise - 1)).clamp(0, 1)


TRANSFORMATIONS: dict[str, Callable[[Framed], Framed]] = {
    "as it is": VIEWS["as given"],
    "flipped": VIEWS["mirrored"],
    f"cropped to {CROP:.0%} of the side": VIEWS["cropped"],
    f"cropped to {OTHER_CROP:.0%}, which no view undoes": partial(crop, share=OTHER_CROP),
    f"JPEG, quality {JPEG_QUALITY}": VIEWS["jpeg"],
    "scaled to half and back": VIEWS["resized"],
    "noise of 8/255": perturb,
}


def measure_robustness(assets: Path, out: Path, preset: str = "fast") -> dict:
    """Judge copies of all shipped pictures; write `robustness.json` and `robustness.md`."""
    config = replace(find_preset(preset), views=tuple(VIEWS))
    suspects = {}
    for folder in sorted(p.parent for p in (assets / "examples").glob("*/example.json")):
        prompt = json.loads((folder / "example.json").read_text())["prompt"]
        pair = load_pair(str(assets / "mini"), str(folder / "checkpoint"), prompt)
        controls = _read(assets / "controls" / folder.name, pair.resolution)
        members, holdouts = (_read(folder / part, pair.resolution) for part in ("member", "holdout"))
        against = _scores(pair, controls, config)
        suspects[folder.name] = {
            "controls": len(controls),
            "transformations": {
                name: judge_copies(
                    _scores(pair, [copy_of(p, make) for p in members], config),
                    _scores(pair, [copy_of(p, make) for p in holdouts], config),
                    against,
                )
                for name, make in TRANSFORMATIONS.items()
            },
        }
    report = {"level": LEVEL, "views": list(VIEWS), "suspects": suspects}
    out.mkdir(parents=True, exist_ok=True)
    (out / "robustness.json").write_text(json.dumps(report, indent=1) + "\n")
    (out / "robustness.md").write_text(robustness_table(report))
    return report


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    print(robustness_table(measure_robustness(options.assets, options.out)), end="")


def copy_of(picture: Picture, make: Callable[[Framed], Framed]) -> Picture:
    """The copy that a user holds: 8 bits a value, and other bytes than the original's."""
    values = to_uint8(make(picture.image))
    return Picture(picture.name, hashlib.sha256(values.tobytes()).hexdigest(), from_uint8(values))


def judge_copies(members: np.ndarray, holdouts: np.ndarray, controls: np.ndarray) -> dict:
    """Recall and false positives of both ways; each table of scores has a row for each view, the first as given."""
    found: dict = {"members": members.shape[1], "holdouts": holdouts.shape[1]}
    tables = (members, holdouts, controls)
    for how, chosen in zip(SEARCH, ([t[0] for t in tables], [t.max(0) for t in tables]), strict=True):
        against = chosen[2].tolist()
        called = [[is_positive(judge(s, against, []).outcome) for s in part] for part in chosen[:2]]
        labels = np.repeat([1, 0], [len(part) for part in chosen[:2]])
        found[how] = {
            "members_found": sum(called[0]),
            "holdouts_called": sum(called[1]),
            "auc": round(float(roc_auc_score(labels, np.concatenate(chosen[:2]))), 4),
        }
    found["best_views_of_members"] = dict(Counter(list(VIEWS)[i] for i in members.argmax(0)).most_common())
    return found


def robustness_table(report: Mapping) -> str:
    """The report as Markdown: what was judged, the table, and which views were best."""
    suspects = report["suspects"].values()
    controls = " and ".join(str(s["controls"]) for s in suspects)
    text = (
        f"Copies of the shipped pictures, `python -m eval robustness`: {len(suspects)} suspects, {controls} controls, "
        f"p at most {report['level']}; the search looks at {len(report['views'])} views. AUC: mean of the suspects."
    )
    best = []
    for name in next(iter(suspects))["transformations"]:
        views: Counter[str] = Counter()
        for suspect in suspects:
            views.update(suspect["transformations"][name]["best_views_of_members"])
        best.append([name, ", ".join(f"{view} {n}" for view, n in views.most_common())])
    views_text = "The view that gave a member's score, with the search:"
    parts = [text, "", copies_table(report), views_text, "", markdown_table(("the copy is", "views"), best)]
    return "\n".join(parts) + "\n"


def copies_table(report: Mapping) -> str:
    """A row for each transformation, the suspects pooled; README shows it, too."""
    suspects = report["suspects"].values()
    columns = ["the copy is"]
    for number in ("members found", "holdouts called", "AUC"):
        columns += [number, "with the search"]
    table = []
    for name in next(iter(suspects))["transformations"]:
        rows = [s["transformations"][name] for s in suspects]
        cells = [name]
        for of, total in (("members_found", "members"), ("holdouts_called", "holdouts")):
            cells += [f"{sum(r[how][of] for r in rows)} of {sum(r[total] for r in rows)}" for how in SEARCH]
        cells += [f"{np.mean([r[how]['auc'] for r in rows]):.3f}" for how in SEARCH]
        table.append(cells)
    return markdown_table(columns, table) + "\n"


def _scores(pair: ModelPair, pictures: Sequence[Picture], config: RunConfig) -> np.ndarray:
    """A row for each view, a column for each picture."""
    parts = [pictures[i : i + BATCH] for i in range(0, len(pictures), BATCH)]
    return torch.cat([score_views(pair, part, config) for part in parts], 1).cpu().numpy()


def _read(folder: Path, side: int) -> list[Picture]:
    return [read_picture(p, side) for p in picture_files(folder, "pictures")]
