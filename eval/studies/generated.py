"""`python -m eval generated`: pictures that a suspect itself has made must not be called members.

Sampled from each shipped suspect with its own prompt, as PNG and as JPEG, and judged like uploads.
"""

import argparse
import io
import json
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler
from PIL import Image

from cgidm.conductor import authenticate
from cgidm.families import load_pair
from cgidm.families.adapters import apply_adapter
from cgidm.families.pipelines import load_pipeline, load_suspect
from cgidm.intake.layout import open_checkpoint
from cgidm.judging.generated import round_trip_ratio
from cgidm.judging.result import VERDICT_SCORE
from cgidm.judging.verdict import is_positive
from cgidm.method.config import find_preset
from cgidm.pictures.embedders import load_embedders
from cgidm.pictures.images import Picture, decode_picture, read_picture, to_uint8

COUNT, STEPS, GUIDANCE = 10, 30, 3.0
FORMATS: dict[str, dict[str, Any]] = {"PNG": {}, "JPEG": {"quality": 90}}


def measure_generated(assets: Path, out: Path) -> dict[str, Any]:
    """Sample, judge, and write `generated.json` to `out`."""
    report: dict[str, Any] = {"pictures": COUNT, "steps": STEPS, "guidance": GUIDANCE, "suspects": {}}
    for folder in sorted(p.parent for p in (assets / "examples").glob("*/example.json")):
        prompt = json.loads((folder / "example.json").read_text())["prompt"]
        images = sample(assets / "mini", folder / "checkpoint", prompt)
        pair = load_pair(str(assets / "mini"), str(folder / "checkpoint"), prompt)
        controls = [read_picture(p, pair.resolution) for p in sorted((assets / "controls" / folder.name).iterdir())]
        found = {}
        for name, options in FORMATS.items():
            pictures = [
                _as_upload(image, f"{i:02d}.{name.lower()}", name, options, pair.resolution)
                for i, image in enumerate(images)
            ]
            result = authenticate(pair, pictures, controls, config=find_preset("fast"), embedders=load_embedders())
            ratios = round_trip_ratio(pair.codec, torch.stack([p.image for p in pictures]))
            found[name] = {
                "called": sum(is_positive(r.verdict.outcome) for r in result.pictures),
                "outcomes": [r.verdict.outcome for r in result.pictures],
                "flagged as generated": sum(any(f.name == "generated" for f in r.flags) for r in result.pictures),
                "round_trip_ratio": [round(x, 3) for x in ratios.tolist()],
                VERDICT_SCORE: [round(r.scores[VERDICT_SCORE], 4) for r in result.pictures],
            }
        report["suspects"][folder.name] = found
    out.mkdir(parents=True, exist_ok=True)
    (out / "generated.json").write_text(json.dumps(report, indent=1) + "\n")
    return report


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    print(json.dumps(measure_generated(options.assets, options.out), indent=1))


def sample(base: Path, suspect: Path, prompt: str) -> list[Image.Image]:
    """What the suspect makes of its own prompt."""
    root, tuned = open_checkpoint(str(base), "base model"), open_checkpoint(str(suspect), "fine-tuned model")
    pipeline = load_pipeline(root, "base", torch.float32)
    if tuned.kind == "adapter":
        apply_adapter(pipeline, tuned)
    else:
        pipeline = load_suspect(tuned, root, pipeline, torch.float32)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    made = pipeline(
        [prompt] * COUNT, num_inference_steps=STEPS, guidance_scale=GUIDANCE, generator=generator, output_type="pt"
    )
    return [Image.fromarray(to_uint8(image)) for image in made.images]


def _as_upload(image: Image.Image, name: str, kind: str, options: dict[str, Any], side: int) -> Picture:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return decode_picture(file.getvalue(), name, side)
