"""AltDiffusion (Chen et al. 2022, Ye et al. 2023): Stable Diffusion with a multilingual text encoder.

Its text encoder is a class of diffusers. model_index.json names it by a library that diffusers no longer knows
(`alt_diffusion`) or cannot load from (`diffusers`). So its components are loaded one by one.
"""

import importlib.util
import json
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.pipelines.deprecated.alt_diffusion import AltDiffusionPipeline, RobertaSeriesModelWithTransformation
from transformers import XLMRobertaTokenizer

from ...errors import UserError

NETWORKS = {
    "unet": UNet2DConditionModel,
    "vae": AutoencoderKL,
    "text_encoder": RobertaSeriesModelWithTransformation,
}
SCHEDULERS = (
    "PNDMScheduler",
    "DDIMScheduler",
    "DDPMScheduler",
    "DPMSolverMultistepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "LMSDiscreteScheduler",
    "UniPCMultistepScheduler",
)
ACCEPTED = {  # component -> names of classes, whatever library model_index.json gives them
    **{name: (network.__name__,) for name, network in NETWORKS.items()},
    "tokenizer": ("XLMRobertaTokenizer", "XLMRobertaTokenizerFast"),
    "scheduler": SCHEDULERS,
}
SENTENCEPIECE = "sentencepiece.bpe.model"


def load_alt_diffusion(
    folder: Path, dtype: torch.dtype, variant: str | None = None, **components: Any
) -> AltDiffusionPipeline:
    """Load the pipeline in `folder`, which has the diffusers layout.

    The caller checks that every component is complete.

    Args:
        folder: the model's folder.
        dtype: the precision of the networks.
        variant: diffusers' name of another precision (fp16); components without files of it are loaded plainly.
        **components: components to use instead of loading them.

    Raises:
        UserError: if a component is missing, or has another class.
    """
    classes = _classes(folder, [name for name in ACCEPTED if name not in components])
    for name in (n for n in NETWORKS if n in classes):
        components[name] = _network(folder / name, NETWORKS[name], dtype, variant)
    if "tokenizer" in classes:
        components["tokenizer"] = _tokenizer(folder / "tokenizer", components["text_encoder"].config.vocab_size)
    if "scheduler" in classes:
        scheduler = getattr(diffusers, classes["scheduler"])
        components["scheduler"] = scheduler.from_pretrained(folder / "scheduler", local_files_only=True)
    unused = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    return AltDiffusionPipeline(**unused, **{k: v for k, v in components.items() if k not in unused})


def _classes(folder: Path, names: list[str]) -> dict[str, str]:
    """Read the classes of the components `names` from model_index.json; each must be one of `ACCEPTED`."""
    index = json.loads((folder / "model_index.json").read_bytes())
    found = {}
    for name in names:
        entry = index.get(name) if isinstance(index, dict) else None
        given = entry[1] if isinstance(entry, list) and len(entry) == 2 else None
        if given not in ACCEPTED[name]:
            raise UserError(
                "families.component_class",
                folder=str(folder),
                component=name,
                given=f"{given!r:.80}",
                accepted=list(ACCEPTED[name]),
            )
        found[name] = given
    return found


def without_use(part: Any) -> tuple[str, ...]:
    """List name prefixes of weights that a text encoder's class allocates but its features do not use."""
    if not isinstance(part, RobertaSeriesModelWithTransformation):
        return ()
    return ("roberta.pooler.", "transformation.") if part.has_pre_transformation else ("roberta.pooler.",)


def _network(folder: Path, network: Any, dtype: torch.dtype, variant: str | None) -> Any:
    held = variant is not None and any(folder.glob(f"*.{variant}[.-]*safetensors"))
    options = {"use_safetensors": True, "local_files_only": True}
    return network.from_pretrained(folder, dtype=dtype, variant=variant if held else None, **options)


def _tokenizer(folder: Path, words: int) -> XLMRobertaTokenizer:
    """Load XLM-R's tokenizer. Without its files transformers silently makes an empty one, so words are counted."""
    unread = (folder / SENTENCEPIECE).exists() and not (folder / "tokenizer.json").exists()
    if unread and not (_installed("sentencepiece") and _installed("google.protobuf")):
        raise UserError("families.sentencepiece_missing", folder=str(folder), file=SENTENCEPIECE)
    tokenizer = XLMRobertaTokenizer.from_pretrained(folder, local_files_only=True)
    if len(tokenizer) != words:
        raise UserError(
            "families.vocabulary_size", folder=str(folder), given=len(tokenizer), expected=words, file=SENTENCEPIECE
        )
    return tokenizer


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # the parent package is missing too
        return False
