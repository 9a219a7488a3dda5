"""Tokenizers as somebody's files make them: every word is there, and a prompt is as long as its text encoder reads.

Without their files, libraries build a tokenizer that knows no word, or that pads a prompt to 10^30 places, and say
nothing. A suspect would then read another prompt than its base.
"""

import json
from typing import Any

from ..errors import UserError

FEWEST = 0.95  # words for each row of a text encoder's table: T5 has 32,100 words and 32,128 rows
TOKENIZERS = {"tokenizer": "text_encoder", "tokenizer_2": "text_encoder_2", "tokenizer_3": "text_encoder_3"}


def check_tokenizers(pipeline: Any, name: str, base: Any = None) -> None:
    """Check each tokenizer of `pipeline` against its text encoder; where one has lost its settings, take the base's.

    Args:
        pipeline: the pipeline; tokenizers are replaced in place.
        name: what its model is called.
        base: the base's pipeline; None if `pipeline` is the base itself.

    Raises:
        UserError: if words are missing, or the length of a prompt is not known.
    """
    for part, encoder in TOKENIZERS.items():
        tokenizer, network = _text_part(getattr(pipeline, part, None)), getattr(pipeline, encoder, None)
        if tokenizer is None or network is None:
            continue
        _check_words(tokenizer, network, part, name)
        places = getattr(network.config, "max_position_embeddings", None)
        length = tokenizer.model_max_length
        if hasattr(network.config.get_text_config(), "rope_parameters"):
            continue  # it has no table of places, and its pipeline says itself how long a prompt is
        if places is None or (type(length) is int and 1 < length <= places):
            continue
        trusted = _text_part(getattr(base, part, None))
        if trusted is None or trusted.get_vocab() != tokenizer.get_vocab() or _merges(trusted) != _merges(tokenizer):
            raise UserError("families.tokenizer_length", name=name, component=part, expected=places)
        setattr(pipeline, part, trusted)


def _text_part(given: Any) -> Any:
    """The tokenizer of a processor of texts and pictures, which FLUX.2 dev has; a tokenizer is its own."""
    return getattr(given, "tokenizer", given)


def _check_words(tokenizer: Any, network: Any, part: str, name: str) -> None:
    rows = network.get_input_embeddings().weight.shape[0]
    if not FEWEST * rows <= len(tokenizer) <= rows:
        raise UserError("families.vocabulary_words", name=name, component=part, given=len(tokenizer), expected=rows)
    merges = _merges(tokenizer)
    if merges is not None:
        known = set(tokenizer.get_vocab()) - set(tokenizer.get_added_vocab()) - set(tokenizer.all_special_tokens)
        joined = sum(len(word.removesuffix("</w>")) > 1 for word in known)
        if len(merges) < FEWEST * joined:
            raise UserError("families.merges_missing", name=name, component=part, given=len(merges), expected=joined)


def _merges(tokenizer: Any) -> list[Any] | None:
    """The rules by which a byte-pair encoding joins letters to words; None for other kinds."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    model = json.loads(backend.to_str())["model"] if backend is not None else {}
    return model.get("merges", []) if model.get("type") == "BPE" else None
