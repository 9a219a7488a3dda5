"""Where a run stands -> what the page shows of it: values by the name of the widget that they go to."""

import dataclasses
from pathlib import Path
from typing import Any

import gradio as gr

from cgidm.evidence.bundle_writer import LINEUP
from cgidm.evidence.lineup_sheet import ROLES
from cgidm.evidence.record import Record
from cgidm.evidence.record_of_result import MIRRORED, image_name
from cgidm.run.events import RunEvent, Trouble

from ..runs.runner import live_images
from ..runs.store import Run, Visit
from .answer import answer_html, stopped_html
from .i18n import translate
from .lineup import lineup_html
from .markup import outcome_style
from .portfolio import portfolio_html
from .progress import decoys_html, format_duration, progress_html, status_html
from .sentences import power_sentence

View = dict[str, Any]


def event_view(run: Run, event: RunEvent, language: str) -> View:
    """Show a run in progress, or at its end."""
    if event.phase == "finished":
        return record_view(run, language)
    if event.phase == "paused":
        return stopped_view(run, language, event.trouble)
    if event.phase == "answered":
        return early_view(run, language)
    if event.phase == "judged":
        return judged_view(run, language)
    if event.phase == "decoys":
        return {"progress": decoys_html(language, step=event.done, steps=event.of, remaining=event.remaining)}
    plan = event.plan
    power = [power_sentence(plan.expected_power, language)] if plan is not None and plan.power_known else []
    if event.phase == "loading":
        return {"progress": status_html(language, "status.loading", power=power)}
    if event.phase == "planned":
        return {"progress": status_html(language, "status.beginning", power=power)}
    if event.phase == "mirror":
        return {"progress": status_html(language, "status.mirror", power=power, done=event.done, of=event.of)}
    if event.phase == "controls":
        return {"progress": status_html(language, "status.controls", power=power, done=event.done, n=event.of)}
    html = progress_html(
        language,
        step=event.done,
        steps=event.of,
        remaining=event.remaining,
        contrast=event.curve,
        power=power,
    )
    return {"progress": html} | (live_view(run) if event.phase == "preview" else {})


def record_view(run: Run, language: str) -> View:
    """Show a run that has come to its end."""
    record = run.record()
    assert record is not None
    time = format_duration(language, record.seconds)
    return (
        evidence_view(run.public_dir, record, language)
        | lineup_view(run, record, language)
        | {
            "progress": status_html(language, "status.finished", time=time),
            "evidence": gr.update(value=str(run.public_dir / "evidence.zip"), visible=True),
            "resume": gr.update(visible=False),
        }
    )


def lineup_view(run: Run, record: Record, language: str) -> View:
    """Show a run's line-up, if it has one: how to open it for an observer, and what was chosen."""
    exists, choices = run.lineup_dir.is_dir(), run.choices()
    label = translate(language, "lineup.observe.again" if choices else "lineup.observe")
    return {
        "about_lineup": lineup_html(record, choices, language),
        "observe": gr.update(value=label, visible=exists),
        "sheet": gr.update(value=str(run.lineup_dir / LINEUP) if exists else None, visible=exists),
    }


def judged_view(run: Run, language: str) -> View:
    """Show a run whose pictures are judged while its line-up's decoys are still to be recovered."""
    record = run.record()
    if record is None:
        return {}
    stopped = record.stopped
    assert stopped is not None
    view: View = {"progress": decoys_html(language, step=stopped.step, steps=stopped.of, remaining=None)}
    judged = dataclasses.replace(record, stopped=None)
    if len(record.pictures) > 1:
        return view | {"answer": portfolio_html(judged, language, [])}
    return view | live_view(run) | {"answer": answer_html(judged, language)}


def early_view(run: Run, language: str) -> View:
    """Show the answer that was there before the recovery; nothing, if there is none yet."""
    record = run.answer()
    if record is None:
        return {}
    several = len(record.pictures) > 1
    shown = portfolio_html(record, language, [], early=True) if several else answer_html(record, language, early=True)
    return {"progress": status_html(language, "status.answered"), "answer": shown}


def evidence_view(folder: Path, record: Record, language: str, *, precomputed: bool = False) -> View:
    """Show a record and its pictures.

    Args:
        folder: where the images of the bundle lie.
        record: the bundle's record.
        language: the visitor's language.
        precomputed: the answer ships with the page.
    """
    if len(record.pictures) > 1:
        thumbnails = [f"/gradio_api/file={folder / image_name(i, 'original')}" for i in range(len(record.pictures))]
        return {"answer": portfolio_html(record, language, thumbnails)}
    images: View = {role: str(folder / image_name(0, role)) for role in ROLES}
    images |= mirrored_view(folder / image_name(0, MIRRORED))
    slider = gr.update(value=(images["original"], images["recovered"]), visible=True)
    return images | {"slider": slider, "answer": answer_html(record, language, precomputed=precomputed)}


def stopped_view(run: Run, language: str, trouble: Trouble | None = None) -> View:
    """Show what there is of a run that was stopped, and how to continue it.

    Args:
        run: the run.
        language: the visitor's language.
        trouble: why it stopped, if the visitor did not stop it.
    """
    record = run.record()
    if record is None:
        key = f"trouble.{trouble}" if trouble else "status.stopped.early"
        return {"progress": status_html(language, key), "resume": gr.update(visible=True)}
    stopped = record.stopped
    assert stopped is not None
    if stopped.decoys:
        key = f"trouble.{trouble}" if trouble else "lineup.stopped"
        progress = status_html(language, key, step=stopped.step, steps=stopped.of)
        return judged_view(run, language) | {"progress": progress, "resume": gr.update(visible=True)}
    view = live_view(run) if len(record.pictures) == 1 else {}
    return view | {
        "progress": status_html(language, f"trouble.{trouble}") if trouble else "",
        "answer": stopped_html(record, language) + early_view(run, language).get("answer", ""),
        "resume": gr.update(visible=True),
    }


def live_view(run: Run) -> View:
    """Show the first picture of a run in progress."""
    images: View = live_images(run.public_dir)
    return images | mirrored_view(images.get(MIRRORED))


def mirrored_view(path: str | Path | None) -> View:
    """Show what was recovered from the mirror image; nothing, where a run leaves it out."""
    exists = path is not None and Path(path).is_file()
    return {MIRRORED: gr.update(value=str(path) if exists else None, visible=exists)}


def empty_view(progress: str = "") -> View:
    """Show that nothing has been run yet."""
    return {
        **dict.fromkeys(ROLES),
        **mirrored_view(None),
        "slider": gr.update(value=None, visible=False),
        "answer": "",
        "progress": progress,
        "evidence": gr.update(value=None, visible=False),
        "resume": gr.update(visible=False),
        "about_lineup": "",
        "observe": gr.update(visible=False),
        "sheet": gr.update(value=None, visible=False),
    }


def history_view(visit: Visit, language: str, several: bool) -> dict[str, Any]:
    """Update the list of a visit's runs; none is selected in it."""
    choices = history_choices(visit, language, several)
    return gr.update(choices=choices, value=None, visible=bool(choices))


def history_choices(visit: Visit, language: str, several: bool) -> list[tuple[str, str]]:
    """Return the runs of a visit that can be shown again, as (label, name)."""
    choices = []
    for run in visit.runs():
        record = run.record()
        if record is None or (len(record.pictures) > 1) != several:
            continue
        judged = record.set or record.pictures[0]
        name = f"{len(record.pictures)} \N{MULTIPLICATION SIGN}" if several else record.pictures[0].name
        outcome = translate(language, outcome_style(judged)[0])
        choices.append((f"{name:.40} · {record.models.suspect:.40} · {outcome}", run.name))
    return choices
