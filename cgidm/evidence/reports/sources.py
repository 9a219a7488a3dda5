"""Where the things come from that a report is about, as far as its record shows; and what is set otherwise than usual.

Whoever hands evidence over can hand over a suspect, a base, controls or a bank of their own making. The report says so
in its first paragraph, with the seed and how often one visit has tried.
"""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from ...messages.text import single_line
from ...method.config import PRESETS
from ...method.views import CENTRE_SQUARE
from ...resources import SHIPPED
from ..record import WITHOUT_STATEMENTS, ControlStatementRecord, Record
from ..record_of_result import CIVITAI, recorded_digests
from .language import OWN_TABLE, quotable, text

USUAL_SEED = 0
LONGEST = 500  # characters of a statement
MOST_ATTEMPTS = 6  # earlier runs of a plan whose dates are printed
OWN_SENTENCES = ("preset", "seed", "lineup")  # settings that are said elsewhere


def origin_sentences(record: Record) -> Iterator[str]:
    """State where suspect, base, controls or bank come from, a sentence or two each; then seed and attempt."""
    yield from _of_plan(record)
    yield from _of_suspect(record)
    yield from _of_base(record)
    if record.mirror is not None and record.mirror.source == OWN_TABLE:
        yield text(record, "report.origin.mirror")
    if others := record.models.others:
        yield text(record, "report.origin.others", n=len(others))
    if record.bank is not None:
        yield text(record, "report.origin.bank")
    elif record.control_scores:
        yield _of_controls(record)
    if record.config.seed != USUAL_SEED:
        yield text(record, "report.seed", seed=record.config.seed, usual=USUAL_SEED)
    if record.statements is not None and (attempt := record.statements.attempt) is not None:
        yield text(record, "report.attempt.first" if attempt == 1 else "report.attempt.later", attempt=attempt)


def setting_sentences(record: Record) -> Iterator[str]:
    """State the settings that are not those of the preset."""
    config = record.config
    if config.preset not in PRESETS:
        yield text(record, "report.no_preset", preset=quotable(config.preset))
        return
    if others := list(_other_settings(record)):
        yield text(record, "report.settings", preset=config.preset, others="; ".join(others))


def statement_of_control(record: Record, index: int, name: str) -> str:
    """Return the name of a control picture with what is stated of it; the name alone if nothing is."""
    stated = () if record.statements is None else record.statements.of_controls
    if index >= len(stated) or stated[index] == ControlStatementRecord():
        return name
    parts = [single_line(part) for part in (stated[index].made_by, stated[index].made_on) if part]
    return text(record, "report.control.stated", name=name, stated=", ".join(parts))


def named_models(record: Record) -> Iterator[tuple[str, object]]:
    """Name what the run compared, as it was given."""
    models = record.models
    yield text(record, "report.row.base"), models.base
    yield text(record, "report.row.suspect"), models.suspect
    if models.suspect_scale != 1:
        yield text(record, "report.row.scale"), f"{models.suspect_scale:g}"
    for other in models.others:
        stated = {"name": other.name, "scale": other.scale, "sha256": other.sha256}
        yield text(record, "report.row.other"), text(record, "report.other", **stated)
    yield from ((text(record, "report.row.prompt"), prompt) for prompt in (models.prompt, *models.other_prompts))
    yield from ((text(record, "report.row.embedding"), name) for name in models.embeddings)
    yield text(record, "report.row.unrelated"), models.unrelated
    yield text(record, "report.row.unrelated_sha256"), models.unrelated_sha256
    yield from ((text(record, f"report.row.commit.{role}"), sha) for role, sha in models.commits.items())
    for role, publication in models.publications.items():
        day = (publication.published or text(record, "report.no_date"))[:10]
        stated = {"air": publication.air, "day": day, "newest": publication.newest_of}
        code = "report.published.newest" if publication.newest_of else "report.published"
        yield text(record, f"report.row.version.{role}"), text(record, code, **stated)
    yield text(record, "report.row.configuration"), models.configuration
    yield text(record, "report.row.warning"), models.warning
    yield from ((text(record, "report.row.remark"), remark) for remark in models.remarks)
    yield text(record, "report.row.alpha"), models.adapter_alpha
    yield from ((text(record, "report.row.assumed"), assumed) for assumed in models.notes)


def _of_plan(record: Record) -> Iterator[str]:
    """State which plan was followed, and how often before."""
    if (plan := record.plan) is None:
        return
    attempts = len(plan.attempts)
    yield text(record, "report.origin.plan", sha256=plan.sha256, attempt=attempts)
    if attempts > 1:
        dates = ", ".join(single_line(d)[:10] for d in plan.attempts[:-1][:MOST_ATTEMPTS])
        more = attempts > MOST_ATTEMPTS + 1
        yield text(record, "report.origin.plan.more" if more else "report.origin.plan.earlier", dates=dates)


def _of_suspect(record: Record) -> Iterator[str]:
    if found := list(_place_of(record, "suspect")):
        yield from found
        return
    shipped = record.models.suspect.startswith(SHIPPED)
    name = quotable(record.models.suspect)
    yield text(record, "report.origin.suspect.shipped" if shipped else "report.origin.suspect.file", name=name)


def _of_base(record: Record) -> Iterator[str]:
    models, known = record.models, record.models.known_base
    if found := list(_place_of(record, "base")):
        yield from found
    elif models.base.startswith(SHIPPED):
        yield text(record, "report.origin.base.shipped", name=quotable(models.base))
    else:
        yield text(record, "report.origin.base.file" if known is None else "report.origin.base.known_file")
    if known is not None:
        yield text(record, "report.origin.known_base", known=known)
    elif record.format not in WITHOUT_STATEMENTS:
        yield text(record, "report.origin.unknown_base")


def _place_of(record: Record, role: str) -> Iterator[str]:
    """State the place, version and dates of a model, and whether its digests are those stated there."""
    models = record.models
    anchor, publication = models.anchors.get(role), models.publications.get(role)
    name = quotable(models.suspect if role == "suspect" else models.base)
    if anchor is None:  # of older formats, which hold less
        if (commit := models.commits.get(role)) is not None:
            yield text(record, f"report.origin.{role}.hub", name=name, commit=commit)
        elif publication is not None:
            yield text(record, f"report.origin.{role}.civitai", version=publication.air)
        return
    place = "civitai" if anchor.location == CIVITAI else "hub"
    where = text(record, f"report.origin.where.{place}", name=name)
    dated, when = text(record, "report.origin.undated"), text(record, "report.origin.from_cache")
    if anchor.published is not None:
        dated = text(record, "report.origin.dated", day=anchor.published[:10])
    if anchor.retrieved is not None:
        when = text(record, "report.origin.asked_on", day=anchor.retrieved[:10])
    stated = {"where": where, "version": anchor.version, "dated": dated, "when": when}
    yield text(record, f"report.origin.{role}.place", **stated)
    recorded = recorded_digests(record, role)
    same = all(anchor.stated[file] == digest for file, digest in recorded.items())
    yield text(record, f"report.origin.digests.{'none' if not recorded else 'same' if same else 'other'}")


def _of_controls(record: Record) -> str:
    statements = record.statements
    if statements is not None and statements.controls is not None:
        return text(record, "report.origin.controls.stated", stated=single_line(quotable(statements.controls), LONGEST))
    listed = statements is not None and statements.of_controls
    return text(record, "report.origin.controls.listed" if listed else "report.origin.controls")


def _other_settings(record: Record) -> Iterator[str]:
    own = _flat(asdict(record.config))
    for name, usual in _flat(asdict(PRESETS[record.config.preset])).items():
        found = own[name]
        if name == "views" and record.framing is not None and record.framing.guessed:
            found = tuple(v for v in found if v != CENTRE_SQUARE)  # the run itself has put it there
        if name == "score_noise" and record.bank is not None:
            continue  # a bank's scores have noise of their own
        if name not in OWN_SENTENCES and found != usual:
            values = {"found": _written(found, record), "usual": _written(usual, record)}
            yield text(record, "report.setting", name=name.replace("_", " "), **values)


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    inner = settings.pop("recovery")
    return {**settings, **inner}


def _written(value: Any, record: Record) -> str:
    if value is None:
        return text(record, "report.automatic")
    return single_line(", ".join(map(str, value)) if isinstance(value, tuple) else f"{value}")
