"""`cgidm mark`: write a copy of a picture whose credentials declare that it may not be trained on."""

import argparse
from pathlib import Path
from typing import Any

from ..messages.text import print_line


def add_command(commands: Any) -> None:
    """Add the command to those of a parser."""
    parser = commands.add_parser("mark", help="declare in a copy of your picture that it may not be trained on (C2PA)")
    parser.set_defaults(run=mark)
    parser.add_argument("picture", type=Path, metavar="PICTURE", help="a PNG, JPEG, WebP, GIF or TIFF")
    parser.add_argument("--no-training", action="store_true", help="not allowed: training, of generative models too")
    parser.add_argument("--no-mining", action="store_true", help="not allowed: data mining")
    parser.add_argument("--no-inference", action="store_true", help="not allowed: as input of a trained model")
    parser.add_argument("--author", default="", metavar="NAME", help="your name, stated beside it")
    parser.add_argument(
        "--certificate", type=Path, required=True, metavar="CHAIN.pem", help="your certificate and those that issued it"
    )
    parser.add_argument("--key", type=Path, required=True, metavar="KEY.pem", help="its private key")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="a new file")


def mark(options: argparse.Namespace) -> None:
    """Run the command.

    Raises:
        UserError: if nothing is declared, or a file cannot be used.
    """
    from ..errors import UserError
    from .credentials import credential_notes
    from .decoding import decode_pixels
    from .marking import TRAINING_USES, mark_picture

    uses = TRAINING_USES if options.no_training else ()
    uses += ("cawg.data_mining",) if options.no_mining else ()
    uses += ("cawg.ai_inference",) if options.no_inference else ()
    if not uses:
        raise UserError("pictures.mark.nothing")
    files = {"certificates": options.certificate, "key": options.key}
    mark_picture(options.picture, options.out, **files, uses=uses, author=options.author)
    data = options.out.read_bytes()
    print_line(f"{options.out}: a copy of {options.picture} with these credentials:")
    for said in credential_notes(data, decode_pixels(data, str(options.out))[1]):
        print_line(f"  {said}")
