"""Check a folder of several suspects: every bundle in it, and then what was said of them together."""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from ...errors import UserError
from ...messages.text import print_line, single_line
from ..anchors.grades import ALTERED
from ..verify import MOST_LINES, SUMMARY
from .command import read_bundle
from .summary import PAGE, SummaryRecord, read_summary, summarise, summary_bytes, summary_page


def verify_suspects(options: Namespace, verify_bundle: Callable[[Namespace], int]) -> int:
    """Check each bundle, and whether the summary follows from them.

    Args:
        options: of `verify`; `bundle` is the folder.
        verify_bundle: checks one bundle.

    Returns:
        1 if something is wrong with a bundle or with what was said of them together; else the first code of a bundle
        that is not 0.

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
    foreign = sorted({p.name for p in folder.iterdir()} - {SUMMARY, PAGE, *(s.folder for s in stated.suspects)})
    for name in foreign[:MOST_LINES]:
        print_line(f"{single_line(name)}: was added; a run of several suspects does not write it")
    follows = _follows(folder, stated, data)
    print_line(f"{SUMMARY}: {'follows' if follows else 'does NOT follow'} from the {len(codes)} bundles")
    return ALTERED if foreign or not follows or ALTERED in codes else next((code for code in codes if code), 0)


def _follows(folder: Path, stated: SummaryRecord, data: bytes) -> bool:
    """Whether the summary and its page are what follows from the bundles, byte for byte."""
    try:
        bundles = [(s.folder, *read_bundle(folder / s.folder)) for s in stated.suspects]
        identities = [(sorted(r.models.sha256.values()), r.models.suspect_scale) for _, _, r in bundles]
        if twice := [
            bundle[0] for i, bundle in enumerate(bundles) if identities[i] in identities[:i]
        ]:  # each weakens the others
            print_line(f"{SUMMARY}: {single_line(twice[0])} is about a suspect that another bundle is about")
            return False
        found = summarise(stated.several, bundles)
    except UserError as error:
        print_line(f"{SUMMARY}: {error}")
        return False
    page = folder / PAGE
    return data == summary_bytes(found) and page.is_file() and page.read_bytes() == summary_page(found).encode()
