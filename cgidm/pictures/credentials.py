"""Content credentials (C2PA) that a picture brings along, in sentences: who signed it, what they say.

They are read by `c2pa-python` where it is installed, from the bytes alone: nothing is fetched. What they say was
written by somebody else; a signature shows that it was not altered since, not that it is true.
"""

import io
import json
from collections.abc import Iterator
from typing import Any

from ..text import single_line

MARK = b"c2pa"  # in every file that holds them, or says where they are kept
SETTINGS = {
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
    "core": {"allowed_network_hosts": []},
}
TYPES = {
    **{"PNG": "image/png", "JPEG": "image/jpeg", "MPO": "image/jpeg"},
    **{"WEBP": "image/webp", "GIF": "image/gif", "TIFF": "image/tiff"},
}
ACTIONS_SHOWN = 6
PERMISSIONS = {"allowed": "allowed", "notAllowed": "not allowed", "constrained": "allowed under conditions"}
KINDS = {  # digital source types of the IPTC that bear on the question
    "trainedAlgorithmicMedia": "made by a trained model",
    "compositeWithTrainedAlgorithmicMedia": "made in part by a trained model",
    "algorithmicMedia": "made by an algorithm",
    "digitalCapture": "taken with a digital camera",
    "humanEdits": "edited by a person",
    "digitalCreation": "drawn by a person on a computer",
    "digitalArt": "drawn by a person on a computer",
}
STATES = {
    "Trusted": "the signature is valid and its certificate trusted",
    "Valid": "the signature is valid; whether its certificate can be trusted was not checked",
    "Invalid": "the signature or what it covers is not valid: the picture or its credentials were altered",
}


def credential_notes(data: bytes, picture_format: str) -> list[str]:
    """What the content credentials of a picture file say, a sentence each; none if it has none. Never raises."""
    if MARK not in data or picture_format not in TYPES:
        return []
    try:
        import c2pa
    except (ImportError, OSError):  # OSError: its native library does not fit this system
        return ["The file seems to hold content credentials (C2PA). They were not read: c2pa-python is not installed."]
    try:
        context = c2pa.Context.from_dict(SETTINGS)
        reader = c2pa.Reader.try_create(TYPES[picture_format], io.BytesIO(data), context=context)
        if reader is None:
            return []
        with reader:
            store = json.loads(reader.json())
        return list(_describe(store))
    except Exception as error:  # of a native library, fed with what a stranger wrote
        return [single_line(f"The file holds content credentials (C2PA) that cannot be read: {error}")]


def _describe(store: dict[str, Any]) -> Iterator[str]:
    manifest = store["manifests"][store["active_manifest"]]
    signer = manifest.get("signature_info") or {}
    names = [single_line(str(n)) for n in (signer.get("common_name"), signer.get("issuer")) if n]
    by = f" of {' / '.join(names)}" if names else ""
    state = STATES.get(str(store.get("validation_state")), "its signature was not checked")
    yield single_line(f"Content credentials (C2PA){by}: {state}.")

    tools = [" ".join(str(t[k]) for k in ("name", "version") if t.get(k)) for t in _tools(manifest)]
    if tools:
        yield single_line(f"Content credentials: written by {', '.join(tools)}.")
    assertions = [(str(a.get("label")), a.get("data") or {}) for a in manifest.get("assertions") or []]
    yield from _actions(assertions)
    for label, data in assertions:
        if label.startswith(("c2pa.training-mining", "cawg.training-mining")):
            said = [f"{_word(k)} {_permission(v)}" for k, v in (data.get("entries") or {}).items()]
            if said:
                yield single_line(f"Content credentials: {', '.join(said)}.")


def _tools(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    tools = manifest.get("claim_generator_info") or [{"name": manifest.get("claim_generator")}]
    return [t for t in tools if t.get("name")]


def _actions(assertions: list[tuple[str, dict[str, Any]]]) -> Iterator[str]:
    found = [a for label, data in assertions if label.startswith("c2pa.actions") for a in data.get("actions") or []]
    words = []
    for action in found[:ACTIONS_SHOWN]:
        kind = str(action.get("digitalSourceType") or "").rpartition("/")[2]
        words.append(_word(str(action.get("action"))) + (f" ({KINDS.get(kind, kind)})" if kind else ""))
    if words:
        more = f" and {len(found) - ACTIONS_SHOWN} more" if len(found) > ACTIONS_SHOWN else ""
        yield single_line(f"Content credentials: actions: {', '.join(words)}{more}.")


def _word(label: str) -> str:
    """cawg.ai_generative_training -> ai generative training"""
    return label.partition(".")[2].replace("_", " ") or label


def _permission(entry: Any) -> str:
    use = str(entry.get("use") if isinstance(entry, dict) else entry)
    return PERMISSIONS.get(use, use)
