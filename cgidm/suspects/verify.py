"""`cgidm verify` for one bundle, or for a folder of several suspects: every bundle in it, and their summary."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError
from ..evidence.verify import ALTERED, add_options
from ..evidence.verify import verify as verify_bundle
from ..messages.text import print_line, single_line

SUMMARY = "suspects.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command by itself, without the rest of the command line."""
    parser = argparse.ArgumentParser(prog="cgidm verify", description="what does a bundle of evidence show?")
    add_options(parser)
    try:
        return verify(parser.parse_args(sys.argv[2:] if arguments is None else arguments))
    except UserError as error:
        print_line(f"error: {error}", to_stderr=True)
        return 2


def verify(options: argparse.Namespace) -> int:
    """Check a bundle, or each bundle of several suspects and then what was said of them together.

    Returns:
        What the check of a bundle returns; of several, the first code that is not 0.

    Raises:
        UserError: if there is no bundle, or something that the check needs.
    """
    folder: Path = options.bundle
    if not (folder / SUMMARY).is_file():
        return verify_bundle(options)
    from .command import read_bundle  # late: everything that computes
    from .summary import PAGE, read_summary, summarise, summary_bytes, summary_page

    data = (folder / SUMMARY).read_bytes()
    stated = read_summary(data, f"{folder}/{SUMMARY}")
    codes: list[int] = []
    for suspect in stated.suspects:
        if Path(suspect.folder).name != suspect.folder or suspect.folder in ("", ".", ".."):
            raise UserError("suspects.damaged_summary", name=SUMMARY, problem=single_line(suspect.folder))
        print_line(f"suspect {suspect.folder}:")
        codes.append(verify_bundle(argparse.Namespace(**{**vars(options), "bundle": folder / suspect.folder})))
    try:
        found = summarise(stated.several, [(s.folder, *read_bundle(folder / s.folder)) for s in stated.suspects])
    except UserError as error:
        print_line(f"{SUMMARY}: does not follow from the bundles: {error}")
        return ALTERED
    page = folder / PAGE
    same = data == summary_bytes(found) and page.is_file() and page.read_text() == summary_page(found)
    print_line(f"{SUMMARY}: {'follows' if same else 'does NOT follow'} from the {len(codes)} bundles")
    return next((code for code in codes if code), 0 if same else ALTERED)
