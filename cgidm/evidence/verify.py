"""`cgidm verify`: what does a bundle of evidence show by itself, grade by grade, and what is missing?

*Whole*: every file is as it was sealed. *Consistent in itself*: what follows from the scores is what the bundle says.
*Signed by a given key*, *dated*, *run again*: see `GRADES`. Python itself is enough to check the hashes. A signature
needs `cryptography`, and everything that follows from scores needs the packages that a run needs.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import UserError
from ..messages.text import print_line, single_line
from .bundle_reader import Bundle, open_bundle
from .record import Record
from .seal import SEAL, bundle_record, check_seal
from .signature import OF_SIGNER, check_signature

RERUN = ("base", "suspect", "embeddings", "unrelated", "controls", "bank", "threads", "download")  # options of a rerun
MOST_LINES = 40  # findings that are printed; the others are counted
# exit codes: something is wrong; `--strict` misses a grade; nothing is wrong, but the given key did not sign it
ALTERED, INCOMPLETE, OTHER_SIGNER = 1, 3, 4
CLAIMS = {  # what nothing in a bundle can confirm, as paths of its record -> what it is
    "language": "the language of its reports",
    "date": "the date",
    "seconds": "how long it took",
    "pictures[*].name": "the names of the pictures",
    "pictures[*].sha256": "the SHA-256 of their files",
    "pictures[*].notes": "what was noted of their files",
    "pictures[*].frame.original": "the size of their files",
    "pictures[*].not_computed": "why a score is missing",
    "controls[*].name": "the names of the control pictures",
    "controls[*].sha256": "the SHA-256 of their files",
    "controls[*].notes": "what was noted of their files",
    "controls[*].frame.original": "the size of their files",
    "bank.name": "the name of the bank",
    "bank.json": "what the bank's models scored, and how they were trained",
    "models.base": "the name of the base",
    "models.suspect": "the name of the suspect",
    "models.embeddings": "the names of the embeddings",
    "models.unrelated": "the name of the unrelated model",
    "models.commits": "the commits on the Hub",
    "models.publications": "the versions on Civitai",
    "models.configuration": "whose configuration a base in one file used",
    "models.warning": "the warning about base and suspect",
    "models.remarks": "what was noted of the suspect's files",
    "models.notes": "what was assumed to load the suspect",
    "machine": "the machine",
    "versions": "the versions of packages",
    "code": "the version of this tool",
}


@dataclass(frozen=True, kw_only=True)
class Grades:
    """What a check has shown. None: it could not be shown, or nobody asked for it."""

    intact: bool
    consistent: bool | None = None
    dated: str | None = None  # until when the bundle existed, by whose time stamp
    signed: str | None = None  # the key, by its fingerprint
    signer_named: bool = False  # it is the key that was given
    signer_missing: bool = False  # a key was given, and the bundle is not signed by it
    repeated: bool | None = None

    @property
    def reached(self) -> list[str]:
        """The grades that were reached, in words."""
        names = {
            "whole": self.intact,
            "consistent in itself": self.consistent,
            "dated": self.dated,
            "signed by the given key": self.signed and self.signer_named,
            "run again": self.repeated,
        }
        return [name for name, reached in names.items() if reached]

    @property
    def missing(self) -> list[str]:
        """The grades that were not, in words."""
        consistent = "NOT consistent in itself" if self.consistent is False else "not shown to be consistent in itself"
        signed = "signed by a key that you did not name" if self.signed else "not signed"
        signed = "NOT signed by the given key" if self.signer_missing else signed
        names = {
            "NOT whole": self.intact,
            consistent: self.consistent,
            "undated": self.dated,
            signed: self.signed and self.signer_named,
            "NOT the same when run again" if self.repeated is False else "not run again": self.repeated,
        }
        return [name for name, reached in names.items() if not reached]

    @property
    def exit_code(self) -> int:
        """0, unless something is wrong."""
        if not self.intact or self.consistent is False or self.repeated is False:
            return ALTERED
        return OTHER_SIGNER if self.signer_missing else 0

    @property
    def is_complete(self) -> bool:
        """Whether no grade is missing but a repeated run that nobody asked for."""
        return not [m for m in self.missing if m != "not run again"]

    def line(self) -> str:
        """Say on one line what is shown, and what is missing."""
        missing = f"; {', '.join(self.missing)}" if self.missing else ""
        return f"shown: {', '.join(self.reached) or 'nothing'}{missing}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command by itself, without the rest of the command line."""
    parser = argparse.ArgumentParser(prog="cgidm verify", description="what does a bundle of evidence show?")
    add_options(parser)
    try:
        return verify(parser.parse_args(sys.argv[2:] if arguments is None else arguments))
    except UserError as error:
        print_line(f"error: {error}", to_stderr=True)
        return 2


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `verify` to a parser."""
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="the folder or zip that `authenticate` wrote")
    parser.add_argument(
        "--signer",
        metavar="KEY",
        help="the public key that it must be signed with: a PEM file, or the SHA-256 of the key",
    )
    parser.add_argument(
        "--strict", action="store_true", help="exit with 3 unless it is consistent, dated and signed by the given key"
    )
    parser.add_argument(
        "--rerun", action="store_true", help="repeat the run, and compare every score with the recorded"
    )
    parser.add_argument("--base", help="the public base model, if not where the bundle says")
    parser.add_argument("--suspect", help="the suspect, if not where the bundle says")
    parser.add_argument(
        "--embedding", dest="embeddings", action="append", help="a textual inversion, if not where the bundle says"
    )
    parser.add_argument("--unrelated", help="the suspect that had to find nothing, if not where the bundle says")
    parser.add_argument(
        "--controls", type=Path, help="folder of the control pictures, if the bundle does not hold them"
    )
    parser.add_argument("--bank", type=Path, help="folder of the bank, if the bundle does not hold its numbers")
    parser.add_argument("--threads", type=int, help="of the processor; as many as were recorded if not given")
    parser.add_argument("--max-download", type=float, default=30, metavar="GB", help="of one model")
    parser.add_argument("--download", action="store_true", help="fetch CLIP and DINO from the Hub if need be (440 MB)")


def verify(options: argparse.Namespace) -> int:
    """Check a bundle and print the findings; the last line says what they show, and what is missing.

    Returns:
        0 if nothing is wrong, 1 if something is, 3 with `--strict` if a grade is missing, 4 if the bundle is whole and
        the given key did not sign it.

    Raises:
        UserError: if there is no bundle, or something that the check needs.
    """
    with open_bundle(options.bundle) as bundle:
        grades = check_integrity(bundle, options.signer)
        if grades.intact:
            record = bundle_record(bundle)
            grades = replace(grades, consistent=check_consistency(bundle, record))
            _print_claims(record)
            if options.rerun and grades.consistent is not False:
                grades = replace(grades, repeated=_repeat(bundle, options))
    print_line(grades.line())
    return grades.exit_code or (INCOMPLETE if options.strict and not grades.is_complete else 0)


def check_integrity(bundle: Bundle, signer: str | None = None) -> Grades:
    """Print what is wrong with a bundle, or that it is whole, and who signed it.

    Args:
        bundle: the evidence.
        signer: the public key that it must be signed with, a PEM file or the SHA-256 of the key.
    """
    problems = check_seal(bundle)
    signed, more = check_signature(bundle, signer)
    not_by_signer = [p for p in more if p.note.code in OF_SIGNER]
    more = [p for p in more if p not in not_by_signer]
    problems += [p for p in more if p.name not in {known.name for known in problems}]
    if problems:
        print_line(f"{bundle.label}: altered")
        _print_some([str(problem) for problem in problems])
        return Grades(intact=False)
    print_line(f"{bundle.label}: whole; {len(bundle.sizes)} files are as they were sealed")
    with bundle.open(SEAL) as file:
        print_line(f"seal: {file.read(64).decode()} (SHA-256 of manifest.json; compare it with the one you were given)")
    if not_by_signer:
        print_line("NOT signed by the key that you named, which says nothing about the files:")
        _print_some([str(problem) for problem in not_by_signer])
        return Grades(intact=True, signed=signed, signer_missing=True)
    if signed is None:
        print_line("not signed")
    elif signer is None:
        print_line(f"signed by a key that you did not name: Ed25519, SHA-256 {signed}")
    else:
        print_line(f"signed by the key that you named: Ed25519, SHA-256 {signed}")
    return Grades(intact=True, signed=signed, signer_named=signer is not None)


def check_consistency(bundle: Bundle, record: Record) -> bool | None:
    """Print whether what a whole bundle says follows from its scores; None if that cannot be told here."""
    try:
        from .recompute import recompute  # late: everything that computes
    except ImportError as error:
        print_line(f"not derived again: p-values, answers and reports, since {error.name} is not installed")
        return None
    found = recompute(bundle, record)
    if not found.agrees:
        print_line("NOT consistent in itself:")
        _print_some([str(f) for f in (*found.differences, *found.problems)])
        _print_other_version(record)
        return False
    for gap in found.gaps:
        print_line(f"not derived again: {gap}")
    if found.gaps:
        return None
    print_line("consistent in itself: p-values, answers, flags, rates and both reports follow from the recorded scores")
    return True


def _repeat(bundle: Bundle, options: argparse.Namespace) -> bool:
    from .rerun import RerunOptions, repeat  # late, as above

    given = {k: v for k in RERUN if (v := getattr(options, k)) is not None}
    comparison = repeat(bundle, RerunOptions(**given, max_download=int(options.max_download * 1e9)))
    for line in comparison.lines():
        print_line(line)
    return comparison.agrees


def _print_claims(record: Record) -> None:
    """Print what is stated in the record and confirmed by nothing in the bundle."""
    print_line("stated by whoever made it, and confirmed by nothing in it:")
    print_line(f"  date {single_line(record.date)}, on {single_line(record.machine.device_name)}")
    print_line(f"  base “{single_line(record.models.base)}”, suspect “{single_line(record.models.suspect)}”")
    print_line(f"  and, in result.json: {', '.join(CLAIMS)}")


def _print_other_version(record: Record) -> None:
    """Print which version wrote the record, where it is another: only that one can be expected to agree with it."""
    from ..provenance import describe_code, rendering_versions

    here = describe_code()
    if record.code.sha256 != here["sha256"]:
        version = f"{single_line(record.code.version)} (code {record.code.sha256[:12]})"
        print_line(f"it says that cgidm {version} wrote it; this is {here['version']} (code {here['sha256'][:12]})")
    for package, version in rendering_versions().items():
        if package in record.versions and record.versions[package] != version:
            recorded = single_line(str(record.versions[package]))
            print_line(
                f"it says that {package} {recorded} made its PDF; this is {version}: PDFs may differ by that alone"
            )


def _print_some(lines: Sequence[str]) -> None:
    for line in lines[:MOST_LINES]:
        print_line(f"  {line}")
    if len(lines) > MOST_LINES:
        print_line(f"  and {len(lines) - MOST_LINES} more")
