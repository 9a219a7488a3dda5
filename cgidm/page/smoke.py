"""`cgidm smoke URL`: does a deployed page answer, and does it answer as this version does?

It waits until the page serves, asks one question whose answer ships, and compares: pictures byte by byte, scores within
what another machine may change, the evidence by its seal. Standard library alone speaks with the page.
"""

import argparse
import json
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urljoin
from urllib.request import Request, urlopen

from ..errors import UserError
from ..evidence.bundle_reader import open_bundle
from ..evidence.lineup_sheet import ROLES
from ..evidence.record import Record, read_record
from ..evidence.record_of_result import image_name
from ..evidence.seal import RECORD, check_seal
from ..messages.text import print_line, single_line
from ..resources import SHIPPED, example_answers, example_names, find_example

EXAMPLE = "rollandin-lora"
TOLERANCE = 1e-3  # of a score on another machine, as of a repeated run
PATIENCE = 600.0  # seconds until the page must serve: a Space that slept builds its container first
PAUSE = 5.0
LONGEST = 100_000_000  # bytes of an answer that is read
DIFFERS = 1  # exit code


@dataclass(frozen=True)
class Answer:
    """What the page answered."""

    record: Record
    pictures: tuple[str, ...]  # addresses
    evidence: str


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `cgidm smoke`."""
    parser.add_argument("url", metavar="URL", help="the page: https://OWNER-NAME.hf.space, http://127.0.0.1:7860")
    parser.add_argument("--patience", type=float, default=PATIENCE, help="seconds until it must serve (600)")
    parser.add_argument(
        "--answer", type=Path, metavar="FOLDER", help="evidence to compare with, of the same example; that ships"
    )
    parser.add_argument("--token", help="of the Hub, for a private Space; sent to URL alone")


def smoke(options: argparse.Namespace) -> int:
    """Ask the page, print what differs, and return 0 if nothing does.

    Raises:
        UserError: if it does not serve in time, or refuses the question.
    """
    folder = options.answer or example_answers() / EXAMPLE / "member"
    expected = read_record((folder / RECORD).read_bytes(), str(folder))
    page = Page(options.url, options.token)
    print_line(f"serves after {page.wait(options.patience):.0f} s")
    started = time.monotonic()
    answer = page.ask(expected)
    print_line(f"answered after {time.monotonic() - started:.0f} s: {answer.record.pictures[0].outcome}")
    found = [*compare_records(answer.record, expected), *_compare_pictures(page, answer, folder)]
    found += _check_evidence(page, answer)
    for difference in found:
        print_line(f"differs: {difference}")
    print_line("it does not answer as this version does" if found else "it answers as this version does")
    return DIFFERS if found else 0


class Page:
    """A page that is spoken with as `curl` would."""

    def __init__(self, url: str, token: str | None = None) -> None:
        if not url.startswith(("http://", "https://")):
            raise UserError("page.smoke_address", given=url)
        self.url = url.rstrip("/") + "/"
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def wait(self, patience: float) -> float:
        """Wait until it serves; returns the seconds.

        Raises:
            UserError: if it does not in time.
        """
        started, said = time.monotonic(), ""
        while True:
            try:
                self.fetch("config")
                return time.monotonic() - started
            except (OSError, UserError) as error:
                said = str(error)
            if time.monotonic() - started > patience:
                raise UserError("page.smoke_silent", url=self.url, seconds=patience, problem=said[:120])
            time.sleep(min(PAUSE, patience))

    def ask(self, expected: Record) -> Answer:
        """Ask the question that `expected` answers.

        Raises:
            UserError: if it is refused.
        """
        assert EXAMPLE in example_names()
        name = expected.pictures[0].name
        [picture] = [p for p in find_example(EXAMPLE).members if p.name == name] or find_example(EXAMPLE).members[:1]
        given = {"path": self._upload(picture), "orig_name": name, "meta": {"_type": "gradio.FileData"}}
        steps = expected.config.recovery.steps
        data = [given, SHIPPED + EXAMPLE, None, "", None, None, expected.config.preset, expected.config.seed, steps]
        event = json.loads(
            self.fetch("gradio_api/call/authenticate", json.dumps({"data": [*data, False, None, 0, ""]}))
        )
        *_, (kind, said) = self._events(f"gradio_api/call/authenticate/{event['event_id']}")
        if kind != "complete":
            told = said.get("error") if isinstance(said, dict) else said
            raise UserError("page.smoke_refused", url=self.url, problem=single_line(str(told)))
        record, pictures, evidence = said
        typed = read_record(json.dumps(record).encode(), self.url)
        return Answer(typed, tuple(p["path"] for p in pictures), evidence["path"])

    def file(self, path: str) -> bytes:
        """The bytes of a result."""
        return self.fetch(f"gradio_api/file={path}")

    def fetch(self, path: str, body: str | bytes | None = None, kind: str = "application/json") -> bytes:
        """The bytes of an answer; with a body, it is sent."""
        data = body.encode() if isinstance(body, str) else body
        headers = self._headers | ({"Content-Type": kind} if data is not None else {})
        try:
            with urlopen(Request(urljoin(self.url, path), data, headers), timeout=60) as answer:
                return answer.read(LONGEST)
        except (HTTPError, URLError) as error:
            raise UserError("page.smoke_refused", url=self.url, problem=str(error)) from error

    def _upload(self, picture: Path) -> str:
        mark = uuid.uuid4().hex
        head = f'--{mark}\r\nContent-Disposition: form-data; name="files"; filename="{picture.name}"\r\n\r\n'
        body = head.encode() + picture.read_bytes() + f"\r\n--{mark}--\r\n".encode()
        return json.loads(self.fetch("gradio_api/upload", body, f"multipart/form-data; boundary={mark}"))[0]

    def _events(self, path: str) -> Iterator[tuple[str, Any]]:
        kind = ""
        with urlopen(Request(urljoin(self.url, path), headers=self._headers), timeout=600) as answer:
            for line in answer:
                text = line.decode().rstrip("\r\n")
                if text.startswith("event: "):
                    kind = text.removeprefix("event: ")
                elif text.startswith("data: ") and kind != "heartbeat":
                    yield kind, json.loads(text.removeprefix("data: "))


def compare_records(found: Record, expected: Record) -> Iterator[str]:
    """Name what differs between two answers to the same question."""
    ours, theirs = expected.pictures[0], found.pictures[0]
    if theirs.sha256 != ours.sha256:
        yield f"SHA-256 of the picture: {theirs.sha256}, expected {ours.sha256}"
    if theirs.outcome != ours.outcome:
        yield f"answer: {theirs.outcome}, expected {ours.outcome}"
    if sorted(found.models.sha256.values()) != sorted(expected.models.sha256.values()):
        yield "SHA-256 of the weights"
    for name, score in ours.scores.items():
        other = theirs.scores.get(name)
        if (score is None) != (other is None) or (score is not None and abs(score - (other or 0.0)) > TOLERANCE):
            yield f"score {name}: {other}, expected {score}"


def _compare_pictures(page: Page, answer: Answer, folder: Path) -> Iterator[str]:
    """Compare what no arithmetic has touched byte by byte; a recovery may differ in its last bits."""
    for path, role in zip(answer.pictures, ROLES, strict=False):
        if role == "original" and page.file(path) != (folder / image_name(0, role)).read_bytes():
            yield f"{image_name(0, role)}: other bytes"


def _check_evidence(page: Page, answer: Answer) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "evidence.zip"
        path.write_bytes(page.file(answer.evidence))
        with open_bundle(path) as bundle:
            yield from (f"evidence: {problem}" for problem in check_seal(bundle))
