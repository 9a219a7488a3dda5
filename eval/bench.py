"""`python -m eval bench`: wall-clock seconds for one picture of a shipped example, after loading."""

import json
import os
import platform
import time
from pathlib import Path

import torch

from cgidm.authenticate import authenticate
from cgidm.config import find_preset
from cgidm.families import load_pair
from cgidm.images import read_picture
from cgidm.similarity import load_embedders

PRESETS_TIMED = ("fast", "paper", "reference")  # the last with gradients of the weights, as the public code has them


def measure_speed(assets: Path, out: Path, example: str = "gerald-g-dreambooth") -> dict:
    """Time one picture with each preset, controls and decoding included; writes `bench.json` to `out`."""
    folder = assets / "examples" / example
    about = json.loads((folder / "example.json").read_text())
    start = time.monotonic()
    pair, embedders = load_pair(str(assets / "mini"), str(folder / "checkpoint"), about["prompt"]), load_embedders()
    loading = time.monotonic() - start
    picture = read_picture(sorted((folder / "member").iterdir())[0], pair.side)
    controls = [read_picture(p, pair.side) for p in sorted((assets / "controls" / example).iterdir())]
    report: dict = {
        "machine": {"processor": _processor(), "cores": os.cpu_count(), "threads": torch.get_num_threads()},
        "torch": torch.__version__,
        "controls": len(controls),
        "loading_seconds": round(loading, 2),
        "presets": {},
    }
    for preset in PRESETS_TIMED:
        config = find_preset(preset)
        result = authenticate(pair, [picture], controls, config, embedders)
        report["presets"][preset] = {
            "seconds": round(result.seconds, 2),
            "evaluations": config.recovery.evaluations(),
        }
    out.mkdir(parents=True, exist_ok=True)
    (out / "bench.json").write_text(json.dumps(report, indent=2) + "\n")
    return report


def _processor() -> str:
    names = Path("/proc/cpuinfo")
    lines = names.read_text().splitlines() if names.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
