"""Null models of a textual inversion: a word's vectors, and nothing else, are trained and judged as the suspect's."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel

from cgidm.cli import main
from cgidm.families import load_pair
from cgidm.intake.layout import open_checkpoint
from cgidm.method.config import RunConfig
from cgidm.training import null_models
from cgidm.training.embedding import FILE
from cgidm.training.null_models import BankPlan
from cgidm.training.recipe_reader import EMBEDDING_RATE, read_recipe
from cgidm.training.trainer import FinetuneConfig, finetune
from tests.support import tiny
from tests.support.errors import refuses
from tests.support.quick_presets import DRAWS

WORD = "<w>"
CONFIG = FinetuneConfig(
    mode="textual-inversion", word=WORD, vectors=2, initial_word="b", prompt=f"a {WORD}", steps=3, learning_rate=0.1
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A base, works of an artist, and a textual inversion of two vectors."""
    place = tmp_path_factory.mktemp("embedding")
    tiny.stable_diffusion().save_pretrained(place / "base")
    rng = np.random.default_rng(0)
    (place / "works").mkdir()
    for i in range(10):
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(place / "works" / f"{i}.png")
    width = CLIPTextModel.from_pretrained(place / "base" / "text_encoder").config.hidden_size
    vectors = torch.randn(2, width, generator=torch.Generator().manual_seed(0))
    save_file({WORD: vectors}, place / "suspect.safetensors")
    return place


def works(place):
    return sorted((place / "works").iterdir())


def test_the_word_s_vectors_alone_are_learnt(place, tmp_path, monkeypatch):
    """They start as the initial word's, move, and no other weight does: the file holds them, in full precision."""
    trained = {}
    monkeypatch.setattr("cgidm.training.trainer._save", lambda trainee, *_: trained.update(pipe=trainee.pipe))
    finetune(place / "base", works(place), tmp_path, CONFIG)
    pipe, before = trained["pipe"], tiny.stable_diffusion()
    known = len(before.tokenizer)
    assert len(pipe.tokenizer) == known + 2
    table = pipe.text_encoder.get_input_embeddings().weight
    saved = CLIPTextModel.from_pretrained(place / "base" / "text_encoder")
    assert torch.equal(table[:known], saved.get_input_embeddings().weight[:known])
    (initial,) = before.tokenizer("b", add_special_tokens=False).input_ids
    moved = (table[known : known + 2] - table[initial]).abs().amax(1)
    assert (moved > 0.05).all() and (moved < 1).all(), "three steps of AdamW at a rate of 0.1"
    rest = {k: v for k, v in pipe.text_encoder.state_dict().items() if "token_embedding" not in k}
    assert rest and all(torch.equal(v, saved.state_dict()[k]) for k, v in rest.items())


def test_a_trained_word_is_a_suspect_like_others(place, tmp_path):
    finetune(place / "base", works(place), tmp_path, CONFIG)
    vectors = load_file(tmp_path / FILE)[WORD]
    assert vectors.shape[0] == 2 and vectors.dtype == torch.float32 and not torch.equal(*vectors)
    assert open_checkpoint(str(tmp_path)).kind == "textual inversion"
    pair = load_pair(str(place / "base"), str(tmp_path), f"a {WORD}")
    x, t = torch.randn(1, 4, 8, 8), torch.tensor([500])
    assert not torch.equal(pair.base.predict_eps(x, t), pair.suspect.predict_eps(x, t))


def test_a_blank_prompt_is_the_word(place, tmp_path):
    blank, named = (FinetuneConfig(**{**vars(CONFIG), "prompt": prompt, "steps": 1}) for prompt in ("", WORD))
    for name, config in (("blank", blank), ("named", named)):
        finetune(place / "base", works(place), tmp_path / name, config)
    assert torch.equal(*(load_file(tmp_path / n / FILE)[WORD] for n in ("blank", "named")))


@pytest.mark.parametrize("changed", [{"prompt": "a b"}, {"captions": ("<w>", "no word") * 5}])
def test_a_caption_without_the_word_is_refused(place, tmp_path, changed):
    with refuses("training.word_not_in_caption", word=WORD):
        finetune(place / "base", works(place), tmp_path, FinetuneConfig(**{**vars(CONFIG), **changed}))


def test_the_recipe_follows_the_file(place, tmp_path):
    suspect = open_checkpoint(str(place / "suspect.safetensors"))
    recipe = read_recipe(suspect, {"initial_word": "style"})
    training = recipe.training
    assert (training.mode, training.word, training.vectors) == ("textual-inversion", WORD, 2)
    assert training.learning_rate == EMBEDDING_RATE and training.initial_word == "style"
    assert recipe.sources["word"] == recipe.sources["vectors"] == "the suspect's file"
    with refuses("training.mode_of_embedding", given="lora"):
        read_recipe(suspect, {"mode": "lora"})
    with refuses("training.word_of_embeddings", mode="lora"):
        read_recipe(None, {"initial_word": "style"})
    save_file({"clip_l": torch.ones(1, 8), "clip_g": torch.ones(1, 8)}, tmp_path / "both.safetensors")
    with refuses("training.embedding_of_two_encoders", encoders=2):
        read_recipe(open_checkpoint(str(tmp_path / "both.safetensors")), {})


@pytest.mark.slow
@pytest.mark.usefixtures("few_draws", "without_pages")
def test_a_textual_inversion_is_judged_by_a_bank_of_its_kind(place, tmp_path, monkeypatch, capsys):
    """The commands that a user types: the prompt that is left out is the word, and so is the bank's."""
    monkeypatch.setattr(null_models, "BankPlan", partial(BankPlan, config=RunConfig(loss_draws=DRAWS)))
    bank, out, models = tmp_path / "bank", tmp_path / "out", ["--base", str(place / "base")]
    models += ["--suspect", str(place / "suspect.safetensors")]
    recipe = ["--models", "4", "--steps-per-picture", "2", "--learning-rate", "0.1", "--initial-word", "b"]
    assert main(["bank", str(place / "works"), *models, *recipe, "--out", str(bank)]) == 0
    made = json.loads((bank / "bank.json").read_text())
    assert made["prompt"] == WORD and made["recipe"]["mode"] == "textual-inversion"
    assert all(model["weight_shift"] is None for model in made["models"])
    run = ["authenticate", str(works(place)[0]), *models, "--preset", "fast", "--steps", "1", "--out", str(out)]
    assert main([*run, "--prompt", WORD, "--bank", str(bank)]) == 0
    record = json.loads((out / "result.json").read_text())
    assert record["bank"]["recipe"]["vectors"] == 2 and record["models"]["prompt"] == WORD
    capsys.readouterr()
    assert main(["verify", str(out)]) == 0
