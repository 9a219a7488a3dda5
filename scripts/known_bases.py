"""Compare the list of known public bases with what the Hub states of their files today.

`python -m scripts.known_bases` asks for names and digests, and downloads no weights. With `--add FILE...` a file of a
listed repository is taken up with the digest that the Hub states, once another public list states it, too.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cgidm.errors import UserError
from cgidm.intake.hub import open_repository
from cgidm.intake.known_bases.table import FILE
from cgidm.intake.source import HubSource


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line a file; 1 if the Hub states another digest of one."""
    parser = argparse.ArgumentParser(prog="python -m scripts.known_bases", description=__doc__)
    parser.add_argument("--table", type=Path, default=FILE, help="the list")
    parser.add_argument("--location", help="the repository that --add is about")
    parser.add_argument("--add", nargs="+", default=[], metavar="FILE", help="files of --location to take up")
    options = parser.parse_args(arguments)
    table = json.loads(options.table.read_text(encoding="utf-8"))
    states = []
    for base in table["bases"]:
        more = options.add if base["location"] == options.location else []
        for file, state in compare(base, more):
            states.append(state)
            print(f"{base['name']}, {file}: {state}")
    if options.add:
        options.table.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
    return int("another digest" in states)


def compare(base: dict[str, Any], more: Sequence[str] = ()) -> Iterator[tuple[str, str]]:
    """Yield each file of a base with what the Hub states of it today; take up the files `more`.

    Args:
        base: an entry of the list; it is changed if files are taken up.
        more: names of files.
    """
    location = base["location"]
    if ":" in location:  # no repository of the Hub
        yield from ((file, "not on the Hub") for file in base["files"])
        return
    try:
        listing = open_repository(HubSource(location, None, "", location))
    except UserError as error:
        yield from ((file, f"not compared: {error}") for file in base["files"])
        return
    for file, digest in list(base["files"].items()):
        now = listing.stated_sha256(file) if file in listing.sizes else None
        yield file, "gone" if now is None else "the same" if now == digest else "another digest"
    for file in more:
        now = listing.stated_sha256(file) if file in listing.sizes else None
        if now is None:
            yield file, "no digest is stated"
            continue
        base["files"][file] = now
        yield file, f"taken up: {now}"


if __name__ == "__main__":
    sys.exit(main())
