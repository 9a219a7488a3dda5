"""`cgidm verify`: what does a bundle of evidence show by itself, grade by grade, and what is missing?

*Whole*: every file is as it was sealed. *Consistent in itself*: what follows from the scores is what the bundle says.
*Dated*, *signed by a given key*, *run again*: see `anchors.grades`. Python itself is enough to check the hashes. A
signature needs `cryptography`, a time stamp `rfc3161-client`, and everything that follows from scores needs the
packages that a run needs.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from ..files import hash_file
from ..messages import note
from ..messages.text import print_line, single_line
from .anchors.grades import INCOMPLETE, Grades, Published
from .anchors.signature import OF_SIGNER, check_signatures
from .anchors.stamp import Stamps, check_stamps, is_after_stamp
from .bundle_reader import Bundle, open_bundle, read_small
from .record import Record
from .seal import FACTS, PLAN, SEAL, bundle_record, check_seal

if TYPE_CHECKING:
    from .anchors.published import PublishedCheck

# options of a rerun
RERUN = ("base", "suspect", "embeddings", "also", "unrelated", "controls", "bank", "threads", "download")
SUMMARY = "suspects.json"  # of the bundles of several suspects, in the folder that holds them
MOST_LINES = 40  # findings that are printed; the others are counted
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
    "mirror.groups": "the null scores of a table that was handed over",
    "models.base": "the name of the base",
    "models.suspect": "the name of the suspect",
    "models.embeddings": "the names of the embeddings",
    "models.unrelated": "the name of the unrelated model",
    "models.others[*].name": "the names of the adapters on both sides",
    "models.as_loaded": "whether the suspect was opened as other programs load it",
    "models.commits": "the commits on the Hub",
    "models.publications": "the versions on Civitai",
    "models.anchors": "where base and suspect were read from, when, and what is stated there",
    "models.configuration": "whose configuration a base in one file used",
    "models.warning": "the warning about base and suspect",
    "models.remarks": "what was noted of the suspect's files",
    "models.notes": "what was assumed to load the suspect",
    "statements": "who made the control pictures, and how many-th run of a visit it is",
    "plan": "whether a plan was followed, and how often",
    "machine": "the machine",
    "versions": "the versions of packages",
    "code": "the version of this tool",
}


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
        "--stamp-certificates",
        type=Path,
        metavar="CA.pem",
        help="certificates of the authority whose time stamp it must have, in one PEM file",
    )
    parser.add_argument(
        "--originals", type=Path, metavar="FOLDER", help="compare the original picture files with the recorded ones"
    )
    parser.add_argument(
        "--online", action="store_true", help="compare base and suspect with what the Hub or Civitai states now"
    )
    parser.add_argument(
        "--strict", action="store_true", help="exit with 3 unless it is consistent, dated and signed by the given key"
    )
    parser.add_argument(
        "--rerun", action="store_true", help="repeat the run, and compare every score with the recorded"
    )
    parser.add_argument(
        "--retrain",
        type=int,
        metavar="MODELS",
        help="train so many models of its bank again, drawn at random, and compare their scores with the bank's",
    )
    parser.add_argument(
        "--bank-pictures",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="the pictures that the bank's models were trained on and scored; repeatable",
    )
    parser.add_argument("--draw", metavar="WORD", help="draws the models that an earlier check drew with this word")
    parser.add_argument("--plan", type=Path, metavar="PLAN.json", help="the plan that it must be the run of")
    parser.add_argument("--base", help="the public base model, if not where the bundle says")
    parser.add_argument("--suspect", help="the suspect, if not where the bundle says")
    parser.add_argument(
        "--embedding", dest="embeddings", action="append", help="a textual inversion, if not where the bundle says"
    )
    parser.add_argument("--also", action="append", help="an adapter on both sides, if not where the bundle says")
    parser.add_argument("--unrelated", help="the suspect that had to find nothing, if not where the bundle says")
    parser.add_argument(
        "--controls", type=Path, help="folder of the control pictures, if the bundle does not hold them"
    )
    parser.add_argument(
        "--bank",
        type=Path,
        help="folder of the bank: --retrain scores all models whose weights it holds; older bundles lack its numbers",
    )
    parser.add_argument("--threads", type=int, help="of the processor; as many as were recorded if not given")
    parser.add_argument("--max-download", type=float, default=30, metavar="GB", help="of one model")
    parser.add_argument("--download", action="store_true", help="fetch CLIP and DINO from the Hub if need be (440 MB)")


def verify(options: argparse.Namespace) -> int:
    """Check a bundle, or those of several suspects, and print the findings.

    Returns:
        0 if nothing is wrong, 1 if something is, 3 with `--strict` if a grade is missing, 4 if the bundle is whole and
        the given key did not sign it.

    Raises:
        UserError: if there is no bundle, or something that the check needs.
    """
    if (options.bundle / SUMMARY).is_file():
        from .suspects.verify import verify_suspects  # late: everything that computes

        return verify_suspects(options, _verify_bundle)
    return _verify_bundle(options)


def _verify_bundle(options: argparse.Namespace) -> int:
    """Check one bundle; the last line says what the findings show, and what is missing."""
    with open_bundle(options.bundle) as bundle:
        grades, stamps = _check_envelope(bundle, options.signer, options.stamp_certificates)
        if grades.intact and FACTS in bundle.sizes:
            grades = replace(grades, derivable=False, published=_check_kept(bundle, options))
        elif grades.intact:
            record = bundle_record(bundle)
            grades = replace(grades, consistent=check_consistency(bundle, record))
            _print_claims(record, stamps)
            if options.originals is not None:
                grades = replace(grades, originals=_check_originals(bundle, record, options.originals))
            if options.online:
                grades = replace(grades, published=_check_published(record))
            grades = _compare_plan(bundle, record, grades, options.plan)
            if options.rerun and grades.consistent is not False:
                grades = replace(grades, repeated=_repeat(bundle, options))
            if options.retrain is not None and grades.consistent is not False:
                grades = _retrain(bundle, record, grades, options)
    print_line(grades.line())
    return grades.exit_code or (INCOMPLETE if options.strict and not grades.is_complete else 0)


def check_integrity(bundle: Bundle, signer: str | None = None) -> Grades:
    """Print what is wrong with a bundle, or that it is whole, and who signed it.

    Args:
        bundle: the evidence.
        signer: the public key that it must be signed with, a PEM file or the SHA-256 of the key.
    """
    return _check_envelope(bundle, signer, None)[0]


def _check_envelope(bundle: Bundle, signer: str | None, certificates: Path | None) -> tuple[Grades, Stamps]:
    """Check and print files, signatures and time stamps."""
    problems = check_seal(bundle)
    signatures, stamps = check_signatures(bundle, signer), check_stamps(bundle, certificates)
    not_by_signer = [p for p in signatures.problems if p.note.code in OF_SIGNER]
    more = [p for p in (*signatures.problems, *stamps.problems) if p not in not_by_signer]
    problems += [p for p in more if p.name not in {known.name for known in problems}]
    if problems:
        print_line(f"{bundle.label}: altered")
        _print_some([str(problem) for problem in problems])
        return Grades(intact=False), stamps
    print_line(f"{bundle.label}: whole; {len(bundle.sizes)} files are as they were sealed")
    with bundle.open(SEAL) as file:
        print_line(f"seal: {file.read(64).decode()} (SHA-256 of manifest.json; compare it with the one you were given)")
    if not_by_signer:
        print_line("NOT signed by the key that you named, which says nothing about the files:")
        _print_some([str(problem) for problem in not_by_signer])
    if not signatures.keys:
        print_line("not signed")
    for key in signatures.keys:
        which = "the key that you named" if key == signatures.named else "a key that you did not name"
        print_line(f"signed by {which}: Ed25519, SHA-256 {key}")
    for stamp in stamps.stamps:
        print_line(f"dated by {stamp}{'' if stamp.checked else ', not checked: give its --stamp-certificates'}")
    earliest = stamps.earliest
    grades = Grades(
        intact=True,
        dated=str(earliest) if earliest is not None and earliest.checked else None,
        stamped=None if earliest is None else str(earliest),
        signed=signatures.named or next(iter(signatures.keys), None),
        signer_named=signatures.named is not None,
        signer_missing=bool(not_by_signer),
    )
    return grades, stamps


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
    from .reruns.rerun import RerunOptions, repeat  # late, as above

    given = {k: v for k in RERUN if (v := getattr(options, k)) is not None}
    comparison = repeat(bundle, RerunOptions(**given, max_download=int(options.max_download * 1e9)))
    for line in comparison.lines():
        print_line(line)
    return comparison.agrees


def _compare_plan(bundle: Bundle, record: Record, grades: Grades, path: Path | None) -> Grades:
    """Print which plan the run says it followed, and whether it is the one that was given."""
    if record.plan is None and path is None:
        return grades
    stated = "no plan" if record.plan is None else f"the plan {single_line(record.plan.sha256)} (SHA-256)"
    count = "" if record.plan is None else f"; attempt {len(record.plan.attempts)}, as it states"
    print_line(f"run of {stated}{count}")
    if record.plan is not None and grades.consistent:
        from .reruns.planned_run import count_missing_controls  # late, as above

        if missing := count_missing_controls(record, read_small(bundle, PLAN) or b""):
            print_line(f"  {missing} of the planned control pictures are not in it: a run leaves out copies alone")
    if path is None:
        return grades
    try:
        given = hash_file(path)
    except OSError as error:
        raise UserError("evidence.no_plan", path=str(path), problem=error.strerror) from error
    same = record.plan is not None and record.plan.sha256 == given
    print_line(f"the plan that you gave has the SHA-256 {given}: {'the same' if same else 'NOT the same'}")
    return replace(grades, plan_found=same)


def _retrain(bundle: Bundle, record: Record, grades: Grades, options: argparse.Namespace) -> Grades:
    from .reruns.retrain_bank import RetrainOptions, retrain_bank  # late, as above

    given = {"base": options.base, "bank": options.bank, "threads": options.threads}
    which = {"count": options.retrain, "pictures": options.bank_pictures, "word": options.draw}
    found = retrain_bank(bundle, record, RetrainOptions(**which, **given), print_line)
    for line in found.lines():
        print_line(line)
    return replace(grades, retrained=found.agrees, retrained_share=found.share)


def _check_originals(bundle: Bundle, record: Record, folder: Path) -> bool:
    """Print what a folder of original files shows; every picture in question must be there."""
    from .anchors.originals import check_originals  # late, as above

    found = check_originals(bundle, record, folder)
    _print_some([str(check) for check in found if check.agrees is not True])
    print_line(f"originals: {sum(c.agrees is True for c in found)} of {len(found)} files are the recorded ones")
    pictures = found[: len(record.pictures)]
    return all(c.agrees is not False for c in found) and all(c.agrees for c in pictures)


def _check_published(record: Record) -> Published:
    """Print what is published of base and suspect now, beside what the record holds of them."""
    from huggingface_hub import get_token

    from ..intake.civitai.client import read_key
    from .anchors.published import check_published

    return _print_published(check_published(record, get_token(), read_key()))


def _print_published(found: "Sequence[PublishedCheck]") -> Published:
    for check in found:
        print_line(str(check))
    states = {check.state for check in found}
    return "contradicted" if "contradicted" in states else "same" if states == {"same"} else "other"


def _check_kept(bundle: Bundle, options: argparse.Namespace) -> Published | None:
    """Print what a suspect that was kept is, where it was read from, and, if asked, what is published of it now."""
    from .anchors.kept import read_kept  # late, as above

    if options.rerun or options.originals is not None:
        raise UserError("evidence.kept_is_no_run", bundle=bundle.label)
    kept = read_kept(bundle)
    anchor = kept.anchor
    named = f"{single_line(kept.name)} ({single_line(kept.kind)})"
    print_line(f"a suspect that was kept: {named}, {single_line(kept.retrieved)}")
    if anchor is None:
        print_line("a file that lay on somebody's machine; nothing here shows who published it")
    else:
        published = single_line(anchor.published or "no date stated")
        print_line(f"read from {single_line(anchor.location)}, {single_line(anchor.version)}, published {published}")
    _print_some([f"{single_line(name)}: SHA-256 {digest}" for name, digest in kept.sha256.items()])
    print_line("stated by whoever made it, and confirmed by nothing in it: name, place, version, dates")
    if not options.online:
        return None
    from huggingface_hub import get_token

    from ..intake.civitai.client import read_key
    from .anchors.published import check_anchor

    stated = {} if anchor is None else {f: d for f, d in kept.sha256.items() if f in anchor.stated}
    return _print_published([check_anchor("suspect", anchor, stated, get_token(), read_key())])


def _print_claims(record: Record, stamps: Stamps) -> None:
    """Print what is stated in the record and confirmed by nothing in the bundle."""
    if (earliest := stamps.earliest) is not None and is_after_stamp(record.date, earliest):
        print_line(note("evidence.date_after_stamp", date=record.date, stamp=str(earliest)))
    print_line("stated by whoever made it, and confirmed by nothing in it:")
    print_line(f"  date {single_line(record.date)}, on {single_line(record.machine.device_name)}")
    print_line(f"  base “{single_line(record.models.base)}”, suspect “{single_line(record.models.suspect)}”")
    print_line(f"  and, in result.json: {', '.join(CLAIMS)}")


def _print_other_version(record: Record) -> None:
    """Print which version wrote the record, where it is another: only that one can be expected to agree with it."""
    from ..run.provenance import describe_code, rendering_versions

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
