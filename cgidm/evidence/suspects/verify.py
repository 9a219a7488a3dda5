"""Check a folder of several suspects: every bundle in it, and then what was said of them together."""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from ...errors import UserError
from ...messages.text import print_line, single_line
from ..anchors.grades import ALTERED
from ..verify import SUMMARY
from .command import read_bundle
from .summary import PAGE, SummaryRecord, read_summary, summarise, summary_bytes, summary_page


def verify_suspects(options: Namespace, verify_bundle: Callable[[Namespace], int]) -> int:
    """Check each bundle, and whether the summary follows from them.

    Args:
        options: of `verify`; `bundle` is the folder.
        verify_bundle: checks one bundle.

    Returns:
        The first code of a bundle that is not 0, else whether the summary follows.

    Raises:
        UserError: if the summary or a bundle cannot be read, or something is missing that a check needs.
    """
    folder: Path = options.bundle
    data = (folder / SUMMARY).read_bytes()
    stated = read_summary(data, f"{folder}/{SUMMARY}")
    codes: list[int] = []
    for suspect in stated.suspects:
        if Path(suspect.folder).name != suspect.folder or suspect.folder in ("", ".", ".."):
            raise UserError("evidence.suspects.damaged_summary", name=SUMMARY, problem=single_line(suspect.folder))
        print_line(f"suspect {suspect.folder}:")
        codes.append(verify_bundle(Namespace(**{**vars(options), "bundle": folder / suspect.folder})))
    follows = _follows(folder, stated, data)
    print_line(f"{SUMMARY}: {'follows' if follows else 'does NOT follow'} from the {len(codes)} bundles")
    return next((code for code in codes if code), 0 if follows else ALTERED)


def _follows(folder: Path, stated: SummaryRecord, data: bytes) -> bool:
    """Whether the summary and its page are what follows from the bundles, byte for byte."""
    try:
        found = summarise(stated.several, [(s.folder, *read_bundle(folder / s.folder)) for s in stated.suspects])
    except UserError as error:
        print_line(f"{SUMMARY}: {error}")
        return False
    page = folder / PAGE
    return data == summary_bytes(found) and page.is_file() and page.read_bytes() == summary_page(found).encode()
