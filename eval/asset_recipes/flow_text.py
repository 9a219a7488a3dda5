"""The embedded flow model's text side: FLUX's two encoders, T5 for the tokens and CLIP for the pooled vector, small."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import Unigram
from tokenizers.trainers import UnigramTrainer
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel, T5Tokenizer

from eval.asset_recipes.text_encoder import train_tokenizer

VOCABULARY = 1024  # of each tokenizer
LENGTH = 32  # tokens of a prompt, padding and end included
T5_WIDTH, CLIP_WIDTH = 128, 64
T5_SPECIAL = ("<pad>", "</s>", "<unk>")  # in T5's order: the class expects <unk> third


def find_tokenizers(captions: Sequence[str], work: Path) -> tuple[CLIPTokenizer, T5Tokenizer]:
    """CLIP's byte pairs and T5's unigrams, both learnt from `captions`, and kept in `work`.

    Learnt anew they would differ: the library breaks ties by chance.
    """
    kept = work / "tokenizer", work / "tokenizer_2"
    if not all(folder.exists() for folder in kept):
        train_tokenizer(captions, vocabulary=VOCABULARY, length=LENGTH).save_pretrained(kept[0])
        _train_t5_tokenizer(captions).save_pretrained(kept[1])
    return CLIPTokenizer.from_pretrained(kept[0]), T5Tokenizer.from_pretrained(kept[1])


def new_encoders(clip_tokenizer: CLIPTokenizer, t5_tokenizer: T5Tokenizer) -> tuple[CLIPTextModel, T5EncoderModel]:
    """A CLIP text encoder of one layer and a T5 encoder of two, with random weights."""
    ids: dict[str, Any] = {f"{n}_token_id": getattr(clip_tokenizer, f"{n}_token_id") for n in ("bos", "eos", "pad")}
    clip = CLIPTextConfig(
        vocab_size=len(clip_tokenizer),
        hidden_size=CLIP_WIDTH,
        intermediate_size=2 * CLIP_WIDTH,
        projection_dim=CLIP_WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=LENGTH,
        **ids,
    )
    t5 = T5Config(
        vocab_size=len(t5_tokenizer),
        d_model=T5_WIDTH,
        d_kv=32,
        d_ff=2 * T5_WIDTH,
        num_layers=2,
        num_heads=4,
        dropout_rate=0.0,
        is_encoder_decoder=False,
        use_cache=False,
    )
    return CLIPTextModel(clip), T5EncoderModel(t5)


def _train_t5_tokenizer(captions: Sequence[str]) -> T5Tokenizer:
    tokenizer = Tokenizer(Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(  # those of the class
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always", split=True)]
    )
    trainer = UnigramTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(T5_SPECIAL),
        unk_token=T5_SPECIAL[2],
        initial_alphabet=sorted({c for caption in captions for c in caption if c.isascii() and c.isalnum()}),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sorted(set(captions)), trainer)
    vocabulary: Any = [(piece, score) for piece, score in json.loads(tokenizer.to_str())["model"]["vocab"]]
    return T5Tokenizer(vocab=vocabulary, extra_ids=0, model_max_length=LENGTH)
