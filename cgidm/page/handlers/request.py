"""From what a form or a program hands over to a run: everything is looked at before anybody waits for a GPU."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from cgidm import UserError
from cgidm.judging.lineup import check_lineup
from cgidm.judging.null_bank import Bank, read_bank
from cgidm.pictures.duplicates import alike, copy_notes, first_alike
from cgidm.pictures.images import MAX_BYTES, decode_picture
from cgidm.resources import SHIPPED

from ..runs.model_cache import check_name, open_suspect, shipped_controls
from ..runs.settings import make_config
from ..runs.store import Run, Sent, Visit

MAX_PICTURES = 30  # in one portfolio
MAX_CONTROLS = 100
MAX_TOGETHER = 500_000_000  # bytes of all pictures of a request, which are held at once
MAX_PROMPT = 500
MAX_BANK = 5_000_000  # bytes; a hundred pictures under a hundred models have a tenth of it
MAX_NULLS = 2_000  # a set's permutation test holds 10,000 orders of them
LOOKED_AT = 64  # pixels: enough to see that a file is a picture


@dataclass(frozen=True)
class Request:
    """What a visitor asks for, as the form holds it."""

    pictures: Sequence[str]  # files that gradio has taken in
    controls: Sequence[str]
    suspect: str
    upload: str | None
    base: str
    prompt: str
    preset: str
    seed: float | None
    steps: float | None = None  # instead of the preset's; for programs
    search: bool = False  # also for changed copies of the pictures
    bank: str | None = None  # a file, instead of controls
    lineup: float | None = None  # panels of each round; 0 or None: no line-up

    def check(self, fewest: int = 1) -> None:
        """See that it can be done, as far as that shows without opening a model on the Hub.

        Raises:
            UserError: with one sentence that says what was given and what is accepted.
        """
        config = make_config(self.preset, self.seed, self.steps, self.search, self.lineup)
        if not fewest <= len(self.pictures) <= MAX_PICTURES:
            given = "No picture was" if not self.pictures else f"{len(self.pictures)} pictures were"
            accepted = "one picture file" if fewest == 1 else f"{fewest} to {MAX_PICTURES} picture files"
            raise UserError(f"{given} given; accepted: {accepted}")
        if len(self.controls) > MAX_CONTROLS:
            raise UserError(f"{len(self.controls)} control pictures were given; accepted: at most {MAX_CONTROLS}")
        if len(self.prompt) > MAX_PROMPT:
            raise UserError(f"A prompt of {len(self.prompt):,} characters was given; accepted: at most {MAX_PROMPT}")
        if not self.base.strip():
            raise UserError("No base model was given; accepted: its id or link on huggingface.co")
        check_name(self.base.strip())
        if self.upload is not None:
            open_suspect("", self.upload)  # its header
        elif not self.suspect.strip():
            raise UserError("No suspect was given; accepted: its id or link on huggingface.co, or a .safetensors file")
        else:
            check_name(self.suspect.strip())
        together = sum(Path(path).stat().st_size for path in (*self.pictures, *self.controls))
        if together > MAX_TOGETHER:
            raise UserError(f"The pictures have {together:,} bytes together; accepted: at most {MAX_TOGETHER:,}")
        for path in (*self.pictures, *self.controls):
            sent = read_sent(path)
            decode_picture(sent.data, sent.name, LOOKED_AT)
        self._check_bank()
        if config.lineup is not None:
            _, controls = self._compared()
            usable = set(first_alike(alike([_look(sent) for sent in controls])))
            check_lineup(config.lineup, len(usable))

    def _check_bank(self) -> None:
        """Whether it fits base, prompt and seed shows when the models are opened (`nullbank.check_bank`)."""
        if self.bank is None:
            return
        if self.controls:
            raise UserError("Control pictures and a bank were given; accepted: one of them, a bank has its own scores")
        if self.search:
            raise UserError("A bank and the search were given; accepted: one of them, its scores are of one view alone")
        if self.lineup:
            raise UserError("A bank and a line-up were given; accepted: one of them, a bank holds no pictures to show")
        read_sent_bank(self.bank)

    def begin(self, visit: Visit) -> Run:
        """A run of `visit` that does it."""
        pictures, controls = self._compared()
        asked = {
            "base": self.base.strip(),
            "suspect": "" if self.upload else self.suspect.strip(),
            "prompt": self.prompt,
            "preset": self.preset,
            "seed": self.seed,
            "steps": self.steps,
            "search": self.search,
            "lineup": self.lineup,
        }
        bank = None if self.bank is None else read_sent_bank(self.bank)
        return visit.begin(asked, pictures, controls, self.upload, bank)

    def _compared(self) -> tuple[list[Sent], list[Sent]]:
        """The pictures, and the controls that are used."""
        pictures, controls = [[read_sent(p) for p in part] for part in (self.pictures, self.controls)]
        if self.bank is not None:
            return pictures, []
        suspect = "" if self.upload else self.suspect.strip()
        return _set_aside_copies(pictures, controls or default_controls(suspect))


def default_controls(suspect: str) -> list[Sent]:
    """The control pictures that ship with a shipped suspect."""
    if not suspect.startswith(SHIPPED):
        return []
    return [Sent(p.name, p.read_bytes()) for p in shipped_controls(suspect.removeprefix(SHIPPED))]


def _set_aside_copies(pictures: Sequence[Sent], controls: Sequence[Sent]) -> tuple[list[Sent], list[Sent]]:
    """Controls that are no near-duplicate of a picture, and the pictures, with a note about the others."""
    images = [[_look(s) for s in part] for part in (pictures, controls)]
    table = alike(images[0], images[1])
    notes = copy_notes([c.name for c in controls], table)
    noted = [replace(p, notes=n) for p, n in zip(pictures, notes, strict=True)]
    return noted, [c for c, copied in zip(controls, table.T, strict=True) if not copied.any()]


def _look(sent: Sent) -> Float[Tensor, "3 h w"]:
    return decode_picture(sent.data, sent.name, LOOKED_AT).image


def read_sent(path: str | Path) -> Sent:
    """A file that gradio has taken in: its name without folders, and its bytes unaltered.

    Raises:
        UserError: if it is larger than a picture may be.
    """
    file = Path(path)
    if file.stat().st_size > MAX_BYTES:
        raise UserError(f"{file.name} has {file.stat().st_size:,} bytes; accepted: at most {MAX_BYTES:,}")
    return Sent(file.name, file.read_bytes())


def read_sent_bank(path: str | Path) -> Bank:
    """A bank of null models that gradio has taken in, by the name of its file.

    Raises:
        UserError: if it is none, or larger than this page can judge with.
    """
    file = Path(path)
    if file.stat().st_size > MAX_BANK:
        raise UserError(f"{file.name} has {file.stat().st_size:,} bytes; accepted: a bank of at most {MAX_BANK:,}")
    bank = read_bank(file.read_bytes(), file.name)
    held = len(bank.content.nulls) + len(bank.content.members)
    if held > MAX_NULLS:
        raise UserError(f"{file.name} holds {held:,} scores; accepted here: a bank of at most {MAX_NULLS:,}")
    return bank
