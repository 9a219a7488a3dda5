"""`python -m cgidm` and the console script `cgidm`: both call `main`."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module

# by themselves, without the rest of the command line: `doctor` looks for the packages that the rest needs, `verify`
# checks hashes where none is installed, and `page` must import `spaces` before torch
ALONE = {"doctor": ".doctor.command", "page": ".page.launch", "verify": ".evidence.verify"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        if given and given[0] in ALONE:
            return import_module(ALONE[given[0]], __package__).main(given[1:])
        from .cli import main as run_command

        return run_command(given)
    except BrokenPipeError:  # whoever read the output has had enough: `cgidm inspect ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the interpreter complains at its end
        return 141


if __name__ == "__main__":
    sys.exit(main())
