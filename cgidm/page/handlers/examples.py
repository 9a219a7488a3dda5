"""Answers that ship with the page, so that a first visit needs no reading and no waiting."""

import hashlib
from pathlib import Path

from cgidm.evidence.bundle_writer import pack_evidence
from cgidm.evidence.record import Record, read_record
from cgidm.evidence.record_of_result import image_name
from cgidm.evidence.seal import RECORD
from cgidm.resources import SHIPPED, SHIPPED_BASE, example_answers, resource_root

from ..html.views import View, empty_view, evidence_view, now_view
from ..runs.model_cache import EXAMPLES, shipped_prompt
from ..runs.store import ROOT

EXAMPLE = "example:"  # before the name of an example, where that of a run may stand
EXAMPLE_ANSWERS = example_answers()  # written by `python -m eval example-answers`


def example_names() -> list[str]:
    """Every answer that ships: `<suspect>/<member or holdout>`."""
    found = [f"{e}/{part}" for part in ("member", "holdout") for e in EXAMPLES]
    return [name for name in found if (EXAMPLE_ANSWERS / name / RECORD).is_file()]


def picture_of(name: str) -> Path:
    """The picture of an example, as a visitor would have sent it."""
    suspect, part = name.split("/")
    return resource_root() / "examples" / suspect / part / record_of(name).pictures[0].name


def icon_of(name: str) -> Path:
    """What the method sees of it."""
    return EXAMPLE_ANSWERS / name / image_name(0, "original")


def record_of(name: str) -> Record:
    """The record that ships."""
    return read_record((EXAMPLE_ANSWERS / name / RECORD).read_bytes(), f"{name}/{RECORD}")


def example_form(name: str) -> View:
    """Fill the form so that Run computes the answer of an example again."""
    suspect, record = name.split("/")[0], record_of(name)
    return {
        "suspect": SHIPPED + suspect,
        "upload": None,
        "base": SHIPPED_BASE,
        "prompt": shipped_prompt(suspect),
        "picture": [str(picture_of(name))],
        "unused": "none",
        "controls": None,
        "bank": None,
        "unrelated": "",
        "preset": record.config.preset,
        "seed": record.config.seed,
        "search": len(record.config.views) > 1,
        "lineup": 0,
    }


def show_example(name: str, language: str) -> View:
    """The answer that ships, with its evidence, and the form filled in."""
    folder, record = EXAMPLE_ANSWERS / name, record_of(name)
    return (
        empty_view()
        | evidence_view(folder, record, language, precomputed=True)
        | now_view(folder, bundle_of(name), record, language)
        | example_form(name)
        | {"current": EXAMPLE + name, "pending": ""}
    )


def bundle_of(name: str) -> Path:
    """The evidence of an example as one zip, packed when it is first wanted; sweeping may have taken it away."""
    folder = ROOT / "shown" / hashlib.sha256(f"example {name}".encode()).hexdigest()[:32]
    bundle = folder / "evidence.zip"
    if not bundle.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        pack_evidence(EXAMPLE_ANSWERS / name, bundle)
    return bundle
