"""The record of a run on disk: `result.json`, three lossless PNGs a picture, an HTML report, and `manifest.json`.

A folder of evidence can be packed into one zip. The manifest states the SHA-256 of every other file in it.
"""

import dataclasses
import hashlib
import json
import platform
import zipfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from .authenticate import PictureResult, Result
from .report import report_html
from .similarity import SOURCES

PACKAGES = ("torch", "diffusers", "transformers", "peft", "open_clip_torch", "timm", "numpy", "pillow")
ROLES = ("original", "partial", "recovered")
EPOCH = (1980, 1, 1, 0, 0, 0)  # of every file in a zip, so that equal evidence gives equal bytes


def write_evidence(result: Result, out: Path, models: dict[str, str]) -> dict[str, Any]:
    """Write everything to the folder `out`, and return the record; `models` names base, suspect, prompt as given."""
    out.mkdir(parents=True, exist_ok=True)
    record = as_record(result, models)
    for number, picture in enumerate(result.pictures):
        for role, image in zip(ROLES, (picture.picture.image, picture.partial, picture.recovered), strict=True):
            Image.fromarray(pixels(image)).save(out / image_name(number, role))
    write_report(record, out)
    return record


def write_report(record: dict[str, Any], out: Path) -> None:
    """Write `result.json`, `report.html` and `manifest.json` of a record whose pictures lie in `out` already."""
    (out / "result.json").write_text(json.dumps(record, indent=2) + "\n")
    (out / "report.html").write_text(report_html(record, out))
    images = [image_name(number, role) for number in range(len(record["pictures"])) for role in ROLES]
    digests = {name: file_sha256(out / name) for name in ("result.json", "report.html", *images)}
    (out / "manifest.json").write_text(json.dumps({"sha256": digests}, indent=2) + "\n")


def pack_evidence(folder: Path, path: Path) -> Path:
    """One zip of a folder of evidence: what its manifest states, and the manifest. PNGs are stored as they are."""
    names = [*json.loads((folder / "manifest.json").read_text())["sha256"], "manifest.json"]
    whole = path.with_suffix(".tmp")
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name in names:
            bundle.writestr(zipfile.ZipInfo(name, EPOCH), (folder / name).read_bytes(), zipfile.ZIP_DEFLATED)
    return whole.replace(path)


def image_name(number: int, role: str) -> str:
    """The file of a picture's `role` (original, partial, recovered) in a folder of evidence."""
    return f"{number:02d}-{role}.png"


def as_record(result: Result, models: dict[str, str]) -> dict[str, Any]:
    """The run as plain data. A score that was not computed is null, with the reason beside it."""
    done, of = len(result.pictures[0].contrast), result.config.recovery.steps
    return {
        "pictures": [_picture_record(r, result) for r in result.pictures],
        "set": None if result.together is None else dataclasses.asdict(result.together),
        "control_scores": list(result.control_scores),
        "config": dataclasses.asdict(result.config),
        "models": {**models, "sha256": result.fingerprints},
        "versions": {"python": platform.python_version(), **{p: _version(p) for p in PACKAGES}},
        "seed": result.config.seed,
        "seconds": round(result.seconds, 2),
        "stopped": {"step": done, "of": of} if done < of else None,
    }


def _picture_record(r: PictureResult, result: Result) -> dict[str, Any]:
    missing = {name: reason_missing(result, name) for name in SOURCES if name not in r.scores}
    return {
        "path": r.picture.name,
        "sha256": r.picture.sha256,
        "notes": list(r.picture.notes),
        "scores": {**r.scores, **dict.fromkeys(missing)},
        "not_computed": missing,
        "p_value": r.verdict.p_value,
        "outcome": r.verdict.outcome,
        "reason": r.verdict.reason,
        "flags": [{k: v for k, v in dataclasses.asdict(f).items() if k != "blocks_verdict"} for f in r.flags],
        "contrast": list(r.contrast),
    }


def reason_missing(result: Result, name: str) -> str:
    """Why a similarity is not among the scores."""
    return result.not_computed.get(name, "was not asked for")


def three_images(result: PictureResult) -> Image.Image:
    """Original, partial and recovered, side by side."""
    images: Sequence[Tensor] = (result.picture.image, result.partial, result.recovered)
    return Image.fromarray(np.concatenate([pixels(i) for i in images], axis=1))


def pixels(image: Tensor) -> np.ndarray:
    """A picture in [0, 1], `3 H W`, as 8-bit values, `H W 3`."""
    return (image.clamp(0, 1) * 255).round().byte().movedim(0, -1).cpu().numpy()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
