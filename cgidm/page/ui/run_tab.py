"""One of the page's two ways of judging, one picture or a portfolio: its widgets, and which button does what."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.data_classes import ImageData

from ..handlers import runs as judging
from ..handlers.request import Request, default_controls
from ..html.progress import cost_html
from ..html.views import IMAGES, View
from ..runs.cost import cost_of
from ..runs.settings import LINEUPS, MAX_SEED, PRESET_NAMES, make_config
from .model_panel import Panel, Say, language_of_request

GPU = {"concurrency_id": "gpu", "concurrency_limit": 1}


@dataclass(frozen=True)
class Tab:
    """Its widgets, by the names that views use."""

    several: bool
    picture: gr.Image | gr.File
    controls: gr.File
    bank: gr.File
    preset: gr.Radio
    seed: gr.Number
    search: gr.Checkbox
    lineup: gr.Radio
    link: gr.Textbox | None  # to the settings, of one picture
    run: gr.Button
    stop: gr.Button
    shown: Mapping[str, gr.components.Component]  # what a view may change
    runs: Sequence[Any] = ()  # the events that carry a run out, to be cancelled

    @property
    def inputs(self) -> list[gr.components.Component]:
        """In the order in which `request_of` takes them."""
        return [self.picture, self.controls, self.preset, self.seed, self.search, self.bank, self.lineup]


def build_tab(say: Say, panel: Panel, token: gr.BrowserState, several: bool) -> Tab:
    """Lay it out and wire it."""
    tab = _lay_out(say, several)
    return dataclasses.replace(tab, runs=_wire(tab, panel, token))


def _lay_out(say: Say, several: bool) -> Tab:
    kind = "set" if several else "one"
    shown: dict[str, Any] = {"current": gr.State("")}
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            gr.Markdown("## 2 · " + say("set_pictures.label") if several else "## " + say("step2"))
            if several:
                picture = _files(say("set_pictures.label"), f"{kind}-pictures")
                gr.Markdown(say("set_pictures.info"), elem_classes="info")
            else:
                picture = gr.Image(
                    label=say("picture.label"),
                    alt_text=say("picture.label"),  # type: ignore[arg-type]
                    sources=["upload", "clipboard"],
                    type="filepath",
                    image_mode=None,  # the file's bytes, unaltered
                    format="png",
                    height=260,
                    elem_id=f"{kind}-picture",
                )
                leave_unopened(picture)
                gr.Markdown(say("picture.info"), elem_classes="info")
            with gr.Accordion(say("compared"), open=several, elem_id=f"{kind}-more"):
                gr.Markdown(say("controls.info"), elem_classes="info")
                controls = _files(say("controls.label"), f"{kind}-controls")
                gr.Markdown(say("controls.shipped"), elem_classes="info")
                bank = gr.File(
                    label=say("bank.label"), file_types=[".json"], type="filepath", height=150, elem_id=f"{kind}-bank"
                )
                gr.Markdown(say("bank.info"), elem_classes="info")
            with gr.Accordion(say("settings"), open=False):
                choices = [(say(f"preset.{name}"), name) for name in PRESET_NAMES]
                preset = gr.Radio(choices, value="fast", label=say("preset.label"), elem_id=f"{kind}-preset")  # type: ignore[arg-type]
                seed = gr.Number(
                    0, label=say("seed.label"), info=say("seed.info"), precision=0, minimum=0, maximum=MAX_SEED
                )
                search = gr.Checkbox(label=say("search.label"), info=say("search.info"), elem_id=f"{kind}-search")
                lineups = [(say("lineup.none") if n == 0 else str(n), n) for n in LINEUPS]
                lineup = gr.Radio(
                    lineups,  # type: ignore[arg-type]
                    value=0,
                    label=say("lineup.label"),
                    info=say("lineup.info"),
                    elem_id=f"{kind}-lineup",
                )
                link = None
                if not several:
                    link = gr.Textbox(
                        label=say("share"), info=say("share.info"), interactive=False, buttons=["copy"], elem_id="share"
                    )
            shown["cost"] = gr.HTML(padding=False)
            with gr.Row(elem_classes="buttons"):
                words = "set_run" if several else "run"
                run = gr.Button(say(words), variant="primary", elem_id=f"{kind}-run", min_width=120)
                stop = gr.Button(say("stop"), variant="stop", elem_id=f"{kind}-stop", min_width=80)
                shown["resume"] = gr.Button(
                    say("resume"), variant="primary", visible=False, elem_id=f"{kind}-resume", min_width=80
                )
        with gr.Column(scale=3, min_width=300):
            gr.Markdown("## " + say("step3"))
            if not several:
                with gr.Row(elem_classes="three"):
                    for role in IMAGES:
                        shown[role] = gr.Image(
                            label=say(role),
                            alt_text=say(role),  # type: ignore[arg-type]
                            format="png",
                            interactive=False,
                            height=220,
                            min_width=100,
                            buttons=["download", "fullscreen"],
                            elem_id=f"{kind}-{role}",
                            elem_classes="result",
                        )
            shown["progress"] = gr.HTML(elem_id=f"{kind}-progress", padding=False, min_height=40)
            if not several:
                shown["slider"] = gr.ImageSlider(
                    label=say("compare"),
                    format="png",
                    interactive=False,
                    visible=False,
                    max_height=300,
                    type="filepath",
                    elem_id=f"{kind}-slider",
                    elem_classes="result",
                )
            shown["evidence"] = gr.DownloadButton(say("evidence"), visible=False, elem_id=f"{kind}-evidence")
            shown["answer"] = gr.HTML(elem_id=f"{kind}-answer", padding=False)
            shown["about_lineup"] = gr.HTML(elem_id=f"{kind}-about-lineup", padding=False)
            with gr.Row(elem_classes="buttons"):
                shown["observe"] = gr.Button(
                    say("lineup.observe"), visible=False, elem_id=f"{kind}-observe", min_width=200
                )
                shown["sheet"] = gr.DownloadButton(
                    say("lineup.sheet"), visible=False, elem_id=f"{kind}-sheet", min_width=200
                )
            shown["history"] = gr.Dropdown([], label=say("history"), visible=False, elem_id=f"{kind}-history")
    return Tab(several, picture, controls, bank, preset, seed, search, lineup, link, run, stop, shown)


def _files(label: Any, name: str) -> gr.File:
    return gr.File(label=label, file_count="multiple", file_types=["image"], type="filepath", height=150, elem_id=name)


def _wire(tab: Tab, panel: Panel, token: gr.BrowserState) -> Sequence[Any]:
    """Say which button does what; returns the events that carry a run out."""
    several, shown = tab.several, tab.shown
    names, outputs = list(shown), list(shown.values())
    asked = [*panel.inputs, *tab.inputs]
    quick: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    slow: dict[str, Any] = {
        "show_progress": "minimal",
        "show_progress_on": [shown["progress"]],
        "api_visibility": "private",
    }

    @in_order(names)
    def begin(token: str, *given: Any, language: str) -> View:
        return judging.begin(request_of(*given), token, several, language)

    def go_on(token: str, current: str, request: gr.Request, oauth_token: gr.OAuthToken | None) -> Iterator[list[Any]]:
        # only a generator can be cancelled: this has to be one, not to return one
        with closing(judging.go_on(token, current, several, language_of_request(request), oauth_token)) as views:
            for view in views:
                yield in_places(view, names)

    def fetch(token: str, current: str, request: gr.Request, oauth_token: gr.OAuthToken | None) -> Iterator[list[Any]]:
        for view in judging.fetch(token, current, language_of_request(request), oauth_token):
            yield in_places(view, names)

    @in_order(names)
    def stop(token: str, current: str, language: str) -> View:
        return judging.stop(token, current, several, language)

    @in_order(names)
    def show(token: str, name: str | None, language: str) -> View:
        return judging.show(token, name, several, language)

    def remember(token: str, *given: Any) -> None:
        judging.remember(token, [path for files in given for path in files_of(files)])

    @in_order(names)
    def cost(*given: Any, language: str) -> View:
        return {"cost": cost_of_form(*given, language=language)}

    current = shown["current"]
    # with the queue: without it, the browser would not show a refusal
    begun = tab.run.click(begin, [token, *asked], outputs, **quick | {"queue": True, "concurrency_limit": 4})
    fetched = begun.success(fetch, [token, current], outputs, concurrency_limit=4, **slow)
    first = fetched.success(go_on, [token, current], outputs, **GPU, **slow)
    again = shown["resume"].click(go_on, [token, current], outputs, **GPU, **slow)  # type: ignore[attr-defined]
    # two listeners: with one, the browser would cancel only after the function has answered
    runs = [fetched, first, again]
    tab.stop.click(None, cancels=runs, api_visibility="private")
    tab.stop.click(stop, [token, current], outputs, **quick)
    shown["history"].input(show, [token, shown["history"]], outputs, **quick)  # type: ignore[attr-defined]
    priced = [panel.suspect, tab.picture, tab.controls, tab.preset, tab.search, tab.bank, tab.lineup]
    gr.on(
        [widget.change for widget in priced],  # type: ignore[attr-defined]
        cost,
        priced,
        outputs,
        **quick,
    )
    given = [panel.upload, tab.picture, tab.controls, tab.bank]
    gr.on([widget.change for widget in given], remember, [token, *given], None, **quick)  # type: ignore[attr-defined]
    return runs


def request_of(
    suspect: str | None,
    upload: str | None,
    base: str | None,
    prompt: str | None,
    picture: str | list[str] | None,
    controls: list[str] | None,
    preset: str,
    seed: float | None,
    search: bool,
    bank: str | None,
    lineup: float | None = None,
    steps: float | None = None,
) -> Request:
    """What the form holds."""
    pictures, others, named = files_of(picture), files_of(controls), (suspect or "", upload, base or "", prompt or "")
    return Request(pictures, others, *named, preset, seed, steps, bool(search), bank, lineup)


def leave_unopened(picture: gr.Image) -> None:
    """Hand its file over as it is: gradio would open it, and what is no picture would end in no sentence of ours."""
    opened = picture.preprocess

    def path_of(payload: ImageData | None) -> Any:
        return payload.path if payload is not None and payload.path else opened(payload)

    picture.preprocess = path_of  # type: ignore[method-assign]


def files_of(given: str | list[str] | None) -> list[str]:
    """One file, several, or none, as a list."""
    return [given] if isinstance(given, str) else list(given or [])


def cost_of_form(
    suspect: str | None,
    picture: str | list[str] | None,
    controls: list[str] | None,
    preset: str,
    search: bool = False,
    bank: str | None = None,
    lineup: float | None = None,
    *,
    language: str,
) -> str:
    """What the run would ask for. A bank's scores are known already."""
    pictures = max(1, len(files_of(picture)))
    others = 0 if bank else len(files_of(controls)) or len(default_controls(suspect or ""))
    cost = cost_of(pictures, others, make_config(preset, 0, search=bool(search), lineup=lineup))
    return cost_html(language, evaluations=cost.evaluations, seconds=cost.seconds, kind=cost.kind, asked=cost.asked)


def in_places(view: View, names: Sequence[str]) -> list[Any]:
    """A view as the values of widgets; those that it does not mention stay as they are."""
    return [view.get(name, gr.skip()) for name in names]


def in_order(names: Sequence[str]) -> Callable[[Callable[..., View]], Callable[..., list[Any]]]:
    """A handler of gradio's out of one that returns a view."""

    def decorate(handler: Callable[..., View]) -> Callable[..., list[Any]]:
        def answer(request: gr.Request, *given: Any) -> list[Any]:
            return in_places(handler(*given, language=language_of_request(request)), names)

        return answer

    return decorate
