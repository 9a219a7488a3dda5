"""Somebody with a browser on the page, who also notices what should not have happened."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.page_server import PageServer

PATIENCE = 240.0  # seconds for a whole run on a machine that does a lot else
REACTION = 30.0  # seconds for what a quiet machine shows at once
IN_VIEW = """() => {  // the whole answer, without scrolling
    const box = document.querySelector('#answer .cg-card').getBoundingClientRect();
    return box.top >= 0 && box.bottom <= innerHeight + 1;
}"""
# what has the focus: the id around it, its text, whether it is seen to have it, its tag
FOCUSED = """() => {
    const e = document.activeElement, s = getComputedStyle(e), round = e.closest('.wrap');
    const seen = s.outlineStyle != 'none' && parseFloat(s.outlineWidth) >= 2
        || round && getComputedStyle(round).outlineStyle != 'none';
    return [e.closest('[id]')?.id ?? '', e.innerText ?? '', Boolean(seen), e.tagName];
}"""
# of the texts that are to be seen: each to what it stands on, as WCAG 2 computes it
CONTRASTS = """texts => texts.filter(text => {
    const box = text.getBoundingClientRect();
    return box.width && box.height && getComputedStyle(text).visibility == 'visible' && text.innerText.trim();
}).map(text => {
    const [ink, ground] = ['color', 'backgroundColor'].map(which => {
        for (let e = text; e; e = e.parentElement) {
            const [r, g, b, a] = (getComputedStyle(e)[which].match(/[\\d.]+/g) ?? [0, 0, 0, 0]).map(Number);
            if (a !== 0) return [r, g, b].map(v => v / 255)
                .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
                .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
        }
        return 1;
    }).sort((a, b) => b - a);
    return [text.innerText.slice(0, 40), (ink + 0.05) / (ground + 0.05)];
})"""


class Windows:
    """Pages of a browser, each for one visitor at a time: the next finds nothing but the page's own files.

    In a browser as new as its visitor these are fetched and compiled anew, which takes most of a visit.
    """

    def __init__(self, browser: Any) -> None:
        self.browser = browser
        self.free: dict[str, list[Any]] = {}

    def open(self, server: PageServer, options: dict[str, Any]) -> Any:
        """A window as in a context of these options in which nobody was before."""
        if free := self.free.get(repr(options)):
            window = free.pop()
        else:
            window = self.browser.new_context(**options).new_page()
            window.context.set_default_timeout(1000 * REACTION)
        window.context.clear_cookies()
        session = window.context.new_cdp_session(window)
        session.send("Storage.clearDataForOrigin", {"origin": server.url.removesuffix("/"), "storageTypes": "all"})
        session.detach()
        return window

    def leave(self, window: Any, options: dict[str, Any]) -> None:
        """Its visitor has gone; it waits for the next."""
        window.unroute_all()
        window.goto("about:blank")
        self.free.setdefault(repr(options), []).append(window)


class Visitor:
    """Somebody with a browser of their own on the page, and all that should not have happened to them."""

    def __init__(self, page: Any, server: PageServer, screenshots: Path | None) -> None:
        self.page, self.server, self.screenshots = page, server, screenshots
        self.troubles: list[str] = []
        self.heard = {
            "console": lambda m: self._trouble(f"console: {m.text}") if m.type == "error" else None,
            "pageerror": lambda error: self._trouble(f"error on the page: {error}"),
            "dialog": self._dialog,
            "request": self._request,
        }
        for event, what in self.heard.items():
            page.on(event, what)

    def come(self, query: str = "") -> "Visitor":
        """Open the page and wait until it answers."""
        self.page.goto(self.server.url + query)
        self.page.locator("#cards button").first.wait_for()
        self.page.wait_for_function("localStorage.getItem('cgidm-visit')")
        return self

    def go(self) -> None:
        """Hear no more of the page."""
        for event, what in self.heard.items():
            self.page.remove_listener(event, what)

    def at(self, selector: str) -> Any:
        return self.page.locator(selector)

    def card(self, number: int = 0) -> None:
        """Click an example and wait until its answer is to be seen, though it stands below what screens show."""
        self.at("#cards button").nth(number).click()
        self.at("#answer .cg-card").wait_for()
        self.page.wait_for_function(IN_VIEW)

    def upload(self, selector: str, *files: Path) -> None:
        """Hand files over, and wait until the server has them."""
        with self.page.expect_response(re.compile("/upload")):
            self.at(f"{selector} input[type=file]").first.set_input_files(list(files))
        self.at(selector).get_by_text(files[0].stem[:12]).first.wait_for(state="attached")

    def send(self, *files: Path) -> None:
        """Hand pictures over, and wait until each was looked at."""
        self.upload("#pictures", *files)
        self.at("#seen li").nth(len(files) - 1).wait_for()

    def see_the_answer(self, seconds: float = REACTION) -> str:
        """Wait until a whole answer is to be seen without scrolling, and return what it says."""
        self.at("#answer .cg-outcome").first.wait_for(timeout=1000 * seconds)
        self.page.wait_for_function(IN_VIEW)
        return self.at("#answer .cg-card").first.inner_text()

    def wait_for(self, selector: str, words: str, seconds: float = REACTION) -> str:
        """Wait until a part of the page says so (a regular expression), and return all that it says."""
        from playwright.sync_api import expect  # late: the fixtures skip where it is missing

        expect(self.at(selector)).to_contain_text(re.compile(words), timeout=1000 * seconds)
        return self.at(selector).inner_text()

    def refused(self, field: str) -> str:
        """The sentence of the refusal that stands beside a field."""
        said = self.at(f"#error-{field} .cg-error")
        said.wait_for()
        assert said.get_attribute("role") == "alert"
        return said.inner_text()

    def toast(self) -> str:
        """The sentence of the refusal that is shown above the page; it is closed again."""
        said = self.at("[data-testid=toast-text]")
        said.wait_for()
        text = said.inner_text()
        self.at("[data-testid=toast-close]").click()
        said.wait_for(state="detached")
        return text

    def press_until(self, reached: Callable[[str, str], bool], limit: int = 80) -> None:
        """Press Tab until `reached(id, text)` of what has the focus, which is seen to have it at every stop."""
        for _ in range(limit):
            self.page.keyboard.press("Tab")
            name, text, seen, tag = self.page.evaluate(FOCUSED)
            assert seen or tag == "BODY", (name, text, tag)
            if reached(name, text):
                return
        raise AssertionError("was not reached")

    def tab(self, number: int) -> None:
        self.page.get_by_role("tab").nth(number).click()

    def fetch(self, url: str) -> tuple[int, bytes]:
        answer = self.page.request.get(url)
        return answer.status, answer.body()

    def picture(self, name: str) -> None:
        """Keep a picture of the whole page, if anybody wants to look at it."""
        if self.screenshots is not None:
            self.page.screenshot(path=self.screenshots / f"{name}.png", full_page=True)

    def _trouble(self, what: str) -> None:
        self.troubles.append(what)

    def _dialog(self, dialog: Any) -> None:
        self._trouble(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _request(self, request: Any) -> None:
        if not request.url.startswith((self.server.url, "data:", "blob:")):
            self._trouble(f"asked another host: {request.url}")
