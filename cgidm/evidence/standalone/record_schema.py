"""The JSON schema of `result.json`, made of the record's own types and of what stands beside their fields.

python -m cgidm.evidence.standalone.record_schema    writes record.schema.json anew
"""

import ast
import dataclasses
import inspect
import io
import json
import sys
import tokenize
import types
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from ...files import write_atomically
from ...judging.flags import PictureChecks, RunChecks
from ...messages import Note
from ...method.config import RecoveryConfig, RunConfig
from ..record import FORMAT, Record
from ..record_json import LONGEST_TEXT, MOST_VALUES

FILE = Path(__file__).with_name("record.schema.json")
DIALECT = "https://json-schema.org/draft/2020-12/schema"
PLAIN: dict[Any, dict[str, Any]] = {
    str: {"type": "string", "maxLength": LONGEST_TEXT},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    Any: {},
}
# a record's class -> the class that it repeats field by field, whose meanings it has
REPEATED: dict[str, Any] = {
    "ConfigRecord": RunConfig,
    "RecoveryRecord": RecoveryConfig,
    "PictureChecksRecord": PictureChecks,
    "RunChecksRecord": RunChecks,
}
OUTCOMES = "“consistent with training on this image”, “weak evidence”, “no evidence” (not: never used) or “cannot tell”"
OBVIOUS = {  # whose names say it to those who know the rest
    "Record": {
        "pictures": "the pictures in question, in the order in which they were given",
        "set": "the one answer for several pictures; null for one picture",
        "bank": "null models instead of controls; null: none",
        "controls": "the control pictures that the bundle holds",
        "models": "base and suspect, as they were named and by what identifies them",
        "config": "how the run was done",
        "code": "the version of cgidm that computed, and the SHA-256 of its sources",
        "versions": "of Python and of every package that computes or makes a report",
        "machine": "where it was computed; it names nobody's computer",
        "seconds": "what the run took",
        "stopped": "where a run was put down; null: it came to its end",
        "lineup": "rounds and key of a line-up; null: none",
    },
    "PictureRecord": {
        "notes": "what was done to the file, and what it resembles",
        "scores": "by name; higher: more likely used; null: not computed",
        "p_value": "how often an unused picture would score as high; null: not known. Not the chance of use",
        "outcome": OUTCOMES,
        "reason": "of the outcome",
        "flags": "what speaks against trusting the scores",
        "view": "the view of the picture with the highest score",
        "witnesses": "what each test says by itself",
    },
    "SetRecord": {
        "outcome": OUTCOMES,
        "p_value": "how often unused pictures would score as high together; null: not known",
        "reason": "of the outcome",
        "pictures": "that were judged together",
        "controls": "control scores that they were compared with",
        "used": "bounds on how many were used; null: none can be stated",
        "witnesses": "what each test says by itself",
    },
    "FlagRecord": {"name": "of the check", "blocks_verdict": "whether the answer is “cannot tell” for it"},
    "UsedRecord": {"low": "at least so many", "high": "at most so many", "bounded_above": "whether `high` says more"},
    "ControlRecord": {"name": "of the file", "sha256": "of the file's bytes", "notes": "as of a picture"},
    "BankRecord": {
        "name": "of its file",
        "sha256": "of its numbers",
        "models": "null models",
        "pictures": "that they were scored on",
        "nulls": "scores of pictures under models that left them out",
        "decoys": "whether its models were trained on works of others",
        "recipe": "how its models were trained",
    },
    "ModelsRecord": {
        "base": "as it was named: a place on the Hub or Civitai, a path, a shipped model",
        "suspect": "likewise",
        "prompt": "of both models",
        "embeddings": "textual inversions that came with the suspect",
    },
}
NOTE = {
    "type": "object",
    "description": "A sentence as data: its code, and the values in it.",
    "properties": {"code": {"type": "string"}, "params": {"type": "object"}},
    "required": ["code", "params"],
    "additionalProperties": False,
}


@cache
def record_schema() -> dict[str, Any]:
    """Make the schema of a record of today's format. Each class is a definition; fields have their meanings.

    Numbers that are not finite stand in a record as Python's `json` writes them: NaN, Infinity.
    """
    definitions: dict[str, Any] = {"Note": NOTE}
    _define(Record, definitions)
    root = definitions.pop("Record")
    root["properties"]["format"] = {"const": FORMAT, "description": "of the record"}
    return {"$schema": DIALECT, "title": f"Record of a run, format {FORMAT}", **root, "$defs": definitions}


def schema_bytes() -> bytes:
    """The bytes of `record.schema.json`."""
    return (json.dumps(record_schema(), indent=2, sort_keys=False) + "\n").encode()


def _define(kind: Any, definitions: dict[str, Any]) -> None:
    """Add the definitions of a dataclass and of all that it holds."""
    if kind.__name__ in definitions:
        return
    definitions[kind.__name__] = {}  # its place, before what it holds
    hints, meanings = get_type_hints(kind), _meanings(kind)
    properties, required = {}, []
    for field in dataclasses.fields(kind):
        described = {"description": meanings[field.name]} if meanings.get(field.name) else {}
        properties[field.name] = {**_schema(hints[field.name], definitions), **described}
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            required.append(field.name)
    definitions[kind.__name__] = {
        "type": "object",
        "description": (inspect.getdoc(kind) or "").partition("\n\n")[0].replace("\n", " "),
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _schema(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return {"anyOf": [{"type": "null"} if a is type(None) else _schema(a, definitions) for a in arguments]}
    if origin is tuple:
        limits = {"maxItems": MOST_VALUES}
        if Ellipsis not in arguments:
            limits = {"minItems": len(arguments), "maxItems": len(arguments)}
        return {"type": "array", "items": _schema(arguments[0], definitions), **limits}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(arguments[1], definitions)}
    if origin is Literal:
        return {"enum": list(arguments)}
    if kind is Note or dataclasses.is_dataclass(kind):
        if kind is not Note:
            _define(kind, definitions)
        name: str = kind.__name__  # type: ignore[union-attr]
        return {"$ref": f"#/$defs/{name}"}
    return dict(PLAIN[kind])


def _meanings(kind: Any) -> dict[str, str]:
    """What the source says of each field: the comment beside it, or its line under `Attributes:`."""
    source = inspect.getsource(kind)
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    [body] = ast.parse(source).body
    assert isinstance(body, ast.ClassDef)
    beside = {
        node.target.id: comments[node.end_lineno or node.lineno]
        for node in body.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.end_lineno in comments
    }
    repeated = REPEATED.get(kind.__name__)
    known = OBVIOUS.get(kind.__name__, {}) if repeated is None else _meanings(repeated)
    return known | _attributes(inspect.getdoc(kind) or "") | beside


def _attributes(docstring: str) -> dict[str, str]:
    """The lines under `Attributes:` of a docstring, by name."""
    found: dict[str, str] = {}
    name = ""
    for line in docstring.partition("Attributes:\n")[2].splitlines():
        if line.startswith("     "):
            found[name] += f" {line.strip()}"
        elif line.startswith("    "):
            name, _, meaning = line.strip().partition(": ")
            found[name] = meaning
        else:
            break
    return found


if __name__ == "__main__":
    write_atomically(FILE, schema_bytes())
    sys.exit()
