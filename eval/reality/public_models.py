"""The stage `loading`: public models are inspected, and where they fit, a shipped picture is judged under them.

A model that cannot be had or loaded is a finding, not the end: the others are tried all the same.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import torch
from huggingface_hub import get_token

from cgidm.conductor import authenticate
from cgidm.device import choose_device
from cgidm.errors import UserError
from cgidm.families import load_pair
from cgidm.intake.civitai.client import read_key
from cgidm.intake.inspect import inspect_checkpoint, suggest_prompt
from cgidm.intake.layout import Checkpoint, open_checkpoint
from cgidm.messages import Note, note
from cgidm.method.config import RunConfig, find_preset
from cgidm.pictures.images import read_picture
from cgidm.resources import reference_files
from eval.reality.downloads import compare_digest
from eval.reality.plan import FirstAnswerPlan, PublicModel, RealityPlan
from eval.reality.stages import Sitting

SHARE = 0.9  # of the GPU's memory that weights in half precision may take
HALF = 2  # bytes of a number

T = TypeVar("T")


def try_public_models(sitting: Sitting) -> list[dict[str, Any]]:
    """Try each model of the list, and return a row for each."""
    rows = []
    for number, model in enumerate(sitting.plan.public_models):
        row = sitting.parts.remember(f"{number:02d}", partial(try_model, model, sitting.plan, sitting.device))
        sitting.tell(f"  {model.location}: {row['refused'] or row['family']}")
        rows.append(row)
    return rows


def try_model(model: PublicModel, plan: RealityPlan, device: str) -> dict[str, Any]:
    """Inspect a model, compare it with what it must be taken for, and judge a picture where that is wanted."""
    row: dict[str, Any] = {"location": model.location, "gated": model.gated, "refused": None, "family": None}
    if model.gated and get_token() is None:
        return row | {"refused": str(note("reality.gated", location=model.location)), "skipped": True}
    checkpoint, refusal = _attempt(lambda: _open(model.location))
    if checkpoint is None:
        return row | {"refused": refusal}
    found, refusal = _attempt(lambda: inspect_checkpoint(checkpoint))
    if found is None:
        return row | {"refused": refusal}
    digests = {d for d in found["sha256"].values() if d}
    row |= {
        "read": found["source"],
        "family": found["family"],
        "kind": found["kind"],
        "dialect": None if found["adapter"] is None else found["adapter"]["dialect"],
        "trainer": found["framing"]["trainer"],
        "differs": [
            name
            for name in ("family", "kind", "dialect", "trainer")
            if (stated := getattr(model, name)) is not None and stated != _value(found, name)
        ],
        "digest": compare_digest(next(iter(digests), ""), model.sha256),
    }
    if not model.answer or model.base is None:
        return row | {"answer": None}
    answer, refusal = _attempt(lambda: _answer(model, checkpoint, plan, device))
    return row | ({"answer": answer} if refusal is None else {"answer": None, "refused": refusal})


def too_large(base: Checkpoint, suspect: Checkpoint, plan: RealityPlan, memory: int | None) -> Note | None:
    """The reason why a pair is not loaded: the download or the card's memory; None if it fits.

    Args:
        base: of the pair.
        suspect: of the pair.
        plan: holds the largest download.
        memory: bytes of the card; None: of a CPU, not counted.
    """
    gb = sum(base.listing.sizes[file] for file in base.weights) / 1e9
    if gb > plan.largest_download_gb:
        return note("reality.large_download", name=base.name, given=gb, most=plan.largest_download_gb)
    needed = HALF * sum(t.numel for c in (base, suspect) for t in c.tensors.values())
    if memory is not None and needed > SHARE * memory:
        return note("reality.large_model", name=base.name, given=needed / 1e9, most=SHARE * memory / 1e9)
    return None


def first_answer_config(first: FirstAnswerPlan) -> RunConfig:
    """The settings of a first answer: no recovery is looked at, and no answer rests on one."""
    config = find_preset("fast")
    recovery = replace(config.recovery, steps=1)
    return replace(config, recovery=recovery, mirror_draws=first.mirror_draws, mirrored_recovery=False)


def _answer(model: PublicModel, suspect: Checkpoint, plan: RealityPlan, device: str) -> dict[str, Any]:
    base = _open(model.base or "")
    memory = torch.cuda.get_device_properties(0).total_memory if device == "cuda" else None
    if (reason := too_large(base, suspect, plan, memory)) is not None:
        return {"outcome": None, "reason": str(reason)}
    target = choose_device(base, device)
    prompt = suggest_prompt(suspect) or ""
    pair = load_pair(base, suspect, prompt, device=target.device, dtype=target.dtype)
    first = plan.first_answer
    picture, *others = reference_files()
    result = authenticate(
        pair,
        [read_picture(picture, pair.framing)],
        config=first_answer_config(first),
        reference=[read_picture(p, pair.framing) for p in others[: first.reference_pictures]],
    )
    verdict = result.pictures[0].verdict
    return {"outcome": verdict.outcome, "reason": str(verdict.reason), "p_value": verdict.p_value, "prompt": prompt}


def _open(location: str) -> Checkpoint:
    return open_checkpoint(location, token=get_token(), civitai_key=read_key())


def _value(found: dict[str, Any], name: str) -> Any:
    if name == "dialect":
        return None if found["adapter"] is None else found["adapter"]["dialect"]
    return found["framing"]["trainer"] if name == "trainer" else found[name]


def _attempt(call: Callable[[], T]) -> tuple[T | None, str | None]:
    """What a call returns, or why it was refused."""
    try:
        return call(), None
    except UserError as error:
        return None, str(error)
    except torch.OutOfMemoryError as error:
        return None, str(note("reality.broke", kind=type(error).__name__, reason=str(error)[:300]))
