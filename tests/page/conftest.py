"""Served pages for all modules that ask for one, on the shipped models or on tiny ones; visitors with a browser."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cgidm.page.runs.model_cache import _open_shipped
from tests.support.browser import Visitor, Windows
from tests.support.page_server import PageServer, page_server
from tests.support.quick_presets import NO_PAGES

SCREENSHOTS = "CGIDM_SCREENSHOTS"  # a folder to keep what the tests saw


@pytest.fixture(scope="module", autouse=True)
def as_served(few_draws: None, without_pages: None) -> None:
    """This process draws as few as the served page, and nobody looks at its reports on paper."""


@pytest.fixture(scope="session")
def small_assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like the shipped one, with tiny networks."""
    from tests.support.small_assets import write_small_assets

    return write_small_assets(tmp_path_factory.mktemp("assets"))


@pytest.fixture(scope="module")
def small_models(small_assets: Path) -> Iterator[None]:
    """This process's page has tiny networks: for what happens around a run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CGIDM_ASSETS", str(small_assets))
        _open_shipped.cache_clear()  # a module before this one may have opened the large ones
        yield
    _open_shipped.cache_clear()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    """`python app.py` with few draws. A test must not mind what others left there."""
    with page_server(tmp_path_factory.mktemp("server"), "-m", "tests.support.quick_presets") as running:
        yield running


@pytest.fixture(scope="session")
def small_server(tmp_path_factory: pytest.TempPathFactory, small_assets: Path) -> Iterator[PageServer]:
    """The same with tiny networks and reports without pages: for modules that care what happens around a run."""
    command, assets = ("-m", "tests.support.quick_presets", NO_PAGES), str(small_assets)
    with page_server(tmp_path_factory.mktemp("small-server"), *command, CGIDM_ASSETS=assets) as running:
        yield running


@pytest.fixture(scope="module")  # while playwright runs, nothing else can have an event loop in this thread
def chromium() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="the page is driven with playwright, which is missing")
    if (path := shutil.which("chromium")) is None:
        pytest.skip("the page is driven in chromium, which is missing")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def windows(chromium: Any) -> Windows:
    return Windows(chromium)


@pytest.fixture
def visit(server: PageServer, windows: Windows) -> Iterator[Callable[..., Visitor]]:
    """Makes visitors, with the options of a browser's context; afterwards nothing may have gone wrong for any."""
    folder = os.environ.get(SCREENSHOTS)
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
    visitors: list[tuple[Visitor, dict[str, Any]]] = []

    def make(query: str = "", **options: Any) -> Visitor:
        options = {"viewport": {"width": 1280, "height": 900}, "locale": "en-GB"} | options
        visitor = Visitor(windows.open(server, options), server, Path(folder) if folder else None)
        visitors.append((visitor, options))
        return visitor.come(query)

    yield make
    for visitor, options in visitors:
        visitor.go()
        windows.leave(visitor.page, options)
    troubles = [trouble for visitor, _ in visitors for trouble in visitor.troubles]
    assert not troubles, troubles
    assert server.alive()
