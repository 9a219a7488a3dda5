"""The grammar of textual-inversion files: which vectors belong to which text encoder, and the word that calls them.

Four dialects: diffusers (one tensor, named as its word), A1111 (`emb_params`), and the pairs for SDXL's two encoders
(`clip_l`, `clip_g`; `text_encoders_0`, `text_encoders_1`); the latter three are called by their file's name.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from ..errors import UserError
from .header import TensorInfo

POSITIONS = {"clip_l": 0, "clip_g": 1, "text_encoders_0": 0, "text_encoders_1": 1, "emb_params": 0}
ENCODERS = ("text_encoder", "text_encoder_2")
BUNDLE = "bundle_emb."  # OneTrainer's textual inversions in the file of a LoRA
BUNDLED = re.compile(r"bundle_emb\.(.+)\.(clip_l|clip_g|string_to_param\.\*)")
BUNDLED_ENCODERS = {"clip_l": "text_encoder", "clip_g": "text_encoder_2", "string_to_param.*": "text_encoder"}
MAX_VECTORS = 77  # tokens of a prompt
MAX_WORD = 100  # characters


@dataclass(frozen=True)
class Embedding:
    """A parsed file of embeddings: the word, and the vectors that it stands for."""

    word: str  # what a prompt says to call them
    keys: Mapping[str, str]  # text encoder -> tensor
    vectors: int  # a word of several is as many tokens
    widths: Mapping[str, int]  # text encoder -> numbers in a vector


def is_embedding(tensors: Mapping[str, TensorInfo]) -> bool:
    """Tell whether a file looks like embeddings, sound or damaged."""
    return 0 < len(tensors) <= 2 and all(_vectors(t) for t in tensors.values())


def parse_embedding(tensors: Mapping[str, TensorInfo], name: str) -> Embedding:
    """Parse the name and shape of every tensor of a file of embeddings.

    Args:
        tensors: the file's header.
        name: the file's path; its last part may be the word.

    Raises:
        UserError: if it is incomplete, or holds more than one word.
    """
    word = PurePosixPath(name).name.removesuffix(".safetensors")
    if len(tensors) == 1 and (only := next(iter(tensors))) not in POSITIONS:
        keys, word = {"text_encoder": only}, only
    elif unknown := sorted(tensors.keys() - POSITIONS.keys()):
        raise UserError("intake.embedding_unknown_encoder", file=name, tensor=unknown[0][:80])
    else:
        keys = {ENCODERS[POSITIONS[k]]: k for k in tensors}
    if len(keys) != len(tensors) or "text_encoder" not in keys:
        raise UserError("intake.embedding_one_encoder", file=name, tensors=[k[:80] for k in tensors])
    if list(tensors) in (["clip_l"], ["text_encoders_0"]):
        raise UserError("intake.embedding_second_missing", file=name)
    counts = {_vectors(tensors[k]) for k in keys.values()}
    if len(counts) > 1:
        raise UserError("intake.embedding_counts", file=name, counts=sorted(counts))
    if not word.strip() or len(word) > MAX_WORD or not word.isprintable():
        raise UserError("intake.embedding_word", file=name, word=word[:120], longest=MAX_WORD)
    return Embedding(word, keys, counts.pop(), {e: tensors[k].shape[-1] for e, k in keys.items()})


def parse_bundle(tensors: Mapping[str, TensorInfo], name: str) -> tuple[Embedding, ...]:
    """Parse the textual inversions that OneTrainer puts into a LoRA's file: `bundle_emb.WORD.ENCODER`.

    Args:
        tensors: the tensors of that prefix, of a file's header.
        name: what the file is called, for errors.

    Raises:
        UserError: if one is for an encoder that cannot be taught a word, or does not fit the others of its word.
    """
    words: dict[str, dict[str, str]] = {}
    for key in tensors:
        match = BUNDLED.fullmatch(key)
        if match is None:
            raise UserError("intake.bundle_part", file=name, tensor=key[:160])
        words.setdefault(match[1], {})[BUNDLED_ENCODERS[match[2]]] = key
    found = []
    for word, keys in sorted(words.items()):
        counts = {_vectors(tensors[k]) for k in keys.values()}
        if len(counts) > 1 or 0 in counts:
            raise UserError("intake.embedding_counts", file=name, counts=sorted(counts))
        if not word.strip() or len(word) > MAX_WORD or not word.isprintable():
            raise UserError("intake.embedding_word", file=name, word=word[:120], longest=MAX_WORD)
        found.append(Embedding(word, keys, counts.pop(), {e: tensors[k].shape[-1] for e, k in keys.items()}))
    return tuple(found)


def _vectors(tensor: TensorInfo) -> int:
    """The number of vectors; 0 if the tensor holds none."""
    shape = tensor.shape
    rows = 1 if len(shape) == 1 else shape[0] if len(shape) == 2 else 0
    return rows if rows <= MAX_VECTORS and shape and shape[-1] > 1 else 0
