"""Content credentials (C2PA) that a picture brings along: who signed it, and what the signed statements claim.

They are read by `c2pa-python` where it is installed, from the bytes alone: nothing is fetched. Somebody else wrote the
statements. A signature shows that they were not altered since, not that they are true.
"""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..messages import Note, note
from ..messages.text import single_line

MARK = b"c2pa"  # in every file that holds credentials, or names where they are kept
SETTINGS = {
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
    "core": {"allowed_network_hosts": []},
}
TYPES = {
    **{"PNG": "image/png", "JPEG": "image/jpeg", "MPO": "image/jpeg"},
    **{"WEBP": "image/webp", "GIF": "image/gif", "TIFF": "image/tiff"},
}
MOST_ACTIONS, MOST_USES = 6, 8  # that are named
MOST_PARENTS = 8  # earlier versions that are looked at
STATES = {  # the validation states of c2pa -> the note's code
    "Trusted": "pictures.credentials_trusted",
    "Valid": "pictures.credentials_valid",
    "Invalid": "pictures.credentials_invalid",
}
PERMISSIONS = {  # of an entry on training and mining -> the note's code
    "allowed": "pictures.credentials_allow",
    "notAllowed": "pictures.credentials_forbid",
    "constrained": "pictures.credentials_constrain",
}
SOURCES = {  # the IPTC's digital source types that bear on the question -> the note's code
    "trainedAlgorithmicMedia": "pictures.credentials_made_by_model",
    "compositeWithTrainedAlgorithmicMedia": "pictures.credentials_made_by_model_in_part",
    "algorithmicMedia": "pictures.credentials_made_by_algorithm",
    "digitalCapture": "pictures.credentials_photographed",
    "humanEdits": "pictures.credentials_edited_by_person",
    "digitalCreation": "pictures.credentials_drawn_by_person",
    "digitalArt": "pictures.credentials_drawn_by_person",
}


def credential_notes(data: bytes, picture_format: str) -> list[Note]:
    """State what the content credentials of a picture file claim; no note if it has none. Never raises.

    Args:
        data: the file's bytes.
        picture_format: the format as Pillow names it: "PNG".
    """
    if MARK not in data or picture_format not in TYPES:
        return []
    try:
        import c2pa
    except (ImportError, OSError):  # OSError: its native library does not fit this system
        return [note("pictures.credentials_not_read")]
    try:
        context = c2pa.Context.from_dict(SETTINGS)
        reader = c2pa.Reader.try_create(TYPES[picture_format], io.BytesIO(data), context=context)
        if reader is None:
            return []
        with reader:
            store = json.loads(reader.json())
        return list(_describe(store))
    except Exception as error:  # of a native library, fed with what a stranger wrote
        return [note("pictures.credentials_damaged", error=single_line(str(error)))]


def _describe(store: Mapping[str, Any]) -> Iterator[Note]:
    manifest = store["manifests"][store["active_manifest"]]
    yield note(STATES.get(str(store.get("validation_state")), "pictures.credentials_not_checked"))
    signer = manifest.get("signature_info") or {}
    if names := [single_line(str(n)) for n in (signer.get("common_name"), signer.get("issuer")) if n]:
        yield note("pictures.credentials_signer", names=names)
    tools = [" ".join(str(t[k]) for k in ("name", "version") if t.get(k)) for t in _tools(manifest)]
    if tools:
        yield note("pictures.credentials_tools", names=[single_line(t) for t in tools[:MOST_USES]])
    assertions = [(str(a.get("label")), a.get("data") or {}) for a in manifest.get("assertions") or []]
    yield from _actions(assertions)
    yield from _declared(store, assertions)


def _tools(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    tools = manifest.get("claim_generator_info") or [{"name": manifest.get("claim_generator")}]
    return [t for t in tools if t.get("name")]


def _actions(assertions: Sequence[tuple[str, Mapping[str, Any]]]) -> Iterator[Note]:
    """One note for each source that an action states, one for all actions that state none."""
    found = [a for label, data in assertions if label.startswith("c2pa.actions") for a in data.get("actions") or []]
    plain = []
    for action in found[:MOST_ACTIONS]:
        name, source = _phrase(str(action.get("action"))), str(action.get("digitalSourceType") or "").rpartition("/")[2]
        if source in SOURCES:
            yield note(SOURCES[source], action=name)
        elif source:
            yield note("pictures.credentials_other_source", action=name, source=single_line(source))
        else:
            plain.append(name)
    if plain:
        yield note("pictures.credentials_actions", names=plain)
    if len(found) > MOST_ACTIONS:
        yield note("pictures.credentials_more_actions", count=len(found) - MOST_ACTIONS)


def _declared(store: Mapping[str, Any], assertions: Sequence[tuple[str, Mapping[str, Any]]]) -> Iterator[Note]:
    """What the newest version that declares anything permits: an edit may not have repeated it."""
    if found := list(_permissions(assertions)):
        yield from found
        return
    manifests, label = store["manifests"], store["active_manifest"]
    for _ in range(MOST_PARENTS):
        ingredients = manifests[label].get("ingredients") or []
        label = next((i.get("active_manifest") for i in ingredients if i.get("relationship") == "parentOf"), None)
        if label not in manifests:
            return
        parent = [(str(a.get("label")), a.get("data") or {}) for a in manifests[label].get("assertions") or []]
        if found := list(_permissions(parent)):
            names = manifests[label].get("signature_info") or {}
            signers = [single_line(str(n)) for n in (names.get("common_name"), names.get("issuer")) if n]
            yield note("pictures.credentials_earlier", names=signers or ["?"])
            yield from found
            return


def _permissions(assertions: Sequence[tuple[str, Mapping[str, Any]]]) -> Iterator[Note]:
    """One note for each kind of permission, with the uses that have it; and the conditions that are stated."""
    uses: dict[str, list[str]] = {}
    conditions: dict[str, str] = {}
    for label, data in assertions:
        if label.startswith(("c2pa.training-mining", "cawg.training-mining")):
            for use, entry in (data.get("entries") or {}).items():
                permission = str(entry.get("use") if isinstance(entry, dict) else entry)
                uses.setdefault(single_line(permission), []).append(_phrase(use))
                if isinstance(entry, dict) and permission == "constrained" and entry.get("constraint_info"):
                    conditions[_phrase(use)] = single_line(str(entry["constraint_info"]))
    for permission, names in list(uses.items())[:MOST_USES]:
        if permission in PERMISSIONS:
            yield note(PERMISSIONS[permission], uses=names[:MOST_USES])
        else:
            yield note("pictures.credentials_other_permission", uses=names[:MOST_USES], permission=permission)
    for use, text in list(conditions.items())[:MOST_USES]:
        yield note("pictures.credentials_conditions", use=use, conditions=text)


def _phrase(label: str) -> str:
    """Make `cawg.ai_generative_training` readable: "ai generative training"."""
    return single_line(label.partition(".")[2].replace("_", " ") or label)
