"""`python -m eval merging`: may a LoRA be added to weights that bfloat16 rounds?

A change much smaller than its weight is lost in their rounding, so a layer that would lose more than
`families.adapters.MAX_ROUNDING_LOSS` of its change keeps its factors. The shipped LoRA, at its own strength and at
fractions of it, judges its members and holdouts in float32; in bfloat16 with all layers merged, with none, and as the
library chooses; and in float16 as a GPU does, which merges nothing.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from cgidm.conductor import authenticate
from cgidm.families import adapters, load_pair
from cgidm.judging.result import Result
from cgidm.method.config import PRESETS
from cgidm.method.models import ModelPair
from cgidm.pictures.folders import picture_files
from cgidm.pictures.images import Picture, read_picture
from cgidm.run.provenance import describe_machine
from eval.markdown import markdown_table
from eval.studies.precision import agreement, emulated_convolutions

SUSPECT = "rollandin-lora"
STRENGTHS = (1.0, 1 / 4, 1 / 16, 1 / 64)
WEIGHTS = "pytorch_lora_weights.safetensors"
SCORES = ("removed_alignment", "loss_contrast")
NOTHING, ALL = -1.0, np.inf  # of a change: what a layer may lose, so that none is merged, or every one
WAYS = {
    "merged": (torch.bfloat16, ALL),
    "factors": (torch.bfloat16, NOTHING),
    "as chosen": (torch.bfloat16, adapters.MAX_ROUNDING_LOSS),
    "factors, float16": (torch.float16, NOTHING),
}


def measure_merging(assets: Path, out: Path, strengths: Sequence[float] = STRENGTHS, most: int | None = None) -> dict:
    """Judge with every strength in every way, `most` pictures of each kind; write `merging.json` and `merging.md`."""
    folder, rows, machine = assets / "examples" / SUSPECT, [], {}
    prompt = json.loads((folder / "example.json").read_text())["prompt"]
    with TemporaryDirectory() as work:
        for strength in strengths:
            suspect = Path(work) / f"{strength:g}"
            weaken(folder / "checkpoint" / WEIGHTS, strength, suspect / WEIGHTS)

            def pair_in(dtype: torch.dtype, max_rounding_loss: float, suspect: Path = suspect) -> ModelPair:
                base = str(assets / "mini")
                return load_pair(base, str(suspect), prompt, dtype=dtype, max_rounding_loss=max_rounding_loss)

            full = pair_in(torch.float32, adapters.MAX_ROUNDING_LOSS)
            pictures = [p for part in ("member", "holdout") for p in _read(folder / part, full.resolution, most)]
            expected = _scores(full, pictures)
            lost = lost_shares(full)
            row = {"strength": strength, "layers": len(lost), "lost": [round(float(share), 4) for share in lost]}
            for way, (dtype, share) in WAYS.items():
                pair = pair_in(dtype, share)
                with emulated_convolutions(pair):
                    found, machine = _scores(pair, pictures), describe_machine(pair)
                row[way] = {
                    "layers_merged": sum(layer.merged for layer in adapters.adapted_layers(pair.modules[-1])),
                    **{score: agreement(expected[score], found[score]) for score in SCORES},
                }
            rows.append(row)
    report = {"machine": machine, "most_lost": adapters.MAX_ROUNDING_LOSS, "rows": rows}
    out.mkdir(parents=True, exist_ok=True)
    (out / "merging.json").write_text(json.dumps(report, indent=1) + "\n")
    (out / "merging.md").write_text(merging_table(report))
    return report


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    print(merging_table(measure_merging(options.assets, options.out)), end="")


def merging_table(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    text = (
        f"A LoRA in half precision against float32, `python -m eval merging`; {report['machine']['device_name']}. In "
        "bfloat16 where nothing else is said. As chosen: a layer that would lose more than "
        f"{report['most_lost']:g} of its change in the rounding of a merged weight keeps its factors."
    )
    columns = ("strength", "a layer loses (median, most)", "way", "layers merged", "score", "rank correlation")
    rows = []
    for row in report["rows"]:
        lost = f"{np.median(row['lost']):.1%}, {max(row['lost']):.1%}"
        for way in WAYS:
            head = [f"{row['strength']:g}", lost, way, f"{row[way]['layers_merged']} of {row['layers']}"]
            for score in SCORES:
                a = row[way][score]
                numbers = f"{a['spearman']:.4f}", f"{a['largest_difference']:.5f}", f"{a['deviation_of_scores']:.3f}"
                rows.append([*head, f"`{score}`", *numbers])
    return f"{text}\n\n{markdown_table((*columns, 'largest difference', 'deviation of scores'), rows)}\n"


def weaken(lora: Path, strength: float, out: Path) -> None:
    """Write a LoRA whose change is `strength` times that of `lora`."""
    state = {k: v * strength if ".lora_B." in k else v for k, v in load_file(lora).items()}
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, out)


def lost_shares(pair: ModelPair) -> list[float]:
    """Of each layer of a merged float32 pair: what bfloat16 would round away, over the change; both as norms."""
    base, suspect = pair.modules  # merged pairs have no network of both
    shares = []
    for name, layer in suspect.named_modules():
        if isinstance(layer, adapters.ADAPTED):
            own: Any = base.get_submodule(name)
            change = layer.get_base_layer().weight - own.weight
            exact = own.weight.bfloat16().float() + change
            shares.append(((exact.bfloat16().float() - exact).norm() / change.norm()).item())
    return shares


def _scores(pair: ModelPair, pictures: Sequence[Picture]) -> dict[str, list[float]]:
    result: Result = authenticate(pair, pictures, config=PRESETS["fast"])
    return {score: [r.scores[score] for r in result.pictures] for score in SCORES}


def _read(folder: Path, side: int, most: int | None) -> list[Picture]:
    return [read_picture(p, side) for p in picture_files(folder, "pictures")[:most]]
