"""The embedded model's tokenizer and text encoder: CLIP's classes, made small."""

import json
from collections.abc import Sequence
from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

VOCABULARY = 1536
WIDTH = 128
LENGTH = 24  # tokens of a prompt, with start and end
SPECIAL = ["<|startoftext|>", "<|endoftext|>"]


def train_tokenizer(captions: Sequence[str], *, vocabulary: int = VOCABULARY, length: int = LENGTH) -> CLIPTokenizer:
    """CLIP's byte-pair tokenizer with a vocabulary learnt from `captions`; prompts have at most `length` tokens."""
    like = CLIPTokenizer()  # for its normalizer and pre-tokenizer
    tokenizer = Tokenizer(BPE(unk_token=SPECIAL[1], continuing_subword_prefix="", end_of_word_suffix="</w>"))
    tokenizer.normalizer = like.backend_tokenizer.normalizer
    tokenizer.pre_tokenizer = like.backend_tokenizer.pre_tokenizer
    alphabet = sorted({c for caption in captions for c in caption.lower() if c.isascii() and c.isalnum()})
    trainer = BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=SPECIAL,
        initial_alphabet=alphabet,
        limit_alphabet=100,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(sorted(set(captions)), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    merges: Any = [tuple(m) for m in model["merges"]]
    return CLIPTokenizer(vocab=model["vocab"], merges=merges, model_max_length=length)


def new_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """A two-layer CLIP text encoder with random weights."""
    ids: dict[str, Any] = {f"{n}_token_id": getattr(tokenizer, f"{n}_token_id") for n in ("bos", "eos", "pad")}
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=LENGTH,
        **ids,
    )
    return CLIPTextModel(config)


def token_ids(tokenizer: Any, captions: Sequence[str]) -> Tensor:
    """Padded token ids, `n length`, of the length that the tokenizer was made for."""
    out = tokenizer(list(captions), padding="max_length", truncation=True, return_tensors="pt")
    return out.input_ids
