"""Where a run stands -> what the page shows of it: values by the name of the widget that they go to."""

from pathlib import Path
from typing import Any

import gradio as gr

from cgidm.evidence.bundle_writer import LINEUP, ROLES, image_name

from ..runs.runner import Moment, Trouble, live_images
from ..runs.store import Run, Visit
from .answer import answer_html, stopped_html
from .i18n import say
from .lineup import offer_html
from .markup import outcome_of
from .portfolio import portfolio_html
from .progress import decoys_html, duration, progress_html, status_html

View = dict[str, Any]
IMAGES = ROLES


def moment_view(run: Run, moment: Moment, language: str) -> View:
    """A run in progress, or at its end."""
    if moment.phase == "finished":
        return record_view(run, language)
    if moment.phase == "paused":
        return stopped_view(run, language, moment.trouble)
    if moment.phase == "loading":
        return {"progress": status_html(language, "status.loading", foreseen=moment.foreseen)}
    if moment.phase == "foreseen":
        return {"progress": status_html(language, "status.beginning", foreseen=moment.foreseen)}
    if moment.phase == "judged":
        return judged_view(run, language)
    if moment.phase == "decoys":
        place = {"step": moment.done, "steps": moment.of, "remaining": moment.remaining}
        return {"progress": decoys_html(language, **place)}
    if moment.phase == "controls":
        counts = {"done": moment.done, "n": moment.of}
        return {"progress": status_html(language, "status.controls", foreseen=moment.foreseen, **counts)}
    html = progress_html(
        language,
        step=moment.done,
        steps=moment.of,
        remaining=moment.remaining,
        contrast=list(moment.contrast),
        foreseen=moment.foreseen,
    )
    return {"progress": html} | (dict(live_images(run.shown)) if moment.changed else {})


def record_view(run: Run, language: str) -> View:
    """A run that has come to its end."""
    record = run.record()
    assert record is not None
    return (
        evidence_view(run.shown, record, language)
        | lineup_view(run, record, language)
        | {
            "progress": status_html(language, "status.finished", time=duration(language, record["seconds"])),
            "evidence": gr.update(value=str(run.shown / "evidence.zip"), visible=True),
            "resume": gr.update(visible=False),
        }
    )


def lineup_view(run: Run, record: dict[str, Any], language: str) -> View:
    """Its line-up, if it has one: how to show it to somebody, and what was chosen."""
    there, choices = run.blind.is_dir(), run.choices()
    again = say(language, "lineup.observe.again" if choices else "lineup.observe")
    return {
        "about_lineup": offer_html(record, choices, language),
        "observe": gr.update(value=again, visible=there),
        "sheet": gr.update(value=str(run.blind / LINEUP) if there else None, visible=there),
    }


def judged_view(run: Run, language: str) -> View:
    """A run whose pictures are judged while the decoys of its line-up are not yet recovered."""
    record = run.record()
    if record is None:
        return {}
    stopped, judged = record["stopped"], record | {"stopped": None}
    view: View = {"progress": decoys_html(language, step=stopped["step"], steps=stopped["of"], remaining=None)}
    if len(record["pictures"]) > 1:
        return view | {"answer": portfolio_html(judged, language, [])}
    return view | live_images(run.shown) | {"answer": answer_html(judged, language)}


def evidence_view(folder: Path, record: dict[str, Any], language: str, beforehand: bool = False) -> View:
    """A record and its pictures, from wherever they come."""
    if len(record["pictures"]) > 1:
        thumbnails = [f"/gradio_api/file={folder / image_name(i, 'original')}" for i in range(len(record["pictures"]))]
        return {"answer": portfolio_html(record, language, thumbnails)}
    images = {role: str(folder / image_name(0, role)) for role in ROLES}
    slider = gr.update(value=(images["original"], images["recovered"]), visible=True)
    return images | {"slider": slider, "answer": answer_html(record, language, beforehand=beforehand)}


def stopped_view(run: Run, language: str, trouble: Trouble | None = None) -> View:
    """A run that was put down: what there is of it, and how to go on."""
    record = run.record()
    if record is None:
        return {
            "progress": status_html(language, f"trouble.{trouble}" if trouble else "status.stopped.early"),
            "resume": gr.update(visible=True),
        }
    if record["stopped"].get("decoys"):
        place = {"step": record["stopped"]["step"], "steps": record["stopped"]["of"]}
        said = status_html(language, f"trouble.{trouble}" if trouble else "lineup.stopped", **place)
        return judged_view(run, language) | {"progress": said, "resume": gr.update(visible=True)}
    view: View = dict(live_images(run.shown)) if len(record["pictures"]) == 1 else {}
    return view | {
        "progress": status_html(language, f"trouble.{trouble}") if trouble else "",
        "answer": stopped_html(record, language),
        "resume": gr.update(visible=True),
    }


def empty_view(progress: str = "") -> View:
    """Nothing has been run yet."""
    return {
        **dict.fromkeys(IMAGES),
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
    """The list of a visit's runs; none is chosen in it."""
    choices = history_choices(visit, language, several)
    return gr.update(choices=choices, value=None, visible=bool(choices))


def history_choices(visit: Visit, language: str, several: bool) -> list[tuple[str, str]]:
    """The runs of a visit that can be shown again, as (label, name)."""
    choices = []
    for run in visit.runs():
        record = run.record()
        if record is None or (len(record["pictures"]) > 1) != several:
            continue
        judged = record["set"] or record["pictures"][0]
        name = f"{len(record['pictures'])} \N{MULTIPLICATION SIGN}" if several else record["pictures"][0]["path"]
        words = say(language, outcome_of(judged)[0])
        choices.append((f"{name:.40} · {record['models']['suspect']:.40} · {words}", run.name))
    return choices
