"""Load a model in one file, in the layout of Stability's code, as a pipeline of the base's class.

diffusers converts the file. The converted weights are then compared with the file by content: those of the UNet and of
each text encoder must match exactly, except for tensors of a text encoder that do not affect its features. A suspect's
autoencoder is not used: both models of a pair share the latent space of the base. A base's must match, too.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import diffusers
import torch
from accelerate import init_empty_weights
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from ..errors import UserError
from ..intake.components import UNUSED
from ..intake.layout import Checkpoint
from ..intake.remarks import PREDICTION_MARKERS, stated_prediction
from ..messages import Note, note
from .library_errors import check_configurations, explain_library_errors
from .weight_coverage import check_finite, explain_error

UNET = "model.diffusion_model."
TEXT = {  # prefixes of the weights; SD 1 and 2 have one text encoder, SDXL has two
    "text_encoder": ("cond_stage_model.", "conditioner.embedders.0."),
    "text_encoder_2": ("conditioner.embedders.1.",),
}
TEXTS = tuple(prefix for prefixes in TEXT.values() for prefix in prefixes)
# the scale of a weight that was rounded: ComfyUI's scaled fp8, its later names, and bitsandbytes' 4 and 8 bits
SCALES = ("scaled_fp8", ".scale_weight", ".weight_scale", ".comfy_quant", ".absmax", ".quant_map", ".SCB")
VAE = "first_stage_model."
LEFT_ASIDE = (VAE, "model_ema.")  # the autoencoder; running averages of the weights
TABLES = ("alphas", "betas", "sqrt_", "log_", "posterior_", "lvlb_", "logvar", "global_step", "scale_", "denoiser.")
# tensors of a text encoder that do not affect its features; only SDXL's second encoder uses its projection
NO_FEATURES = ("position_ids", "logit_scale", "attn_mask")
PROJECTION = ("text_projection", "text_projection.weight")
NAI = "cond_stage_model.transformer.embeddings."  # NovelAI's names: the text encoder without its `text_model.`
LAYER = re.compile(r"\.(?:resblocks|layers)\.(\d+)\.")


def load_single_file(checkpoint: Checkpoint, base: Any, folder: str, dtype: torch.dtype) -> Any:
    """Load the pipeline in `checkpoint`, with autoencoder, tokenizers and scheduler of `base`, which is in `folder`.

    Raises:
        UserError: if it does not fit the base's architecture, holds unknown tensors, or is incomplete.
    """
    path, kind = checkpoint.name, type(base)
    if not hasattr(base, "unet") or not hasattr(kind, "from_single_file"):
        raise UserError("families.base_without_single_files", name=path, given=kind.__name__)
    file = checkpoint.fetch()
    state = load_file(file)
    _check_names(state, path)
    _check_width(state, base, path)
    shared = ("vae", "tokenizer", "scheduler")
    if not any(k.startswith(TEXTS) for k in state):  # only a UNet was trained
        shared += ("text_encoder",)
    parts = {name: part for name, part in base.components.items() if name.startswith(shared)}
    if any(k.startswith(NAI) for k in state):
        encoder = base.text_encoder
        parts["text_encoder"] = _load_nai_encoder(state, type(encoder), encoder.config, path, dtype)
    spare = {name: None for name in ("safety_checker", "feature_extractor", "image_encoder") if name in base.components}
    try:
        pipeline = kind.from_single_file(
            str(file), config=folder, local_files_only=True, torch_dtype=dtype, **parts, **spare
        )
    except Exception as e:  # diffusers raises any exception over another layout
        cause = _explain_gap(state, base) if "meta tensor" in str(e) else explain_error(e)
        raise UserError("families.file_does_not_fit", name=path, cause=cause) from e
    _check_contents(pipeline, state, path)
    _check_finite(pipeline, path)
    return pipeline


def load_base_file(checkpoint: Checkpoint, lender: Checkpoint, dtype: torch.dtype) -> Any:
    """Load a base in one file, with the configuration, tokenizers and scheduler of `lender`, and weights of its own.

    Raises:
        UserError: if it is not of the lender's family, holds unknown tensors, or lacks a text encoder or autoencoder.
    """
    path, name = checkpoint.name, str((lender.config or {}).get("_class_name"))
    kind = getattr(diffusers, name, None)
    if not hasattr(kind, "from_single_file"):
        raise UserError("families.base_without_single_files", name=path, given=name[:80])
    state = load_file(checkpoint.fetch())
    _check_names(state, path)
    if stated_prediction(checkpoint) in ("edm", "edm v"):
        raise UserError("families.edm_noise", name=path)
    for part, prefixes in {**TEXT, "vae": (VAE,)}.items():
        if part in lender.components and not any(k.startswith(prefixes) for k in state):
            raise UserError("families.base_file_incomplete", name=path, component=part, lender=lender.name)
    folder = lender.listing.fetch(lender.extras) / lender.root
    check_configurations(folder, lender, sorted(lender.components))
    with explain_library_errors("base", path):
        parts: dict[str, Any] = dict.fromkeys(UNUSED & (lender.config or {}).keys())
        if any(k.startswith(NAI) for k in state):
            config = CLIPTextConfig.from_pretrained(folder / "text_encoder", local_files_only=True)
            parts["text_encoder"] = _load_nai_encoder(state, CLIPTextModel, config, path, dtype)
        pipeline: Any = kind.from_single_file(  # type: ignore[union-attr]
            str(checkpoint.fetch()), config=str(folder), local_files_only=True, torch_dtype=dtype, **parts
        )
    _check_contents(pipeline, state, path)
    held = [x for k, v in state.items() if k.startswith(VAE) for x in _vae_forms(k, v)]
    _check_counts(held, pipeline.vae.state_dict().values(), pipeline.vae.dtype, f"{path}, vae")
    _check_finite(pipeline, path)
    if stated_prediction(checkpoint) == "v":
        changes = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": "ztsnr" in state}
        pipeline.scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config, **changes)
    return pipeline


def _check_names(state: dict[str, Tensor], path: str) -> None:
    """See that every tensor is of a known use, and that no weight has to be multiplied by a scale beside it."""
    if scaled := [k for k in state if k.endswith(SCALES)]:
        raise UserError("families.scaled_weights", name=path, count=len(scaled), first=f"{scaled[0]:.120}")
    known = (UNET, *TEXTS, *LEFT_ASIDE, *TABLES)
    unknown = [k for k in state if not k.startswith(known) and k not in PREDICTION_MARKERS]
    if unknown:
        first = f"{unknown[0]:.120}"
        raise UserError("families.unknown_tensors", name=path, count=len(unknown), total=len(state), first=first)


def _check_finite(pipeline: Any, path: str) -> None:
    for name, part in pipeline.components.items():
        if isinstance(part, nn.Module):
            check_finite(part, f"{path}, {name}")


def _vae_forms(key: str, weight: Tensor) -> Iterable[Tensor]:
    """Convert as diffusers does: the attention of an autoencoder was made of 1x1 convolutions."""
    return (weight[..., 0, 0],) if ".attn_1." in key and weight.ndim == 4 else (weight,)


def _load_nai_encoder(state: dict[str, Tensor], kind: Any, config: Any, path: str, dtype: torch.dtype) -> Any:
    """Load a text encoder under NovelAI's names, which diffusers does not know, with the base's class and settings."""
    own = {k.removeprefix("cond_stage_model.transformer."): v for k, v in state.items() if k.startswith(TEXTS)}
    with init_empty_weights(include_buffers=False):
        encoder = kind(config)
    wanted = {k.removeprefix("text_model."): k for k in encoder.state_dict()}
    if lost := sorted(wanted.keys() - own.keys()):
        cause = note("families.weights_missing", count=len(lost), first=f"{lost[0]:.120}")
        raise UserError("families.file_does_not_fit", name=path, cause=cause)
    with explain_library_errors("fine-tuned", path):
        encoder.load_state_dict({k: own[short].to(dtype) for short, k in wanted.items()}, assign=True)
    return encoder


def _check_width(state: dict[str, Tensor], base: Any, path: str) -> None:
    """Check the width of the text features first: conversion would fail on it with an obscure error."""
    widths = Counter(v.shape[1] for k, v in state.items() if k.startswith(UNET) and k.endswith("attn2.to_k.weight"))
    expected = base.unet.config.cross_attention_dim
    if widths and (width := widths.most_common(1)[0][0]) != expected:
        raise UserError("families.text_width", name=path, given=width, expected=f"{expected}")


def _explain_gap(state: dict[str, Tensor], base: Any) -> Note:
    """Explain why conversion left a UNet weight empty; torch's own message does not."""
    held, expected = sum(k.startswith(UNET) for k in state), len(base.unet.state_dict())
    if held < expected:
        return note("families.unet_incomplete", count=expected - held, total=expected)
    return note("families.unet_names", count=held)


def _check_contents(pipeline: Any, state: dict[str, Tensor], path: str) -> None:
    """Compare the weights in use with those of the file by content, network by network."""
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
            raise UserError("families.component_not_in_base", name=path, component=name)


def _check_counts(held: Iterable[Tensor], used: Iterable[Tensor], dtype: torch.dtype, where: str) -> None:
    given, taken = Counter(_digests(held, dtype)), Counter(_digests(used, dtype))
    if given != taken:
        unused, foreign = (given - taken).total(), (taken - given).total()
        raise UserError("families.contents_differ", name=where, unused=unused, foreign=foreign)


def _without_use(key: str, part: Any) -> bool:
    """Whether a text encoder's tensor does not affect its features.

    SD 2 uses the last layer but one, so its file has one layer more than diffusers' text encoder.
    """
    if key.endswith(PROJECTION):
        return not hasattr(part, "text_projection")
    layer = LAYER.search(key)
    return key.endswith(NO_FEATURES) or (layer is not None and int(layer[1]) >= part.config.num_hidden_layers)


def _forms(key: str, weight: Tensor) -> Iterable[Tensor]:
    """Convert as diffusers does: open_clip joins query, key and value, and transposes its projection."""
    if key.endswith((".in_proj_weight", ".in_proj_bias")) and len(weight) % 3 == 0:
        return weight.chunk(3)
    return (weight.T,) if key.endswith(".model.text_projection") else (weight,)


def _digests(tensors: Iterable[Tensor], dtype: torch.dtype) -> Iterator[bytes]:
    for x in tensors:
        if x.is_meta:  # conversion left this weight empty
            yield b""
            continue
        flat = x.to(dtype).contiguous().flatten().view(torch.uint8).numpy()
        yield hashlib.sha256(str(tuple(x.shape)).encode() + flat.tobytes()).digest()
