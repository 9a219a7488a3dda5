"""Textual inversion: a word's vectors put into the text encoders, and the prompt that calls them."""

from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..errors import UserError
from ..intake.embeddings import ENCODERS
from ..intake.layout import Checkpoint

TRAINED_WORD = "<s{}>"  # diffusers' DreamBooth script with pivotal tuning gives each vector a word of its own


def apply_embedding(pipeline: Any, checkpoint: Checkpoint, prompt: str) -> str:
    """Teach `pipeline` the word of `checkpoint`; returns the prompt, or the word itself for a blank one.

    Text encoders and tokenizers are changed in place: bind the base before.

    Raises:
        UserError: if the vectors do not fit the base's text encoders, the word is taken, or the prompt does not say it.
    """
    embedding, name = checkpoint.embedding, checkpoint.name
    assert embedding is not None
    encoders = {e: network for e in ENCODERS if (network := getattr(pipeline, e, None)) is not None}
    widths = {e: network.get_input_embeddings().weight.shape[1] for e, network in encoders.items()}
    if not hasattr(pipeline, "load_textual_inversion") or widths != dict(embedding.widths):
        given, wanted = _listed(embedding.widths), _listed(widths)
        raise UserError(f"{name} holds embeddings {given} wide, the base wants {wanted}; accepted: those of this base")
    words = [TRAINED_WORD.format(i) for i in range(embedding.vectors)]
    if words[0] not in prompt or embedding.word in prompt:
        words = [embedding.word]
    prompt = prompt or embedding.word
    if absent := [word for word in words if word not in prompt]:
        said = f"the prompt {prompt!r:.200} does not say {absent[0]!r}, which calls the embeddings of {name}"
        raise UserError(f"{said}; accepted: a prompt that says it, or a blank one")
    state = load_file(checkpoint.fetch())
    for component, key in embedding.keys.items():
        tokenizer = getattr(pipeline, component.replace("text_encoder", "tokenizer"))
        vectors = state[key].float().reshape(embedding.vectors, -1)
        _teach(pipeline, encoders[component], tokenizer, words, vectors, prompt, name)
    return prompt


def _teach(
    pipeline: Any, encoder: Any, tokenizer: Any, words: list[str], vectors: Tensor, prompt: str, name: str
) -> None:
    known = len(tokenizer)
    try:
        with torch.random.fork_rng(devices=[]):  # new rows are drawn before they are filled
            pipeline.load_textual_inversion(
                vectors, words if len(words) > 1 else words[0], tokenizer=tokenizer, text_encoder=encoder
            )
    except ValueError as error:
        said = f"{name} cannot be taught to the base ({str(error).splitlines()[0]:.160})"
        raise UserError(f"{said}; accepted: a word that it does not know") from error
    rows = encoder.get_input_embeddings().weight[known : len(tokenizer)]
    assert torch.equal(rows, vectors.to(rows)), "the encoder holds other vectors than the file"
    called = set(tokenizer(pipeline.maybe_convert_prompt(prompt, tokenizer), truncation=True).input_ids)
    if lost := len(set(range(known, len(tokenizer))) - called):
        said = f"{lost} of the {len(vectors)} vectors of {name} have no place in the prompt {prompt!r:.200}"
        raise UserError(f"{said}; accepted: a shorter prompt")


def _listed(widths: Mapping[str, int]) -> str:
    return " and ".join(str(width) for width in widths.values()) or "none"
