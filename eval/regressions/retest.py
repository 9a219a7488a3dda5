"""`python -m eval regressions`: every case of `cases.json` is judged again, and a table has a column for each version.

A case is a picture of which it is known whether the suspect was trained on it, with the answers that are right, and why
it is there. An open case is one whose wrong answer is known and not yet mended: it is listed, not hidden.
"""

import argparse
import io
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from cgidm import __version__
from cgidm.conductor import authenticate
from cgidm.families import load_pair
from cgidm.judging.banks.null_bank import Bank, framing_for, open_bank
from cgidm.method.config import PRESETS, RunConfig
from cgidm.method.models import ModelPair
from cgidm.pictures.folders import picture_files
from cgidm.pictures.images import Picture, decode_picture, read_picture
from eval.error_rates.alteration import Alteration
from eval.markdown import markdown_table

CASES = Path(__file__).parent / "cases.json"
FILE = "regressions"
BASE = "base"  # as a suspect: the base itself
ROTATED = 6  # EXIF: turn by a quarter, clockwise, to see it upright


@dataclass(frozen=True, kw_only=True)
class RegressionCase:
    """A question whose right answer is known.

    Attributes:
        id: its name in the table.
        suspect: a shipped example, or "base".
        pictures: files below the assets.
        truth: "used" or "not used", as the training's own list says.
        right: answers that are right.
        why: what the case is about.
        controls: whose controls are used, by the example's name; "own": the suspect's; None: none.
        bank: the shipped bank instead of controls.
        altered_picture: what is done to the file first; see `ALTERED`.
        altered_suspect: what the change of a LoRA is multiplied by.
        together: the one answer for all pictures counts.
        known_wrong: it is answered wrongly today, and that is known.
        earlier: what earlier versions answered.
    """

    id: str
    suspect: str
    pictures: tuple[str, ...]
    truth: str
    right: tuple[str, ...]
    why: str
    controls: str | None = "own"
    bank: str | None = None
    altered_picture: str | None = None
    altered_suspect: float = 1.0
    together: bool = False
    known_wrong: bool = False
    earlier: str | None = None

    def is_right(self, outcome: str) -> bool:
        """Tell whether an answer is right."""
        return outcome in self.right


def read_cases() -> tuple[RegressionCase, ...]:
    """Read the cases."""
    table = json.loads(CASES.read_text(encoding="utf-8"))["cases"]
    return tuple(RegressionCase(**{**c, "pictures": tuple(c["pictures"]), "right": tuple(c["right"])}) for c in table)


def judge_cases(assets: Path, cases: Sequence[RegressionCase]) -> Iterator[tuple[RegressionCase, str]]:
    """Judge cases, and yield each with its answer; a suspect is loaded once for all of its cases."""
    config = replace(PRESETS["fast"], mirrored_recovery=False)
    config = replace(config, recovery=replace(config.recovery, steps=1))  # no answer rests on the recovery
    for suspect, scale in dict.fromkeys((c.suspect, c.altered_suspect) for c in cases):
        with _pair(assets, suspect, scale) as pair:
            for case in cases:
                if (case.suspect, case.altered_suspect) == (suspect, scale):
                    yield case, _judge(assets, case, pair, config)


def add_column(table: Mapping[str, Mapping[str, str]], version: str, found: Mapping[str, str]) -> dict[str, Any]:
    """Put the answers of a version into the table of all versions, in place of those that it had."""
    return {**table, version: dict(found)}


def regression_table(cases: Sequence[RegressionCase], table: Mapping[str, Mapping[str, str]]) -> str:
    """The table as Markdown: a row for each case, a column for each version."""
    text = (
        "Questions whose right answer is known, asked of each version by `python -m eval regressions`. "
        "**Wrong**: an answer that is not right. Open: it is known, and not mended yet."
    )
    rows = [[f"`{c.id}`", c.truth, *(_cell(c, table[v].get(c.id)) for v in table), _why(c)] for c in cases]
    return f"{text}\n\n{markdown_table(('case', 'truth', *table, 'what it is about'), rows)}\n"


def find_regressions(cases: Sequence[RegressionCase], found: Mapping[str, str]) -> list[str]:
    """Name the cases that are answered wrongly and not known to be, and the open ones that are right now."""
    return [c.id for c in cases if c.is_right(found[c.id]) == c.known_wrong]


def run(options: argparse.Namespace) -> None:
    """Run the command; exit code 1 if an answer has become wrong, or an open case right."""
    cases = read_cases()
    path = options.out / f"{FILE}.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    found = dict(before.get(__version__, {})) if options.case else {}
    chosen = [c for c in cases if c.id in options.case or not options.case]
    for case, outcome in judge_cases(options.assets, chosen):
        found[case.id] = outcome
        print(f"{case.id}: {outcome}{'' if case.is_right(outcome) else ' (WRONG)'}", flush=True)
    table = add_column(before, __version__, {c.id: found[c.id] for c in cases})
    options.out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(table, indent=1) + "\n")
    path.with_suffix(".md").write_text(regression_table(cases, table))
    if changed := find_regressions(cases, found):
        print(f"not as expected: {', '.join(changed)}")
        sys.exit(1)


def _judge(assets: Path, case: RegressionCase, pair: ModelPair, config: RunConfig) -> str:
    bank: Bank | None = None if case.bank is None else open_bank(assets / "banks" / case.bank)
    framing = framing_for(pair, bank)
    controls: list[Picture] = []
    if case.controls is not None:
        owner = case.controls if case.controls != "own" else case.suspect if case.suspect != BASE else "rollandin-lora"
        controls = [read_picture(p, framing) for p in picture_files(assets / "controls" / owner, "controls")]
    pictures = [
        decode_picture(ALTERED[case.altered_picture]((assets / p).read_bytes()), Path(p).name, framing)
        for p in case.pictures
    ]
    result = authenticate(pair, pictures, controls, config=config, bank=bank)
    if case.together:
        assert result.together is not None, "several pictures have one answer"
        return result.together.outcome
    return result.pictures[0].verdict.outcome


@contextmanager
def _pair(assets: Path, suspect: str, scale: float) -> Iterator[ModelPair]:
    base = str(assets / "mini")
    if suspect == BASE:
        yield load_pair(base, base, "sks style")
        return
    folder = assets / "examples" / suspect
    prompt = json.loads((folder / "example.json").read_text())["prompt"]
    with ExitStack() as stack:
        checkpoint = stack.enter_context(Alteration(scale=scale).checkpoint(folder / "checkpoint"))
        yield load_pair(base, str(checkpoint), prompt)


def _cell(case: RegressionCase, outcome: str | None) -> str:
    if outcome is None:
        return "-"
    return outcome if case.is_right(outcome) else f"**wrong**: {outcome}"


def _why(case: RegressionCase) -> str:
    return (
        case.why
        + (" (open)" if case.known_wrong else "")
        + (f"; earlier answer: {case.earlier}" if case.earlier else "")
    )


def _saved(picture: Image.Image, kind: str, **more: Any) -> bytes:
    data = io.BytesIO()
    picture.save(data, kind, **more)
    return data.getvalue()


def _opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def _float_tiff(data: bytes) -> bytes:
    return _saved(Image.fromarray(np.asarray(_opened(data).convert("L"), dtype=np.float32) / 255), "TIFF")


def _turned(data: bytes) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = ROTATED
    return _saved(_opened(data).transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif)


ALTERED = {
    None: lambda data: data,
    "png": lambda data: _saved(_opened(data), "PNG"),
    "mirrored": lambda data: _saved(ImageOps.mirror(_opened(data)), "PNG"),
    "float_tiff": _float_tiff,
    "turned": _turned,
    "flat": lambda data: _saved(Image.new("RGB", _opened(data).size, (90, 120, 150)), "PNG"),
}
