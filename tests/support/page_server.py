"""The page as a visitor meets it: a process of its own, on a free port, with a temporary folder of its own."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.support.paths import ROOT

STARTING = 120.0  # seconds until it must serve; a quiet machine needs about ten
ENDING = 10.0
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, kw_only=True)
class PageServer:
    """A page that is being served."""

    url: str  # ends with a slash
    folder: Path  # its TMPDIR: visits under cgidm-visits/, gradio's copies of uploads under gradio/
    log: Path  # what it prints
    process: subprocess.Popen[bytes]
    startup: float  # seconds of a processor until it served, whoever else was at work

    @property
    def pid(self) -> int:
        return self.process.pid

    def alive(self) -> bool:
        return self.process.poll() is None


@contextmanager
def page_server(folder: Path, *command: str, **environment: str) -> Iterator[PageServer]:
    """Serve the page until the end of the block.

    Args:
        folder: becomes its TMPDIR.
        command: what Python is given to serve it; `app.py` if nothing.
        environment: added to this process's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "TMPDIR": str(folder),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",  # tiny networks: thread hand-offs cost more than they save
        **environment,
    }
    environment.pop("GRADIO_TEMP_DIR", None)
    log = folder / "app.log"
    with log.open("wb") as out:
        arguments = [sys.executable, "-u", *(command or ["app.py"])]
        process = subprocess.Popen(arguments, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}/"
    try:
        _wait(url, process, log)
        startup = sum(psutil.Process(process.pid).cpu_times()[:2])
        yield PageServer(url=url, folder=folder, log=log, process=process, startup=startup)
    finally:
        process.terminate()
        try:
            process.wait(ENDING)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    patience = time.monotonic() + STARTING
    while process.poll() is None and time.monotonic() < patience:
        try:
            with DIRECT.open(url + "config", timeout=10) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise RuntimeError(f"app.py does not serve; it said:\n{log.read_text(errors='replace')[-3000:]}")
