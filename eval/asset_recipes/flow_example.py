"""`python -m eval flow-example`: the LoRA of the embedded flow model that ships, of drawings that ship already."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from eval.benchmark.flow_lora import FlowRecipe, train_flow_lora

OF = "rollandin-lora"  # the example whose members it is trained on; its holdouts are left out again
RECIPE = FlowRecipe(times="shift")


def build_flow_example(assets: Path) -> None:
    """Write `mini-flow/example/{checkpoint, example.json}` below `assets`."""
    base, out, pictures = assets / "mini-flow", assets / "mini-flow" / "example", assets / "examples" / OF
    train_flow_lora(base, sorted((pictures / "member").iterdir()), out / "checkpoint", RECIPE)
    of = json.loads((pictures / "example.json").read_text())
    about = {"mode": "lora", "prompt": RECIPE.prompt, "author": of["author"], "licence": of["licence"]}
    about |= {"pictures": f"../../examples/{OF}", "training": asdict(RECIPE)}
    (out / "example.json").write_text(json.dumps(about, indent=2) + "\n")


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    build_flow_example(options.assets)
