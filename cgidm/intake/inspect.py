"""`cgidm inspect`: everything that a model's file names and headers state, as lines or as plain data."""

from dataclasses import asdict
from typing import Any

from ..framing.table import framing_to_table
from ..messages import render
from ..messages.text import single_line
from .adapters import find_alpha_source, find_lost_alpha
from .family import guess_base
from .framing_notes import FramingNotes, read_framing
from .layout import Checkpoint
from .notes import read_notes
from .training_amount import read_amount
from .training_notes import read_training

LONGEST_LIST = 800  # characters
LONGEST_LINE = 2000
ALPHA_TEXTS: dict[str, str] = {
    "tensors": "in the tensors",
    "configuration": "as adapter_config.json states it",
    "header": "as the header states it",
    "writer's rule": "not stated: the writer's programs take the rank, so the scale is 1",
    "unknown": "not stated: its strength is unknown without adapter_config.json (or --adapter-alpha)",
    "not needed": "not needed: the file holds the differences themselves",
}
EDITABLE = "Notes, cards and file names are editable by anyone: hints, not evidence."


def inspect_checkpoint(checkpoint: Checkpoint) -> dict[str, Any]:
    """Describe `checkpoint` as plain data. Local files are read once for their hashes; the Hub states its own."""
    guess, notes = guess_base(checkpoint), read_notes(checkpoint.metadata)
    about, sizes = checkpoint.listing.about, checkpoint.listing.sizes
    return {
        "source": checkpoint.name,
        "kind": checkpoint.kind,
        "hub": None if about is None else asdict(about),
        "family": guess.family,
        "base": guess.base,
        "votes": [asdict(v) for v in guess.votes],
        "disagreement": None if guess.disagreement is None else asdict(guess.disagreement),
        "adapter": _adapter(checkpoint),
        "embedding": None if checkpoint.embedding is None else asdict(checkpoint.embedding),
        "tensors": len(checkpoint.tensors),
        "parameters": sum(t.numel for t in checkpoint.tensors.values()),
        "variant": checkpoint.variant,
        "bytes": sum(sizes[f] for f in checkpoint.weights),
        "types": sorted({t.dtype for t in checkpoint.tensors.values()}),
        "sha256": {f: checkpoint.listing.stated_sha256(f) for f in checkpoint.weights},
        "notes": dict(notes.fields),
        "tags": [list(tag) for tag in notes.tags],
        "prompt": suggest_prompt(checkpoint),
        "mirrored": notes.mirrored,
        "trained_until": None if notes.trained_until is None else notes.trained_until.isoformat(),
        "amount": asdict(read_amount(checkpoint.metadata)),
        "training": read_training(checkpoint.metadata).settings | _hidden_optimizer(checkpoint),
        "framing": _framing(read_framing(checkpoint.metadata)),
    }


def suggest_prompt(checkpoint: Checkpoint) -> str | None:
    """The prompt that the card or the file's notes name: a hint for the person who enters one."""
    about = checkpoint.listing.about
    return (single_line(about.prompt) if about and about.prompt else None) or read_notes(checkpoint.metadata).prompt


def report_lines(found: dict[str, Any]) -> list[str]:
    """Describe what `inspect_checkpoint` returned in lines for people, one fact a line."""
    rows = [("source", found["source"]), ("what", found["kind"])]
    if found["hub"]:
        rows += _hub_rows(found["hub"])
    if found["adapter"]:
        adapter = found["adapter"]
        modules = ", ".join(f"{n} in {c}" for c, n in adapter["modules"].items())
        rows += [("adapter", f"{', '.join(adapter['methods'])}, names as {adapter['dialect']} writes them")]
        rows += [("modules", f"{modules}; all {found['tensors']} tensors understood")]
        rows += [("rank", ", ".join(map(str, adapter["ranks"])) or "no single rank")]
        rows += [("alpha", f"{ALPHA_TEXTS[source]} ({component})") for component, source in adapter["alpha"].items()]
        rows += [("warning", render(**adapter["lost_alpha"]))] if adapter["lost_alpha"] else []
        rows += [("bundled word", single_line(word)) for word in adapter["bundle"]]
    if found["embedding"]:
        rows += [
            ("word", single_line(found["embedding"]["word"])),
            ("vectors", str(found["embedding"]["vectors"])),
        ]
    rows += [("family", found["family"] or "not known")]
    rows += [("vote", f"{v['family']}: {v['source']}, {render(**v['reason'])}") for v in found["votes"]]
    if found["disagreement"]:
        rows += [("warning", render(**found["disagreement"]))]
    rows += [("public base", found["base"] or "not known: name it yourself")]
    size = f"{found['bytes']:,} bytes, {found['parameters']:,} numbers in {found['tensors']:,} tensors"
    rows += [("size", f"{size} ({', '.join(found['types'])})")]
    rows += [
        ("sha256", f"{digest or 'not stated by the Hub'}  {single_line(name)}")
        for name, digest in found["sha256"].items()
    ]
    rows += [(note, text) for note, text in found["notes"].items()]
    rows += _amount_rows(found["amount"]) + _training_rows(found["training"])
    rows += _framing_rows(found["framing"])
    if found["trained_until"]:
        day = f"{found['trained_until']} (by the notes): pictures made later were not used, and can be controls"
        rows += [("training ended", day)]
    if found["tags"]:
        rows += [("tags", ", ".join(f"{tag} ({count})" for tag, count in found["tags"]))]
    rows += [("prompt", f"{found['prompt']} (a guess from card or notes)" if found["prompt"] else "not noted")]
    if found["mirrored"] is not None:
        how = "were mirrored at random: the mirror test cannot be used" if found["mirrored"] else "were not mirrored"
        rows += [("training", f"pictures {how} (by the notes)")]
    return [f"{name:18s}{single_line(text, LONGEST_LINE)}" for name, text in rows] + [EDITABLE]


def _hidden_optimizer(checkpoint: Checkpoint) -> dict[str, Any]:
    """The name of an optimiser that `cgidm bank` does not train with."""
    noted = read_training(checkpoint.metadata)
    return {"other_optimizer": noted.optimizer_text} if noted.optimizer_text and noted.optimizer is None else {}


def _training_rows(training: dict[str, Any]) -> list[tuple[str, str]]:
    """How null models would be trained after the notes."""
    plain = {k: v for k, v in training.items() if k not in ("tags", "other_optimizer")}
    settings = [f"{name.replace('_', ' ')} {value}" for name, value in plain.items()]
    if training.get("tags"):
        settings.append(f"captions from {len(training['tags'])} tags")
    rows = [("null models", f"{', '.join(settings)} (by the notes)")] if settings else []
    if "other_optimizer" in training:
        name = training["other_optimizer"].partition("(")[0]
        rows.append(("null models", f"not trained with {name}; AdamW, until they moved as far as the suspect"))
    return rows


def _amount_rows(amount: dict[str, Any]) -> list[tuple[str, str]]:
    """How many pictures the notes speak of, and how often each was presented."""
    rows = [
        ("folder", f"{folder['name']}: {folder['pictures']} pictures, each {folder['repeats']} times an epoch")
        for folder in amount["folders"]
    ]
    if amount["pictures"] is not None:
        presentations, several = amount["presentations"], len({f["repeats"] for f in amount["folders"]}) > 1
        often = "how often each was presented is not noted"
        if presentations is not None:
            times = f"{presentations:.0f}" if presentations >= 1 else f"{presentations:.1g}"
            often = f"each presented {times} times" + (" on average" if several else "")
        rows += [("trained on", f"{amount['pictures']} pictures, {often} (by the notes)")]
    return rows


def _framing(notes: FramingNotes) -> dict[str, Any]:
    framings = None if notes.framings is None else [framing_to_table(f) for f in notes.framings]
    counts = notes.bucket_counts
    buckets = None if counts is None else [[*size, counts[size]] for size in sorted(counts)]
    return {"trainer": notes.trainer, "framings": framings, "assumed": list(notes.assumed), "buckets": buckets}


def _framing_rows(framing: dict[str, Any]) -> list[tuple[str, str]]:
    """Which part of each picture the training looked at, and how many pictures each bucket held."""
    rows = []
    for table in framing["framings"] or ():
        settings = [f"{k.replace('_', ' ')} {_listed(v)}" for k, v in table.items() if k != "rule" and v is not None]
        rows += [("framing", f"as {table['rule']} does: {', '.join(settings)} (by the notes)")]
    if framing["framings"] and framing["assumed"]:
        rows += [
            ("not noted", f"{', '.join(framing['assumed']).replace('_', ' ')}: inferred, or the trainer's default")
        ]
    if not framing["framings"]:
        rows += [("framing", "not noted: aspect-ratio buckets and centre squares are looked at")]
    if framing["buckets"]:
        buckets = ", ".join(f"{width} x {height}: {count}" for width, height, count in framing["buckets"])
        rows += [("buckets", single_line(f"{buckets} pictures with repeats (by the notes)", LONGEST_LIST))]
    return rows


def _listed(value: Any) -> str:
    return " x ".join(map(str, value)) if isinstance(value, list) else str(value)


def _hub_rows(hub: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [("commit", f"{hub['sha']}" + (" (from the local cache; the Hub was not reached)" if hub["cached"] else ""))]
    if hub["requested_id"] != hub["repo"]:
        rows += [("moved", f"{hub['requested_id']} is {single_line(hub['repo'])} today")]
    if not hub["cached"]:
        rows += [("licence", single_line(hub["licence"] or "none stated"))]
        rows += [("gated", "yes: its owner decides who may download" if hub["gated"] else "no")]
    return rows


def _adapter(checkpoint: Checkpoint) -> dict[str, Any] | None:
    adapter = checkpoint.adapter
    if adapter is None:
        return None
    configured = {c: (checkpoint.configs.get(c) if checkpoint.configs else checkpoint.config) for c in adapter.count()}
    alpha = {
        c: find_alpha_source(adapter, config is not None, checkpoint.metadata, checkpoint.name)[c]
        for c, config in configured.items()
    }
    lost = find_lost_alpha(checkpoint.name, checkpoint.metadata) if "writer's rule" in alpha.values() else None
    return {
        "dialect": adapter.dialect,
        "method": adapter.method,
        "methods": list(adapter.kinds),
        "ranks": list(adapter.ranks),
        "modules": adapter.count(),
        "alpha": alpha,
        "lost_alpha": None if lost is None else asdict(lost),
        "bundle": [embedding.word for embedding in adapter.bundle],
    }
