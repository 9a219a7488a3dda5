"""The command line: each command reads its options and calls the library.

`authenticate` judges, `lineup` counts what an observer chose, `verify` checks evidence, `inspect` reads models, `bank`
trains null models, `doctor` examines this machine, `smoke` asks a deployed page.
"""

import argparse
import dataclasses
import json
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import get_args

from huggingface_hub import get_token
from tqdm import tqdm

from .conductor import authenticate
from .device import DEVICES, PRECISIONS, choose_device
from .doctor.command import add_options as add_doctor_options
from .doctor.command import diagnose
from .errors import UserError
from .evidence.bundle_reader import open_bundle
from .evidence.bundle_writer import LINEUP, pack_evidence, weights_sha256, write_evidence
from .evidence.record import ModelsRecord
from .evidence.record_of_result import commits_of, lineup_of, publications_of
from .evidence.seal import MANIFEST, RECORD, SEAL, bundle_record
from .evidence.signature import read_private_key, sign_folder
from .evidence.verify import ALTERED, check_integrity, verify
from .evidence.verify import add_options as add_verify_options
from .intake.civitai.client import read_key
from .intake.family import compare_bases, lend_configuration
from .intake.hub import MAX_DOWNLOAD
from .intake.inspect import inspect_checkpoint, report_lines, suggest_prompts
from .intake.layout import Checkpoint, open_checkpoint
from .intake.remarks import list_pair_remarks
from .judging.lineup import check_lineup, judge_lineup
from .judging.null_bank import check_bank, framing_for, open_bank
from .messages import Language, note
from .messages.text import print_line, single_line
from .method.config import PRESETS, RunConfig, find_preset
from .method.views import VIEWS
from .page.launch import add_options as add_page_options
from .page.launch import serve_page
from .page.smoke import add_options as add_smoke_options
from .page.smoke import smoke
from .pictures.embedders import load_embedders
from .pictures.folders import picture_files, skipped_file_notes
from .pictures.images import read_picture
from .pictures.reference import read_reference_pictures
from .resources import SHIPPED, SHIPPED_BASE, example_names, find_example
from .run.events import RunEvent
from .run.plan import FRAMINGS, frame_as
from .run.result_table import print_table
from .training.command import add_options as add_bank_options
from .training.command import make_bank

RECIPES = "First: cgidm example rollandin-lora. Was I handed evidence? cgidm verify evidence.zip. The page: cgidm page."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    0 if it answered, 1 if `doctor` found something broken or `verify` or `lineup` something altered, 2 if what was
    given is wrong.
    """
    options = build_parser().parse_args(arguments)
    try:
        code: int | None = options.run(options)
    except UserError as error:
        print_line(f"error: {error}", to_stderr=True)
        return 2
    return code or 0


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; each command sets `run`, the function that carries it out."""
    question = "Was this picture used to train that model?"
    parser = argparse.ArgumentParser(prog="cgidm", description=question, epilog=RECIPES)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("authenticate", help="judge pictures against a fine-tuned model")
    run.set_defaults(run=_authenticate)
    run.add_argument("pictures", nargs="+", type=Path, metavar="PICTURE", help="picture files")
    run.add_argument("--base", required=True, help="the public base: a folder, a file, or its place on the Hub")
    run.add_argument("--base-config", help="whose configuration and tokenizers a base in one file uses (a folder)")
    run.add_argument(
        "--suspect",
        required=True,
        help="the suspect: a folder, a .safetensors file, or its place on the Hub or Civitai",
    )
    run.add_argument("--embedding", action="append", default=[], help="a textual inversion that came with the suspect")
    run.add_argument(
        "--adapter-alpha", type=float, metavar="ALPHA", help="alpha of an adapter whose file states none (peft's names)"
    )
    run.add_argument(
        "--prompt",
        action="append",
        help="prompt that the suspect was trained with; may be blank. Repeatable, if one of several may be right",
    )
    run.add_argument("--preset", default="paper", choices=sorted(PRESETS), help="how the recovery is done")
    run.add_argument("--controls", type=Path, help="folder of pictures known not to be in the training set")
    run.add_argument("--bank", type=Path, help="null models instead of controls: what `cgidm bank` wrote")
    run.add_argument("--unrelated", help="a suspect of the same base trained on other pictures: it must find nothing")
    run.add_argument(
        "--mirror",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="ask the mirror test; leave it out where the trainer is known to have mirrored its pictures",
    )
    run.add_argument(
        "--reference",
        action=argparse.BooleanOptionalAction,
        help="score the shipped reference pictures, too, for the mirror test of a base that was not measured "
        "(minutes on a GPU, and then the default)",
    )
    run.add_argument(
        "--framing",
        choices=FRAMINGS,
        default="notes",
        help="how the suspect's training framed pictures: as its file notes (where it does not, buckets and centre "
        "squares are looked at), in aspect-ratio buckets, or as centre squares",
    )
    run.add_argument("--out", type=Path, default=Path("cgidm-out"), help="folder for the evidence")
    run.add_argument("--seed", type=int, default=0, help="of every random draw")
    run.add_argument("--steps", type=int, help="number of recovery steps N, instead of the preset's")
    run.add_argument("--radius", type=float, help="L2 radius of the recovery, instead of the automatic one")
    run.add_argument("--search", action="store_true", help="also judge mirrored, cropped, ... views of each picture")
    run.add_argument("--lineup", type=int, metavar="M", help="show each picture among M - 1 recovered controls, too")
    run.add_argument("--device", default="auto", choices=DEVICES, help="auto: the GPU if there is one")
    run.add_argument("--precision", default="auto", choices=PRECISIONS, help="auto: half on a GPU, float32 on a CPU")
    run.add_argument("--max-download", type=float, default=MAX_DOWNLOAD / 1e9, metavar="GB", help="of one model")
    run.add_argument("--download", action="store_true", help="fetch CLIP and DINO from the Hub if need be (440 MB)")
    run.add_argument("--bundle", type=Path, metavar="FILE.zip", help="pack the evidence into one zip, too")
    run.add_argument("--json", action="store_true", help="print the record (result.json), and all else to stderr")
    run.add_argument("--language", default="en", choices=get_args(Language), help="of the reports")
    run.add_argument("--sign", type=Path, metavar="KEY.pem", help="sign the evidence with this private Ed25519 key")
    check = commands.add_parser("verify", help="say whether a bundle of evidence is as it was sealed; run it again")
    check.set_defaults(run=verify)
    add_verify_options(check)
    choices = commands.add_parser("lineup", help="count what an observer of a line-up chose, and say what it means")
    choices.set_defaults(run=_lineup)
    choices.add_argument("bundle", type=Path, metavar="BUNDLE", help="the folder or zip that `authenticate` wrote")
    choices.add_argument(
        "--picks", required=True, metavar="B,D,-", help="a letter a round; -: I cannot tell (first: --picks=-,B)"
    )
    bank = commands.add_parser(
        "bank", help="train null models of an artist's pictures; a verdict can use them; resumes"
    )
    bank.set_defaults(run=make_bank)
    add_bank_options(bank)
    look = commands.add_parser("inspect", help="say what a model file or folder is, reading headers only")
    look.set_defaults(run=_inspect)
    look.add_argument(
        "source", metavar="SOURCE", help="a folder, a .safetensors file, or a place on the Hub or Civitai"
    )
    look.add_argument("--json", action="store_true", help="plain data instead of a table")
    examine = commands.add_parser("doctor", help="say what this machine, or Space, still needs")
    examine.set_defaults(run=diagnose)
    add_doctor_options(examine)
    page = commands.add_parser("page", help="serve the page, in which all of this can be done")
    page.set_defaults(run=serve_page)
    add_page_options(page)
    ask = commands.add_parser("smoke", help="ask a deployed page one question, and compare its answer with ours")
    ask.set_defaults(run=smoke)
    add_smoke_options(ask)
    example = commands.add_parser(
        "example", help="judge two pictures of a shipped example: a used one and an unused one"
    )
    example.set_defaults(run=_run_example)
    example.add_argument("name", choices=example_names(), metavar="NAME", help=" or ".join(example_names()))
    example.add_argument("options", nargs=argparse.REMAINDER, help="further options of `authenticate`")
    return parser


def example_arguments(name: str) -> list[str]:
    """The arguments of `authenticate` that judge one member and one holdout of a shipped example."""
    example = find_example(name)
    pictures = [str(example.members[0]), str(example.holdouts[0])]
    models = ["--base", SHIPPED_BASE, "--suspect", SHIPPED + name, "--prompt", example.prompt]
    return ["authenticate", *pictures, *models, "--controls", str(example.controls), "--preset", "fast"]


def _run_example(options: argparse.Namespace) -> int:
    arguments = example_arguments(options.name) + options.options
    print_line(f"cgidm {shlex.join(arguments)}")
    return main(arguments)


def _authenticate(options: argparse.Namespace) -> None:
    if not options.json:
        _judge(options)
        return
    with redirect_stdout(sys.stderr):
        _judge(options)
    print((options.out / RECORD).read_text(encoding="utf-8"), end="")


def _judge(options: argparse.Namespace) -> None:
    config = _config(options)
    controls = picture_files(options.controls, "controls") if options.controls else []
    for skipped in skipped_file_notes(options.controls) if controls else ():
        print_line(skipped)
    for path in (*options.pictures, *controls):
        read_picture(path, 64)  # a wrong file is named before two models are loaded
    bank = open_bank(options.bank) if options.bank else None
    if bank is not None and options.framing != "notes":
        raise UserError("run.bank_and_framing", given=options.framing)
    if config.lineup is not None:
        check_lineup(config.lineup, len(controls))
    if options.unrelated and not controls and bank is None:
        raise UserError("run.unrelated_without_controls")
    key = read_private_key(options.sign) if options.sign else None
    if options.bundle and not options.bundle.parent.is_dir():
        raise UserError("run.no_folder_for_bundle", path=options.bundle, folder=options.bundle.parent)

    lender = _open(options.base_config, "base's configuration", options) if options.base_config else None
    base = lend_configuration(_open(options.base, "base model", options), lender)
    suspect = _open(options.suspect, "fine-tuned model", options)
    where = choose_device(base, options.device, options.precision)
    place = {"device": where.device, "dtype": where.dtype, "encoding": config.encoding}

    embeddings = [_open(given, "embedding", options) for given in options.embedding]
    prompts = tuple(dict.fromkeys(options.prompt or [""]))
    if prompts == ("",) and (likely := suggest_prompts(suspect)):
        options_for = " ".join(f"--prompt {shlex.quote(prompt)}" for prompt in likely)
        print_line(f"the suspect's card or notes suggest: {options_for}")
    warning = compare_bases(base, suspect)
    remarks = list_pair_remarks(base, suspect, embeddings)

    from .families import load_pair  # slow to import: only after the cheap checks

    alpha = options.adapter_alpha
    loaded = load_pair(base, suspect, prompts, embeddings, **place, adapter_alpha=alpha)
    pair = frame_as(loaded, options.framing)
    print_line(f"memory: {pair.memory}")
    if bank is not None:
        check_bank(bank, pair.fingerprints, pair.is_full_network, config, prompts)
    unrelated = other = None
    if options.unrelated:
        other = _open(options.unrelated, "unrelated model", options)
        if weights_sha256(other) == weights_sha256(suspect):
            raise UserError("run.unrelated_is_the_suspect", name=other.name)
        unrelated = load_pair(base, other, prompts, **place)
    embedders = load_embedders(pair.device, download=options.download)
    framing = framing_for(pair, bank)
    pictures = [read_picture(p, framing) for p in options.pictures]
    known = [read_picture(p, framing) for p in controls]
    wanted = where.device.startswith("cuda") if options.reference is None else options.reference
    reference = read_reference_pictures(framing) if wanted else ()
    others = {"bank": bank, "reference": reference, "unrelated": unrelated}
    with _progress_bar(config) as advance:
        result = authenticate(pair, pictures, known, config=config, embedders=embedders, progress=advance, **others)
    roles = {"base": base, "suspect": suspect}
    models = ModelsRecord(
        base=base.name,
        suspect=suspect.name,
        prompt=prompts[0],
        other_prompts=prompts[1:],
        embeddings=tuple(e.name for e in embeddings),
        commits=commits_of(roles),
        publications=publications_of(roles),
        unrelated=None if other is None else other.name,
        unrelated_sha256=None if other is None else weights_sha256(other),
        configuration=None if base.lender is None else base.lender.name,
        adapter_alpha=alpha,
        warning=warning,
        remarks=remarks,
    )
    if warning is not None:
        print_line(f"warning: {warning}")
    for remark in remarks:
        print_line(f"note: {remark}")
    for assumed in pair.notes:
        print_line(f"note: {assumed}")
    write_evidence(result, options.out, models, language=options.language)
    signer = sign_folder(options.out, key) if key else None
    if (used := len(result.controls)) < len(known):
        print_line(note("run.controls_used", used=used, given=len(known)))
    print_table(result, LINEUP)
    print_line(f"evidence: {options.out}/report.pdf, report.html, result.json ({result.seconds:.1f} s)")
    if options.bundle:
        print_line(f"bundle: {pack_evidence(options.out, options.bundle)}")
    print_line(f"seal: {(options.out / SEAL).read_text().split()[0]} (SHA-256 of {MANIFEST}: write it down)")
    if signer:
        print_line(f"signed by the Ed25519 key {signer} (SHA-256)")


@contextmanager
def _progress_bar(config: RunConfig) -> Iterator[Callable[[RunEvent], None]]:
    """A bar of steps, of the pictures and then of a line-up's decoys, where somebody looks at a terminal.

    The answers are printed when they are there, before the recovery.
    """
    steps = config.recovery.steps * (1 if config.lineup is None else 2)
    with tqdm(total=steps, desc="recovering", unit="step", disable=None, leave=False) as bar:

        def advance(event: RunEvent) -> None:
            if event.phase in ("step", "decoys"):
                bar.update()
            elif event.phase == "answered" and event.result is not None:
                for r in event.result.pictures:
                    p = "" if r.verdict.p_value is None else f" (p = {r.verdict.p_value:.2g})"
                    bar.write(f"before the recovery: {single_line(r.picture.name)}: {r.verdict.outcome}{p}")
                if event.result.together is not None:
                    bar.write(f"before the recovery: together: {event.result.together.outcome}")

        yield advance


def _open(given: str, role: str, options: argparse.Namespace) -> Checkpoint:
    """At the command line the person who asks is the one who is logged in: their token is theirs to use."""
    cap = int(options.max_download * 1e9)
    opened = open_checkpoint(given, role, token=get_token(), civitai_key=read_key(), max_download=cap, progress=True)
    publication = None if opened.listing.about is None else opened.listing.about.publication
    if publication is not None and publication.newest_of:
        print(f"{role}: no version was named: {publication.air}, the newest of {publication.newest_of} published")
    return opened


def _lineup(options: argparse.Namespace) -> int:
    with open_bundle(options.bundle) as bundle:
        if not check_integrity(bundle).intact:
            return ALTERED
        lineup = lineup_of(bundle_record(bundle))
    if lineup is None:
        raise UserError("evidence.no_lineup", path=options.bundle)
    picks = options.picks.split(",")
    found = judge_lineup(lineup, picks)
    for number, (r, pick, right) in enumerate(zip(lineup.rounds, picks, found.right, strict=True), 1):
        print_line(f"round {number}: {pick.strip()}, {'right' if right else f'wrong: it was {r.letter}'}")
    print_line(f"{found.hits} of {len(found.right)} right, p = {found.p_value:.2g}")
    print_line(found.reason)
    return 0


def _inspect(options: argparse.Namespace) -> None:
    found = inspect_checkpoint(open_checkpoint(options.source, token=get_token(), civitai_key=read_key()))
    if options.json:
        print(json.dumps(found, indent=2))
        return
    for line in report_lines(found):
        print_line(line)


def _config(options: argparse.Namespace) -> RunConfig:
    preset = find_preset(options.preset)
    given = {k: v for k in ("steps", "radius") if (v := getattr(options, k)) is not None}
    recovery = dataclasses.replace(preset.recovery, **given)
    views = tuple(VIEWS) if options.search else preset.views
    mirror = {} if options.mirror else {"mirror_draws": 0, "mirrored_recovery": False}
    return dataclasses.replace(
        preset, seed=options.seed, recovery=recovery, views=views, lineup=options.lineup, **mirror
    )
