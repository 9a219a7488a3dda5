"""Textual inversion: put a word's vectors into the text encoders, and the word into the prompt."""

from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..errors import UserError
from ..intake.embeddings import BUNDLE, ENCODERS
from ..intake.layout import Checkpoint

TRAINED_WORD = "<s{}>"  # diffusers' DreamBooth script with pivotal tuning gives each vector a word of its own


def apply_embedding(pipeline: Any, checkpoint: Checkpoint, prompt: str) -> str:
    """Add the word of `checkpoint` to the text encoders and tokenizers of `pipeline`, in place.

    Condition the base's network before.

    Returns:
        The prompt, or the word itself for a blank prompt.

    Raises:
        UserError: if the vectors do not fit the base's text encoders, the word is taken, or the prompt lacks it.
    """
    embedding, name = checkpoint.embedding, checkpoint.name
    assert embedding is not None
    encoders = {e: network for e in ENCODERS if (network := getattr(pipeline, e, None)) is not None}
    widths = {e: network.get_input_embeddings().weight.shape[1] for e, network in encoders.items()}
    if not hasattr(pipeline, "load_textual_inversion") or widths != dict(embedding.widths):
        given, expected = list(embedding.widths.values()), list(widths.values())
        raise UserError("families.embedding_width", name=name, given=given, expected=expected)
    words = [TRAINED_WORD.format(i) for i in range(embedding.vectors)]
    if words[0] not in prompt or embedding.word in prompt:
        words = [embedding.word]
    prompt = prompt or embedding.word
    if absent := [word for word in words if word not in prompt]:
        bundled = any(key.startswith(BUNDLE) for key in embedding.keys.values())
        code = "families.bundled_word_not_in_prompt" if bundled else "families.word_not_in_prompt"
        raise UserError(code, name=name, prompt=f"{prompt:.200}", word=absent[0])
    state = load_file(checkpoint.fetch())
    for component, key in embedding.keys.items():
        tokenizer = getattr(pipeline, component.replace("text_encoder", "tokenizer"))
        vectors = state[key].float().reshape(embedding.vectors, -1)
        if not vectors.isfinite().all():
            raise UserError("families.not_finite", name=name, count=1, total=len(embedding.keys), first=key[:120])
        teach_words(pipeline, encoders[component], tokenizer, words, vectors, prompt, name)
    return prompt


def teach_words(
    pipeline: Any, encoder: Any, tokenizer: Any, words: list[str], vectors: Tensor, prompt: str, name: str
) -> None:
    """Add words to one text encoder and its tokenizer, in place.

    Args:
        pipeline: that both are of.
        encoder: the text encoder.
        tokenizer: its tokenizer.
        words: one for all vectors, or one for each.
        vectors: `n d`.
        prompt: must call all of the vectors.
        name: whose words they are, for errors.

    Raises:
        UserError: if a word is taken, or the prompt is too long for all vectors.
    """
    known = len(tokenizer)
    try:
        with torch.random.fork_rng(devices=[]):  # the library draws new rows before they are filled
            pipeline.load_textual_inversion(
                vectors, words if len(words) > 1 else words[0], tokenizer=tokenizer, text_encoder=encoder
            )
    except ValueError as error:
        raise UserError("families.word_taken", name=name, cause=str(error).splitlines()[0][:160].rstrip(".")) from error
    rows = encoder.get_input_embeddings().weight[known : len(tokenizer)]
    assert torch.equal(rows, vectors.to(rows)), "the encoder holds other vectors than the file"
    called = set(tokenizer(pipeline.maybe_convert_prompt(prompt, tokenizer), truncation=True).input_ids)
    if lost := len(set(range(known, len(tokenizer))) - called):
        raise UserError("families.prompt_too_long", name=name, count=lost, total=len(vectors), prompt=f"{prompt:.200}")
