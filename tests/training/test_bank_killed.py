"""A bank whose process is killed, again and again, ends as one that was left alone."""

import hashlib
import multiprocessing
import os
import signal

import numpy as np
import pytest
from PIL import Image

from cgidm.method.config import RunConfig
from cgidm.training import null_models, trained_model, trainer
from cgidm.training.null_models import BankPlan, build_bank
from cgidm.training.recipe import TrainingRecipe
from cgidm.training.recipe_reader import SuspectRecipe
from tests.support import tiny
from tests.support.quick_presets import DRAWS

pytestmark = pytest.mark.slow

# where each process dies: before or after which call of which function
DEATHS = (
    (trainer, "denoising_loss", 2, "before"),  # in the middle of the first training
    (trainer, "save_adapter", 1, "before"),
    (trainer, "save_adapter", 1, "after"),  # weights are there, their record is not
    (trained_model, "_publish", 1, "before"),  # the whole folder is there, under its temporary name
    (trained_model, "_publish", 1, "after"),
    (null_models, "score_pictures", 1, "after"),
    (trainer, "denoising_loss", 4, "after"),  # in the middle of the second training
    (trained_model, "_publish", 2, "after"),
    (null_models, "write_atomically", 1, "before"),
    (null_models, "write_atomically", 1, "after"),
)


@pytest.fixture(scope="module")
def works(tmp_path_factory):
    """A base, and ten pictures."""
    place = tmp_path_factory.mktemp("killed")
    tiny.stable_diffusion().save_pretrained(place / "base")
    (place / "works").mkdir()
    rng = np.random.default_rng(0)
    for i in range(10):
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(place / "works" / f"{i:02d}.png")
    return place


def make(place, out):
    settings = {"steps_per_picture": 2, "batch": 2, "learning_rate": 1e-2, "rank": 2}
    recipe = SuspectRecipe(TrainingRecipe(mode="lora", **settings), None, dict.fromkeys(settings, "given"))
    config = RunConfig(loss_draws=DRAWS)
    build_bank(
        BankPlan(base=str(place / "base"), folders=(place / "works",), models=4, prompt="abc", out=out, config=config),
        recipe,
    )


def make_and_die(place, out, module, name, nth, when):
    """Make the bank in a process that kills itself at one call."""
    real, calls = getattr(module, name), 0

    def die_at_a_call(*given, **options):
        nonlocal calls
        calls += 1
        if calls == nth and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*given, **options)
        if calls == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(module, name, die_at_a_call)
    make(place, out)


def files(folder):
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in folder.rglob("*")
        if p.is_file()
    }


def test_a_bank_that_was_killed_ten_times_is_that_of_an_undisturbed_run(works):
    make(works, works / "undisturbed")
    for death in DEATHS:
        process = multiprocessing.get_context("fork").Process(target=make_and_die, args=(works, works / "bank", *death))
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL, death
    make(works, works / "bank")
    expected = files(works / "undisturbed")
    assert files(works / "bank") == expected and len(expected) == 1 + 4 * 2  # the bank; weights and a record each


def test_what_was_being_written_when_its_process_was_killed_is_removed(works):
    out = works / "again"
    death = (trained_model, "_publish", 1, "before")
    process = multiprocessing.get_context("fork").Process(target=make_and_die, args=(works, out, *death))
    process.start()
    process.join(60)
    assert [p.name.startswith(".") and p.name.endswith(".tmp") for p in (out / "suspects" / "models").iterdir()]
    assert not (out / "bank.json").exists()
    make(works, out)
    assert [p for p in out.rglob("*") if p.name.endswith(".tmp")] == []
