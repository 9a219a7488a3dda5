"""`cgidm authenticate` and `cgidm plan`: judge pictures against suspects, or state beforehand how it will be done."""

import argparse
import shlex
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from huggingface_hub import get_token

from ..conductor import authenticate
from ..device import DEVICES, PRECISIONS, choose_device
from ..errors import UserError
from ..evidence.anchors.signature import read_private_key, sign_bundle
from ..evidence.anchors.statements import TABLE, ControlStatements, read_control_statements
from ..evidence.bundle_writer import LINEUP, FollowedPlan, pack_evidence, weights_sha256, write_evidence
from ..evidence.record import ModelsRecord
from ..evidence.record_of_result import anchors_of, commits_of, publications_of
from ..evidence.seal import MANIFEST, RECORD, SEAL
from ..evidence.suspects.command import add_options as add_mixture_options
from ..evidence.suspects.command import authenticate_each
from ..evidence.verify import SUMMARY
from ..intake.civitai.client import read_key
from ..intake.family import compare_bases, lend_configuration
from ..intake.hub import MAX_DOWNLOAD
from ..intake.inspect import list_prompt_remarks, suggest_prompts
from ..intake.layout import Checkpoint, open_checkpoint
from ..intake.remarks import list_other_remarks, list_pair_remarks
from ..judging.banks.null_bank import Bank, check_bank, framing_for, open_bank
from ..judging.lineup import check_lineup
from ..judging.mirror_test import read_own_table
from ..messages import note
from ..messages.text import print_line
from ..method.config import PRESETS, RunConfig
from ..pictures.embedders import load_embedders
from ..pictures.folders import picture_files, skipped_file_notes
from ..pictures.images import read_picture
from ..pictures.reference import read_reference_pictures
from ..run.options import option_kinds, read_config
from ..run.plan import FRAMINGS, frame_as
from ..run.plan_command import check_inputs, describe_models, state_plan
from ..run.plan_file import RunningPlan, begin_attempt, open_plan
from ..run.progress_bar import progress_bar
from ..run.result_table import print_table

AS_LOADED = ("fine-tuned model", "other adapter", "unrelated model")  # roles to which --as-loaded applies


def add_options(run: argparse.ArgumentParser) -> None:
    """Add the options that say what is judged and how; a plan holds all of them."""
    run.add_argument("pictures", nargs="+", type=Path, metavar="PICTURE", help="picture files")
    run.add_argument("--base", required=True, help="the public base: a folder, a file, or its place on the Hub")
    run.add_argument("--base-config", help="whose configuration and tokenizers a base in one file uses (a folder)")
    run.add_argument(
        "--suspect",
        required=True,
        action="append",
        help="the suspect: a folder, a .safetensors file, or its place on the Hub or Civitai; a LoRA perhaps with a "
        "scale, FILE@0.8. Repeatable, see --several",
    )
    add_mixture_options(run)
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
    run.add_argument(
        "--controls-statement", metavar="TEXT", help="who made the control pictures, and when: printed as your claim"
    )
    run.add_argument("--bank", type=Path, help="null models instead of controls: what `cgidm bank` wrote")
    run.add_argument("--unrelated", help="a suspect of the same base trained on other pictures: it must find nothing")
    run.add_argument(
        "--mirror",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="ask the mirror test; leave it out where the trainer is known to have mirrored its pictures",
    )
    run.add_argument(
        "--null-table",
        type=Path,
        metavar="FILE",
        help="null scores of the mirror test for a base that was not measured, as `cgidm calibrate` writes them",
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
    run.add_argument("--seed", type=int, default=0, help="of every random draw")
    run.add_argument("--steps", type=int, help="number of recovery steps N, instead of the preset's")
    run.add_argument("--radius", type=float, help="L2 radius of the recovery, instead of the automatic one")
    run.add_argument("--search", action="store_true", help="also judge mirrored, cropped, ... views of each picture")
    run.add_argument("--lineup", type=int, metavar="M", help="show each picture among M - 1 recovered controls, too")


def add_machine_options(run: argparse.ArgumentParser) -> None:
    """Add the options that say where it is computed, and what may be downloaded."""
    run.add_argument("--device", default="auto", choices=DEVICES, help="auto: the GPU if there is one")
    run.add_argument("--precision", default="auto", choices=PRECISIONS, help="auto: half on a GPU, float32 on a CPU")
    run.add_argument("--max-download", type=float, default=MAX_DOWNLOAD / 1e9, metavar="GB", help="of one model")
    run.add_argument("--download", action="store_true", help="fetch CLIP and DINO from the Hub if need be (440 MB)")


@dataclass(frozen=True)
class _Inputs:
    """What a run is given beside its models."""

    config: RunConfig
    controls: list[Path]
    stated: ControlStatements  # what the user states of them
    bank: Bank | None


def _inputs(options: argparse.Namespace) -> _Inputs:
    """Read what is given; what can be refused before a model is opened is."""
    config = read_config(options)
    controls = picture_files(options.controls, "controls") if options.controls else []
    for skipped in skipped_file_notes(options.controls, (TABLE,)) if controls else ():
        print_line(skipped)
    stated = read_control_statements(options.controls, options.controls_statement)
    stated.check_names([path.name for path in controls])
    for path in (*options.pictures, *controls):
        read_picture(path, 64)  # a wrong file is named before two models are loaded
    bank = open_bank(options.bank) if options.bank else None
    if bank is not None and options.also:
        raise UserError("run.bank_and_others")
    if bank is not None and options.framing != "notes":
        raise UserError("run.bank_and_framing", given=options.framing)
    if config.lineup is not None:
        check_lineup(config.lineup, len(controls))
    if options.unrelated and not controls and bank is None:
        raise UserError("run.unrelated_without_controls")
    return _Inputs(config, controls, stated, bank)


def plan_run(options: argparse.Namespace) -> None:
    """Run `cgidm plan`."""
    if len(options.suspect) > 1:
        raise UserError("run.plan_of_several", count=len(options.suspect))

    def open_model(place: str, role: str) -> Checkpoint:
        return open_for_run(place, role, options)

    options = argparse.Namespace(**{**vars(options), "suspect": options.suspect[0]})
    given = _inputs(options)
    names = list(option_kinds(add_options))
    plan = state_plan(options, names, given.config, given.controls, given.bank, open_model)
    print_line(f"plan: {plan.label}")
    print_line(f"SHA-256 of the plan: {plan.sha256} (write it down, or have it time-stamped, before the run)")


def authenticate_pictures(options: argparse.Namespace) -> None:
    """Run `cgidm authenticate`. With `--json`, stdout has the record alone, or the summary of several suspects."""
    if not options.json:
        _follow_options(options)
        return
    with redirect_stdout(sys.stderr):
        _follow_options(options)
    several = len(getattr(options, "suspect", ())) > 1
    print((options.out / (SUMMARY if several else RECORD)).read_text(encoding="utf-8"), end="")


def _follow_options(options: argparse.Namespace) -> None:
    """Judge as the options say, or as a plan does."""
    plan = open_plan(options.plan) if options.plan else None
    if plan is not None:
        options = plan.merge_options(options, option_kinds(add_options))
        given = options.suspect  # the plan's one, or where it lies now
        options = argparse.Namespace(**{**vars(options), "suspect": given if isinstance(given, list) else [given]})
    authenticate_each(options, partial(_authenticate, plan=plan), open_for_run)


def _authenticate(options: argparse.Namespace, plan: RunningPlan | None) -> None:
    given = _inputs(options)
    config, controls, bank = given.config, given.controls, given.bank
    if plan is not None:
        check_inputs(plan, config, options.pictures, controls, bank, options.null_table)
    key = read_private_key(options.sign) if options.sign else None
    if options.bundle and not options.bundle.parent.is_dir():
        raise UserError("run.no_folder_for_bundle", path=options.bundle, folder=options.bundle.parent)

    lender = open_for_run(options.base_config, "base's configuration", options) if options.base_config else None
    base = lend_configuration(open_for_run(options.base, "base model", options), lender)
    suspect = open_for_run(options.suspect, "fine-tuned model", options)
    where = choose_device(base, options.device, options.precision)
    others = [open_for_run(given, "other adapter", options) for given in options.also]
    place = {"device": where.device, "dtype": where.dtype, "encoding": config.encoding, "also": others}
    place["quantisation"] = where.quantisation

    embeddings = [open_for_run(given, "embedding", options) for given in options.embedding]
    unrelated_models = [open_for_run(options.unrelated, "unrelated model", options)] if options.unrelated else []
    if plan is not None:
        opened = {"base": [base], "suspect": [suspect], "also": others}
        opened |= {"embedding": embeddings, "unrelated": unrelated_models}
        plan.check_models(describe_models([(role, c) for role, found in opened.items() for c in found]))
    prompts = tuple(dict.fromkeys(options.prompt or [""]))
    if prompts == ("",) and (likely := suggest_prompts(suspect)):
        options_for = " ".join(f"--prompt {shlex.quote(prompt)}" for prompt in likely)
        print_line(f"the suspect's card or notes suggest: {options_for}")
    warning = compare_bases(base, suspect)
    remarks = (*list_pair_remarks(base, suspect, embeddings), *list_other_remarks(base, others))
    remarks += list_prompt_remarks(suspect, prompts)

    from ..families import load_pair  # slow to import: only after the cheap checks

    alpha = options.adapter_alpha
    loaded = load_pair(base, suspect, prompts, embeddings, **place, adapter_alpha=alpha)
    pair = frame_as(loaded, options.framing)
    print_line(f"memory: {pair.memory}")
    if bank is not None:
        check_bank(bank, pair.fingerprints, pair.is_full_network, config, prompts)
    unrelated = other = None
    for other in unrelated_models:
        if weights_sha256(other) == weights_sha256(suspect):
            raise UserError("run.unrelated_is_the_suspect", name=other.name)
        unrelated = load_pair(base, other, prompts, **place)
    embedders = load_embedders(pair.device, download=options.download)
    framing = framing_for(pair, bank)
    pictures = [read_picture(p, framing) for p in options.pictures]
    known = [read_picture(p, framing) for p in controls]
    wanted = where.device.startswith("cuda") if options.reference is None else options.reference
    reference = read_reference_pictures(framing) if wanted else ()
    attempts = () if plan is None else begin_attempt(options.plan, plan)
    table = options.null_table
    groups = read_own_table(table, pair.fingerprints, config.mirror_draws) if table else ()
    beside = {"bank": bank, "reference": reference, "null_groups": groups, "unrelated": unrelated}
    with progress_bar(config) as advance:
        result = authenticate(pair, pictures, known, config=config, embedders=embedders, progress=advance, **beside)
    roles = {"base": base, "suspect": suspect}
    models = ModelsRecord(
        base=base.name,
        suspect=suspect.name,
        prompt=prompts[0],
        other_prompts=prompts[1:],
        embeddings=tuple(e.name for e in embeddings),
        commits=commits_of(roles),
        publications=publications_of(roles),
        anchors=anchors_of(roles),
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
    said = given.stated.of([c.name for c in result.controls])
    followed = None if plan is None else FollowedPlan(plan.data, attempts)
    write_evidence(result, options.out, models, statements=said, plan=followed, language=options.language)
    if plan is not None:
        print_line(f"plan: {plan.sha256}, attempt {len(attempts)} by the count beside it")
    signer = sign_bundle(options.out, key) if key else None
    if (used := len(result.controls)) < len(known):
        print_line(note("run.controls_used", used=used, given=len(known)))
    print_table(result, LINEUP)
    print_line(f"evidence: {options.out}/report.pdf, report.html, result.json ({result.seconds:.1f} s)")
    if options.bundle:
        print_line(f"bundle: {pack_evidence(options.out, options.bundle)}")
    print_line(f"seal: {(options.out / SEAL).read_text().split()[0]} (SHA-256 of {MANIFEST}: write it down)")
    if signer:
        print_line(f"signed by the Ed25519 key {signer} (SHA-256)")


def open_for_run(given: str, role: str, options: argparse.Namespace) -> Checkpoint:
    """At the command line the person who asks is the one who is logged in: their token is theirs to use."""
    cap = int(options.max_download * 1e9)
    how = {"max_download": cap, "progress": True, "as_loaded": options.as_loaded and role in AS_LOADED}
    opened = open_checkpoint(given, role, token=get_token(), civitai_key=read_key(), **how)
    publication = None if opened.listing.about is None else opened.listing.about.publication
    if publication is not None and publication.newest_of:
        print(f"{role}: no version was named: {publication.air}, the newest of {publication.newest_of} published")
    return opened
