"""The record of a run on disk: a bundle that others can verify and run again.

`result.json` is the record. Lossless PNGs of each picture show what the method saw, began with and found. `controls/`
holds the control pictures as it saw them, and `bank.json` the numbers of a bank, so that the run can be repeated.
`report.html` and `report.pdf` say the same to people. `lineup.html` is what an observer of a line-up sees, with its
images in `lineup/`. `HOW-TO-CHECK.txt` and `verify.py` are for a check without this tool. `seal` states what belongs to
it. A folder of evidence can be packed into one zip.
"""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from ..intake.layout import Checkpoint
from ..judging.banks.null_bank import FILE
from ..judging.lineup import LETTERS
from ..judging.result import PictureResult, Result
from ..messages import Language
from ..pictures.images import Picture, to_uint8
from .anchors.envelope import envelope_of_folder, pack_files
from .lineup_sheet import ROLES, lineup_sheet, panel_name
from .record import WITHOUT_CHECKS, ModelsRecord, PlanRecord, Record, StatementsRecord, record_bytes
from .record_of_result import (
    control_name,
    image_name,
    image_roles,
    lineup_of,
    make_record,
    square_name,
    without_homes,
)
from .reports.blocks import Heading
from .reports.language import text
from .reports.report import report_blocks
from .seal import MANIFEST, PLAN, RECORD, is_envelope, seal_folder
from .standalone.build import check_files
from .typesetting.html import report_html
from .typesetting.pdf import report_pdf

LINEUP = "lineup.html"
BANK = FILE  # the bank that the pictures were judged against: numbers, no weights
IMAGES = rf"(\d{{2,}}|lineup/\d+-[A-Z])-({'|'.join(ROLES)}|mirrored|square)\.png"
OURS = re.compile(rf"{IMAGES}|controls/\d{{3,}}(-square)?\.png")


@dataclass(frozen=True)
class FollowedPlan:
    """The plan that a run followed."""

    data: bytes  # of its file
    attempts: tuple[str, ...]  # when each run of it was begun, this one last

    def record(self) -> PlanRecord:
        """Return what a record says of it."""
        return PlanRecord(sha256=hashlib.sha256(self.data).hexdigest(), attempts=self.attempts)


def write_evidence(
    result: Result,
    out: str | Path,
    models: ModelsRecord,
    controls: Sequence[Picture] = (),
    statements: StatementsRecord | None = None,
    plan: FollowedPlan | None = None,
    *,
    language: Language = "en",
) -> Record:
    """Write a sealed bundle to the folder `out`, and return the record.

    Args:
        result: a run that has come to its end.
        out: the folder; what an earlier run wrote there is deleted.
        models: base, suspect and prompt as they were named.
        controls: the control pictures, where the result does not hold them. A bundle without them says so; whoever
            repeats the run must bring them along.
        statements: what the user, or a page, states of the run.
        plan: the plan that the run followed.
        language: of both reports.
    """
    out = Path(out)
    controls = result.controls or controls
    assert len(controls) in (0, len(result.control_scores))
    out.mkdir(parents=True, exist_ok=True)
    _clear(out)
    record = replace(make_record(result, models, controls, statements), language=language)
    record = without_homes(record, Path.home())
    if plan is not None:
        record = replace(record, plan=plan.record())
        (out / PLAN).write_bytes(plan.data)
    data = record_bytes(record)
    (out / RECORD).write_bytes(data)
    for number, picture in enumerate(result.pictures):
        for role, image in picture.images.items():
            _save(image, out / image_name(number, role))
    for number, control in enumerate(controls):
        _save(control.image, out / control_name(number))
    _write_squares(result, controls, out)
    _write_panels(result, out)
    if result.bank is not None:
        (out / BANK).write_bytes(result.bank.data)
    for name, rendered in rendered_files(record, data, lambda name: (out / name).read_bytes()).items():
        (out / name).write_bytes(rendered)
    seal_folder(out, record, bundle_names(record))
    return record


def rendered_files(record: Record, data: bytes, read: Callable[[str], bytes]) -> dict[str, bytes]:
    """Make the files of a bundle that follow from its record and its PNGs: reports, a line-up's sheet, a checker's.

    Args:
        record: the run.
        data: the bytes of its `result.json`.
        read: returns the bytes of a PNG by its name.
    """
    blocks = report_blocks(record, hashlib.sha256(data).hexdigest())
    found = {
        "report.html": report_html(blocks, read, record.language).encode(),
        "report.pdf": report_pdf(blocks, read, datetime.fromisoformat(record.date), record.language),
    }
    found |= check_files(record)
    if (lineup := lineup_of(record)) is not None:
        blind = [Heading(text(record, "report.sheet.title"), 1), *lineup_sheet(lineup.sizes, record.language)]
        found[LINEUP] = report_html(blind, read, record.language).encode()
    return found


def bundle_names(record: Record) -> list[str]:
    """Name the files of a bundle but for its envelope, each of which a run writes; no other file belongs to it."""
    images = [image_name(number, role) for number in range(len(record.pictures)) for role in image_roles(record)]
    controls = [control_name(number) for number in range(len(record.controls))]
    framed = {image_name(number, "original"): p.frame for number, p in enumerate(record.pictures)}
    framed |= {name: c.frame for name, c in zip(controls, record.controls, strict=True)}
    guessed = record.framing is not None and record.framing.guessed
    uneven = (name for name, frame in framed.items() if frame is not None and frame.size[0] != frame.size[1])
    squares = [square_name(name) for name in uneven] if guessed else []
    lineup, panels = lineup_of(record), []
    for number, size in enumerate(() if lineup is None else lineup.sizes, 1):
        panels += [panel_name(number, letter, role) for letter in LETTERS[:size] for role in ROLES]
    sheet = [] if lineup is None else [LINEUP]
    bank = [BANK] if record.bank is not None and record.format not in WITHOUT_CHECKS else []
    plan = [PLAN] if record.plan is not None else []
    written = [RECORD, "report.html", "report.pdf", *check_files(record), *bank, *plan, *sheet]
    return [*written, *images, *squares, *controls, *panels]


def _save(image: Float[Tensor, "3 _ _"], path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(to_uint8(image)).save(path)


def _write_squares(result: Result, controls: Sequence[Picture], out: Path) -> None:
    """The centre squares that were looked at beside the framed pictures."""
    if not result.framing_is_guessed:
        return
    framed = {image_name(i, "original"): r.picture for i, r in enumerate(result.pictures)}
    framed |= {control_name(i): control for i, control in enumerate(controls)}
    for name, picture in framed.items():
        if picture.square is not None:
            _save(picture.square, out / square_name(name))


def _write_panels(result: Result, out: Path) -> None:
    """The images of the blind sheet, whose names are alike for picture and decoys."""
    for number, panels in enumerate(result.panels_by_round, 1):
        for letter, panel in zip(LETTERS, panels, strict=False):
            for role, image in zip(ROLES, panel.images, strict=True):
                _save(image, out / panel_name(number, letter, role))


def _clear(out: Path) -> None:
    """Take away what an earlier run wrote there: it would not belong to this one."""
    for path in (*out.glob("*.png"), *out.glob("controls/*.png"), *out.glob("lineup/*.png")):
        if OURS.fullmatch(path.relative_to(out).as_posix()):
            path.unlink()
    signed = [p for p in (*out.glob("*"), *out.glob("*/*")) if is_envelope(p.relative_to(out).as_posix())]
    for path in (*signed, out / LINEUP, out / BANK, out / PLAN):
        path.unlink(missing_ok=True)


def pack_evidence(folder: Path, path: Path) -> Path:
    """One zip of a folder of evidence: what its manifest states, and its envelope. Always the same bytes."""
    stated = json.loads((folder / MANIFEST).read_text())["sha256"]
    names = [*stated, *envelope_of_folder(folder)]
    return pack_files(path, names, lambda name, write: write((folder / name).read_bytes()))


def weights_sha256(checkpoint: Checkpoint) -> str:
    """The SHA-256 of each of its weight files, in their order."""
    return checkpoint.weights_sha256


def images_in_a_row(result: PictureResult) -> Image.Image:
    """Original, partial and recovered, and what was recovered from the mirror image, side by side."""
    return Image.fromarray(np.concatenate([to_uint8(i) for i in result.images.values()], axis=1))
