"""From what a form or a program hands over to a run: everything is looked at before anybody waits for a GPU."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cgidm import UserError
from cgidm.judging.null_bank import Bank, read_bank
from cgidm.messages import Language
from cgidm.pictures.images import MAX_BYTES, Picture, decode_picture
from cgidm.run.plan import RunRequest, plan_run

from ..runs.model_cache import check_name, open_suspect
from ..runs.settings import RunSettings, make_config
from ..runs.shipped_controls import default_controls
from ..runs.store import Run, Sent, Visit

MAX_PICTURES = 30  # in one portfolio
MAX_CONTROLS = 100
MAX_TOGETHER = 500_000_000  # bytes of all pictures of a request, which are held at once
MAX_PROMPT = 500
MAX_BANK = 5_000_000  # bytes; a hundred pictures under a hundred models have a tenth of it
MAX_NULLS = 2_000  # a set's permutation test holds 10,000 orders of them
LOOKED_AT = 64  # pixels: enough to see that a file is a picture


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a visitor asks for, as the form or a program states it: `check` says what of it cannot be."""

    pictures: Sequence[str]  # files that gradio has taken in
    controls: Sequence[str]
    suspect: str
    upload: str | None
    base: str
    prompt: str
    preset: Any
    seed: Any  # a whole number
    steps: Any = None  # a whole number, instead of the preset's; for programs
    search: bool = False  # also for changed copies of the pictures
    bank: str | None = None  # a file, instead of controls
    lineup: Any = None  # a whole number: panels of each round; 0 or None: no line-up
    unrelated: str = ""  # a suspect of the same base, trained on other pictures, that must find nothing
    language: Language = "en"  # of the reports

    def check(self, fewest: int = 1) -> None:
        """See that it can be done, as far as that shows without opening a model on the Hub.

        Raises:
            UserError: with one sentence that says what was given and what is accepted.
        """
        config = make_config(self.preset, self.seed, self.steps, self.search, self.lineup)
        if not fewest <= len(self.pictures) <= MAX_PICTURES:
            if fewest == 1 and not self.pictures:
                raise UserError("page.no_picture")
            raise UserError("page.picture_count", given=len(self.pictures), fewest=fewest, most=MAX_PICTURES)
        if len(self.controls) > MAX_CONTROLS:
            raise UserError("page.control_count", given=len(self.controls), most=MAX_CONTROLS)
        if len(self.prompt) > MAX_PROMPT:
            raise UserError("page.prompt_too_long", given=len(self.prompt), most=MAX_PROMPT)
        if not self.base.strip():
            raise UserError("page.no_base")
        check_name(self.base.strip())
        if self.upload is not None:
            open_suspect("", self.upload)  # its header
        elif not self.suspect.strip():
            raise UserError("page.no_suspect")
        else:
            check_name(self.suspect.strip())
        together = sum(Path(path).stat().st_size for path in (*self.pictures, *self.controls))
        if together > MAX_TOGETHER:
            raise UserError("page.pictures_too_large", bytes=together, most=MAX_TOGETHER)
        for path in (*self.pictures, *self.controls):
            sent = read_sent(path)
            decode_picture(sent.data, sent.name, LOOKED_AT)
        self._check_bank()
        if self.unrelated.strip():
            check_name(self.unrelated.strip())
        if config.lineup is not None:
            pictures, controls = [[_look(sent) for sent in part] for part in self._sent()]
            plan_run(RunRequest(pictures=pictures, controls=controls, config=config))

    def _check_bank(self) -> None:
        """Whether it fits base, prompt and seed shows when the models are opened (`null_bank.check_bank`)."""
        if self.bank is None:
            return
        if self.controls:
            raise UserError("run.bank_and_controls")
        if self.unrelated.strip():
            raise UserError("run.bank_and_unrelated")
        if self.search:
            raise UserError("page.bank_and_search")
        if self.lineup:
            raise UserError("page.bank_and_lineup")
        read_sent_bank(self.bank)

    def begin(self, visit: Visit) -> Run:
        """A run of `visit` that does it."""
        pictures, controls = self._sent()
        bank = None if self.bank is None else read_sent_bank(self.bank)
        return visit.begin(self._settings(), pictures, controls, self.upload, bank)

    def _settings(self) -> RunSettings:
        return RunSettings(
            base=self.base.strip(),
            suspect="" if self.upload else self.suspect.strip(),
            prompt=self.prompt,
            preset=self.preset,
            seed=self.seed,
            steps=self.steps,
            search=self.search,
            lineup=self.lineup,
            unrelated=self.unrelated.strip(),
            language=self.language,
        )

    def _sent(self) -> tuple[list[Sent], list[Sent]]:
        """The pictures, and the controls: those that were sent, or those that ship with a shipped suspect."""
        pictures, controls = [[read_sent(p) for p in part] for part in (self.pictures, self.controls)]
        if self.bank is not None:
            return pictures, []
        suspect = "" if self.upload else self.suspect.strip()
        return pictures, controls or default_controls(suspect)


def make_request(form: Mapping[str, Any]) -> Request:
    """Make a request of what a form holds: `picture` is one file or several, other fields may be empty or missing."""
    return Request(
        pictures=file_list(form.get("picture")),
        controls=file_list(form.get("controls")),
        suspect=form.get("suspect") or "",
        upload=form.get("upload"),
        base=form.get("base") or "",
        prompt=form.get("prompt") or "",
        preset=form["preset"],
        seed=form["seed"],
        steps=form.get("steps"),
        search=bool(form.get("search")),
        bank=form.get("bank"),
        lineup=form.get("lineup"),
        unrelated=form.get("unrelated") or "",
    )


def file_list(files: str | Sequence[str] | None) -> list[str]:
    """Return one file, several or none as a list."""
    return [files] if isinstance(files, str) else list(files or [])


def _look(sent: Sent) -> Picture:
    return decode_picture(sent.data, sent.name, LOOKED_AT)


def read_sent(path: str | Path) -> Sent:
    """A file that gradio has taken in: its name without folders, and its bytes unaltered.

    Raises:
        UserError: if it is larger than a picture may be.
    """
    file = Path(path)
    if file.stat().st_size > MAX_BYTES:
        raise UserError("page.picture_too_large", file=file.name, bytes=file.stat().st_size, most=MAX_BYTES)
    return Sent(file.name, file.read_bytes())


def read_sent_bank(path: str | Path) -> Bank:
    """A bank of null models that gradio has taken in, by the name of its file.

    Raises:
        UserError: if it is none, or larger than this page can judge with.
    """
    file = Path(path)
    if file.stat().st_size > MAX_BANK:
        raise UserError("page.bank_too_large", file=file.name, bytes=file.stat().st_size, most=MAX_BANK)
    bank = read_bank(file.read_bytes(), file.name)
    held = len(bank.content.nulls) + len(bank.content.members)
    if held > MAX_NULLS:
        raise UserError("page.bank_scores", file=file.name, given=held, most=MAX_NULLS)
    return bank
