"""Every format that is accepted: loaded exactly, every tensor counted; damaged or offered with another base, refused.

The table in docs/usage/formats.md is made here: `python -m scripts.render_docs --formats` writes it.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch

from cgidm import UserError
from cgidm.families import load_pair
from cgidm.families.pipelines import load_pipeline
from cgidm.intake.layout import Checkpoint, open_checkpoint
from tests.support.adapters import model_of
from tests.support.copied_bases import READ, copy_base
from tests.support.damage import DAMAGE, damaged
from tests.support.formats import BASES, FORMATS, OTHER, Format
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

EXACT = 1e-5
ALONE: dict[tuple[str, str], torch.Tensor] = {}  # what a base answers for a prompt when it is loaded by itself


@dataclass
class Outcome:
    """What was measured of one format."""

    tensors: int
    counted: int  # of them, what has a place in a module
    error: float  # largest difference from the network that has the merged weights
    effect: float  # largest difference from the base
    base_kept: bool  # what the base answers is the base's own answer, bit for bit
    refusals: dict[str, str] = field(default_factory=dict)  # damage -> the sentence; "" if it was accepted


@pytest.fixture(scope="session")
def bases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bases")
    for name, build in BASES.items():
        build().save_pretrained(folder / name)
    return folder


def answer(model, pair):
    channels = pair.networks[0].config.in_channels
    x = torch.randn(2, channels, 8, 8, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        return model.predict_eps(x, torch.tensor([10, 700]))


def load(bases, suspect, form, base=None):
    embeddings = [str(suspect / form.embedding)] if form.embedding else []
    return load_pair(str(bases / (base or form.base)), str(suspect / form.given), form.prompt, embeddings)


def meant(form, folder):
    """The suspect's files in `folder`, and the network that it means."""
    pipeline = BASES[form.base]()
    form.write(folder, pipeline)
    return model_of(pipeline, form.prompt)


def measure(form: Format, bases: Path, folder: Path) -> Outcome:
    wanted = meant(form, folder / "sound")
    pair = load(bases, folder / "sound", form)
    base, tuned = answer(pair.base, pair), answer(pair.suspect, pair)
    expected = answer(wanted, pair)
    alone = answer_alone(form, bases, pair)
    checkpoint = open_checkpoint(str(folder / "sound" / form.given))
    beside = pair
    if checkpoint.kind in ("adapter", "textual inversion"):
        with pytest.MonkeyPatch.context() as patch:  # as on a GPU; a whole network is loaded there as it is here
            patch.setattr("cgidm.families.load.worth_merging", lambda *_: False)
            with copied_bases():
                beside = load(bases, folder / "sound", form)
        assert (answer(beside.suspect, beside) - tuned).abs().max() <= EXACT
    assert (beside.joint is None) == (len(beside.networks) == 2)
    if beside.joint is not None:
        both = answer(beside.joint, beside)
        assert (both - torch.cat([base[:1], tuned[1:]])).abs().max() <= EXACT
    outcome = Outcome(
        tensors=len(checkpoint.tensors),
        counted=counted_tensors(checkpoint),
        error=(tuned - expected).abs().max().item(),
        effect=(tuned - base).abs().max().item(),
        base_kept=all(torch.equal(base, b) for b in (alone, answer(pair.base, pair))),
    )
    for damage in DAMAGE[:3]:
        shutil.copytree(folder / "sound", folder / damage)
        damaged(folder / damage / form.file, form.key, damage)
        outcome.refusals[damage] = sentence(form, bases, folder / damage)
    outcome.refusals[DAMAGE[3]] = sentence(form, bases, folder / "sound", OTHER[form.base])
    return outcome


def counted_tensors(checkpoint: Checkpoint) -> int:
    """The tensors that have a place in a module, or in a word's vectors."""
    if checkpoint.adapter is None:
        return len(checkpoint.tensors)
    words = sum(len(word.keys) for word in checkpoint.adapter.bundle)
    return sum(map(len, checkpoint.adapter.modules.values())) + words


def answer_alone(form: Format, bases: Path, pair: Any) -> torch.Tensor:
    """What the base of `pair` answers if nothing is loaded beside it."""
    if (form.base, form.prompt) not in ALONE:
        pipeline = load_pipeline(open_checkpoint(str(bases / form.base)), "base", torch.float32)
        ALONE[form.base, form.prompt] = answer(model_of(pipeline, form.prompt), pair)
    return ALONE[form.base, form.prompt]


def sentence(form: Format, bases: Path, suspect: Path, base: str | None = None) -> str:
    """What a suspect is refused with."""
    try:
        with copied_bases():
            load(bases, suspect, form, base)
    except UserError as error:
        return str(error).replace(str(suspect), "suspect").replace(str(bases), "")
    return ""


@contextmanager
def copied_bases() -> Iterator[None]:
    """A base, which is sound, is neither read nor checked anew."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cgidm.families.load.load_pipeline", copy_base)
        patch.setattr("cgidm.families.load.check_scheduler", lambda model, name: None)
        yield


@pytest.fixture(scope="session")
def outcomes(bases, tmp_path_factory):
    found = {form: measure(form, bases, tmp_path_factory.mktemp("suspect")) for form in FORMATS}
    READ.clear()
    ALONE.clear()
    return found


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: f"{form.name}, {form.base}")
def test_it_computes_what_is_meant_and_is_refused_when_damaged(outcomes, form):
    outcome = outcomes[form]
    assert outcome.error <= EXACT and outcome.effect > 100 * EXACT and outcome.base_kept
    assert outcome.counted == outcome.tensors > 0
    said = outcome.refusals
    assert all(text and "\n" not in text for text in said.values()), said
    assert len(set(said.values())) == len(said), "each has a sentence of its own"


def test_the_docs_state_what_was_measured(outcomes):
    page = (ROOT / "docs" / "usage" / "formats.md").read_text(encoding="utf-8")
    assert table(outcomes) in page, "run python -m scripts.render_docs --formats"


def table(outcomes) -> str:
    """Markdown; no figure that differs from machine to machine."""
    head = ["suspect", "made from", "tensors", "equal to the merged weights", "base untouched", *DAMAGE]
    rows = [head, ["---"] * len(head)]
    for form, o in outcomes.items():
        exact = "to 1e-5" if o.error <= EXACT else "NO"
        refused = ["refused" if o.refusals[d] else "ACCEPTED" for d in DAMAGE]
        rows.append([form.name, form.base, str(o.tensors), exact, "yes" if o.base_kept else "NO", *refused])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def measure_table() -> str:
    """Measure every format and return the table; prints what differs from machine to machine."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        for base, build in BASES.items():
            build().save_pretrained(folder / "bases" / base)
        outcomes = {form: measure(form, folder / "bases", folder / str(i)) for i, form in enumerate(FORMATS)}
    for form, o in outcomes.items():
        print(f"{form.name}, {form.base}: {o.tensors} tensors, error {o.error:.1e}, effect {o.effect:.2f}")
        print("".join(f"    {damage}: {said}\n" for damage, said in o.refusals.items()))
    return table(outcomes)
