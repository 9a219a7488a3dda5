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
from .record import ModelsRecord, Record

USUAL_SEED = 0
MOST_ATTEMPTS = 6  # earlier runs of a plan whose dates are printed
OWN_SENTENCES = ("preset", "seed", "lineup")  # settings that are said elsewhere


def origin_sentences(record: Record) -> Iterator[str]:
    """State where suspect, base, controls or bank come from, a sentence or two each."""
    models = record.models
    yield from _of_plan(record)
    yield from _of_suspect(models)
    yield from _of_base(models)
    if record.bank is not None:
        yield (
            "The bank of null models is a table of numbers, as handed over. Nothing here shows how its models were "
            "trained."
        )
    elif record.control_scores:
        yield (
            "Who made the control pictures is not known here. Nothing here shows that they are by the same artist, or "
            "that they were not used."
        )


def setting_sentences(record: Record) -> Iterator[str]:
    """State the seed and the settings that are not those of the preset."""
    config = record.config
    if config.seed != USUAL_SEED:
        yield f"The seed is {config.seed}. It is {USUAL_SEED} unless somebody changes it."
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


def _of_suspect(models: ModelsRecord) -> Iterator[str]:
    name = single_line(models.suspect)
    if (commit := models.commits.get("suspect")) is not None:
        yield f"The suspect was read from the Hub, at “{name}”, commit {single_line(commit)}."
        yield "The SHA-256 of its files is stated below. Whoever opens that place can compare it."
    elif models.suspect.startswith(SHIPPED):
        yield f"The suspect is called “{name}”, an example that ships with this tool."
    else:
        yield "The suspect is a file that was handed over. Nothing here shows who published it."


def _of_base(models: ModelsRecord) -> Iterator[str]:
    name = single_line(models.base)
    if (commit := models.commits.get("base")) is not None:
        yield f"The base was read from the Hub, at “{name}”, commit {single_line(commit)}."
    elif models.base.startswith(SHIPPED):
        yield f"The base is called “{name}”, a small model that ships with this tool."
    else:
        yield (
            "The base is a file that was handed over, too. Nothing here shows that it is the public model that it is "
            "called."
        )


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
