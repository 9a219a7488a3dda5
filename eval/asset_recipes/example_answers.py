"""`python -m eval example-answers`: the answers that ship with the page.

Of every shipped suspect one member and one holdout, each the median of its kind by the verdict's score, so that nobody
picked the pretty ones. Each is a folder of evidence as any run writes it.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch

from cgidm.conductor import authenticate
from cgidm.evidence.bundle_writer import write_evidence
from cgidm.evidence.record import ModelsRecord
from cgidm.families import load_pair
from cgidm.framing.frame import Framing
from cgidm.intake.layout import read_layout
from cgidm.intake.listing import LocalListing
from cgidm.judging.scoring import score_controls
from cgidm.method.config import find_preset
from cgidm.pictures.embedders import load_embedders
from cgidm.pictures.images import Picture, decode_picture

PARTS = ("member", "holdout")


def write_example_answers(assets: Path, preset: str = "fast") -> list[Path]:
    """Judge them and write `assets/answers/<suspect>/<member or holdout>/`; returns the folders."""
    torch.set_num_threads(1)  # so that the answers change with the code, not with who makes them
    config, embedders, written = find_preset(preset), load_embedders(), []
    base = read_layout(LocalListing(assets / "mini", label="mini"))
    for folder in sorted(p.parent for p in (assets / "examples").glob("*/example.json")):
        prompt = json.loads((folder / "example.json").read_text())["prompt"]
        suspect = read_layout(LocalListing(folder / "checkpoint", label=folder.name))
        pair = load_pair(base, suspect, prompt)
        controls = _pictures(assets / "controls" / folder.name, pair.framing)
        for part in PARTS:
            pictures = _pictures(folder / part, pair.framing)
            scores = score_controls(pair, pictures, config)
            median = pictures[sorted(range(len(scores)), key=lambda i: scores[i])[len(scores) // 2]]
            result = authenticate(pair, [median], controls, config=config, embedders=embedders)
            out = assets / "answers" / folder.name / part
            shutil.rmtree(out, ignore_errors=True)
            write_evidence(result, out, ModelsRecord(base=base.name, suspect=suspect.name, prompt=prompt))
            written.append(out)
    return written


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    print("\n".join(map(str, write_example_answers(options.assets))))


def _pictures(folder: Path, framing: Framing) -> list[Picture]:
    return [decode_picture(p.read_bytes(), p.name, framing) for p in sorted(folder.iterdir())]
