"""The record of a run on disk: a bundle that others can verify and run again.

`result.json` is the record; lossless PNGs of each picture show what the method saw, began with and found; `controls/`
holds the control pictures as it saw them, so that the run can be repeated; `report.html` and `report.pdf` say the same
to people; `lineup.html` is what an observer of a line-up sees, with its images in `lineup/`. `seal` states what belongs
to it. A folder of evidence can be packed into one zip.
"""

import hashlib
import json
import re
import zipfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
from PIL import Image

from ..files import atomic_path
from ..intake.layout import Checkpoint
from ..judging.lineup import LETTERS
from ..judging.result import PictureResult, Result
from ..pictures.images import Picture, to_uint8
from .lineup_sheet import ROLES, TITLE, lineup_sheet, panel_name
from .record import ModelsRecord, Record, record_bytes
from .record_of_result import control_name, image_name, make_record, square_name
from .report import report_blocks
from .report_blocks import Heading
from .report_html import report_html
from .report_pdf import write_pdf
from .seal import ENVELOPE, MANIFEST, RECORD, SIGNATURE, SIGNER, seal_folder

LINEUP = "lineup.html"
IMAGES = rf"(\d{{2,}}|lineup/\d+-[A-Z])-({'|'.join(ROLES)}|mirrored|square)\.png"
OURS = re.compile(rf"{IMAGES}|controls/\d{{3,}}(-square)?\.png")
EPOCH = (1980, 1, 1, 0, 0, 0)  # of every file in a zip, so that equal evidence gives equal bytes


def write_evidence(result: Result, out: Path, models: ModelsRecord, controls: Sequence[Picture] = ()) -> Record:
    """Write a sealed bundle to the folder `out`, and return the record.

    Args:
        result: a run that has come to its end.
        out: the folder; what an earlier run wrote there is deleted.
        models: base, suspect and prompt as they were named.
        controls: the control pictures, where the result does not hold them. A bundle without them says so; whoever
            repeats the run must bring them along.
    """
    controls = result.controls or controls
    assert len(controls) in (0, len(result.control_scores))
    out.mkdir(parents=True, exist_ok=True)
    _clear(out)
    record = make_record(result, models, controls)
    for number, picture in enumerate(result.pictures):
        for role, image in picture.images.items():
            Image.fromarray(to_uint8(image)).save(out / image_name(number, role))
    if controls:
        (out / "controls").mkdir(exist_ok=True)
    for number, control in enumerate(controls):
        Image.fromarray(to_uint8(control.image)).save(out / control_name(number))
    squares = _write_squares(result, controls, out)
    shown = _write_lineup(result, out)
    _write_reports(record, out)
    images = [image_name(number, role) for number, picture in enumerate(result.pictures) for role in picture.images]
    names = [RECORD, "report.html", "report.pdf", *images, *squares, *map(control_name, range(len(controls))), *shown]
    seal_folder(out, record, names)
    return record


def _write_squares(result: Result, controls: Sequence[Picture], out: Path) -> list[str]:
    """The centre squares that were looked at beside the framed pictures; returns their names."""
    if not result.framing_is_guessed:
        return []
    framed = {image_name(i, "original"): r.picture for i, r in enumerate(result.pictures)}
    framed |= {control_name(i): control for i, control in enumerate(controls)}
    squares = {square_name(file): p.square for file, p in framed.items() if p.square is not None}
    for name, square in squares.items():
        Image.fromarray(to_uint8(square)).save(out / name)
    return [*squares]


def _write_lineup(result: Result, out: Path) -> list[str]:
    """The blind sheet and its images; returns their names, which are alike for picture and decoys."""
    if result.lineup is None:
        return []
    (out / "lineup").mkdir(exist_ok=True)
    images = {
        panel_name(number, letter, role): image
        for number, panels in enumerate(result.panels_by_round, 1)
        for letter, panel in zip(LETTERS, panels, strict=False)
        for role, image in zip(ROLES, panel.images, strict=True)
    }
    for name, image in images.items():
        Image.fromarray(to_uint8(image)).save(out / name)
    blocks = [Heading(TITLE, 1), *lineup_sheet(result.lineup.sizes)]
    (out / LINEUP).write_text(report_html(blocks, out), encoding="utf-8")
    return [LINEUP, *images]


def _write_reports(record: Record, out: Path) -> None:
    data = record_bytes(record)
    (out / RECORD).write_bytes(data)
    blocks = report_blocks(record, hashlib.sha256(data).hexdigest())
    (out / "report.html").write_text(report_html(blocks, out), encoding="utf-8")
    write_pdf(blocks, out, out / "report.pdf", datetime.fromisoformat(record.date))


def _clear(out: Path) -> None:
    """Take away what an earlier run wrote there: it would not belong to this one."""
    for path in (*out.glob("*.png"), *out.glob("controls/*.png"), *out.glob("lineup/*.png")):
        if OURS.fullmatch(path.relative_to(out).as_posix()):
            path.unlink()
    for name in (SIGNATURE, SIGNER, LINEUP):
        (out / name).unlink(missing_ok=True)


def pack_evidence(folder: Path, path: Path) -> Path:
    """One zip of a folder of evidence: what its manifest states, manifest, seal, signature. Always the same bytes."""
    stated = json.loads((folder / MANIFEST).read_text())["sha256"]
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name in (*stated, *(n for n in ENVELOPE if (folder / n).is_file())):
            bundle.writestr(zipfile.ZipInfo(name, EPOCH), (folder / name).read_bytes(), zipfile.ZIP_DEFLATED)
    return path


def weights_sha256(checkpoint: Checkpoint) -> str:
    """The SHA-256 of each of its weight files, in their order."""
    return " ".join(checkpoint.listing.sha256(f) for f in checkpoint.weights)


def images_in_a_row(result: PictureResult) -> Image.Image:
    """Original, partial and recovered, and what was recovered from the mirror image, side by side."""
    return Image.fromarray(np.concatenate([to_uint8(i) for i in result.images.values()], axis=1))
