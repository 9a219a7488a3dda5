"""`cgidm authenticate` with several suspects: one run and one bundle for each, then the summary."""

import argparse
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from ...errors import UserError
from ...files import write_atomically
from ...intake.layout import Checkpoint
from ...messages.text import print_line
from ..bundle_reader import open_bundle
from ..record import Record
from ..seal import SEAL, bundle_record
from ..verify import SUMMARY
from .summary import MOST_SUSPECTS, PAGE, summarise, summary_bytes, summary_lines, summary_page

KINDS = ("stack", "versions")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of several suspects, and of adapters on both sides."""
    parser.add_argument(
        "--also",
        action="append",
        default=[],
        metavar="LORA@SCALE",
        help="another adapter that base and suspect both have (repeatable): what the suspect alone adds is judged",
    )
    parser.add_argument(
        "--several",
        choices=KINDS,
        help="with several --suspect, each of which is judged by itself: LoRAs that are used together (stack), or "
        "alternatives (versions)",
    )
    parser.add_argument(
        "--as-loaded",
        action="store_true",
        help="of a folder with several adapters use the one that diffusers would load, and of an adapter the modules "
        "that ComfyUI and diffusers would; what is left out is named",
    )


def authenticate_each(
    options: argparse.Namespace,
    authenticate: Callable[[argparse.Namespace], None],
    open_model: Callable[[str, str, argparse.Namespace], Checkpoint],
) -> None:
    """Judge the pictures against each suspect, and summarise.

    One suspect is judged as it is. With several, each has a folder of its own below `--out`, with a bundle.

    Args:
        options: of `authenticate`; `suspect` is a list.
        authenticate: judges against one suspect.
        open_model: opens what was given, in a role.

    Raises:
        UserError: if one of the runs is refused, or it is not said how several suspects belong together.
    """
    suspects: list[str] = options.suspect
    if len(suspects) == 1:
        if options.several is not None:
            raise UserError("evidence.suspects.only_one", given=options.several)
        return authenticate(_with(options, suspect=suspects[0]))
    if options.several is None:
        raise UserError("evidence.suspects.several_how", count=len(suspects))
    if len(suspects) > MOST_SUSPECTS:
        raise UserError("evidence.suspects.too_many", count=len(suspects), most=MOST_SUSPECTS)
    opened = [open_model(given, "fine-tuned model", options) for given in suspects]  # before hours of computing
    if options.several == "stack" and (full := [c for c in opened if c.kind != "adapter"]):
        raise UserError("evidence.suspects.stack_of_adapters", name=full[0].name, kind=full[0].kind)
    folders = [f"{i}-{_short_name(c.name)}" for i, c in enumerate(opened, 1)]
    for i, (given, folder) in enumerate(zip(suspects, folders, strict=True)):
        print_line(f"suspect {i + 1} of {len(suspects)}: {given}")
        packed = None if options.bundle is None else options.bundle.with_stem(f"{options.bundle.stem}-{i + 1}")
        authenticate(_with(options, suspect=given, out=options.out / folder, bundle=packed))
    summary = summarise(options.several, [(f, *read_bundle(options.out / f)) for f in folders])
    write_atomically(options.out / SUMMARY, summary_bytes(summary).decode())
    write_atomically(options.out / PAGE, summary_page(summary))
    for line in summary_lines(summary):
        print_line(line)
    print_line(f"summary: {options.out / PAGE}, {SUMMARY}; `cgidm verify {options.out}` checks it with all bundles")


def read_bundle(folder: Path) -> tuple[str, Record]:
    """The seal and the record of the bundle in a folder."""
    with open_bundle(folder) as bundle, bundle.open(SEAL) as file:
        return file.read(64).decode(errors="replace"), bundle_record(bundle)


def _with(options: argparse.Namespace, **changes: object) -> argparse.Namespace:
    return argparse.Namespace(**{**vars(options), **changes})


def _short_name(name: str) -> str:
    """What a folder is called after a suspect: its name's last part, as plain letters."""
    stem = PurePosixPath(name.replace("\\", "/")).name.removesuffix(".safetensors")
    return re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-")[:40] or "suspect"
