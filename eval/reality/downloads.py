"""The stage `fetch`: bases, the embedders' weights and the DreamBooth data set, with the digests that are known."""

import json
from typing import Any

from huggingface_hub import get_token

from cgidm.errors import UserError
from cgidm.files import hash_file
from cgidm.intake.known_bases.table import FILE
from cgidm.intake.layout import open_checkpoint
from cgidm.pictures.embedders import SOURCES, load_embedders
from eval.benchmark.fetch import fetch
from eval.reality.plan import Download, RealityPlan
from eval.reality.stages import Sitting

ANOTHER, NOT_KNOWN = "another digest", "no known digest"


def fetch_everything(sitting: Sitting) -> dict[str, Any]:
    """Download what is missing. The Hub's cache and the data set go on where they broke off."""
    plan, parts = sitting.plan, sitting.parts
    bases = [parts.remember(f"base-{i}", lambda d=d: _fetch_base(d)) for i, d in enumerate(plan.downloads)]
    weights = parts.remember("embedders", lambda: _fetch_embedders(plan))
    fetch("dreambooth", sitting.data, archive=plan.dreambooth_archive)
    sources = json.loads((sitting.data / "dreambooth" / "SOURCES.json").read_text(encoding="utf-8"))
    subjects = sorted(p.name for p in (sitting.data / "dreambooth").iterdir() if p.is_dir())
    return {"bases": bases, "embedders": weights, "dreambooth": {**sources["sources"][0], "subjects": subjects}}


def compare_digest(given: str, known: str | None) -> str:
    """Say what a digest is worth: "the same", "another digest" or "no known digest"."""
    return NOT_KNOWN if known is None else "the same" if given == known else ANOTHER


def _fetch_base(download: Download) -> dict[str, Any]:
    checkpoint = open_checkpoint(download.location, "base model", token=get_token())
    checkpoint.fetch()
    repo = download.location.partition("@")[0]
    table = json.loads(FILE.read_text(encoding="utf-8"))["bases"]
    known = next((base["files"] for base in table if base["location"] == repo), {})
    digests = {file: checkpoint.listing.sha256(file) for file in checkpoint.weights}
    return {
        "location": download.location,
        "read": checkpoint.name,
        "gb": sum(checkpoint.listing.sizes[file] for file in checkpoint.weights) / 1e9,
        "files": {f: {"sha256": d, "known": compare_digest(d, known.get(f))} for f, d in digests.items()},
    }


def _fetch_embedders(plan: RealityPlan) -> dict[str, Any]:
    missing = load_embedders(download=True).missing
    found: dict[str, Any] = {}
    for name, known in plan.embedders.items():
        if name in missing:
            raise UserError("reality.embedder_missing", name=name, reason=missing[name])
        digest = hash_file(SOURCES[name][1](False))
        found[name] = {"sha256": digest, "known": compare_digest(digest, known)}
    return found
