"""A program that asks the page over plain HTTP, as `curl` would: uploads, calls, and the events that come back."""

import json
import re
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from cgidm.messages import english
from tests.support.paths import SUSPECTS

FILE = {"_type": "gradio.FileData"}
Event = tuple[str, Any]


def sentence(code: str, **params: Any) -> re.Pattern[str]:
    """What an English message of that code matches, with these parameters and any others."""
    parts = []
    for text, name, spec, _ in string.Formatter().parse(english()[code]):
        parts.append(re.escape(text))
        if name is not None:
            parts.append(re.escape(format(params[name], spec or "")) if name in params else ".*")
    return re.compile("".join(parts))


class PageClient:
    """Calls of one program."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx.Client(base_url=url, timeout=120, trust_env=False)

    def upload(self, *files: tuple[str, bytes] | Path) -> list[dict[str, Any]]:
        """Hand files over in one request; what comes back stands for them in a call."""
        parts = [(f.name, f.read_bytes()) if isinstance(f, Path) else f for f in files]
        answer = self.http.post("gradio_api/upload", files=[("files", part) for part in parts]).raise_for_status()
        return [{"path": path, "orig_name": n, "meta": FILE} for path, (n, _) in zip(answer.json(), parts, strict=True)]

    def submit(self, name: str, data: list[Any]) -> str:
        """Take a place in the queue; returns its name."""
        content = json.dumps({"data": data})  # not httpx's own: it sends no NaN
        header = {"Content-Type": "application/json"}
        return self.http.post(f"gradio_api/call/{name}", content=content, headers=header).json()["event_id"]

    def events(self, name: str, event: str) -> Iterator[Event]:
        """What the server says, as (kind, data), without its heartbeats."""
        with self.http.stream("GET", f"gradio_api/call/{name}/{event}") as answer:
            kind = ""
            for line in answer.iter_lines():
                if line.startswith("event: "):
                    kind = line.removeprefix("event: ")
                elif line.startswith("data: ") and kind != "heartbeat":
                    yield kind, json.loads(line.removeprefix("data: "))

    def call(self, name: str, data: list[Any]) -> Event:
        """The last event of a call: ("complete", answers) or ("error", {"error": words})."""
        *_, last = self.events(name, self.submit(name, data))
        return last

    def file(self, path: str) -> httpx.Response:
        """What the server answers to whoever asks for a file of its own."""
        return self.http.get(f"gradio_api/file={path}")


def api_arguments(picture: Any, suspect: str, controls: Any = None, *, steps: float = 1, **other: Any) -> list[Any]:
    """What /authenticate and /portfolio take, for a shipped suspect unless `other` says otherwise."""
    known = {
        "upload": None,
        "base": "shipped:mini",
        "prompt": "sks style",
        "preset": "fast",
        "seed": 0,
        "search": False,
        "bank": None,
        "lineup": 0,
        "unrelated": "",
    }
    known |= other
    named = f"shipped:{suspect}" if suspect in SUSPECTS else suspect
    options = [known[name] for name in ("search", "bank", "lineup", "unrelated")]
    models = [named, known["upload"], known["base"], known["prompt"]]
    return [picture, *models, controls, known["preset"], known["seed"], steps, *options]
