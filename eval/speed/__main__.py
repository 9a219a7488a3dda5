"""`python -m eval.speed`: `python -m eval bench` where only the library's packages are installed."""

import argparse
import sys
from collections.abc import Sequence

from cgidm.errors import UserError
from eval.speed.options import HELP, add_options, run_options


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="eval.speed", description=HELP)
    add_options(parser)
    try:
        run_options(parser.parse_args(arguments))
    except UserError as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    main()
