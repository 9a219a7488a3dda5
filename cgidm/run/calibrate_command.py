"""`cgidm calibrate`: null scores of the mirror test for a base without a table, from suspects with known unused works.

Each call scores pictures that one suspect was surely not trained on, and puts the scores into a table. With a few dozen
of them, of five artists or more, the table says how often an unused picture scores as high under suspects of that base.
"""

import argparse
import json
from pathlib import Path

from ..errors import UserError
from ..files import write_atomically
from ..messages.text import print_line

DIGITS = 4  # of a score


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("suspect", help="a suspect of the base, as for `cgidm authenticate`")
    parser.add_argument("unused", type=Path, metavar="FOLDER", help="pictures that it was surely not trained on")
    parser.add_argument("--base", required=True, help="the public base model, as for `cgidm authenticate`")
    parser.add_argument("--table", type=Path, required=True, metavar="FILE", help="the table; is made, or added to")
    parser.add_argument("--prompt", default="", help="prompt of the suspect's training")
    parser.add_argument("--artist", help="whose works the pictures are (default: the folder's name)")


def calibrate(options: argparse.Namespace) -> None:
    """Run the command. Models are imported here, so that `--help` is quick."""
    from huggingface_hub import get_token

    from ..device import choose_device
    from ..families import load_pair
    from ..intake.civitai.client import read_key
    from ..intake.layout import open_checkpoint
    from ..judging.mirror_test import LEAST_ARTISTS, LEAST_REFERENCES, MirrorTable, NullGroup, own_table_reference
    from ..judging.scoring import score_mirror
    from ..judging.tables.files import read_tables
    from ..method.config import PRESETS
    from ..method.mirror import is_symmetric
    from ..pictures.duplicates import near_duplicates, representatives
    from ..pictures.folders import picture_files
    from ..pictures.images import read_picture

    config = PRESETS["paper"]  # every preset has as many draws of the mirror test
    base, suspect = (
        open_checkpoint(given, role, token=get_token(), civitai_key=read_key())
        for given, role in ((options.base, "base model"), (options.suspect, "fine-tuned model"))
    )
    digests = tuple(sorted(base.listing.sha256(file) for file in base.weights))
    if not options.table.parent.is_dir():
        raise UserError("training.no_folder_for_table", path=options.table, folder=options.table.parent)
    tables = read_tables(MirrorTable, options.table.name, "judging.damaged_mirror_table", options.table.parent)
    known = next((t for t in tables if t.base == digests and t.draws == config.mirror_draws), None)
    others = [t for t in tables if t is not known]
    files = picture_files(options.unused, "pictures")
    where = choose_device(base, "auto", "auto")
    pair = load_pair(base, suspect, options.prompt, device=where.device, dtype=where.dtype)
    if pair.mirrored_training:
        raise UserError("training.mirrored_suspect", name=suspect.name)
    read = [p for f in files if not is_symmetric((p := read_picture(f, pair.framing)).image)]
    first = representatives(near_duplicates([p.image for p in read]))
    pictures = [p for i, p in enumerate(read) if first[i] == i]  # copies of one picture say no more than it does
    if not pictures:
        raise UserError("training.nothing_to_calibrate", path=options.unused)
    scores = tuple(round(s.value, DIGITS) for s in score_mirror(pair, pictures, config))
    # by its weights: a path names a person, and another model in another folder
    artist, training = options.artist or options.unused.resolve().name, suspect.weights_sha256
    kept = [g for g in (known.groups if known else ()) if (g.artist, g.training) != (artist, training)]
    groups = (*kept, NullGroup(artist=artist, training=training, scores=scores))
    table = MirrorTable(base=digests, draws=config.mirror_draws, groups=groups)
    write_atomically(options.table, json.dumps([t.model_dump() for t in (*others, table)]) + "\n")
    reference = own_table_reference(groups)
    print_line(
        f"{options.table}: {len(reference.scores)} null scores of {reference.artists} artists "
        f"(at least {LEAST_REFERENCES} of {LEAST_ARTISTS}; {round(1 / 0.01) - 1} for a level of 1 %)"
    )
