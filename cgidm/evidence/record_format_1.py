"""The oldest format of a record, in the words of today's. Standard library alone, as `record`."""

from collections.abc import Callable
from typing import Any

TEXT = "evidence.text"  # the code of a note that holds a sentence of such a record


def upgrade_format_1(old: dict[str, Any]) -> dict[str, Any]:
    """Return a record of format 1 in the words of today's; `format` itself stays 1."""
    models, config = dict(old["models"]), dict(old["config"])
    commits = {new: models.pop(f"{role} commit", None) for role, new in (("base", "base"), ("finetuned", "suspect"))}
    embeddings = [models.pop(role) for role in sorted(k for k in models if k.startswith("embedding "))]
    known = {
        "base": models.pop("base", ""),
        "suspect": models.pop("finetuned", ""),
        "prompt": models.pop("prompt", ""),
        "embeddings": embeddings,
        "commits": {role: sha for role, sha in commits.items() if sha is not None},
        "unrelated": models.pop("unrelated", None),
        "unrelated_sha256": models.pop("unrelated SHA-256", None),
        "warning": _optional(_sentence, models.pop("careful", None)),
        "sha256": models.pop("sha256"),
    }
    recovery = {k: v for k, v in config["recovery"].items() if k != "weight_gradients"}
    together, lineup, stopped = old["set"], old.get("lineup"), old["stopped"]
    upgraded = {k: v for k, v in old.items() if k not in ("power", "weight_shift", "seed", "lineup")}
    return upgraded | {
        "format": 1,
        "pictures": [_upgrade_picture(p) for p in old["pictures"]],
        "set": _optional(lambda s: s | {"reason": _sentence(s["reason"])}, together),
        "expected_power": old.get("power"),
        "weight_distance": old.get("weight_shift"),
        "lineup": _optional(
            lambda known: (
                known | {"left_out": [left | {"reason": _sentence(left["reason"])} for left in known["left_out"]]}
            ),
            lineup,
        ),
        "controls": [c | {"notes": [_sentence(n) for n in c["notes"]]} for c in old["controls"]],
        "config": {"lineup": None, "views": ["as given"]} | config | {"recovery": recovery},
        "models": known | {"sha256": known["sha256"]},
        "machine": {"rows_per_call" if k == "rows_at_once" else k: v for k, v in old["machine"].items()},
        "stopped": stopped,
    }


def _upgrade_picture(old: dict[str, Any]) -> dict[str, Any]:
    kept = {k: v for k, v in old.items() if k not in ("path", "shift")}
    flags = [
        {"name": f["name"], "note": _sentence(f["explanation"], raised_if=f["raised_if"]), "blocks_verdict": True}
        for f in old["flags"]
    ]
    return kept | {
        "name": old["path"],
        "notes": [_sentence(n) for n in old["notes"]],
        "not_computed": {score: _sentence(why) for score, why in old["not_computed"].items()},
        "reason": _sentence(old["reason"]),
        "flags": flags,
        "view": old.get("view", "as given"),
        "distance_from_base": old.get("shift"),
    }


def _sentence(text: str, **more: str) -> dict[str, Any]:
    return {"code": TEXT, "params": {"text": text, **more}}


def _optional(change: Callable[[Any], Any], value: Any) -> Any:
    return None if value is None else change(value)
