"""`python -m eval crossed`: the mirror test on shipped pictures under the suspect that learnt the other author.

None of them was used there, and none is like one that was. Both authors draw clip art, and the artists of the base's
table paint or illustrate. So it counts what that table is worth for pictures of a kind that it does not hold.
"""

import argparse
import json
from itertools import permutations
from pathlib import Path
from typing import Any

from cgidm.families import load_pair
from cgidm.judging.mirror_test import find_mirror_table
from cgidm.judging.scoring import score_mirror
from cgidm.judging.verdict import LEVEL, STRICT_LEVEL
from cgidm.method.config import find_preset
from cgidm.pictures.images import read_picture
from eval.markdown import markdown_table


def run(o: argparse.Namespace) -> None:
    """Run the command."""
    examples = sorted(p.parent for p in (o.assets / "examples").glob("*/example.json"))
    rows = [_count(o.assets, suspect, other, o.preset) for suspect, other in permutations(examples, 2)]
    (o.out / "crossed.json").write_text(json.dumps({"rows": rows}, indent=1) + "\n")
    print(crossed_table({"rows": rows}))


def _count(assets: Path, suspect: Path, other: Path, preset: str) -> dict[str, Any]:
    """Judge the pictures of one example, and its controls, under the suspect of another."""
    config, prompt = find_preset(preset), json.loads((suspect / "example.json").read_text())["prompt"]
    pair = load_pair(str(assets / "mini"), str(suspect / "checkpoint"), prompt)
    table = find_mirror_table(pair.fingerprints, config.mirror_draws)
    assert table is not None, "the base that ships has a table"
    folders = (other / "member", other / "holdout", assets / "controls" / other.name)
    pictures = [read_picture(path, pair.framing) for folder in folders for path in sorted(folder.iterdir())]
    p_values = [table.reference.p_value(score.value) for score in score_mirror(pair, pictures, config)]
    called = {str(level): sum(p <= level for p in p_values) for level in (LEVEL, STRICT_LEVEL)}
    return {"suspect": suspect.name, "pictures of": other.name, "unused": len(p_values), "called": called}


def crossed_table(report: dict[str, Any]) -> str:
    """The counts in Markdown."""
    levels = [f"{level:.0%}" for level in (LEVEL, STRICT_LEVEL)]
    rows = [
        [f"`{r['suspect']}`", f"`{r['pictures of']}`", *(f"{n} of {r['unused']}" for n in r["called"].values())]
        for r in report["rows"]
    ]
    return markdown_table(
        ["suspect", "pictures of", *(f"unused called, {level}" for level in levels)], rows, spaced=True
    )
