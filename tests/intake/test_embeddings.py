"""Textual inversions, alone and beside a LoRA: the right vectors in the right rows, or refused."""

import re

import pytest
import torch
from safetensors.torch import save_file

from cgidm import UserError
from cgidm.families import load_pair
from tests.support import tiny
from tests.support.adapters import answers, kohya, weights
from tests.support.errors import refuses

WIDTH = 8
WORD = "<sks>"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    tiny.stable_diffusion().save_pretrained(folder)
    return folder


def vectors(count, seed=0):
    return torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(seed))


def written(tmp_path, tensors, name="sks.safetensors"):
    save_file({k: v.contiguous() for k, v in tensors.items()}, tmp_path / name)
    return str(tmp_path / name)


def features(pipeline, before, rows, after):
    """What the text encoder makes of a prompt in which `rows` stand between `before` and `after`, put there by hand."""
    encoder, tokenizer = pipeline.text_encoder, pipeline.tokenizer
    table = encoder.get_input_embeddings()
    first, last = (table.weight[tokenizer(text, add_special_tokens=False).input_ids] for text in (before, after))
    tokens = torch.cat([table.weight[[0]], first, rows, last])
    tokens = torch.cat([tokens, table.weight[[1]].expand(7 - len(tokens), -1)])
    table.forward = lambda ids: tokens[None]
    with torch.no_grad():
        return encoder(torch.zeros(1, 7, dtype=torch.long))[0]


@pytest.mark.parametrize(
    ("tensors", "name", "prompt", "rows"),
    [
        ({WORD: vectors(1)[0]}, "any.safetensors", f"a {WORD} b", 1),
        ({WORD: vectors(2)}, "any.safetensors", f"a {WORD} b", 2),
        ({"emb_params": vectors(2)}, "sks.safetensors", "a sks b", 2),
        ({"emb_params": vectors(2)}, "sks.safetensors", "a <s0><s1> b", 2),
    ],
    ids=["diffusers", "diffusers, two vectors", "A1111", "a word a vector"],
)
def test_the_vectors_are_what_the_suspect_reads_and_the_base_stays_the_base(
    base, tmp_path, tensors, name, prompt, rows
):
    pair = load_pair(str(base), written(tmp_path, tensors, name), prompt)
    off, on = answers(pair)
    plain = tiny.stable_diffusion()
    wanted = features(plain, "a", next(iter(tensors.values())).reshape(rows, -1), "b")
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        t = torch.tensor([10, 700])
        by_hand = plain.unet.eval()(x, t, encoder_hidden_states=wanted.expand(2, -1, -1)).sample
    torch.testing.assert_close(on, by_hand, atol=1e-6, rtol=0)
    alone, _ = answers(load_pair(str(base), written(tmp_path, tensors, name), prompt))
    assert torch.equal(off, alone) and (on - off).abs().max() > 1e-4 and len(pair.networks) == 1
    assert any(file.endswith(name) for file in pair.fingerprints)


def test_a_blank_prompt_says_the_word(base, tmp_path):
    file = written(tmp_path, {WORD: vectors(1)})
    on = answers(load_pair(str(base), file, WORD))[1]
    assert torch.equal(on, answers(load_pair(str(base), file, ""))[1])


def test_a_lora_with_its_embedding(base, tmp_path):
    pairs, _ = weights(base)
    lora, word = written(tmp_path, kohya(pairs), "lora.safetensors"), written(tmp_path, {WORD: vectors(2)})
    alone = answers(load_pair(str(base), lora, f"a {WORD}"))
    pair = load_pair(str(base), lora, f"a {WORD}", [word])
    off, on = answers(pair)
    assert torch.equal(off, alone[0]) and (on - alone[1]).abs().max() > 1e-4 and len(pair.networks) == 1
    assert torch.equal(off, answers(pair)[0]) and len([f for f in pair.fingerprints if str(tmp_path) in f]) == 2
    with refuses("families.embedding_kind", given="adapter"):
        load_pair(str(base), lora, WORD, [lora])


def test_a_full_suspect_with_its_embedding(base, tmp_path):
    tuned = tiny.stable_diffusion()
    tiny.perturbed(tuned.unet)
    tuned.save_pretrained(tmp_path / "tuned")
    word = written(tmp_path, {WORD: vectors(1)})
    without, with_word = (load_pair(str(base), str(tmp_path / "tuned"), WORD, e) for e in ([], [word]))
    assert torch.equal(answers(without)[0], answers(with_word)[0])
    assert (answers(without)[1] - answers(with_word)[1]).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("tensors", "prompt", "said"),
    [
        ({WORD: vectors(1)}, "a b", "lacks <sks>, the word"),
        ({f"{WORD}s": vectors(1)}, f"a {WORD}", "lacks <sks>s, the word"),
        ({WORD: vectors(2).T}, "", "embeddings of width 2, .* width 8"),
        ({WORD: torch.zeros(2, 1024)}, "", "embeddings of width 1024, .* width 8"),
        ({"clip_l": vectors(1), "clip_g": vectors(1)}, "", "embeddings of width 8, 8, .* width 8"),
        ({"clip_l": vectors(1)}, "", "embedding_second_missing"),
        ({"clip_g": vectors(1)}, "", "embedding_one_encoder"),
        ({"clip_l": vectors(1), "clip_h": vectors(1)}, "", "embedding_unknown_encoder"),
        ({"clip_l": vectors(1), "clip_g": vectors(2)}, "", "embedding_counts"),
        ({"a</w>": vectors(1)}, "", "cannot be added"),
        ({WORD: vectors(6)}, "", "1 of the 6 vectors .* do not fit"),
        ({"\n": vectors(1)}, "", "embedding_word"),
    ],
)
def test_what_does_not_fit_is_refused(base, tmp_path, tensors, prompt, said):
    with pytest.raises(UserError) as error:
        load_pair(str(base), written(tmp_path, tensors), prompt)
    assert error.value.code == f"intake.{said}" or re.search(said, str(error.value))
    assert "\n" not in str(error.value)


def test_nothing_draws_from_the_global_generator(base, tmp_path):
    state = torch.random.get_rng_state()
    load_pair(str(base), written(tmp_path, {WORD: vectors(1)}), "")
    assert torch.equal(state, torch.random.get_rng_state())
