"""`cgidm inspect`: everything that a source's names and headers say, as a table or as plain data."""

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .family import guess_base
from .layout import Checkpoint, read_layout
from .notes import clean, read_notes

EDITABLE = "Notes and file names are editable by anyone: hints, not evidence."


def inspect_source(path: Path) -> dict[str, Any]:
    """What `path` is, as plain data. Reads headers, and every byte once for the hashes; builds no tensor.

    Raises:
        UserError: if it is nothing that could be loaded exactly.
    """
    checkpoint = read_layout(path)
    guess, notes = guess_base(checkpoint), read_notes(checkpoint.metadata)
    return {
        "source": str(path),
        "kind": checkpoint.kind,
        "family": guess.family,
        "base": guess.base,
        "votes": [asdict(v) for v in guess.votes],
        "disagreement": guess.disagreement,
        "adapter": _adapter(checkpoint),
        "tensors": len(checkpoint.tensors),
        "parameters": sum(t.numel for t in checkpoint.tensors.values()),
        "bytes": sum(f.stat().st_size for f in checkpoint.weights),
        "types": sorted({t.dtype for t in checkpoint.tensors.values()}),
        "sha256": {f.name if f == path else str(f.relative_to(path)): file_sha256(f) for f in checkpoint.weights},
        "notes": dict(notes.fields),
        "tags": [list(tag) for tag in notes.tags],
        "prompt": notes.prompt,
    }


def report_lines(found: dict[str, Any]) -> list[str]:
    """The same for people, one fact a line."""
    rows = [("source", found["source"]), ("what", found["kind"])]
    if found["adapter"]:
        adapter = found["adapter"]
        modules = ", ".join(f"{n} in {c}" for c, n in adapter["modules"].items())
        rows += [("adapter", f"{adapter['method']}, names as {adapter['dialect']} writes them")]
        rows += [("modules", f"{modules}; all {found['tensors']} tensors understood")]
        rows += [("rank", ", ".join(map(str, adapter["ranks"])) or "no single rank")]
    rows += [("family", found["family"] or "not known")]
    rows += [("vote", f"{v['family']}: {v['source']}, {clean(v['reason'])}") for v in found["votes"]]
    if found["disagreement"]:
        rows += [("careful", clean(found["disagreement"]))]
    rows += [("public base", found["base"] or "not known: name it yourself")]
    size = f"{found['bytes']:,} bytes, {found['parameters']:,} numbers in {found['tensors']:,} tensors"
    rows += [("size", f"{size} ({', '.join(found['types'])})")]
    rows += [("sha256", f"{digest}  {clean(name)}") for name, digest in found["sha256"].items()]
    rows += [(note, text) for note, text in found["notes"].items()]
    if found["tags"]:
        rows += [("tags", ", ".join(f"{tag} ({count})" for tag, count in found["tags"]))]
    rows += [("prompt", f"{found['prompt']} (guessed from the notes)" if found["prompt"] else "not noted")]
    return [f"{name:18s}{text}" for name, text in rows] + [EDITABLE]


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _adapter(checkpoint: Checkpoint) -> dict[str, Any] | None:
    adapter = checkpoint.adapter
    if adapter is None:
        return None
    head = {"dialect": adapter.dialect, "method": adapter.method, "ranks": list(adapter.ranks)}
    return {**head, "modules": adapter.count()}
