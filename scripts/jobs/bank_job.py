# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = ["cgidm[training]", "huggingface_hub>=1.32"]
# ///
r"""Train a bank of null models on rented hardware, and leave nothing there.

    hf jobs uv run --flavor=a10g-small --timeout=12h --secrets=HF_TOKEN scripts/jobs/bank_job.py \
        --pictures=my-works --result=my-bank --base=OWNER/BASE --suspect=OWNER/SUSPECT --prompt="sks style"

The works come from a private dataset repository. `bank.json` goes into another private one, and nothing else is
uploaded. Every option that is not this script's own is one of `cgidm bank`; paths among them are inside the pictures'
repository. docs/usage/rented-hardware.md says more.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import chdir
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

BANK = "bank.json"
WAITS = (0.0, 5.0, 30.0, 120.0)  # seconds before each attempt to upload: hours of training depend on it


def main(arguments: Sequence[str] | None = None, api: Any = None, wait: Callable[[float], object] = time.sleep) -> int:
    """Run the job.

    Args:
        arguments: of the command line; None for this process's.
        api: answers as `HfApi` does.
        wait: waits so many seconds.

    Returns:
        0 if the bank is in its repository, 1 if it may not go there, else the exit code of `cgidm bank`.
    """
    own, others = build_parser().parse_known_args(arguments)
    api = api or HfApi()
    with tempfile.TemporaryDirectory() as scratch:
        out = (own.out or Path(scratch) / "bank").resolve()
        command = ["bank", *(own.works or ["."]), *others, f"--out={out}"]
        check_command(command)
        pictures, result = (full_name(api, name) for name in (own.pictures, own.result))
        if not is_private(api, pictures):
            return refuse(f"{pictures} is public. Make it private on its page on the Hub, then run the job again.")
        api.create_repo(result, repo_type="dataset", private=True, exist_ok=True)  # needs to write: told now
        if not is_private(api, result):
            return refuse(f"{result} is public. Name another repository with --result, or make it private.")
        works = Path(scratch) / "works"
        api.snapshot_download(pictures, repo_type="dataset", local_dir=works)
        with chdir(works):
            code = run_command(command)
        if code == 0:
            upload_bank(api, out / BANK, result, wait)
            print(f"{BANK} is in https://huggingface.co/datasets/{result}: download it, and give it to the page")
        return code


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of this script's own options."""
    parser = argparse.ArgumentParser(
        description="Train a bank of null models on rented hardware.",
        epilog="All other options are those of `cgidm bank`.",
        allow_abbrev=False,
    )
    parser.add_argument("--pictures", required=True, metavar="REPO", help="private dataset repository of the works")
    parser.add_argument("--result", required=True, metavar="REPO", help=f"private dataset repository for {BANK}; made")
    parser.add_argument(
        "--works", action="append", metavar="FOLDER", help="folder of works in it (default: its top); repeatable"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="folder of the models (default: thrown away); a mounted one resumes"
    )
    return parser


def check_command(command: Sequence[str]) -> None:
    """Let the parser of `cgidm` refuse what it does not know, before anything is downloaded or paid for long."""
    from cgidm.cli.main import build_parser as build_cgidm_parser

    build_cgidm_parser().parse_args(command)


def run_command(command: Sequence[str]) -> int:
    """Run a command of `cgidm` in this process."""
    from cgidm.cli import main as cgidm

    return cgidm(command)


def full_name(api: Any, repository: str) -> str:
    """Put the name of whoever runs the job before that of a repository without an owner."""
    return repository if "/" in repository else f"{api.whoami()['name']}/{repository}"


def is_private(api: Any, repository: str) -> bool:
    """Ask whether nobody else may read a dataset repository."""
    return api.repo_info(repository, repo_type="dataset").private is True


def upload_bank(api: Any, bank: Path, repository: str, wait: Callable[[float], object]) -> None:
    """Upload the one file, with further attempts if the Hub does not answer."""
    for seconds in WAITS:
        wait(seconds)
        try:
            api.upload_file(path_or_fileobj=bank, path_in_repo=BANK, repo_id=repository, repo_type="dataset")
        except (OSError, HfHubHTTPError) as error:
            failure = error
            continue
        return
    raise failure


def refuse(sentence: str) -> int:
    """Say why the job cannot be done."""
    print(f"error: {sentence}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
