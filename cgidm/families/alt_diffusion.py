"""AltDiffusion (Chen et al. 2022, Ye et al. 2023): Stable Diffusion that reads many languages.

Its text encoder is a class of diffusers' own, which a model_index.json names by a library that diffusers no longer
knows (`alt_diffusion`) or cannot load from (`diffusers`). So its components are loaded one by one.
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

from ..errors import UserError

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
    """The pipeline in `folder`, in the diffusers layout; what `components` holds is taken instead of loaded.

    `variant` is diffusers' word for another precision (fp16); a component without files of it is loaded plainly.

    Raises:
        UserError: if a component is missing, or of another class. Whether each is whole is for the caller to count.
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
    """The classes that model_index.json gives the components `names`, each of which must be one of `ACCEPTED`."""
    index = json.loads((folder / "model_index.json").read_bytes())
    found = {}
    for name in names:
        entry = index.get(name) if isinstance(index, dict) else None
        given = entry[1] if isinstance(entry, list) and len(entry) == 2 else None
        if given not in ACCEPTED[name]:
            raise UserError(f"{folder} names {given!r:.80} as its {name}; accepted: {', '.join(ACCEPTED[name])}")
        found[name] = given
    return found


def without_use(part: Any) -> tuple[str, ...]:
    """Beginnings of the weights that a text encoder's class makes room for and its features do not pass through."""
    if not isinstance(part, RobertaSeriesModelWithTransformation):
        return ()
    return ("roberta.pooler.", "transformation.") if part.has_pre_transformation else ("roberta.pooler.",)


def _network(folder: Path, network: Any, dtype: torch.dtype, variant: str | None) -> Any:
    held = variant is not None and any(folder.glob(f"*.{variant}[.-]*safetensors"))
    options = {"use_safetensors": True, "local_files_only": True}
    return network.from_pretrained(folder, dtype=dtype, variant=variant if held else None, **options)


def _tokenizer(folder: Path, words: int) -> XLMRobertaTokenizer:
    """XLM-R's. Without its files transformers makes one that knows no word, and says nothing: hence the count."""
    unread = (folder / SENTENCEPIECE).exists() and not (folder / "tokenizer.json").exists()
    if unread and not (_installed("sentencepiece") and _installed("google.protobuf")):
        raise UserError(
            f"{folder} holds its vocabulary as {SENTENCEPIECE}, which the packages sentencepiece and protobuf read, "
            "and one of them is not installed; accepted: install both, or a folder with tokenizer.json"
        )
    tokenizer = XLMRobertaTokenizer.from_pretrained(folder, local_files_only=True)
    if len(tokenizer) != words:
        raise UserError(
            f"{folder} knows {len(tokenizer):,} words, and its text encoder {words:,}; "
            f"accepted: the vocabulary of the text encoder, as tokenizer.json or {SENTENCEPIECE}"
        )
    return tokenizer


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # not even the package around it
        return False
