"""The whole page: its parts in their places, and what concerns them all."""

import importlib.util
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import gradio as gr
from gradio.utils import get_upload_folder

from cgidm.resources import example_answers, resource_root

from ..handlers import runs as judging
from ..handlers.examples import example_names, icon_of, show_example
from ..html.i18n import tables
from ..runs.settings import LINEUPS, PRESET_NAMES
from ..runs.store import ROOT, Visit, keep_sweeping
from .api import build_api
from .lineup_panel import build_observer, wire_observer
from .model_panel import EXAMPLE_NAMES, Panel, Say, build_panel, language_of_request
from .run_tab import Tab, build_tab, cost_of_form, in_order, in_places

# gradio's own copies of uploads go when they are this old; seconds: how often it is looked, and their age
UPLOADS = (600, 3600)
QUICK: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
# after a card at the top was clicked: its answer stands further down than most screens reach
INTO_VIEW = """() => {
    let moved = false;  // the visitor went elsewhere: stay there
    for (const how of ['wheel', 'touchmove', 'pointerdown', 'keydown'])
        addEventListener(how, () => { moved = true; }, {once: true, passive: true});
    const look = (tries, calm) => {
        if (moved || !tries || calm > 5) return;
        const card = document.querySelector('#one-answer .cg-card');
        const end = card ? card.getBoundingClientRect().bottom : -1;
        const seen = end > 0 && end <= innerHeight + 1;
        // again if pictures above it have loaded meanwhile and pushed it away
        if (card && !seen) card.scrollIntoView({block: 'end'});
        setTimeout(look, 200, tries - 1, seen ? calm + 1 : 0);
    };
    setTimeout(look, 200, 150, 0);
}"""
SHARED = ("suspect", "base", "prompt", "preset", "seed", "search", "lineup")  # what a link to the settings holds
SEARCH = "views"  # how it says that the search is on


def build_page() -> tuple[gr.Blocks, gr.I18n]:
    """The page and its texts, ready to be launched."""
    # served as they lie there, without a copy in gradio's cache: what is deleted is gone
    gr.set_static_paths([ROOT / "shown", example_answers(), resource_root() / "examples"])
    say = gr.I18n(**tables())
    title = "Was this picture used to train that model?"
    with gr.Blocks(title=title, delete_cache=UPLOADS, analytics_enabled=False) as page:
        token = gr.BrowserState("", storage_key="cgidm-visit")
        observer = build_observer(say)
        with gr.Column() as everything:
            panel, cards, (one, several), forget = _lay_out(say, token)
        for card, name in cards:
            _wire_card(card, name, panel, one)
        _wire_arrival(page, token, panel, (one, several))
        _wire_link(page, panel, one)
        _wire_forget(forget, token, panel, (one, several))
        wire_observer(observer, everything, token, (one, several))
        build_api()
    return page, say


def _lay_out(say: Say, token: gr.BrowserState) -> tuple[Panel, list[tuple[gr.Button, str]], tuple[Tab, Tab], gr.Button]:
    """All that a visitor sees: the panel, the examples, the two ways of judging, and the button that deletes."""
    gr.Markdown("# " + say("title"))
    gr.Markdown(say("intro"), elem_id="intro")
    cards = _cards(say)
    if os.environ.get("OAUTH_CLIENT_ID") and importlib.util.find_spec("authlib"):
        gr.LoginButton(size="sm")
    panel = build_panel(say)
    with gr.Tabs():
        with gr.Tab(say("tab_one"), id="one", elem_id="tab-one"):
            one = build_tab(say, panel, token, several=False)
        with gr.Tab(say("tab_set"), id="set", elem_id="tab-set"):
            several = build_tab(say, panel, token, several=True)
        with gr.Tab(say("tab_read"), id="read"):
            gr.Markdown(say("read.text"), elem_classes="read")
        with gr.Tab(say("tab_about"), id="about"):
            for part in ("privacy", "limits"):
                gr.Markdown("## " + say(f"{part}.title"))
                gr.Markdown(say(part), elem_classes="read")
            forget = gr.Button(say("forget"), variant="stop", size="sm", elem_id="forget")
    return panel, cards, (one, several), forget


def keep_tidy() -> None:
    """Delete what is old for as long as this process lives."""
    keep_sweeping(Path(get_upload_folder()))


def _cards(say: Say) -> list[tuple[gr.Button, str]]:
    names = example_names()
    if not names:
        return []
    gr.Markdown(say("examples"), elem_classes="info")
    with gr.Row(elem_id="cards"):
        return [(gr.Button(_name_of(say, n), icon=icon_of(n), size="sm", min_width=140), n) for n in names]


def _name_of(say: Say, example: str) -> str:
    suspect, part = example.split("/")
    return say(f"example.{part}") + " · " + EXAMPLE_NAMES.get(suspect, suspect)


def _wire_card(card: gr.Button, name: str, panel: Panel, tab: Tab) -> None:
    widgets = _form(panel, tab) | dict(tab.shown)

    @in_order(list(widgets))
    def show(language: str) -> dict[str, Any]:
        return show_example(name, language)

    shown = card.click(show, None, list(widgets.values()), **QUICK)
    shown.then(None, js=INTO_VIEW, api_visibility="private")


def _wire_arrival(page: gr.Blocks, token: gr.BrowserState, panel: Panel, tabs: tuple[Tab, ...]) -> None:
    """On arrival: a token for the visit, the last run if it was not finished, and the settings of the link."""
    form = _form(panel, tabs[0])
    settings = {name: form[name] for name in SHARED}

    def arrive(known: str | None, request: gr.Request) -> list[Any]:
        language, visit = language_of_request(request), Visit(known)
        suspect = request.query_params.get("suspect", panel.suspect.value)
        cost = {"cost": cost_of_form(suspect, None, None, "fast", language=language)}
        views = [cost | judging.arrive(visit.token, tab.several, language) for tab in tabs]
        shown = [v for tab, view in zip(tabs, views, strict=True) for v in in_places(view, list(tab.shown))]
        return [visit.token, *in_places(_settings_of(dict(request.query_params)), list(settings)), *shown]

    outputs = [token, *settings.values(), *[w for tab in tabs for w in tab.shown.values()]]
    page.load(arrive, [token], outputs, **QUICK)


def _wire_link(page: gr.Blocks, panel: Panel, tab: Tab) -> None:
    form = _form(panel, tab)
    fields = [form[name] for name in SHARED]

    def write(request: gr.Request, *values: Any) -> str:
        given = dict(zip(SHARED, values, strict=True))
        given |= {"search": SEARCH if given["search"] else "", "lineup": given["lineup"] or ""}
        given = {name: str(value) for name, value in given.items() if value not in (None, "")}
        host = os.environ.get("SPACE_HOST")
        root = f"https://{host}/" if host else str(request.request.base_url) if request.request else "/"
        return f"{root}?{urlencode(given)}"

    gr.on([page.load, *[field.change for field in fields]], write, fields, tab.link, **QUICK)  # type: ignore[attr-defined]


def _wire_forget(forget: gr.Button, token: gr.BrowserState, panel: Panel, tabs: tuple[Tab, ...]) -> None:
    pictures = [panel.upload, *[widget for tab in tabs for widget in (tab.picture, tab.controls, tab.bank)]]

    def clear(token: str, request: gr.Request) -> list[Any]:
        view = judging.forget(token, language_of_request(request))
        return [*[None] * len(pictures), *[v for tab in tabs for v in in_places(view, list(tab.shown))]]

    outputs = [*pictures, *[w for tab in tabs for w in tab.shown.values()]]
    forget.click(None, cancels=[run for tab in tabs for run in tab.runs], api_visibility="private")
    forget.click(clear, [token], outputs, **QUICK)


def _form(panel: Panel, tab: Tab) -> dict[str, Any]:
    return {
        "suspect": panel.suspect,
        "upload": panel.upload,
        "base": panel.base,
        "prompt": panel.prompt,
        "picture": tab.picture,
        "controls": tab.controls,
        "preset": tab.preset,
        "seed": tab.seed,
        "search": tab.search,
        "lineup": tab.lineup,
        "bank": tab.bank,
    }


def _settings_of(query: dict[str, str]) -> dict[str, Any]:
    """What a link to settings fills in; what it holds is only put into the form, never run."""
    found: dict[str, Any] = {n: query[n][:500] for n in ("suspect", "base", "prompt") if n in query}
    if query.get("preset") in PRESET_NAMES:
        found["preset"] = query["preset"]
    if query.get("seed", "").isdecimal():
        found["seed"] = int(query["seed"])
    if query.get("search") == SEARCH:
        found["search"] = True
    if query.get("lineup", "") in map(str, LINEUPS):
        found["lineup"] = int(query["lineup"])
    return found
