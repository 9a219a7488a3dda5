"""A tab that judges, one picture or a portfolio: its widgets, and which button does what."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from cgidm.evidence.lineup_sheet import ROLES
from cgidm.evidence.record_of_result import MIRRORED
from cgidm.pictures.formats import SUFFIXES

from ..handlers import runs as handlers
from ..handlers.cost import cost_view
from ..handlers.request import file_list, make_request
from ..html.views import View
from ..runs.settings import LINEUPS, MAX_SEED, PRESET_NAMES
from .model_panel import Panel, suspect_field
from .widgets import file_upload, info, picture_upload, result_image
from .wiring import GPU, PRIVATE, QUICK, REFUSABLE, Texts, Values, Widgets, listen, stream

PRICED = ("suspect", "picture", "controls", "preset", "search", "bank", "lineup")  # what the cost depends on
UPLOADS = ("upload", "picture", "controls", "bank")
PICTURE_TYPES = ["image", *sorted(SUFFIXES)]  # of some suffixes no MIME type is known


@dataclass(frozen=True, kw_only=True)
class Tab:
    """The widgets of a tab.

    Attributes:
        several: whether it judges a portfolio.
        form: the model panel's fields and its own, by the names of a request.
        outputs: what a view may change, by the names that views use.
        link: the link to the settings, beside one picture.
        runs: the events that execute a run, which *Stop* cancels.
    """

    several: bool
    form: Widgets
    outputs: Widgets
    link: gr.Textbox | None
    runs: Sequence[Any]


def tab_outputs(tabs: Sequence[Tab]) -> dict[str, Any]:
    """Return the outputs of several tabs by names that tell them apart; `tab_view` fills them."""
    return {key: w for tab in tabs for key, w in tab_view(tab.outputs, tab.several).items()}


def tab_view(view: Mapping[str, Any], several: bool) -> View:
    """Return a view of one tab by the names of `tab_outputs`."""
    return {f"{'set' if several else 'one'}.{name}": value for name, value in view.items()}


def build_tab(texts: Texts, panel: Panel, token: gr.BrowserState, several: bool) -> Tab:
    """Lay out a tab and wire its buttons."""
    kind = "set" if several else "one"
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            gr.Markdown("## 2 · " + texts("set_pictures.label") if several else "## " + texts("step2"))
            fields: dict[str, Any] = {"picture": _picture_field(texts, kind, several)}
            with gr.Accordion(texts("compared"), open=several, elem_id=f"{kind}-more"):
                fields |= _comparison_fields(texts, kind)
            with gr.Accordion(texts("settings"), open=False):
                fields |= _setting_fields(texts, kind)
                link = None if several else _link_field(texts)
            cost = gr.HTML(padding=False)
            with gr.Row(elem_classes="buttons"):
                run, stop, resume = _run_buttons(texts, kind, several)
        with gr.Column(scale=3, min_width=300):
            gr.Markdown("## " + texts("step3"))
            results = _result_widgets(texts, kind, several)
    outputs = {"current": gr.State(""), "cost": cost, "resume": resume, **results}
    form = {**panel.fields, **fields}
    runs = _wire_run(run, stop, token, form, outputs, several)
    _wire_form(token, form, outputs)
    return Tab(several=several, form=form, outputs=outputs, link=link, runs=runs)


def _picture_field(texts: Texts, kind: str, several: bool) -> gr.Image | gr.File:
    if several:
        label = texts("set_pictures.label")
        field = file_upload(label, f"{kind}-pictures", several=True, types=PICTURE_TYPES)
        info(texts("set_pictures.info"))
        return field
    picture = picture_upload(texts, f"{kind}-picture")
    info(texts("picture.info"))
    return picture


def _comparison_fields(texts: Texts, kind: str) -> dict[str, Any]:
    """What the pictures are compared with."""
    info(texts("controls.info"))
    controls = file_upload(texts("controls.label"), f"{kind}-controls", several=True, types=PICTURE_TYPES)
    info(texts("controls.shipped"))
    bank = file_upload(texts("bank.label"), f"{kind}-bank", several=False, types=[".json"])
    info(texts("bank.info"))
    unrelated = suspect_field(texts, "unrelated", f"{kind}-unrelated", value=None)
    return {"controls": controls, "bank": bank, "unrelated": unrelated}


def _setting_fields(texts: Texts, kind: str) -> dict[str, Any]:
    presets = [(texts(f"preset.{name}"), name) for name in PRESET_NAMES]
    lineups = [(texts("lineup.none") if n == 0 else str(n), n) for n in LINEUPS]
    return {
        "preset": gr.Radio(presets, value="fast", label=texts("preset.label"), elem_id=f"{kind}-preset"),  # type: ignore[arg-type]
        "seed": gr.Number(
            0, label=texts("seed.label"), info=texts("seed.info"), precision=0, minimum=0, maximum=MAX_SEED
        ),
        "search": gr.Checkbox(label=texts("search.label"), info=texts("search.info"), elem_id=f"{kind}-search"),
        "lineup": gr.Radio(
            lineups,  # type: ignore[arg-type]
            value=0,
            label=texts("lineup.label"),
            info=texts("lineup.info"),
            elem_id=f"{kind}-lineup",
        ),
    }


def _link_field(texts: Texts) -> gr.Textbox:
    return gr.Textbox(
        label=texts("share"), info=texts("share.info"), interactive=False, buttons=["copy"], elem_id="share"
    )


def _run_buttons(texts: Texts, kind: str, several: bool) -> tuple[gr.Button, gr.Button, gr.Button]:
    label = texts("set_run" if several else "run")
    run = gr.Button(label, variant="primary", elem_id=f"{kind}-run", min_width=120)
    stop = gr.Button(texts("stop"), variant="stop", elem_id=f"{kind}-stop", min_width=80)
    resume = gr.Button(texts("resume"), variant="primary", visible=False, elem_id=f"{kind}-resume", min_width=80)
    return run, stop, resume


def _result_widgets(texts: Texts, kind: str, several: bool) -> dict[str, Any]:
    """The answer, from top to bottom; a portfolio's pictures are in its answer."""
    widgets: dict[str, Any] = {}
    if not several:
        with gr.Row(elem_classes="three"):
            widgets |= {role: result_image(texts, role, f"{kind}-{role}") for role in ROLES}
            widgets[MIRRORED] = result_image(texts, MIRRORED, f"{kind}-{MIRRORED}", visible=False)
    widgets["progress"] = gr.HTML(elem_id=f"{kind}-progress", padding=False, min_height=40)
    if not several:
        widgets["slider"] = gr.ImageSlider(
            label=texts("compare"),
            format="png",
            interactive=False,
            visible=False,
            max_height=300,
            type="filepath",
            elem_id=f"{kind}-slider",
            elem_classes="result",
        )
    widgets["evidence"] = gr.DownloadButton(texts("evidence"), visible=False, elem_id=f"{kind}-evidence")
    widgets["answer"] = gr.HTML(elem_id=f"{kind}-answer", padding=False)
    widgets["about_lineup"] = gr.HTML(elem_id=f"{kind}-about-lineup", padding=False)
    with gr.Row(elem_classes="buttons"):
        widgets["observe"] = gr.Button(texts("lineup.observe"), visible=False, elem_id=f"{kind}-observe", min_width=200)
        widgets["sheet"] = gr.DownloadButton(
            texts("lineup.sheet"), visible=False, elem_id=f"{kind}-sheet", min_width=200
        )
    widgets["history"] = gr.Dropdown([], label=texts("history"), visible=False, elem_id=f"{kind}-history")
    return widgets


def _wire_run(
    run: gr.Button, stop: gr.Button, token: gr.BrowserState, form: Widgets, outputs: Any, several: bool
) -> Sequence[Any]:
    """Wire *Run*, *Continue* and *Stop*; returns the events that execute a run."""
    current = {"token": token, "current": outputs["current"]}
    slow = {"show_progress": "minimal", "show_progress_on": [outputs["progress"]], **PRIVATE}

    def begin(values: Values, language: str) -> View:
        return handlers.begin(make_request(values), values["token"], several, language)

    def fetch(values: Values, language: str, oauth_token: gr.OAuthToken | None) -> Generator[View]:
        return handlers.fetch(values["token"], values["current"], language, oauth_token)

    def go_on(values: Values, language: str, oauth_token: gr.OAuthToken | None) -> Generator[View]:
        return handlers.go_on(values["token"], values["current"], several, language, oauth_token)

    def end(values: Values, language: str) -> View:
        return handlers.stop(values["token"], values["current"], several, language)

    begun = listen(run.click, begin, {"token": token, **form}, outputs, **REFUSABLE)
    fetched = stream(begun.success, fetch, current, outputs, concurrency_limit=4, **slow)
    first = stream(fetched.success, go_on, current, outputs, **GPU, **slow)
    again = stream(outputs["resume"].click, go_on, current, outputs, **GPU, **slow)
    runs = [fetched, first, again]
    # two listeners: with one, the browser would cancel only after the function has answered
    stop.click(None, cancels=runs, **PRIVATE)
    listen(stop.click, end, current, outputs, **QUICK)

    def show(values: Values, language: str) -> View:
        return handlers.show(values["token"], values["history"], several, language)

    listen(outputs["history"].input, show, {"token": token, "history": outputs["history"]}, outputs, **QUICK)
    return runs


def _wire_form(token: gr.BrowserState, form: Widgets, outputs: Widgets) -> None:
    """Keep the stated cost up to date, and note which files the visitor has sent."""

    def remember(values: Values, language: str) -> View:
        handlers.remember(values["token"], [path for name in UPLOADS for path in file_list(values[name])])
        return {}

    priced, uploads = ({name: form[name] for name in names} for names in (PRICED, UPLOADS))
    listen(_any_change(priced), cost_view, priced, {"cost": outputs["cost"]}, **QUICK)
    listen(_any_change(uploads), remember, {"token": token, **uploads}, {}, **QUICK)


def _any_change(widgets: Widgets) -> Any:
    return partial(gr.on, [widget.change for widget in widgets.values()])  # type: ignore[attr-defined]
