"""`cgidm sign`, `cgidm stamp` and `cgidm keep`: what is added to a sealed bundle, and a suspect in a zip of its own."""

import argparse
from pathlib import Path
from typing import Any

from huggingface_hub import get_token

from ...errors import UserError
from ...intake.civitai.client import read_key
from ...intake.hub import MAX_DOWNLOAD
from ...intake.layout import open_checkpoint
from ...messages.text import print_line, single_line
from ..seal import MANIFEST
from .kept import keep_suspect
from .signature import read_private_key, sign_bundle
from .stamp_request import stamp_bundle

BUNDLE = "the folder or zip that `authenticate` or `keep` wrote"


def add_commands(commands: Any) -> None:
    """Add the three commands to the subparsers of the command line."""
    sign = commands.add_parser("sign", help="add a signature to sealed evidence; several persons may sign")
    sign.set_defaults(run=_sign)
    sign.add_argument("bundle", type=Path, metavar="BUNDLE", help=BUNDLE)
    sign.add_argument("--key", type=Path, required=True, metavar="KEY.pem", help="a private Ed25519 key")
    stamp = commands.add_parser("stamp", help="have sealed evidence time-stamped by an authority that you name")
    stamp.set_defaults(run=_stamp)
    stamp.add_argument("bundle", type=Path, metavar="BUNDLE", help=BUNDLE)
    stamp.add_argument("--server", required=True, metavar="URL", help="of a time-stamp authority (RFC 3161)")
    keep = commands.add_parser("keep", help="keep a suspect in a sealed zip, with what is published of it")
    keep.set_defaults(run=_keep)
    keep.add_argument("suspect", metavar="SUSPECT", help="a file or folder, or a place on the Hub or Civitai")
    keep.add_argument("--out", type=Path, required=True, metavar="FILE.zip", help="the zip")
    keep.add_argument("--max-download", type=float, default=MAX_DOWNLOAD / 1e9, metavar="GB", help="of the suspect")


def _sign(options: argparse.Namespace) -> None:
    key = read_private_key(options.key)
    print_line(f"signed by the Ed25519 key {sign_bundle(options.bundle, key)} (SHA-256)")


def _stamp(options: argparse.Namespace) -> None:
    stamp = stamp_bundle(options.bundle, options.server)
    print_line(f"{stamp.name}: dated by {stamp}")
    print_line("not checked: give the authority's certificates to `cgidm verify --stamp-certificates CA.pem`")


def _keep(options: argparse.Namespace) -> None:
    if not options.out.absolute().parent.is_dir():
        raise UserError("run.no_folder_for_bundle", path=options.out, folder=options.out.absolute().parent)
    given = {"token": get_token(), "civitai_key": read_key(), "max_download": int(options.max_download * 1e9)}
    kept, seal = keep_suspect(open_checkpoint(options.suspect, "suspect", **given, progress=True), options.out)
    print_line(f"kept: {single_line(kept.name)}, {len(kept.sha256)} files, in {options.out}")
    for name, digest in kept.sha256.items():
        print_line(f"  {single_line(name)}: SHA-256 {digest}")
    print_line(f"seal: {seal} (SHA-256 of {MANIFEST}: write it down)")
