"""The whole page: its parts in their places, and what concerns them all."""

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import gradio as gr
from gradio.utils import get_upload_folder

from cgidm.resources import example_answers, resource_root

from ..handlers import runs as handlers
from ..handlers.examples import example_names, icon_of, show_example
from ..handlers.visitor import visitor_language
from ..html.fits import fits_html
from ..html.i18n import tables
from ..html.markup import html_text
from ..html.progress import error_html
from ..html.views import View
from ..runs.settings import LINEUPS, MAX_SEED, PRESET_NAMES
from ..runs.store import ROOT, Visit, keep_sweeping
from .api import build_api
from .check_tab import build_check_tab
from .keyboard import KEYBOARD
from .lineup_panel import build_observer, wire_observer
from .model_panel import EXAMPLE_NAMES, WHEN_TYPED, look_up_again
from .operator_notice import build_operator_notice
from .picture_panel import PASTE
from .run_tab import UPLOADS, Tab, build_tab
from .widgets import info
from .wiring import PRIVATE, QUICK, Texts, Values, listen, named_values, output_values

# gradio's own copies of uploads go when they are this old; seconds: how often it is looked, and their age
UPLOAD_AGES = (600, 3600)
# after a card at the top was clicked: its answer stands further down than most screens reach
INTO_VIEW = """() => {
    let moved = false;  // the visitor went elsewhere: stay there
    for (const how of ['wheel', 'touchmove', 'pointerdown', 'keydown'])
        addEventListener(how, () => { moved = true; }, {once: true, passive: true});
    const look = (tries, calm) => {
        if (moved || !tries || calm > 5) return;
        const card = document.querySelector('#answer .cg-card');
        const end = card ? card.getBoundingClientRect().bottom : -1;
        const seen = end > 0 && end <= innerHeight + 1;
        // again if pictures above it have loaded meanwhile and pushed it away
        if (card && !seen) document.querySelector('#answer-part').scrollIntoView({block: 'start'});
        setTimeout(look, 200, tries - 1, seen ? calm + 1 : 0);
    };
    setTimeout(look, 200, 150, 0);
}"""
# how far a run is stands before the page's title, so that another tab shows it
TITLE = """() => {
    const heading = document.querySelector('h1'), part = document.querySelector('#answer-part');
    let ran = false;
    const tell = () => {
        const bar = part.querySelector('#progress progress'), name = heading?.innerText ?? document.title;
        ran = bar ? true : ran && document.hidden;
        document.title = bar ? `(${bar.value} %) ${name}` : ran ? `\\u2713 ${name}` : name;
    };
    new MutationObserver(tell).observe(part, {childList: true, subtree: true, characterData: true});
    document.addEventListener('visibilitychange', tell);
    tell();
}"""
# what a link to the settings holds
SHARED = ("suspect", "base", "prompt", "unrelated", "preset", "seed", "search", "lineup")
SEARCH = "views"  # how it says that the search is on


@dataclass(frozen=True)
class Forget:
    """What deletes a visit: a button, and a question before it is done."""

    ask: gr.Button
    question: gr.Row
    sure: gr.Button
    cancel: gr.Button
    told: gr.HTML  # that it was done


def build_page() -> tuple[gr.Blocks, gr.I18n]:
    """Build the page; returns it with its texts, ready to be launched."""
    # served as they lie there, without a copy in gradio's cache: what is deleted is gone
    gr.set_static_paths([ROOT / "shown", example_answers(), resource_root() / "examples"])
    texts = gr.I18n(**tables())
    with gr.Blocks(title=tables()["en"]["title"], delete_cache=UPLOAD_AGES, analytics_enabled=False) as page:
        token = gr.BrowserState("", storage_key="cgidm-visit")
        observer = build_observer(texts)
        with gr.Column() as everything:
            cards, tab, forget = _lay_out(texts, token)
        for card, name in cards:
            _wire_card(card, name, tab)
        _wire_arrival(page, token, tab)
        _wire_link(page, tab)
        _wire_forget(forget, token, tab)
        wire_observer(observer, everything, token, tab)
        for script in (TITLE, PASTE, WHEN_TYPED, *KEYBOARD):
            page.load(None, js=script, **PRIVATE)
        build_api()
    return page, texts


def _lay_out(texts: Texts, token: gr.BrowserState) -> tuple[list[tuple[gr.Button, str]], Tab, Forget]:
    """Lay out all that a visitor sees; returns the examples, the tab that judges, and what deletes."""
    gr.Markdown("# " + texts("title"))
    gr.Markdown(texts("intro"), elem_id="intro")
    cards = _lay_out_cards(texts)
    if os.environ.get("OAUTH_CLIENT_ID") and importlib.util.find_spec("authlib"):
        gr.LoginButton(size="sm")
    with gr.Tabs():
        with gr.Tab(texts("tab_judge"), id="judge", elem_id="tab-judge"):
            tab = build_tab(texts, token)
        with gr.Tab(texts("tab_check"), id="check", elem_id="tab-check"):
            build_check_tab(texts)
        with gr.Tab(texts("tab_read"), id="read"):
            gr.Markdown(texts("read.text"), elem_classes="read")
        with gr.Tab(texts("tab_about"), id="about", elem_id="tab-about") as about:
            for part in ("privacy", "limits"):
                gr.Markdown("## " + texts(f"{part}.title"))
                gr.Markdown(texts(part), elem_classes="read")
            _build_fits(texts, about)
            build_operator_notice(texts)
            forget = _lay_out_forget(texts)
    return cards, tab, forget


def _build_fits(texts: Texts, about: gr.Tab) -> None:
    """Lay out the families that can be judged here; they are listed when their tab is opened."""
    gr.Markdown("## " + texts("fits.title"))
    listed = gr.HTML(elem_id="fits", padding=False)

    def fill(values: Values, language: str) -> View:
        return {"fits": fits_html(language)}

    listen(about.select, fill, {}, {"fits": listed}, **QUICK)


def _lay_out_forget(texts: Texts) -> Forget:
    ask = gr.Button(texts("forget"), variant="stop", size="sm", elem_id="forget")
    with gr.Row(visible=False, elem_classes="buttons") as question:
        sure = gr.Button(texts("forget.sure"), variant="stop", elem_id="forget-sure", min_width=120)
        cancel = gr.Button(texts("forget.keep"), elem_id="forget-keep", min_width=120)
    return Forget(ask, question, sure, cancel, gr.HTML(elem_id="forgotten", padding=False))


def keep_tidy() -> None:
    """Delete what is old for as long as this process lives."""
    keep_sweeping(Path(get_upload_folder()))


def _lay_out_cards(texts: Texts) -> list[tuple[gr.Button, str]]:
    names = example_names()
    if not names:
        return []
    info(texts("examples"))
    with gr.Row(elem_id="cards"):
        return [(gr.Button(_card_label(texts, n), icon=icon_of(n), size="sm", min_width=140), n) for n in names]


def _card_label(texts: Texts, example: str) -> str:
    suspect, part = example.split("/")
    return texts(f"example.{part}") + " · " + EXAMPLE_NAMES.get(suspect, suspect)


def _wire_card(card: gr.Button, name: str, tab: Tab) -> None:
    def show(values: Values, language: str) -> View:
        return show_example(name, language)

    shown = listen(card.click, show, {}, tab.outputs, **QUICK)
    shown.then(None, js=INTO_VIEW, **PRIVATE)
    look_up_again(shown.then, tab.panel)


def _wire_arrival(page: gr.Blocks, token: gr.BrowserState, tab: Tab) -> None:
    """On arrival: a token for the visit, the last run with its form, or else the settings of the link."""
    outputs = {"token": token, **tab.outputs}

    def arrive(known: str | None, request: gr.Request) -> list[Any]:
        language = visitor_language(request)
        query, unknown = _settings_of(dict(request.query_params))
        visit = Visit(known)
        view = handlers.arrive(visit.token, language)
        if query:  # a link was followed: what it names goes before what was left here
            view = {name: view[name] for name in ("history",)} | {"pending": "", **query}
        if unknown:
            view["progress"] = error_html(html_text(language, "link.unknown", names=", ".join(unknown)), language)
        return output_values({"token": visit.token, **view}, outputs)

    arrived = page.load(arrive, [token], list(outputs.values()), **QUICK)
    look_up_again(arrived.then, tab.panel)
    tab.watch(arrived.then)


def _wire_link(page: gr.Blocks, tab: Tab) -> None:
    fields = {name: tab.form[name] for name in SHARED}

    def write(given: dict[Any, Any], request: gr.Request) -> str:
        values = named_values(given, fields)
        values |= {"search": SEARCH if values["search"] else "", "lineup": values["lineup"] or ""}
        query = urlencode({name: str(value) for name, value in values.items() if value not in (None, "")})
        host = os.environ.get("SPACE_HOST")
        root = f"https://{host}/" if host else str(request.request.base_url) if request.request else "/"
        return f"{root}?{query}"

    changes = [field.change for field in fields.values()]  # type: ignore[attr-defined]
    gr.on([page.load, *changes], write, set(fields.values()), tab.outputs["link"], **QUICK)


def _wire_forget(forget: Forget, token: gr.BrowserState, tab: Tab) -> None:
    def clear(values: Values, language: str) -> View:
        empty = handlers.forget(values["token"], language)
        told = {"forgotten": empty["progress"], "question": gr.update(visible=False)}
        return empty | dict.fromkeys(UPLOADS) | {"progress": "", "civitai_key": ""} | told

    def ask(values: Values, language: str) -> View:
        return {"question": gr.update(visible=True)}

    def keep(values: Values, language: str) -> View:
        return {"question": gr.update(visible=False)}

    question: Any = {"question": forget.question}
    listen(forget.ask.click, ask, {}, question, **QUICK)
    listen(forget.cancel.click, keep, {}, question, **QUICK)
    forget.sure.click(None, cancels=list(tab.runs), **PRIVATE)
    listen(forget.sure.click, clear, {"token": token}, {**tab.outputs, **question, "forgotten": forget.told}, **QUICK)


def _settings_of(query: dict[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Return what a link to settings fills in, and what of it is not known. It is only put into the form, never run."""
    found: dict[str, Any] = {n: query[n][:500] for n in ("suspect", "base", "prompt", "unrelated") if n in query}
    seed, lineup = query.get("seed", ""), query.get("lineup", "")
    known: dict[str, Any] = {
        "preset": query["preset"] if query.get("preset") in PRESET_NAMES else None,
        "seed": int(seed) if seed.isdecimal() and int(seed[:20]) <= MAX_SEED else None,
        "search": True if query.get("search") == SEARCH else None,
        "lineup": int(lineup) if lineup in map(str, LINEUPS) else None,
    }
    unknown = [f"{name}={query[name]:.40}" for name, value in known.items() if value is None and query.get(name)]
    return found | {name: value for name, value in known.items() if value is not None}, unknown
