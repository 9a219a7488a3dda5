"""A whole model in one file, in the layout of Stability's own code, built as a pipeline of the base's kind.

diffusers converts; what it converted is then counted by content: every weight that is used must be one of the file's,
and every weight of the file's UNet must be in use. The file's autoencoder is left aside: both models of a pair share
the latent space of the base.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..errors import UserError
from ..intake.layout import Checkpoint

UNET = "model.diffusion_model."
TEXT = ("cond_stage_model.", "conditioner.embedders.")
LEFT_ASIDE = ("first_stage_model.", "model_ema.")  # the autoencoder; running averages beside the weights
# the sampler's tables, and parts of a text encoder that make no features
NOT_WEIGHTS = ("position_ids", "logit_scale", "text_projection")
TABLES = ("alphas", "betas", "sqrt_", "log_", "posterior_", "lvlb_", "logvar", "global_step", "scale_", "denoiser.")


def load_single_file(checkpoint: Checkpoint, base: Any, folder: str, dtype: torch.dtype) -> Any:
    """The pipeline in `checkpoint`, with the autoencoder, tokenizers and scheduler of `base`, which lies in `folder`.

    Raises:
        UserError: if it does not fit the base's architecture, holds tensors of no known use, or did not arrive whole.
    """
    path, file = checkpoint.name, checkpoint.fetch()
    state = load_file(file)
    prefixes = (UNET, *TEXT, *LEFT_ASIDE)
    unknown = [k for k in state if not k.startswith((*prefixes, *TABLES))]
    if unknown:
        raise UserError(
            f"{path} has {len(unknown)} of {len(state)} tensors of no known use (first: {unknown[0]:.120}); "
            "accepted: a checkpoint with model.diffusion_model and text encoder"
        )
    shared = ("vae", "tokenizer", "scheduler")
    if not any(k.startswith(TEXT) for k in state):  # only a UNet was trained
        shared += ("text_encoder",)
    parts = {name: part for name, part in base.components.items() if name.startswith(shared)}
    spare = {name: None for name in ("safety_checker", "feature_extractor", "image_encoder") if name in base.components}
    try:
        pipeline = type(base).from_single_file(
            str(file), config=folder, local_files_only=True, torch_dtype=dtype, **parts, **spare
        )
    except (OSError, ValueError, RuntimeError, KeyError, IndexError) as error:
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{path} does not fit the base ({first_line:.200}); accepted: a model of its kind") from error
    _check_whole(pipeline, state, path)
    return pipeline


def _check_whole(pipeline: Any, state: dict[str, Tensor], path: str) -> None:
    dtype = pipeline.unet.dtype
    given = Counter(_digests((v for k, v in state.items() if k.startswith(UNET)), dtype))
    used = Counter(_digests(pipeline.unet.state_dict().values(), dtype))
    if given != used:
        left, strange = sum((given - used).values()), sum((used - given).values())
        raise UserError(
            f"{path} has {left} UNet tensors that are not in use, and {strange} in use are not from it; "
            "accepted: a whole model of the base's architecture"
        )
    texts = [v for k, v in state.items() if k.startswith(TEXT)]
    given = set(_digests((form for v in texts for form in _forms(v)), dtype))
    for name in ("text_encoder", "text_encoder_2"):
        weights = getattr(pipeline, name).state_dict() if texts and hasattr(pipeline, name) else {}
        own = {k: v for k, v in weights.items() if not k.endswith(NOT_WEIGHTS)}
        strange = [k for k, digest in zip(own, _digests(own.values(), dtype), strict=True) if digest not in given]
        if strange:
            raise UserError(
                f"{path} lacks {len(strange)} tensors of the {name} (first: {strange[0]:.120}); "
                "accepted: a whole model of the base's architecture"
            )


def _forms(weight: Tensor) -> Iterator[Tensor]:
    """A tensor as conversion may use it: as it is, or the thirds of a joint query, key and value."""
    yield weight
    if weight.ndim in (1, 2) and len(weight) % 3 == 0:
        yield from weight.chunk(3)


def _digests(tensors: Iterable[Tensor], dtype: torch.dtype) -> Iterator[bytes]:
    for x in tensors:
        if x.is_meta:  # a place that conversion left empty
            yield b""
            continue
        flat = x.to(dtype).contiguous().flatten().view(torch.uint8).numpy()
        yield hashlib.sha256(str(tuple(x.shape)).encode() + flat.tobytes()).digest()
