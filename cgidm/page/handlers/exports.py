"""Texts to hand over: filled in from the answer that is shown, when somebody wants one, and not before."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import gradio as gr

from cgidm import UserError
from cgidm.evidence.exports.catalogue import exports
from cgidm.evidence.exports.file_hashes import hash_weights
from cgidm.evidence.record import Record
from cgidm.evidence.seal import SEAL
from cgidm.files import write_atomically

from ..html.exports import EXPORT_KINDS, export_note_html
from ..html.views import View, no_export
from ..runs.store import Visit
from .examples import EXAMPLE, EXAMPLE_ANSWERS, bundle_of, example_names, record_of

FOLDER = "texts"  # beside the evidence of a run, and gone with it


class AnsweredRun(NamedTuple):
    """The answer that a text is made of."""

    record: Record
    sealed: Path  # folder of the sealed evidence
    public: Path  # folder that is served
    suspect_file: Path | None  # that was handed over


def export_view(token: str | None, current: str | None, kind: str | None, language: str) -> View:
    """Fill in one text, and offer it as a file; or say why this answer has none."""
    answered = _find_answer(token, current)
    if answered is None or kind not in EXPORT_KINDS:
        return no_export()
    seal = (answered.sealed / SEAL).read_text(encoding="ascii")[:64]
    known = _hashes(answered.suspect_file)
    export = next(e for e in exports(answered.record, seal, known) if e.name == kind)
    said = {"about": export_note_html(export, answered.record, language)}
    if export.text is None:
        return no_export() | said | {"kind": kind}
    file = answered.public / FOLDER / f"{kind}.txt"
    file.parent.mkdir(exist_ok=True)
    write_atomically(file, export.text)
    return said | {
        "text": gr.update(value=export.text, visible=True),
        "file": gr.update(value=str(file), visible=True),
    }


def _find_answer(token: str | None, current: str | None) -> AnsweredRun | None:
    if current and current.startswith(EXAMPLE):
        name = current.removeprefix(EXAMPLE)
        if name not in example_names():
            return None
        return AnsweredRun(record_of(name), EXAMPLE_ANSWERS / name, bundle_of(name).parent, None)
    run = Visit(token).find(current)
    record = None if run is None or not run.is_finished else run.record()
    if run is None or record is None:
        return None
    file = run.suspect_file()
    return AnsweredRun(record, run.public_dir, run.public_dir, None if file is None else Path(file))


def _hashes(file: Path | None) -> Mapping[str, str]:
    """The AutoV3 of a suspect that was handed over, by its SHA-256."""
    try:
        return {} if file is None else dict([hash_weights(file)])
    except UserError:  # the file is gone
        return {}
