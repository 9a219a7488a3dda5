"""Repeat the run of a bundle, with its own pictures and the models that it names by their SHA-256."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import isqrt
from pathlib import Path

import torch
from huggingface_hub import get_token

from ...conductor import authenticate
from ...device import recorded_device
from ...errors import UserError
from ...framing.frame import Frame, Framing
from ...framing.table import framing_of_table
from ...intake.civitai.client import read_key
from ...intake.family import lend_configuration
from ...intake.hub import MAX_DOWNLOAD
from ...intake.layout import Checkpoint, open_checkpoint
from ...intake.likely_framing import LARGEST_SHARE, can_be_used
from ...judging.banks.null_bank import Bank, framing_for, open_bank, read_bank
from ...method.models import ModelPair
from ...pictures.decoding import MAX_SIDE, MIN_SIDE
from ...pictures.embedders import load_embedders
from ...pictures.folders import picture_files
from ...pictures.images import Picture, read_picture
from ...pictures.reference import read_reference_pictures
from ...run.plan import FRAMINGS, frame_as
from ..bundle_files import read_png
from ..bundle_reader import Bundle, read_small
from ..bundle_writer import BANK, weights_sha256
from ..record import ControlRecord, ModelsRecord, PictureRecord, Record
from ..record_of_result import config_of, image_name, own_groups, square_name
from ..seal import bundle_record
from .rerun_diff import Comparison, compare

MOST_THREADS = 1024


@dataclass(frozen=True, kw_only=True)
class RerunOptions:
    """Where the inputs of a recorded run are now. What is not given is looked for where the bundle says it was."""

    base: str | None = None
    suspect: str | None = None
    embeddings: Sequence[str] = ()
    also: Sequence[str] = ()  # the adapters on both sides, in their order
    unrelated: str | None = None
    controls: Path | None = None  # folder of the control pictures, if the bundle does not hold them
    bank: Path | None = None  # folder of the bank that the pictures were judged against
    threads: int | None = None  # CPU threads; None: as recorded
    max_download: int = MAX_DOWNLOAD  # bytes per model
    download: bool = False  # fetch CLIP and DINO from the Hub if need be


def repeat(bundle: Bundle, options: RerunOptions) -> Comparison:
    """Repeat the run of a bundle whose hashes were checked.

    Raises:
        UserError: if it cannot be repeated: other weights, no control pictures, a run that was stopped or unseeded.
    """
    record = bundle_record(bundle)
    config = config_of(record)
    if record.stopped:
        raise UserError("evidence.stopped")
    if config.encoding == "sample":
        raise UserError("evidence.unseeded", preset=config.preset)
    held, scored = len(record.controls), len(record.control_scores)
    if held not in (0, scored):
        raise UserError("evidence.other_number_of_controls", scores=scored, controls=held)
    bank = bank_of_bundle(bundle, record, options.bank)
    if scored and not held and not bank and options.controls is None:
        raise UserError("evidence.no_controls")
    base, suspect, *embeddings = _open_models(record.models, options)
    others = _open_others(record.models, options)
    _check_weights(record.models.sha256, (base, suspect, *embeddings, *others))
    unrelated = _open_unrelated(record.models, options)

    from ...families import load_pair  # slow to import: only after the cheap checks

    machine, prompts = record.machine, (record.models.prompt, *record.models.other_prompts)
    with use_threads(machine.threads if options.threads is None else options.threads):
        where = recorded_device(base, machine.device, machine.precision)
        place = {"device": where.device, "dtype": where.dtype, "encoding": config.encoding, "also": others}
        place["quantisation"] = where.quantisation
        loaded = load_pair(base, suspect, prompts, embeddings, **place, adapter_alpha=record.models.adapter_alpha)
        framed = _framed(loaded, record)
        pair = loaded if bank is not None else framed  # with a bank, its own framing counts, and the suspect's notes
        pictures = [
            _recorded_picture(bundle, p, image_name(i, "original"), framed) for i, p in enumerate(record.pictures)
        ]
        result = authenticate(
            pair,
            pictures,
            [] if bank else _controls(bundle, record, options.controls, framed),
            config=config,
            embedders=load_embedders(where.device, download=options.download),
            bank=bank,
            reference=read_reference_pictures(framing_for(pair, bank)) if _needs_reference(record) else (),
            null_groups=own_groups(record),
            unrelated=None if unrelated is None else load_pair(base, unrelated, prompts, **place),
        )
    return compare(bundle, record, result, _possible_framings(loaded, record))


def _framed(pair: ModelPair, record: Record) -> ModelPair:
    """The pair with the recorded framing; older records are about centre squares."""
    if record.framing is None:
        return replace(pair, trained_framing=None, framing_is_guessed=False)
    rule = framing_of_table(record.framing.rule)
    if not can_be_used(rule, LARGEST_SHARE * pair.resolution**2):
        raise UserError("evidence.unusable_framing", rule=str(record.framing.rule.get("rule")))
    return replace(pair, trained_framing=rule, framing_is_guessed=record.framing.guessed)


def _possible_framings(pair: ModelPair, record: Record) -> Sequence[Framing]:
    """The framings that a run of these models may have; the first is that of the suspect's notes, or the likeliest."""
    if record.bank is not None or record.framing is None:
        return ()  # the bank's own, which was derived from it
    if record.framing.guessed:
        return (pair.framing,)
    return (pair.framing, *(frame_as(pair, how).framing for how in FRAMINGS))  # or as somebody stated it


def _frame_differs(frame: Frame | None, pair: ModelPair) -> bool:
    """Whether the frame that a record states is not what its framing makes of a picture of that size."""
    if frame is None:
        return False
    width, height = frame.original
    if min(width, height) < MIN_SIDE or max(width, height) > MAX_SIDE:
        return True
    now = pair.framing.frame(width, height)
    return frame != (replace(now, told=None) if frame.told is None else now)  # an older record may not hold that


def _needs_reference(record: Record) -> bool:
    return record.mirror is not None and record.mirror.source == "pictures"


def _open_models(models: ModelsRecord, options: RerunOptions) -> list[Checkpoint]:
    """Open base, suspect and embeddings: as given now, or where the bundle says that they were."""
    wanted = [
        ("base model", options.base, models.base, "--base"),
        ("fine-tuned model", options.suspect, models.suspect, "--suspect"),
        *(("embedding", given, given, "--embedding") for given in options.embeddings or models.embeddings),
    ]
    base, suspect, *words = [
        _open_model(role, given, named, option, options, models.as_loaded and role == "fine-tuned model")
        for role, given, named, option in wanted
    ]
    return [lend_configuration(base, models.configuration), replace(suspect, scale=models.suspect_scale), *words]


def _open_others(models: ModelsRecord, options: RerunOptions) -> list[Checkpoint]:
    """Open the adapters on both sides, at the scales that are recorded."""
    given = options.also or [other.name for other in models.others]
    if len(given) != len(models.others):
        raise UserError("evidence.number_of_others", expected=len(models.others), given=len(given))
    found = []
    for recorded, named in zip(models.others, given, strict=True):
        chosen = named if options.also else None
        opened = _open_model("other adapter", chosen, named, "--also", options, models.as_loaded)
        if opened.weights_sha256 != recorded.sha256:
            raise UserError("evidence.other_weights", model=opened.name, expected=recorded.sha256)
        found.append(replace(opened, scale=recorded.scale))
    return found


def _open_model(
    role: str, given: str | None, recorded: str, option: str, options: RerunOptions, as_loaded: bool = False
) -> Checkpoint:
    try:
        named = given or (str(Path(recorded).expanduser()) if recorded.startswith("~") else recorded)
        return open_checkpoint(
            named,
            role,
            token=get_token(),
            civitai_key=read_key(),
            max_download=options.max_download,
            progress=True,
            as_loaded=as_loaded,
        )
    except UserError as error:
        if given:
            raise
        raise UserError("evidence.model_not_found", role=role, problem=error.note, option=option) from error


def _open_unrelated(models: ModelsRecord, options: RerunOptions) -> Checkpoint | None:
    """Open the unrelated suspect, a negative control, if the run had one."""
    if models.unrelated is None:
        return None
    other = _open_model("unrelated model", options.unrelated, models.unrelated, "--unrelated", options)
    if weights_sha256(other) != models.unrelated_sha256:
        raise UserError("evidence.other_unrelated", model=other.name, expected=models.unrelated_sha256 or "")
    return other


def _check_weights(recorded: Mapping[str, str], opened: tuple[Checkpoint, ...]) -> None:
    """Refuse other weights than the recorded ones, whatever their names are now."""
    now = {f"{c.listing.name}/{f}": c.listing.sha256(f) for c in opened for f in c.weights}
    old, new = (list(dict.fromkeys(table.values())) for table in (recorded, now))
    if old == new:
        return
    if sorted(old) == sorted(new):
        raise UserError("evidence.models_swapped")
    missing = [f"{name} (SHA-256 {sha})" for name, sha in recorded.items() if sha not in new]
    more = [f"{name} (SHA-256 {sha})" for name, sha in now.items() if sha not in old]
    if missing:
        raise UserError("evidence.missing_weights", files=len(old), missing=len(missing), first=missing[0])
    raise UserError("evidence.more_weights", files=len(old), first=more[0])


def bank_of_bundle(bundle: Bundle, record: Record, folder: Path | None) -> Bank | None:
    """Open the bank that the run was judged by, the bundle's own or that of a folder.

    Raises:
        UserError: if there is none, or it has another digest than the recorded one.
    """
    recorded = record.bank
    if recorded is None:
        return None
    if folder is not None:
        bank = open_bank(folder)
    elif (data := read_small(bundle, BANK)) is not None:
        bank = read_bank(data, recorded.name)
    else:
        raise UserError("evidence.no_bank", bank=recorded.name, sha256=recorded.sha256)
    if bank.sha256 != recorded.sha256:
        digests = {"expected": recorded.sha256, "given": bank.sha256}
        raise UserError("evidence.other_bank", bank=recorded.name, folder=str(folder or BANK), **digests)
    return replace(bank, name=recorded.name)


def _controls(bundle: Bundle, record: Record, folder: Path | None, pair: ModelPair) -> list[Picture]:
    recorded = record.controls
    if folder is None:
        return [_recorded_picture(bundle, c, c.image, pair) for c in recorded]
    files = [read_picture(p, pair.framing) for p in picture_files(folder, "controls")]
    if not recorded:  # then nothing is known of them but their number and their order
        if len(files) != len(record.control_scores):
            counts = {"expected": len(record.control_scores), "given": len(files)}
            raise UserError("evidence.number_of_controls", folder=str(folder), **counts)
        return files
    by_digest = {f.sha256: f for f in files}
    if missing := [c for c in recorded if c.sha256 not in by_digest]:
        first = {"first": missing[0].name, "sha256": missing[0].sha256}
        counts = {"recorded": len(recorded), "missing": len(missing)}
        raise UserError("evidence.missing_controls", folder=str(folder), **counts, **first)
    return [by_digest[c.sha256] for c in recorded]


def _recorded_picture(bundle: Bundle, recorded: PictureRecord | ControlRecord, file: str, pair: ModelPair) -> Picture:
    """The picture as the run looked at it; records without frames are about squares."""
    frame = recorded.frame
    if _frame_differs(frame, pair):
        raise UserError("evidence.other_frame", name=recorded.name)
    size = (pair.resolution, pair.resolution) if frame is None else frame.size
    image, square = read_png(bundle, file, size), None
    if pair.framing_is_guessed and size[0] != size[1]:
        resolution = isqrt(pair.framing.most_pixels)
        square = read_png(bundle, square_name(file), (resolution, resolution))
    return Picture(recorded.name, recorded.sha256, image, frame=frame, square=square)


@contextmanager
def use_threads(number: int | None) -> Iterator[None]:
    """Compute on that number of threads until the end of the block; None: as before.

    Raises:
        UserError: if it is no sensible number.
    """
    if number is None:
        yield
        return
    if not isinstance(number, int) or not 1 <= number <= MOST_THREADS:
        raise UserError("evidence.threads", most=MOST_THREADS, given=str(number))
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
