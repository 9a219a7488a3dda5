"""`cgidm export`: a notice, a report or a page for a lawyer, filled in from a bundle."""

import argparse
import sys
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...files import write_atomically
from ...messages.text import print_line
from ..anchors.grades import ALTERED
from ..bundle_reader import open_bundle, read_small
from ..seal import SEAL, bundle_record
from ..verify import check_consistency, check_integrity
from .facts import suspect_files
from .file_hashes import hash_weights

NAMES = ("dmca", "civitai", "hub", "lawyer")  # of `catalogue.KINDS`, which is not imported so that --help is quick


def add_command(commands: Any) -> None:
    """Add the command to those of a parser."""
    parser = commands.add_parser("export", help="fill in a notice, a report or a page for a lawyer from evidence")
    parser.set_defaults(run=export)
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="the folder or zip that `authenticate` wrote")
    parser.add_argument(
        "--as",
        dest="kind",
        required=True,
        choices=NAMES,
        help="a takedown notice, the text of a report to Civitai or the Hub, or a page for a lawyer",
    )
    parser.add_argument(
        "--suspect",
        type=Path,
        action="append",
        default=[],
        help="the suspect's file, to compute its AutoV3; repeatable",
    )
    parser.add_argument("--out", type=Path, metavar="FILE.txt", help="a new file; printed if not given")


def export(options: argparse.Namespace) -> int:
    """Run the command.

    Returns:
        0 if the text was written, 1 if the bundle was altered or is not consistent in itself.

    Raises:
        UserError: if the record does not support such a text, or a file cannot be used.
    """
    from .catalogue import exports  # late: it needs what judges

    with open_bundle(options.bundle) as bundle:
        if not check_integrity(bundle).intact:
            return ALTERED
        record = bundle_record(bundle)
        if check_consistency(bundle, record) is False:
            return ALTERED
        seal = (read_small(bundle, SEAL) or b"")[:64].decode(errors="replace")
    hashes = dict(hash_weights(path) for path in options.suspect)
    known = set(suspect_files(record).values())
    if strange := [sha for sha in hashes if sha not in known]:
        raise UserError("evidence.export.other_file", given=strange[0], files=len(known))
    (found,) = (e for e in exports(record, seal, hashes) if e.name == options.kind)
    if found.text is None:
        assert found.refusal is not None, "an export without a text says why"
        code, params = found.refusal.code, found.refusal.params
        raise UserError(code, **params)
    if options.out is None:
        sys.stdout.write(found.text)
        return 0
    if options.out.exists():
        raise UserError("evidence.export.exists", path=str(options.out))
    write_atomically(options.out, found.text)
    print_line(f"{options.kind}: {options.out}; fill in what stands in square brackets")
    return 0
