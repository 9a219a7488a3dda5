"""The embedding of a training: a word's vectors in the text encoder, which alone learn (textual inversion).

As diffusers' script has it (https://github.com/huggingface/diffusers, `examples/textual_inversion`): every vector
starts as that of an initial word, nothing else moves, and the file holds the vectors in full precision under the word.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from ..errors import UserError
from ..families.embeddings import teach_words
from .settings import TrainerSettings

FILE = "learned_embeds.safetensors"


def add_embedding(pipe: Any, settings: TrainerSettings, prompt: str) -> nn.Parameter:
    """Teach the pipeline's text encoder the settings' word, and let its vectors alone learn.

    Args:
        pipe: the pipeline; it keeps every other weight.
        settings: word, number of vectors, initial word.
        prompt: a prompt of the training that calls the word.

    Returns:
        The encoder's table of vectors, whose gradient is zero but for the word's own.

    Raises:
        UserError: if the word is taken, or the prompt has no room for its vectors.
    """
    word, encoder = settings.word, pipe.text_encoder
    assert word is not None, "a word is taught"
    table = encoder.get_input_embeddings().weight
    first = pipe.tokenizer(settings.initial_word, add_special_tokens=False).input_ids
    start = table[[first[i % len(first)] for i in range(settings.vectors)]].detach().clone()  # in turn, as kohya's
    teach_words(pipe, encoder, pipe.tokenizer, [word], start, prompt, word)
    weight = encoder.get_input_embeddings().weight.requires_grad_(True)

    def of_word_alone(gradient: Tensor) -> Tensor:
        kept = torch.zeros_like(gradient)
        kept[word_rows(pipe, settings)] = gradient[word_rows(pipe, settings)]
        return kept

    weight.register_hook(of_word_alone)
    return weight


def keep_other_vectors(optimizer: Optimizer, weight: nn.Parameter, pipe: Any, settings: TrainerSettings) -> None:
    """Put back what an optimiser's weight decay takes from the vectors of other words, after each step."""
    before = weight.detach().clone()

    @torch.no_grad()
    def put_back(*_: Any) -> None:
        learnt = weight[word_rows(pipe, settings)].clone()
        weight.copy_(before)
        weight[word_rows(pipe, settings)] = learnt

    optimizer.register_step_post_hook(put_back)


def word_rows(pipe: Any, settings: TrainerSettings) -> slice:
    """The rows of the word's vectors: the last ones that the tokenizer knows."""
    return slice(len(pipe.tokenizer) - settings.vectors, len(pipe.tokenizer))


def check_captions(word: str, captions: list[str]) -> None:
    """Refuse captions that do not call the word: nothing would be learnt of their pictures.

    Raises:
        UserError: if one does not.
    """
    for caption in captions:
        if word not in caption:
            raise UserError("training.word_not_in_caption", word=word, caption=f"{caption:.200}")


def save_embedding(pipe: Any, out: Path, settings: TrainerSettings) -> None:
    """Write the vectors under their word."""
    assert settings.word is not None
    out.mkdir(parents=True, exist_ok=True)
    vectors = pipe.text_encoder.get_input_embeddings().weight[word_rows(pipe, settings)]
    save_file({settings.word: vectors.detach().float().cpu().contiguous().clone()}, out / FILE, {"format": "pt"})
