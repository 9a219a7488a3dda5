"""`cgidm verify`: is a bundle of evidence as it was sealed, who signed it, and does a repeated run agree with it?

Python itself is enough to check the hashes. A signature needs `cryptography`, and a repeated run everything else.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError
from ..messages.text import print_line
from .bundle_reader import Bundle, open_bundle
from .seal import SEAL, check_seal
from .signature import check_signature

RERUN = ("base", "suspect", "embeddings", "unrelated", "controls", "bank", "threads", "download")  # options of a rerun


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command by itself, without the rest of the command line."""
    parser = argparse.ArgumentParser(prog="cgidm verify", description="is a bundle of evidence as it was sealed?")
    add_options(parser)
    try:
        return verify(parser.parse_args(sys.argv[2:] if arguments is None else arguments))
    except UserError as error:
        print_line(f"error: {error}", to_stderr=True)
        return 2


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `verify` to a parser."""
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="the folder or zip that `authenticate` wrote")
    parser.add_argument("--key", type=Path, metavar="PUBLIC.pem", help="the public key that it must be signed with")
    parser.add_argument(
        "--rerun", action="store_true", help="repeat the run, and compare every score with the recorded"
    )
    parser.add_argument("--base", help="the public base model, if not where the bundle says")
    parser.add_argument("--suspect", help="the suspect, if not where the bundle says")
    parser.add_argument(
        "--embedding", dest="embeddings", action="append", help="a textual inversion, if not where the bundle says"
    )
    parser.add_argument("--unrelated", help="the suspect that had to find nothing, if not where the bundle says")
    parser.add_argument(
        "--controls", type=Path, help="folder of the control pictures, if the bundle does not hold them"
    )
    parser.add_argument("--bank", type=Path, help="folder of the bank that the pictures were judged against")
    parser.add_argument("--threads", type=int, help="of the processor; as many as were recorded if not given")
    parser.add_argument("--max-download", type=float, default=30, metavar="GB", help="of one model")
    parser.add_argument("--download", action="store_true", help="fetch CLIP and DINO from the Hub if need be (440 MB)")


def verify(options: argparse.Namespace) -> int:
    """Check a bundle and print the findings; 0 if it is intact (and a repeated run agrees with it), 1 if not.

    Raises:
        UserError: if there is no bundle, or something that the check needs.
    """
    with open_bundle(options.bundle) as bundle:
        if not report_integrity(bundle, options.key):
            return 1
        if not options.rerun:
            return 0
        from .rerun import RerunOptions, repeat  # late: everything that computes

        given = {k: v for k in RERUN if (v := getattr(options, k)) is not None}
        comparison = repeat(bundle, RerunOptions(**given, max_download=int(options.max_download * 1e9)))
    for line in comparison.lines():
        print_line(line)
    return 0 if comparison.agrees else 1


def report_integrity(bundle: Bundle, key: Path | None = None) -> bool:
    """Print what is wrong with a bundle, or that it is intact, and who signed it. Return whether it is intact."""
    problems = check_seal(bundle)
    signer, more = check_signature(bundle, key)
    problems += [p for p in more if p.name not in {known.name for known in problems}]
    if problems:
        print_line(f"{bundle.label}: altered")
        for problem in problems:
            print_line(f"  {problem}")
        return False
    print_line(f"{bundle.label}: whole; {len(bundle.sizes)} files are as they were sealed")
    with bundle.open(SEAL) as file:
        print_line(f"seal: {file.read(64).decode()} (SHA-256 of manifest.json; compare it with the one you were given)")
    print_line(f"signed by the Ed25519 key {signer} (SHA-256)" if signer else "not signed")
    return True
