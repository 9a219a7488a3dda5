"""A whole model in one file, in the layout of Stability's own code, built as a pipeline of the base's kind.

diffusers converts; what it converted is then counted by content: the weights of the UNet and of each text encoder must
be those of the file, no more and no fewer, apart from what a text encoder has in the file and makes no features with.
The file's autoencoder is left aside: both models of a pair share the latent space of the base.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from diffusers.loaders.single_file_utils import SingleFileComponentError
from safetensors.torch import load_file
from torch import Tensor

from ..errors import UserError
from ..intake.layout import Checkpoint
from .weight_coverage import explain_error

UNET = "model.diffusion_model."
TEXT = {  # whose weights lie behind which prefixes: SD 1 and 2 have one text encoder, SDXL has two
    "text_encoder": ("cond_stage_model.", "conditioner.embedders.0."),
    "text_encoder_2": ("conditioner.embedders.1.",),
}
TEXTS = tuple(prefix for prefixes in TEXT.values() for prefix in prefixes)
LEFT_ASIDE = ("first_stage_model.", "model_ema.")  # the autoencoder; running averages beside the weights
TABLES = ("alphas", "betas", "sqrt_", "log_", "posterior_", "lvlb_", "logvar", "global_step", "scale_", "denoiser.")
# parts of a text encoder that make no features; only SDXL's second one uses its projection
NO_FEATURES = ("position_ids", "logit_scale", "attn_mask")
PROJECTION = ("text_projection", "text_projection.weight")
LAYER = re.compile(r"\.(?:resblocks|layers)\.(\d+)\.")


def load_single_file(checkpoint: Checkpoint, base: Any, folder: str, dtype: torch.dtype) -> Any:
    """The pipeline in `checkpoint`, with the autoencoder, tokenizers and scheduler of `base`, which lies in `folder`.

    Raises:
        UserError: if it does not fit the base's architecture, holds tensors of no known use, or did not arrive whole.
    """
    path, kind = checkpoint.name, type(base)
    if not hasattr(base, "unet") or not hasattr(kind, "from_single_file"):
        raise UserError(f"{path} is one file and its base a {kind.__name__}; accepted: a base of the SD or SDXL family")
    file = checkpoint.fetch()
    state = load_file(file)
    unknown = [k for k in state if not k.startswith((UNET, *TEXTS, *LEFT_ASIDE, *TABLES))]
    if unknown:
        raise UserError(
            f"{path} has {len(unknown)} of {len(state)} tensors of no known use (first: {unknown[0]:.120}); "
            "accepted: a checkpoint with model.diffusion_model and text encoder"
        )
    _check_width(state, base, path)
    shared = ("vae", "tokenizer", "scheduler")
    if not any(k.startswith(TEXTS) for k in state):  # only a UNet was trained
        shared += ("text_encoder",)
    parts = {name: part for name, part in base.components.items() if name.startswith(shared)}
    spare = {name: None for name in ("safety_checker", "feature_extractor", "image_encoder") if name in base.components}
    try:
        pipeline = kind.from_single_file(
            str(file), config=folder, local_files_only=True, torch_dtype=dtype, **parts, **spare
        )
    except (OSError, ValueError, RuntimeError, LookupError, AttributeError, ImportError, SingleFileComponentError) as e:
        said = _explain_gap(state, base) if "meta tensor" in str(e) else explain_error(e)
        raise UserError(f"{path} does not fit the base ({said}); accepted: a model of its kind") from e
    _check_whole(pipeline, state, path)
    return pipeline


def _check_width(state: dict[str, Tensor], base: Any, path: str) -> None:
    """Another family reads text features of another width; said before conversion stumbles over one of its tensors."""
    widths = Counter(v.shape[1] for k, v in state.items() if k.startswith(UNET) and k.endswith("attn2.to_k.weight"))
    wanted = base.unet.config.cross_attention_dim
    if widths and (width := widths.most_common(1)[0][0]) != wanted:
        raise UserError(
            f"{path} reads text features {width} wide and its base {wanted}, so it was made from another base; "
            "accepted: a model of the base's kind"
        )


def _explain_gap(state: dict[str, Tensor], base: Any) -> str:
    """Why conversion left a place of the UNet empty, which torch says in words of its own."""
    held, wanted = sum(k.startswith(UNET) for k in state), len(base.unet.state_dict())
    if held < wanted:
        return f"it lacks {wanted - held} of {wanted} UNet tensors"
    return f"its {held} UNet tensors have other names than are known"


def _check_whole(pipeline: Any, state: dict[str, Tensor], path: str) -> None:
    """Count by content what is in use against what the file holds, network by network."""
    unet = [v for k, v in state.items() if k.startswith(UNET)]
    _check_counts(unet, pipeline.unet.state_dict().values(), pipeline.unet.dtype, f"{path}, UNet")
    if not any(k.startswith(TEXTS) for k in state):
        return
    for name, prefixes in TEXT.items():
        own = {k: v for k, v in state.items() if k.startswith(prefixes)}
        part = getattr(pipeline, name, None)
        if part is not None:
            used = {k: v for k, v in part.state_dict().items() if not k.endswith(NO_FEATURES)}
            held = [form for k, v in own.items() if not _without_use(k, part) for form in _forms(k, v)]
            _check_counts(held, used.values(), part.dtype, f"{path}, {name}")
        elif own:
            raise UserError(f"{path} has a {name}, which the base has not; accepted: a model of the base's kind")


def _check_counts(held: Iterable[Tensor], used: Iterable[Tensor], dtype: torch.dtype, where: str) -> None:
    given, taken = Counter(_digests(held, dtype)), Counter(_digests(used, dtype))
    if given != taken:
        left, strange = (given - taken).total(), (taken - given).total()
        raise UserError(
            f"{where}: {left} of its tensors are not in use, and {strange} in use are not from it; "
            "accepted: a whole model of the base's architecture"
        )


def _without_use(key: str, part: Any) -> bool:
    """Whether a text encoder's tensor makes no features.

    SD 2 reads the last layer but one, so its file has a layer more than diffusers' text encoder.
    """
    if key.endswith(PROJECTION):
        return not hasattr(part, "text_projection")
    layer = LAYER.search(key)
    return key.endswith(NO_FEATURES) or (layer is not None and int(layer[1]) >= part.config.num_hidden_layers)


def _forms(key: str, weight: Tensor) -> Iterable[Tensor]:
    """A text encoder's tensor as conversion uses it: open_clip joins query, key and value and turns its projection."""
    if key.endswith((".in_proj_weight", ".in_proj_bias")) and len(weight) % 3 == 0:
        return weight.chunk(3)
    return (weight.T,) if key.endswith(".model.text_projection") else (weight,)


def _digests(tensors: Iterable[Tensor], dtype: torch.dtype) -> Iterator[bytes]:
    for x in tensors:
        if x.is_meta:  # a place that conversion left empty
            yield b""
            continue
        flat = x.to(dtype).contiguous().flatten().view(torch.uint8).numpy()
        yield hashlib.sha256(str(tuple(x.shape)).encode() + flat.tobytes()).digest()
