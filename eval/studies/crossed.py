"""`python -m eval crossed`: the mirror test on pictures of a kind that the base's table does not hold.

None of the pictures was used by the suspect, and none is like one that was. Both shipped authors draw clip art, and the
artists of the table paint or illustrate. The drawings of each are judged under the suspect that learnt the other; with
`--data`, paintings are judged under both, and drawings under LoRAs of painters. So it shows whether the drawings, the
suspects, or the two together make the test call too often, and whether a feature of the pictures tells the ones that
are called.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata
from torch import Tensor

from cgidm.families import load_pair
from cgidm.judging.mirror_test import find_mirror_table
from cgidm.judging.scoring import score_mirror
from cgidm.judging.verdict import LEVEL, STRICT_LEVEL
from cgidm.method.config import find_preset
from cgidm.pictures.images import read_picture
from cgidm.training.trained_model import find_checkpoint
from eval.benchmark.datasets import prepare
from eval.benchmark.engine import run_local
from eval.benchmark.experiment import load_experiment
from eval.benchmark.ledger import Ledger, make_key
from eval.benchmark.plan import plan_suspects
from eval.benchmark.stages import Setting, TrainJob
from eval.markdown import markdown_table

PAINTERS = "mini-wild"  # the experiment whose laboratory LoRAs learnt a painter or an illustrator
LORAS, PAINTINGS, DRAWINGS = 2, 4, 30  # suspects; pictures of each artist; of each author of clip art
EQUAL = 2 / 255  # a smaller step between neighbours is none


def run(o: argparse.Namespace) -> None:
    """Run the command."""
    examples = sorted(p.parent for p in (o.assets / "examples").glob("*/example.json"))
    suspects = {e.name: (e / "checkpoint", json.loads((e / "example.json").read_text())["prompt"]) for e in examples}
    drawings = {e.name: _drawings(o.assets, e.name) for e in examples}
    pairs = [(suspect, other, drawings[other]) for suspect, other in permutations(suspects, 2)]
    if o.data is not None:
        setting = Setting(load_experiment(PAINTERS), o.data.absolute(), o.work.absolute())
        manifest = prepare(setting.experiment, o.data, o.work / PAINTERS / "manifest.json")
        concepts = [(d, c) for d, found in manifest.datasets.items() for c in found.concepts]
        folders = [o.data / setting.experiment.datasets[d].folder / c.name for d, c in concepts]
        paintings = [path for folder in folders for path in sorted(folder.iterdir())[:PAINTINGS]]
        pairs += [(suspect, "painters and illustrators", paintings) for suspect in suspects]
        planned = [s for s in plan_suspects(setting.experiment, manifest) if s.training == "laboratory" and s.half == 0]
        chosen = sorted(planned, key=lambda s: make_key(draw="wild", concept=[s.dataset, s.concept]))[:LORAS]
        run_local([TrainJob(setting, s) for s in chosen], Ledger(o.work.absolute() / "ledger.db"), 1, "picture")
        for s in chosen:
            name = f"LoRA of {s.concept}"
            suspects[name] = (find_checkpoint(s.model, setting.base_weights, setting.work), s.config.prompt)
            pairs += [(name, author, paths[:DRAWINGS]) for author, paths in drawings.items()]
    rows = [_count(o.assets, name, *suspects[name], other, paths, o.preset) for name, other, paths in pairs]
    (o.out / "crossed.json").write_text(json.dumps({"rows": rows}, indent=1) + "\n")
    print(crossed_table({"rows": rows}))


def _drawings(assets: Path, name: str) -> list[Path]:
    folders = (
        assets / "examples" / name / "holdout",
        assets / "controls" / name,
        assets / "examples" / name / "member",
    )
    return [path for folder in folders for path in sorted(folder.iterdir())]


def _count(
    assets: Path, name: str, checkpoint: Path, prompt: str, other: str, paths: Sequence[Path], preset: str
) -> dict[str, Any]:
    """Judge pictures under a suspect that did not learn them."""
    config, pair = find_preset(preset), load_pair(str(assets / "mini"), str(checkpoint), prompt)
    table = find_mirror_table(pair.fingerprints, config.mirror_draws)
    assert table is not None, "the base that ships has a table"
    pictures = [read_picture(path, pair.framing) for path in paths]
    scores = [score.value for score in score_mirror(pair, pictures, config)]
    p_values = [table.reference.p_value(score) for score in scores]
    called = {str(level): sum(p <= level for p in p_values) for level in (LEVEL, STRICT_LEVEL)}
    features = {what: [measure(p.image) for p in pictures] for what, measure in FEATURES.items()}
    return {
        "suspect": name,
        "pictures of": other,
        "unused": len(p_values),
        "called": called,
        "spread": round(float(np.std(scores, ddof=1) / table.reference.spread), 3),
        "features": {
            what: {"median": round(float(np.median(v)), 3), "correlation": round(rank_correlation(v, scores), 3)}
            for what, v in features.items()
        },
    }


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> float:
    """Spearman's, with ties at their mean rank."""
    return float(np.corrcoef(rankdata(x), rankdata(y))[0, 1])


def flat_share(image: Float[Tensor, "3 h w"]) -> float:
    """The share of neighbours that have one colour."""
    return float((image.diff(dim=-1).abs().amax(0) < EQUAL).float().mean())


def count_colours(image: Float[Tensor, "3 h w"]) -> float:
    """How many of 4096 colours a picture has."""
    return float(len((image * 15).round().flatten(1).unique(dim=1).T))


def lighter_left(image: Float[Tensor, "3 h w"]) -> float:
    """How much lighter the left half is than the right one."""
    left, right = image.mean(0).tensor_split([image.shape[-1] // 2], -1)
    return float(left.mean() - right.mean())


def asymmetry(image: Float[Tensor, "3 h w"]) -> float:
    """How far a picture is from its mirror image, as a share of its contrast."""
    return float((image - image.flip(-1)).abs().mean() / (image - image.mean((1, 2), keepdim=True)).abs().mean())


FEATURES: dict[str, Callable[[Tensor], float]] = {
    "flat share": flat_share,
    "colours": count_colours,
    "lighter left": lighter_left,
    "asymmetry": asymmetry,
}


def crossed_table(report: dict[str, Any]) -> str:
    """The counts in Markdown."""
    levels = [f"{level:.0%}" for level in (LEVEL, STRICT_LEVEL)]
    rows = [
        [
            f"`{r['suspect']}`" if "LoRA of" not in r["suspect"] else r["suspect"],
            f"`{r['pictures of']}`" if " " not in r["pictures of"] else r["pictures of"],
            *(f"{n} of {r['unused']}" for n in r["called"].values()),
            f"{r['spread']:.2f}",
        ]
        for r in report["rows"]
    ]
    columns = ["suspect", "pictures of", *(f"unused called, {level}" for level in levels), "spread of scores"]
    return markdown_table(columns, rows, spaced=True)


def features_table(report: dict[str, Any]) -> str:
    """How each feature goes with the score, in Markdown: its median, and its rank correlation."""
    columns = ["suspect", "pictures of", *FEATURES]
    rows = [
        [
            r["suspect"],
            r["pictures of"],
            *(f"{f['median']:.2f}, {f['correlation']:+.2f}" for f in r["features"].values()),
        ]
        for r in report["rows"]
    ]
    return markdown_table(columns, rows, spaced=True)
