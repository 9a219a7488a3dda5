"""From what a form or a program hands over to a run: everything is looked at before anybody waits for a GPU."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image

from cgidm import UserError
from cgidm.judging.banks.null_bank import Bank, read_bank
from cgidm.messages import Language
from cgidm.pictures.decoding import decode_pixels
from cgidm.pictures.images import MAX_BYTES, Picture, decode_picture, to_uint8
from cgidm.run.plan import RunRequest, plan_run

from ..runs.model_cache import check_name, open_suspect
from ..runs.settings import UNUSED_THAT_COUNT, RunSettings, make_config
from ..runs.shipped_controls import controls_for
from ..runs.store import Run, Sent, Visit

MAX_PICTURES = 30  # in one portfolio
MAX_CONTROLS = 100
MAX_TOGETHER = 500_000_000  # bytes of all pictures of a request, which are held at once
MAX_PROMPT = 500
MAX_BANK = 5_000_000  # bytes; a hundred pictures under a hundred models have a tenth of it
MAX_NULLS = 2_000  # a set's permutation test holds 10,000 orders of them
LOOKED_AT = 64  # pixels: enough to see that a file is a picture
BLANK = 2  # levels of 255: a picture whose colours differ by no more is one colour, saved with losses


class FieldError(UserError):
    """What cannot be used of one field of the form.

    Attributes:
        field: "suspect", "base", "pictures", "controls", "bank", "unrelated" or "settings".
    """

    def __init__(self, field: str, error: UserError) -> None:
        super().__init__(error.code, **error.params)
        self.field = field


@contextmanager
def field_errors(field: str) -> Iterator[None]:
    """Say which field of the form the block's refusals are about."""
    try:
        yield
    except FieldError:
        raise
    except UserError as error:
        raise FieldError(field, error) from error


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
    adapter_config: str | None = None  # peft's file beside an upload
    unused: str = "none"  # one of `UNUSED`: whose works, surely unused, the controls are
    language: Language = "en"  # of the reports

    def check(self, fewest: int = 1) -> None:
        """See that it can be done, as far as that shows without opening a model on the Hub.

        Raises:
            UserError: with one sentence that says what was given and what is accepted.
        """
        with field_errors("settings"):
            config = make_config(self.preset, self.seed, self.steps, self.search, self.lineup)
            if len(self.prompt) > MAX_PROMPT:
                raise UserError("page.prompt_too_long", given=len(self.prompt), most=MAX_PROMPT)
        with field_errors("pictures"):
            if not fewest <= len(self.pictures) <= MAX_PICTURES:
                if fewest == 1 and not self.pictures:
                    raise UserError("page.no_picture")
                raise UserError("page.picture_count", given=len(self.pictures), fewest=fewest, most=MAX_PICTURES)
        with field_errors("controls"):
            if len(self.controls) > MAX_CONTROLS:
                raise UserError("page.control_count", given=len(self.controls), most=MAX_CONTROLS)
        self._check_models()
        with field_errors("pictures"):
            together = sum(Path(path).stat().st_size for path in (*self.pictures, *self.controls))
            if together > MAX_TOGETHER:
                raise UserError("page.pictures_too_large", bytes=together, most=MAX_TOGETHER)
        for field, paths in (("pictures", self.pictures), ("controls", self.controls)):
            with field_errors(field):
                for path in paths:
                    sent = read_sent(path)
                    small = to_uint8(decode_picture(sent.data, sent.name, LOOKED_AT).image)
                    if field == "pictures" and np.ptp(small, (0, 1)).max() <= BLANK:  # seen small: look again
                        check_not_blank(decode_pixels(sent.data, sent.name)[0], sent.name)
        with field_errors("bank"):
            self._check_bank()
        if config.lineup is not None:
            with field_errors("controls"):
                pictures, controls = [[_look(sent) for sent in part] for part in self._sent()]
                plan_run(RunRequest(pictures=pictures, controls=controls, config=config))

    def _check_models(self) -> None:
        with field_errors("suspect"):
            if self.upload is not None:
                open_suspect("", self.upload)  # its header
            elif not self.suspect.strip():
                raise UserError("page.no_suspect")
            else:
                check_name(self.suspect.strip())
        with field_errors("base"):
            if not self.base.strip():
                raise UserError("page.no_base")
            check_name(self.base.strip())
        if self.unrelated.strip():
            with field_errors("unrelated"):
                check_name(self.unrelated.strip())

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
        uploads = [path for path in (self.upload, self.adapter_config) if path is not None]
        return visit.begin(self._settings(), pictures, controls, uploads, bank)

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
            unused=self.unused,
            language=self.language,
        )

    def _sent(self) -> tuple[list[Sent], list[Sent]]:
        """The pictures, and the controls: those that were sent, or those that ship with pictures that ship."""
        pictures, controls = [[read_sent(p) for p in part] for part in (self.pictures, self.controls)]
        if self.bank is not None:
            return pictures, []
        suspect = "" if self.upload else self.suspect.strip()
        return pictures, controls or controls_for(suspect, pictures)


def make_request(form: Mapping[str, Any]) -> Request:
    """Make a request of what a form holds: files may be one or several, other fields may be empty or missing.

    Controls count only where the form was answered that they are the artist's; a form without that question is a
    program's, which knows what it hands over.
    """
    uploads, unused = file_list(form.get("upload")), form.get("unused")
    counted = unused is None or unused in UNUSED_THAT_COUNT
    return Request(
        pictures=file_list(form.get("picture")),
        controls=file_list(form.get("controls")) if counted else [],
        suspect=form.get("suspect") or "",
        upload=next((path for path in uploads if not path.lower().endswith(".json")), None),
        adapter_config=next((path for path in uploads if path.lower().endswith(".json")), None),
        base=form.get("base") or "",
        prompt=form.get("prompt") or "",
        preset=form["preset"],
        seed=form["seed"],
        steps=form.get("steps"),
        search=bool(form.get("search")),
        bank=form.get("bank"),
        lineup=form.get("lineup"),
        unrelated=form.get("unrelated") or "",
        unused=unused or "none",
    )


def file_list(files: str | Sequence[str] | None) -> list[str]:
    """Return one file, several or none as a list."""
    return [files] if isinstance(files, str) else list(files or [])


def check_not_blank(picture: Image.Image, name: str) -> None:
    """Check that there is something in an RGB picture.

    Raises:
        UserError: if it is one colour all over.
    """
    levels = cast(tuple[tuple[int, int], ...], picture.getextrema())  # of each channel
    if max(high - low for low, high in levels) <= BLANK:
        raise UserError("page.picture_blank", file=name)


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
