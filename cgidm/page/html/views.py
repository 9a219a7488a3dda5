"""Where a run stands -> what the page shows of it: values by the name of the widget that they go to."""

import dataclasses
from pathlib import Path
from typing import Any

import gradio as gr

from cgidm.evidence.bundle_writer import LINEUP
from cgidm.evidence.record import Record
from cgidm.evidence.record_of_result import image_name, image_roles
from cgidm.evidence.seal import SEAL
from cgidm.run.events import RunEvent, Trouble

from ..runs.cost import count_parts
from ..runs.runner import live_images
from ..runs.store import Run, Visit
from .answer import answer_html, model_name, picture_names, reasons_html, stopped_html
from .gallery import pictures_html
from .i18n import translate
from .lineup import lineup_html
from .markup import escape_untrusted, outcome_style
from .portfolio import gallery_html, portfolio_html, portfolio_reasons_html
from .progress import bar_html, format_duration, status_html
from .sentences import by_mirror, warning_sentences
from .what_now import bank_would_help, what_now_html

View = dict[str, Any]
SERVED = "/gradio_api/file="


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
    seen = live_view(run, language) if event.phase == "preview" else {}
    if event.phase == "preview" and event.done == 0:  # of the start, before the tests
        return seen
    return {"progress": progress_of(run, event, language)} | seen


def progress_of(run: Run, event: RunEvent, language: str) -> str:
    """Show how far a run is: one bar for the whole of it, and a line for the part that goes on."""
    plan = event.plan
    power = warning_sentences(plan.expected_power, language) if plan is not None and plan.power_known else []
    share = run_share(run, event)
    values: dict[str, Any] = {"power": power, "share": share}
    if event.phase == "loading":
        return status_html(language, "status.loading", power=power)
    if event.phase == "planned":
        return status_html(language, "status.beginning", power=power)
    if event.phase in ("mirror", "controls"):
        return bar_html(language, f"status.{event.phase}", done=event.done, of=event.of, **values)
    left = "" if event.remaining is None else format_duration(language, event.remaining)
    key = "status.decoys" if event.phase == "decoys" else "status.step"
    return bar_html(
        language, key if left else f"{key}.first", step=event.done, steps=event.of, remaining=left, **values
    )


def run_share(run: Run, event: RunEvent) -> float | None:
    """How much of a run is done at an event, from 0 to 1; None if that is not known."""
    plan, request = event.plan, run.settings
    controls = len(plan.controls) if plan is not None else run.control_count
    parts = count_parts(len(run.picture_names), controls, request.config(), unrelated=bool(request.unrelated))
    return parts.share(event.phase, event.done, event.of)


def record_view(run: Run, language: str) -> View:
    """Show a run that has come to its end."""
    record = run.record()
    assert record is not None
    time = format_duration(language, record.seconds)
    return (
        evidence_view(run.public_dir, record, language)
        | lineup_view(run, record, language)
        | {"progress": status_html(language, "status.finished", time=time)}
        | now_view(run.public_dir, run.public_dir / "evidence.zip", record, language)
        | idle_view()
    )


def now_view(folder: Path, bundle: Path, record: Record, language: str) -> View:
    """Show what can be done with an answer: its evidence, its seal, the next steps."""
    seal = (folder / SEAL).read_text(encoding="ascii").split()[0]
    return {
        "now": gr.update(visible=True),
        "evidence": gr.update(value=str(bundle)),
        "seal": seal,
        "steps": what_now_html(record, language),
        "more_power": gr.update(visible=bank_would_help(record)),
    }


def idle_view(*, resumable: bool = False) -> View:
    """Show that nothing runs: the one button that is of use is the one that can go on, or begin."""
    return {
        "run": gr.update(variant="secondary" if resumable else "primary"),
        "stop": gr.update(interactive=False),
        "resume": gr.update(visible=resumable),
    }


def busy_view() -> View:
    """Show that a run goes on."""
    return {
        "run": gr.update(variant="secondary"),
        "stop": gr.update(interactive=True),
        "resume": gr.update(visible=False),
    }


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
    share = run_share(run, RunEvent(phase="judged"))
    line = {"step": stopped.step, "steps": stopped.of, "remaining": ""}
    view: View = {"progress": bar_html(language, "status.decoys.first", share=share, **line)}
    return (
        view
        | live_view(run, language)
        | answer_view(dataclasses.replace(record, stopped=None), language, live_thumbnails(run))
    )


def early_view(run: Run, language: str) -> View:
    """Show the answer that was there before the recovery; nothing, if there is none yet."""
    record = run.answer()
    if record is None:
        return {}
    scored = not by_mirror(record.set or record.pictures[0])  # else controls are scored after this answer
    share = run_share(run, RunEvent(phase="step" if scored else "controls", done=0, of=1))
    view: View = {"progress": bar_html(language, "status.answered", share=share)}
    return view | answer_view(record, language, live_thumbnails(run), early=True)


def answer_view(
    record: Record, language: str, thumbnails: list[str], *, precomputed: bool = False, early: bool = False
) -> View:
    """Show an answer and its reasons, of one picture or of several."""
    if len(record.pictures) > 1:
        answer = portfolio_html(record, language, thumbnails, early=early)
        return {"answer": answer, "why": portfolio_reasons_html(record, language)}
    url = thumbnails[0] if thumbnails else ""
    answer = answer_html(record, language, url=url, precomputed=precomputed, early=early)
    return {"answer": answer, "why": reasons_html(record, language)}


def evidence_view(folder: Path, record: Record, language: str, *, precomputed: bool = False) -> View:
    """Show a record and its pictures.

    Args:
        folder: where the images of the bundle lie.
        record: the bundle's record.
        language: the visitor's language.
        precomputed: the answer ships with the page.
    """
    roles = image_roles(record)
    images = [
        {role: f"{SERVED}{folder / image_name(i, role)}" for role in roles if (folder / image_name(i, role)).is_file()}
        for i in range(len(record.pictures))
    ]
    view = answer_view(record, language, [of["original"] for of in images], precomputed=precomputed)
    if len(images) > 1:
        return view | {"pictures": gallery_html(record, language, images)}
    return view | {"pictures": pictures_html(images[0], picture_names(record, language), language)}


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
        return {
            "progress": status_html(language, key),
            "answer": early_view(run, language).get("answer", ""),
        } | idle_view(resumable=True)
    stopped = record.stopped
    assert stopped is not None
    if stopped.decoys:
        key = f"trouble.{trouble}" if trouble else "lineup.stopped"
        progress = status_html(language, key, step=stopped.step, steps=stopped.of)
        return judged_view(run, language) | {"progress": progress} | idle_view(resumable=True)
    early = early_view(run, language)
    return (
        live_view(run, language)
        | {
            "progress": status_html(language, f"trouble.{trouble}") if trouble else "",
            "answer": stopped_html(record, language, _controls_scored(run), early.get("answer", "")),
            "why": early.get("why", ""),
        }
        | idle_view(resumable=True)
    )


def _controls_scored(run: Run) -> tuple[int, int] | None:
    """Count the control pictures of a stopped run that are scored, and all that it has; None where it has none."""
    progress = run.progress()
    if progress.plan is None or not progress.plan.controls:
        return None
    return len(progress.control_scores), len(progress.plan.controls)


def live_thumbnails(run: Run) -> list[str]:
    """Return the address of the first picture of a run in progress, if it was written."""
    original = run.public_dir / "live-original.png"
    return [f"{SERVED}{original}"] if original.is_file() else []


def live_view(run: Run, language: str) -> View:
    """Show the first picture of a run in progress."""
    images = {role: f"{SERVED}{path}" for role, path in live_images(run.public_dir).items()}
    names = run.picture_names
    return {"pictures": pictures_html(images, escape_untrusted(names[0]), language)} if images and names else {}


def no_commands() -> View:
    """Show no commands that make a bank."""
    hidden = gr.update(value="", visible=False)
    return {"about": "", "own": hidden, "job": hidden}


def no_export() -> View:
    """Show no text to hand over."""
    hidden = gr.update(value="", visible=False)
    return {"kind": None, "about": "", "text": hidden, "file": gr.update(value=None, visible=False)}


def with_prefix(prefix: str, view: View) -> View:
    """Return a view of widgets whose names have a prefix among those of the page."""
    return {f"{prefix}_{name}": value for name, value in view.items()}


def empty_view(progress: str = "") -> View:
    """Show that nothing has been run yet, and nothing that was made of another answer."""
    return {
        "answer": "",
        "pictures": "",
        "why": "",
        "stale": "",
        "progress": progress,
        "now": gr.update(visible=False),
        "evidence": gr.update(value=None),
        "seal": "",
        "steps": "",
        "about_lineup": "",
        "observe": gr.update(visible=False),
        "sheet": gr.update(value=None, visible=False),
        "more_power": gr.update(visible=False),
        **with_prefix("bank", no_commands()),
        **with_prefix("export", no_export()),
    } | idle_view()


def history_view(visit: Visit, language: str, current: str = "") -> dict[str, Any]:
    """Update the list of a visit's runs; the one that is shown is selected in it."""
    choices = history_choices(visit, language)
    selected = current if current in [name for _, name in choices] else None
    return gr.update(choices=choices, value=selected, visible=bool(choices))


def history_choices(visit: Visit, language: str) -> list[tuple[str, str]]:
    """Return the runs of a visit that can be shown again, as (label, name)."""
    choices = []
    for run in visit.runs():
        record = run.record()
        if record is None:
            continue
        judged, n = record.set or record.pictures[0], len(record.pictures)
        name = translate(language, "answer.pictures", n=n) if n > 1 else record.pictures[0].name
        key = "history.stopped" if record.stopped else outcome_style(judged)[0]
        choices.append((f"{name:.40} · {model_name(record.models.suspect):.60} · {translate(language, key)}", run.name))
    return choices
