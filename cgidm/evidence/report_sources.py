"""Where the things come from that a report is about, as far as its record shows; and what is set otherwise than usual.

Whoever hands evidence over can hand over a suspect, a base, controls or a bank of their own making. The report says so
in its first paragraph, with the seed and how often one visit has tried.
"""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from ..messages.text import single_line
from ..method.config import PRESETS
from ..method.views import CENTRE_SQUARE
from ..resources import SHIPPED
from .record import OLDER, ControlStatementRecord, ModelsRecord, Record, StatementsRecord
from .record_of_result import CIVITAI, recorded_digests

USUAL_SEED = 0
LONGEST = 500  # characters of a statement
MOST_ATTEMPTS = 6  # earlier runs of a plan whose dates are printed
OWN_SENTENCES = ("preset", "seed", "lineup")  # settings that are said elsewhere


def origin_sentences(record: Record) -> Iterator[str]:
    """State where suspect, base, controls or bank come from, a sentence or two each; then seed and attempt."""
    yield from _of_plan(record)
    yield from _of_suspect(record)
    yield from _of_base(record)
    if record.mirror is not None and record.mirror.source == "own table":
        yield (
            "The null scores of the mirror test are a table that was handed over. Nothing here shows which models and "
            "pictures they are from."
        )
    if others := record.models.others:
        yield (
            f"Base and suspect both have {len(others)} further adapters, which are listed below. So the answer is "
            "about what the suspect alone adds to them."
        )
    if record.bank is not None:
        yield (
            "The bank of null models is a table of numbers, as handed over. Nothing here shows how its models were "
            "trained."
        )
    elif record.control_scores:
        yield from _of_controls(record.statements)
    if record.config.seed != USUAL_SEED:
        yield f"The seed is {record.config.seed}. It is {USUAL_SEED} unless somebody changes it."
    if record.statements is not None and record.statements.attempt is not None:
        yield from _of_attempt(record.statements.attempt)


def mixture_rows(models: ModelsRecord) -> Iterator[tuple[str, str]]:
    """State the scale of a suspect, and the adapters on both sides."""
    if models.suspect_scale != 1:
        yield "Scale of the suspect", f"{models.suspect_scale:g}"
    for other in models.others:
        yield "On both sides", f"{other.name}, at scale {other.scale:g}, SHA-256 {other.sha256}"


def setting_sentences(record: Record) -> Iterator[str]:
    """State the settings that are not those of the preset."""
    config = record.config
    if config.preset not in PRESETS:
        yield f"“{single_line(config.preset)}” is no preset of this tool."
        return
    if others := list(_other_settings(record)):
        yield f"These settings are not those of the preset “{config.preset}”: {'; '.join(others)}."


def _of_plan(record: Record) -> Iterator[str]:
    """State which plan was followed, and how often before."""
    if (plan := record.plan) is None:
        return
    attempts = len(plan.attempts)
    yield f"The run followed a plan, whose file has the SHA-256 {single_line(plan.sha256)}."
    yield f"It is attempt {attempts} of this plan, as whoever ran it states; nothing here confirms the count."
    if attempts > 1:
        dates = ", ".join(single_line(d)[:10] for d in plan.attempts[:-1][:MOST_ATTEMPTS])
        more = " and later" if attempts > MOST_ATTEMPTS + 1 else ""
        yield f"Earlier attempts were begun on {dates}{more}. Their answers are not part of this report."


def statement_of_control(record: Record, index: int) -> str:
    """Return what is stated of one control picture, to be put behind its name; empty if nothing is."""
    stated = () if record.statements is None else record.statements.of_controls
    if index >= len(stated) or stated[index] == ControlStatementRecord():
        return ""
    parts = [single_line(part) for part in (stated[index].made_by, stated[index].made_on) if part]
    return f" (as stated: {', '.join(parts)})"


def _of_suspect(record: Record) -> Iterator[str]:
    models = record.models
    if found := list(_place_of(record, "suspect")):
        yield from found
    elif models.suspect.startswith(SHIPPED):
        yield f"The suspect is called “{single_line(models.suspect)}”, an example that ships with this tool."
    else:
        yield "The suspect is a file that was handed over. Nothing here shows who published it."


def _of_base(record: Record) -> Iterator[str]:
    models, known = record.models, record.models.known_base
    if found := list(_place_of(record, "base")):
        yield from found
    elif models.base.startswith(SHIPPED):
        yield f"The base is called “{single_line(models.base)}”, a small model that ships with this tool."
    elif known is None:
        yield (
            "The base is a file that was handed over, too. Nothing here shows that it is the public model that it is "
            "called."
        )
    else:
        yield "The base is a file that was handed over, too."
    if known is not None:
        yield f"By the SHA-256 of its files it is a public model: {single_line(known)}."
    elif record.format not in OLDER:
        yield "The base is unknown: its files are none of the public models that this tool knows by their SHA-256."


def _place_of(record: Record, role: str) -> Iterator[str]:
    """State the place, version and dates of a model, and whether its digests are those stated there."""
    models = record.models
    anchor, publication = models.anchors.get(role), models.publications.get(role)
    name = single_line(models.suspect if role == "suspect" else models.base)
    if anchor is None:  # of older formats, which hold less
        if (commit := models.commits.get(role)) is not None:
            yield f"The {role} was read from the Hub, at “{name}”, commit {single_line(commit)}."
            yield "The SHA-256 of its files is stated below. Whoever opens that place can compare it."
        elif publication is not None:
            yield f"The {role} was read from Civitai, version {single_line(publication.air)}."
        return
    where = "Civitai, version" if anchor.location == CIVITAI else f"the Hub, at “{name}”, commit"
    dated = "of no stated date" if anchor.published is None else f"of {single_line(anchor.published)[:10]}"
    when = (
        "from a local cache, without asking that place"
        if anchor.retrieved is None
        else f"on {single_line(anchor.retrieved)[:10]}"
    )
    yield f"The {role} was read from {where} {single_line(anchor.version)}, {dated}, {when}."
    recorded = recorded_digests(record, role)
    if recorded and all(anchor.stated[file] == digest for file, digest in recorded.items()):
        yield "The SHA-256 of its files, below, is as that place stated it. Whoever opens the place can compare it."
    elif recorded:
        yield "The SHA-256 of its files, below, is NOT what that place stated."
    else:
        yield "That place stated no SHA-256 of its files. It is below, as it was read."


def _of_controls(statements: StatementsRecord | None) -> Iterator[str]:
    stated = statements is not None and statements.controls is not None
    if statements is not None and statements.controls is not None:
        yield f"Whoever ran this states of the control pictures: “{single_line(statements.controls, LONGEST)}”."
    elif statements is not None and statements.of_controls:
        stated = True
        yield "Whoever ran this states of the control pictures who made them, as listed with them."
    else:
        yield "Who made the control pictures is not known here."
    confirmed = "confirms it, or shows" if stated else "shows"
    yield f"Nothing here {confirmed} that they are by the same artist, or that they were not used."


def _of_attempt(attempt: int) -> Iterator[str]:
    yield f"It is run number {attempt} on this suspect in one visit to a page."
    if attempt > 1:
        yield "What the runs before it found is not here."
    yield "The page cannot know of other visits, or of runs elsewhere."


def _other_settings(record: Record) -> Iterator[str]:
    own = _flat(asdict(record.config))
    for name, usual in _flat(asdict(PRESETS[record.config.preset])).items():
        found = own[name]
        if name == "views" and record.framing is not None and record.framing.guessed:
            found = tuple(v for v in found if v != CENTRE_SQUARE)  # the run itself has put it there
        if name == "score_noise" and record.bank is not None:
            continue  # a bank's scores have noise of their own
        if name not in OWN_SENTENCES and found != usual:
            yield f"{name.replace('_', ' ')} {_written(found)} instead of {_written(usual)}"


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    inner = settings.pop("recovery")
    return {**settings, **inner}


def _written(value: Any) -> str:
    words = ", ".join(map(str, value)) if isinstance(value, tuple) else "automatic" if value is None else f"{value}"
    return single_line(words)


def named_models(models: ModelsRecord) -> Iterator[tuple[str, object]]:
    """Name what the run compared, as it was given."""
    yield "Public base", models.base
    yield "Suspect", models.suspect
    yield from mixture_rows(models)
    yield from (("Prompt", prompt) for prompt in (models.prompt, *models.other_prompts))
    yield from (("Embedding", name) for name in models.embeddings)
    yield "Unrelated model", models.unrelated
    yield "Its SHA-256", models.unrelated_sha256
    yield from ((f"Commit of the {role}", sha) for role, sha in models.commits.items())
    for role, publication in models.publications.items():
        day = (publication.published or "no date stated")[:10]
        newest = publication.newest_of
        chosen = f", the newest of {newest} published" if newest else ""
        yield f"Version of the {role} on Civitai", f"{publication.air}, published {day}{chosen}"
    yield "Configuration of", models.configuration
    yield "Warning", models.warning
    yield from (("Of its files", remark) for remark in models.remarks)
    yield "Alpha of the adapter, as given", models.adapter_alpha
    yield from (("Assumed", assumed) for assumed in models.notes)
