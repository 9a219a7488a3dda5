"""`cgidm inspect`: everything that a model's file names and headers state, as lines or as plain data."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ..framing.table import framing_to_table
from ..messages import Note, note, render
from ..messages.text import single_line
from .adapters import find_alpha_source, find_i2l_model, find_lost_alpha
from .family import guess_base, stated_base
from .framing_notes import FramingNotes, read_framing
from .header import header_length
from .layout import Checkpoint
from .listing import About, LocalListing
from .notes import HASH_OF_NOTHING, read_notes
from .remarks import list_remarks
from .training_amount import read_amount
from .training_notes import read_training, replaced_rank

LONGEST_LIST = 800  # characters
MOST_PROMPTS = 3  # each further one takes draws from the right one
I2L = "but made from pictures in one pass"
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
    """Describe `checkpoint` as plain data. Local files are read once for their hashes; others are as stated."""
    guess, notes = guess_base(checkpoint), read_notes(checkpoint.metadata)
    about, sizes = checkpoint.listing.about, checkpoint.listing.sizes
    return {
        "source": checkpoint.name,
        "kind": checkpoint.kind,
        "hub": _hub(about),
        "civitai": _civitai(about),
        "family": guess.family,
        "base": guess.base,
        "votes": [asdict(v) for v in guess.votes],
        "disagreement": None if guess.disagreement is None else asdict(guess.disagreement),
        "remarks": [asdict(remark) for remark in list_remarks(checkpoint)],
        "stated_base": _stated_base(checkpoint),
        "adapter": _adapter(checkpoint),
        "embedding": None if checkpoint.embedding is None else asdict(checkpoint.embedding),
        "tensors": len(checkpoint.tensors),
        "parameters": sum(t.numel for t in checkpoint.tensors.values()),
        "variant": checkpoint.variant,
        "bytes": sum(sizes[f] for f in checkpoint.weights),
        "types": sorted({t.dtype for t in checkpoint.tensors.values()}),
        "sha256": {f: checkpoint.listing.stated_sha256(f) for f in checkpoint.weights},
        "weights_as_hashed": _weights_as_hashed(checkpoint),
        "notes": dict(notes.fields),
        "tags": [list(tag) for tag in notes.tags],
        "prompt": suggest_prompt(checkpoint),
        "prompts": list(suggest_prompts(checkpoint)),
        "mirrored": notes.mirrored,
        "trained_from": None if notes.trained_from is None else notes.trained_from.isoformat(),
        "trained_until": None if notes.trained_until is None else notes.trained_until.isoformat(),
        "amount": asdict(read_amount(checkpoint.metadata)),
        "training": read_training(checkpoint.metadata).settings | _hidden_optimizer(checkpoint),
        "framing": _framing(read_framing(checkpoint.metadata)),
    }


def _weights_as_hashed(checkpoint: Checkpoint) -> bool | None:
    """Whether the weights are those whose hash kohya's scripts noted; None: not known.

    `sshs_model_hash` is the SHA-256 of what follows the header (https://github.com/kohya-ss/sd-scripts,
    `library/train_util.py`, `addnet_hash_safetensors`). Tools that convert or merge a file often leave it as it was.
    """
    noted, listing = checkpoint.metadata.get("sshs_model_hash", "").lower(), checkpoint.listing
    if len(noted) != 64 or noted == HASH_OF_NOTHING or not isinstance(listing, LocalListing):
        return None
    if len(checkpoint.weights) != 1:
        return None
    (file,) = checkpoint.weights
    length = header_length(listing.read(file, 0, 8), listing.sizes[file], file)
    with (listing.folder / file).open("rb") as opened:
        opened.seek(8 + length)
        return hashlib.file_digest(opened, "sha256").hexdigest() == noted


def suggest_prompt(checkpoint: Checkpoint) -> str | None:
    """The likeliest of `suggest_prompts` that is not blank."""
    return next((p for p in suggest_prompts(checkpoint) if p), None)


def suggest_prompts(checkpoint: Checkpoint) -> tuple[str, ...]:
    """The prompts that the card, Civitai or the file's notes name, the likeliest first: a hint for whoever enters them.

    The blank prompt is the last if captions were dropped in training.
    """
    about = checkpoint.listing.about
    named = [single_line(about.prompt)] if about and about.prompt else []
    blank = [""] if (read_training(checkpoint.metadata).caption_dropout or 0) > 0 else []
    return tuple(dict.fromkeys([*[*named, *read_notes(checkpoint.metadata).prompts][:MOST_PROMPTS], *blank]))


def list_prompt_remarks(checkpoint: Checkpoint, prompts: Sequence[str]) -> tuple[Note, ...]:
    """The note that a run's prompts hold none that card, Civitai or the file's notes name; none if they name none."""
    likely = [prompt for prompt in suggest_prompts(checkpoint) if prompt]
    if not likely or any(word in prompt for word in likely for prompt in prompts):
        return ()
    return (note("intake.other_prompt" if any(prompts) else "intake.prompt_left_out", prompts=likely),)


def report_lines(found: dict[str, Any]) -> list[str]:
    """Describe what `inspect_checkpoint` returned in lines for people, one fact a line."""
    rows = [("source", found["source"]), ("what", found["kind"])]
    if found["hub"]:
        rows += _hub_rows(found["hub"])
    if found["civitai"]:
        rows += _civitai_rows(found["civitai"])
    if found["adapter"]:
        adapter = found["adapter"]
        modules = ", ".join(f"{n} in {c}" for c, n in adapter["modules"].items())
        rows += [("adapter", f"{', '.join(adapter['methods'])}, names as {adapter['dialect']} writes them")]
        rows += [("modules", f"{modules}; all {found['tensors']} tensors understood")]
        rows += [("rank", ", ".join(map(str, adapter["ranks"])) or "no single rank")]
        if adapter["replaced_rank"] is not None:
            params = {"noted": adapter["replaced_rank"], "ranks": adapter["ranks"]}
            rows += [("warning", render("intake.notes_rank_disagrees", params))]
        if adapter["i2l"]:
            rows += [("warning", f"named as i2L for {adapter['i2l']} writes files: perhaps never trained, {I2L}")]
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
    if found["stated_base"]:
        stated = found["stated_base"]
        line = f" (of the line of {stated['lineage']}, {stated['family']})" if stated["lineage"] else ""
        rows += [("names as its base", f"{stated['text']}{line} (by {stated['source']})")]
    rows += [("note", render(**remark)) for remark in found["remarks"]]
    rows += [("public base", found["base"] or "not known: name it yourself")]
    size = f"{found['bytes']:,} bytes, {found['parameters']:,} numbers in {found['tensors']:,} tensors"
    rows += [("size", f"{size} ({', '.join(found['types'])})")]
    silent = f"not stated by {'Civitai' if found['civitai'] else 'the Hub'}"
    rows += [("sha256", f"{digest or silent}  {single_line(name)}") for name, digest in found["sha256"].items()]
    if found["weights_as_hashed"] is False:
        rows += [("warning", render("intake.weights_hashed_otherwise", {}))]
    rows += [(note, text) for note, text in found["notes"].items()]
    rows += _amount_rows(found["amount"]) + _training_rows(found["training"])
    rows += _framing_rows(found["framing"])
    if found["trained_from"]:
        rows += [("training began", f"{found['trained_from']} (by the notes)")]
    if found["trained_until"]:
        day = f"{found['trained_until']} (by the notes): pictures made later were not used, and can be controls"
        rows += [("training ended", day)]
    if found["tags"]:
        rows += [("tags", ", ".join(f"{tag} ({count})" for tag, count in found["tags"]))]
    guesses = ", ".join(p or "(blank)" for p in found["prompts"])
    rows += [("prompt", f"{guesses} (a guess from card or notes)" if guesses else "not noted")]
    if found["mirrored"] is not None:
        how = "were mirrored at random: the mirror test cannot be used" if found["mirrored"] else "were not mirrored"
        rows += [("training", f"pictures {how} (by the notes)")]
    return [f"{name:17s} {single_line(text, LONGEST_LINE)}" for name, text in rows] + [EDITABLE]


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
    return rows + [("warning", render(**contradiction)) for contradiction in amount["contradictions"]]


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


def _hub(about: About | None) -> dict[str, Any] | None:
    if about is None or about.publication is not None:
        return None
    return {name: value for name, value in asdict(about).items() if name != "publication"}


def _civitai(about: About | None) -> dict[str, Any] | None:
    if about is None or about.publication is None:
        return None
    return asdict(about.publication) | {"cached": about.cached}


def _civitai_rows(told: dict[str, Any]) -> list[tuple[str, str]]:
    version = f"{told['version_name'] or 'without a name'} of {told['model_name'] or 'a model without a name'}"
    if told["newest_of"]:
        version += f" (none was named: the newest of {told['newest_of']} published)"
    cached = " (from the local cache; Civitai was not reached)" if told["cached"] else ""
    rows = [("civitai", f"{told['air']}{cached}"), ("version", version)]
    rows += [("published", f"{told['published'] or 'no date stated'} (its owner may have exchanged the file since)")]
    if told["base_model"]:
        rows += [("trained from", f"{told['base_model']} (by its owner, on Civitai)")]
    if told["trained_words"]:
        rows += [("trigger words", single_line(", ".join(told["trained_words"]), LONGEST_LIST))]
    digests = [f"{kind} {digest}" for kind, digest in told["digests"].items() if kind != "SHA256"]
    return rows + [("stated", ", ".join(digests))] * bool(digests)


def _stated_base(checkpoint: Checkpoint) -> dict[str, str | None] | None:
    stated = stated_base(checkpoint)
    if stated is None:
        return None
    lineage, family = (None, None) if stated.lineage is None else (stated.lineage.name, stated.lineage.family)
    return {"source": stated.source, "text": stated.text[:200], "lineage": lineage, "family": family}


def _adapter(checkpoint: Checkpoint) -> dict[str, Any] | None:
    adapter = checkpoint.adapter
    if adapter is None:
        return None
    configured = {c: (checkpoint.configs.get(c) if checkpoint.configs else checkpoint.config) for c in adapter.count()}
    alpha = {
        c: find_alpha_source(adapter, config, checkpoint.metadata, checkpoint.name)[c]
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
        "replaced_rank": replaced_rank(adapter, checkpoint.metadata),
        "i2l": find_i2l_model(checkpoint.tensors),
    }
