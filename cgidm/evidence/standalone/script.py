"""What `verify.py` does, which lies in every bundle: seal, digests and names, with Python's standard library alone.

`build` makes the file of this module and of those that it imports, whose text is not changed. So whatever they import
at their top must run on Python 3.9.
"""

import hashlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...messages.text import print_line, single_line
from ..bundle_reader import open_bundle
from ..seal import SEAL, check_seal, plain_record

MOST_LINES = 40  # of problems, and of pictures
SELF = "verify.py"
NOT_CHECKED = (
    "whether answers, p-values and reports follow from the recorded scores, signatures and time stamps, whether a "
    "repeated run gives these scores, and whatever only its maker states: date, names, machine, who made the controls"
)


def main(arguments: Sequence[str], script: Path, newest: int, version: str) -> int:
    """Check the bundle that is named, or the one in whose folder the script lies.

    Args:
        arguments: of the command line: nothing, or a folder or zip.
        script: the file that runs.
        newest: the newest format of a record that it reads.
        version: of the library that it was made from.

    Returns:
        0 if the bundle is whole, 1 if not, 2 if it cannot be read.
    """
    if len(arguments) > 1 or any(a.startswith("-") for a in arguments):
        print_line(f"usage: python3 -I {SELF} [FOLDER or ZIP of evidence]", to_stderr=True)
        return 2
    path = Path(arguments[0]) if arguments else script.resolve().parent
    try:
        return _check(path, newest, version, hashlib.sha256(script.read_bytes()).hexdigest())
    except UserError as error:
        print_line(f"error: {error}", to_stderr=True)
        return 2


def _check(path: Path, newest: int, version: str, own_sha256: str) -> int:
    with open_bundle(path) as bundle:
        problems = check_seal(bundle, lambda bundle: plain_record(bundle, newest))
        if problems:
            print_line(f"{bundle.label}: altered")
            for problem in problems[:MOST_LINES]:
                print_line(f"  {problem}")
            print_line(f"{len(problems)} of its files are not as they were sealed")
            return 1
        print_line(f"{bundle.label}: whole; {len(bundle.sizes)} files are as they were sealed")
        with bundle.open(SEAL) as file:
            print_line(f"seal: {file.read(64).decode()}")
            print_line("  Compare it with the seal that you were given. Whoever alters a bundle can seal it anew.")
        print_line("stated by whoever made it:")
        for line in stated_lines(plain_record(bundle, newest)):
            print_line(f"  {line}")
    print_line(f"not checked here: {NOT_CHECKED}")
    print_line(f"In full, where Python can install packages: pipx run cgidm verify {single_line(path.name)}")
    print_line(
        f"This script is of cgidm {version}, SHA-256 {own_sha256}. Whoever made the bundle could have changed it:"
    )
    print_line("  take it from somebody whom you trust, or compare this number with theirs.")
    return 0


def stated_lines(record: Mapping[str, Any]) -> Iterator[str]:
    """Say what a bundle claims: date, models, and the answer of each picture. Any value may be of any type."""
    models = record.get("models")
    yield f"date: {_value(record, 'date')}"
    for role in ("suspect", "base"):
        yield f"{role}: {_value(models, role)}"
    if record.get("set") is not None:
        yield f"all pictures together: {_answer(record.get('set'))}"
    pictures = record.get("pictures")
    pictures = pictures if isinstance(pictures, list) else []
    for picture in pictures[:MOST_LINES]:
        yield f"picture {_value(picture, 'name')}: {_answer(picture)}"
        yield f"  SHA-256 of its file: {_value(picture, 'sha256')}"
    if len(pictures) > MOST_LINES:
        yield f"and {len(pictures) - MOST_LINES} pictures more"


def _answer(judged: object) -> str:
    p = judged.get("p_value") if isinstance(judged, dict) else None
    return _value(judged, "outcome") + (f" (p = {p:.3g})" if isinstance(p, float) else "")


def _value(table: object, name: str) -> str:
    found = table.get(name) if isinstance(table, dict) else None
    return "not stated" if found is None else single_line(str(found))


if __name__ == "__main__":
    sys.exit("This is a part of verify.py, which lies in every bundle of evidence.")
