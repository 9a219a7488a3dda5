"""The record of a run on disk: `result.json`, the three-image PNG of each picture, and an HTML report."""

import base64
import dataclasses
import html
import io
import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from .authenticate import PictureResult, Result
from .similarity import SOURCES

PACKAGES = ("torch", "diffusers", "transformers", "peft", "open_clip_torch", "timm", "numpy", "pillow")
CAVEAT = (
    "This is statistical evidence with the stated error rate. “No evidence” does not mean that the picture was never "
    "used. Whatever the outcome, look at the scores and the control pictures, not at the recovered picture alone."
)


def write_evidence(result: Result, out: Path, models: dict[str, str]) -> None:
    """Write everything to the folder `out`; `models` names base, suspect and prompt as they were given."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "result.json").write_text(json.dumps(as_record(result, models), indent=2) + "\n")
    for number, picture in enumerate(result.pictures):
        three_images(picture).save(out / f"picture-{number:02d}.png")
    (out / "report.html").write_text(report_html(result, models))


def as_record(result: Result, models: dict[str, str]) -> dict[str, Any]:
    """The run as plain data. A score that was not computed is null, with the reason beside it."""
    missing = {name: reason_missing(result, name) for name in SOURCES if name not in result.pictures[0].scores}
    return {
        "pictures": [
            {
                "path": r.picture.name,
                "sha256": r.picture.sha256,
                "notes": list(r.picture.notes),
                "scores": {**r.scores, **dict.fromkeys(missing)},
                "not_computed": missing,
                "p_value": r.verdict.p_value,
                "outcome": r.verdict.outcome,
                "reason": r.verdict.reason,
                "flags": [f.name for f in r.flags],
            }
            for r in result.pictures
        ],
        "control_scores": list(result.control_scores),
        "config": dataclasses.asdict(result.config),
        "models": {**models, "sha256": result.fingerprints},
        "versions": {"python": platform.python_version(), **{p: _version(p) for p in PACKAGES}},
        "seed": result.config.seed,
        "seconds": round(result.seconds, 2),
    }


def reason_missing(result: Result, name: str) -> str:
    """Why a similarity is not among the scores."""
    return result.not_computed.get(name, "was not asked for")


def three_images(result: PictureResult) -> Image.Image:
    """Original, partial and recovered, side by side."""
    images = (result.picture.image, result.partial, result.recovered)
    strip = np.concatenate([_pixels(i) for i in images], axis=1)
    return Image.fromarray(strip)


def report_html(result: Result, models: dict[str, str]) -> str:
    """A self-contained page; every text that came from outside is escaped."""
    rows = []
    for r in result.pictures:
        buffer = io.BytesIO()
        three_images(r).save(buffer, "PNG")
        source = base64.b64encode(buffer.getvalue()).decode()
        scores = ", ".join(f"{k} {v:.3f}" for k, v in r.scores.items())
        p = "—" if r.verdict.p_value is None else f"{r.verdict.p_value:.3f}"
        rows.append(
            f"<tr><td>{html.escape(r.picture.name)}<br><img alt='original, partial, recovered' "
            f"src='data:image/png;base64,{source}'></td><td><b>{html.escape(r.verdict.outcome)}</b><br>"
            f"p = {p}; {html.escape(r.verdict.reason)}<br><small>{scores}</small></td></tr>"
        )
    given = "; ".join(f"{html.escape(k)}: {html.escape(v)}" for k, v in models.items())
    return (
        "<!doctype html><meta charset='utf-8'><title>CGI-DM report</title>"
        "<style>body{font:16px sans-serif;max-width:60em;margin:2em auto}td{padding:.5em;vertical-align:top}</style>"
        f"<h1>Was this picture used to train that model?</h1><p>{CAVEAT}</p><p>{given}; "
        f"{len(result.control_scores)} control pictures; preset {result.config.preset}, seed {result.config.seed}</p>"
        f"<p>Each strip: original, partial, recovered.</p><table>{''.join(rows)}</table>"
    )


def _pixels(image: Tensor) -> np.ndarray:
    return (image.clamp(0, 1) * 255).round().byte().movedim(0, -1).numpy()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
