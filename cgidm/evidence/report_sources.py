"""Where the things come from that a report is about, as far as its record shows; and what is set otherwise than usual.

Whoever hands evidence over can hand over a suspect, a base, controls or a bank of their own making. The report says so
in its first paragraph.
"""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from ..messages.text import single_line
from ..method.config import PRESETS
from ..method.views import CENTRE_SQUARE
from ..resources import SHIPPED
from .record import Record
from .report_language import text

USUAL_SEED = 0
OWN_SENTENCES = ("preset", "seed", "lineup")  # settings that are said elsewhere


def origin_sentences(record: Record) -> Iterator[str]:
    """State where suspect, base, controls or bank come from, a sentence or two each."""
    for role in ("suspect", "base"):
        name, commit = getattr(record.models, role), record.models.commits.get(role)
        place = "hub" if commit is not None else "shipped" if name.startswith(SHIPPED) else "file"
        yield text(record, f"report.origin.{role}.{place}", name=single_line(name), commit=single_line(commit or ""))
    if record.bank is not None:
        yield text(record, "report.origin.bank")
    elif record.control_scores:
        yield text(record, "report.origin.controls")


def setting_sentences(record: Record) -> Iterator[str]:
    """State the seed and the settings that are not those of the preset."""
    config = record.config
    if config.seed != USUAL_SEED:
        yield text(record, "report.seed", seed=config.seed, usual=USUAL_SEED)
    if config.preset not in PRESETS:
        yield text(record, "report.no_preset", preset=config.preset)
        return
    if others := list(_other_settings(record)):
        yield text(record, "report.settings", preset=config.preset, others="; ".join(others))


def named_models(record: Record) -> Iterator[tuple[str, object]]:
    """Name what the run compared, as it was given."""
    models = record.models
    yield text(record, "report.row.base"), models.base
    yield text(record, "report.row.suspect"), models.suspect
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
