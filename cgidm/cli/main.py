"""The command line: each command reads its options and calls the library.

`authenticate` judges, `lineup` counts what an observer chose, `verify` checks evidence, `sign` and `stamp` add to it,
`keep` keeps a suspect, `inspect` reads models, `bank` trains null models, `doctor` examines this machine, `smoke` asks
a deployed page.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from huggingface_hub import get_token

from ..doctor.command import add_options as add_doctor_options
from ..doctor.command import diagnose
from ..errors import UserError
from ..evidence.anchors.commands import add_commands as add_evidence_commands
from ..evidence.anchors.grades import ALTERED
from ..evidence.bundle_reader import open_bundle
from ..evidence.exports.command import add_command as add_export_command
from ..evidence.record_of_result import lineup_of
from ..evidence.seal import bundle_record
from ..evidence.verify import add_options as add_verify_options
from ..evidence.verify import check_integrity, verify
from ..intake.civitai.client import read_key
from ..intake.inspect import inspect_checkpoint, report_lines
from ..intake.layout import open_checkpoint
from ..judging.lineup import judge_lineup
from ..messages import Language
from ..messages.text import print_line
from ..page.launch import add_options as add_page_options
from ..page.launch import serve_page
from ..page.smoke import add_options as add_smoke_options
from ..page.smoke import smoke
from ..pictures.mark_command import add_command as add_mark_command
from ..resources import SHIPPED, SHIPPED_BASE, example_names, find_example
from ..run.calibrate_command import add_options as add_calibration_options
from ..run.calibrate_command import calibrate
from ..run.options import leave_to_plan, names_plan
from ..training.command import add_options as add_bank_options
from ..training.command import make_bank
from .authenticate import add_machine_options, authenticate_pictures, plan_run
from .authenticate import add_options as add_authenticate_options

RECIPES = "First: cgidm example rollandin-lora. Was I handed evidence? cgidm verify evidence.zip. The page: cgidm page."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    0 if it answered, 1 if `doctor` found something broken or `verify` or `lineup` something altered, 2 if what was
    given is wrong.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = build_parser(planned=names_plan(given)).parse_args(given)
    try:
        code: int | None = options.run(options)
    except UserError as error:
        print_line(f"error: {error}", to_stderr=True)
        return 2
    return code or 0


def build_parser(*, planned: bool = False) -> argparse.ArgumentParser:
    """The parser of all commands; each command sets `run`, the function that carries it out.

    Args:
        planned: a plan says what is judged and how: `authenticate` then has only the options that are given.
    """
    question = "Was this picture used to train that model?"
    parser = argparse.ArgumentParser(prog="cgidm", description=question, epilog=RECIPES)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("authenticate", help="judge pictures against a fine-tuned model")
    run.set_defaults(run=authenticate_pictures)
    add_authenticate_options(run)
    if planned:
        leave_to_plan(run)
    add_machine_options(run)
    run.add_argument("--out", type=Path, default=Path("cgidm-out"), help="folder for the evidence")
    run.add_argument("--plan", type=Path, metavar="PLAN.json", help="do what this plan states, and nothing else")
    run.add_argument("--bundle", type=Path, metavar="FILE.zip", help="pack the evidence into one zip, too")
    run.add_argument("--json", action="store_true", help="print the record (result.json), and all else to stderr")
    run.add_argument("--language", default="en", choices=get_args(Language), help="of the reports")
    run.add_argument("--sign", type=Path, metavar="KEY.pem", help="sign the evidence with this private Ed25519 key")
    stated = commands.add_parser("plan", help="state beforehand what will be judged and how; write it to a file")
    stated.set_defaults(run=plan_run)
    add_authenticate_options(stated)
    add_machine_options(stated)
    stated.add_argument("--out", type=Path, default=Path("plan.json"), metavar="PLAN.json", help="a new file")
    check = commands.add_parser("verify", help="say whether a bundle of evidence is as it was sealed; run it again")
    check.set_defaults(run=verify)
    add_verify_options(check)
    add_evidence_commands(commands)
    add_export_command(commands)
    add_mark_command(commands)
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
    table = commands.add_parser("calibrate", help="measure null scores of the mirror test for a base of your own")
    add_calibration_options(table)
    table.set_defaults(run=calibrate)

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
