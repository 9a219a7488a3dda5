"""Conditioning a pipeline's network on a prompt, whatever its family.

To add a family, write its function in a file of its own in `kinds/`, and enter the pipeline's class name in `FAMILIES`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from ..errors import UserError
from .kinds.chroma import chroma
from .kinds.flux import flux
from .kinds.flux_2 import flux_2
from .kinds.krea_2 import krea_2
from .kinds.lumina_2 import lumina_2
from .kinds.network import ConditionedNetwork as ConditionedNetwork
from .kinds.network import combine_conditions as combine_conditions
from .kinds.network import join_prompts
from .kinds.network import tell_frame as tell_frame
from .kinds.network import tell_guidance as tell_guidance
from .kinds.parts import text_encoders as text_encoders
from .kinds.pixel_ddpm import pixel_ddpm
from .kinds.qwen_image import qwen_image
from .kinds.sd3 import stable_diffusion_3
from .kinds.sdxl import stable_diffusion_xl
from .kinds.stable_diffusion import stable_diffusion
from .kinds.z_image import z_image

FAMILIES: dict[str, Callable[[Any, str], ConditionedNetwork]] = {
    "StableDiffusionPipeline": stable_diffusion,
    "AltDiffusionPipeline": stable_diffusion,
    "StableDiffusionXLPipeline": stable_diffusion_xl,
    "DDPMPipeline": pixel_ddpm,
    "StableDiffusion3Pipeline": stable_diffusion_3,
    "FluxPipeline": flux,
    "ZImagePipeline": z_image,
    "QwenImagePipeline": qwen_image,
    "Flux2Pipeline": flux_2,
    "Flux2KleinPipeline": flux_2,
    "ChromaPipeline": chroma,
    "Krea2Pipeline": krea_2,
    "Lumina2Pipeline": lumina_2,
}


def condition_on_prompts(pipeline: Any, prompts: Sequence[str]) -> ConditionedNetwork:
    """Encode each prompt and condition the pipeline's network on all of them; see `ConditionedNetwork.predict`.

    Args:
        pipeline: of a known family.
        prompts: one or more.

    Raises:
        UserError: if the pipeline's class belongs to no known family.
    """
    return join_prompts([condition_on_prompt(pipeline, prompt) for prompt in prompts])


def condition_on_prompt(pipeline: Any, prompt: str) -> ConditionedNetwork:
    """Encode `prompt` and condition the pipeline's network on it.

    Raises:
        UserError: if the pipeline's class belongs to no known family.
    """
    name = type(pipeline).__name__
    if name not in FAMILIES:
        raise UserError("families.unknown_pipeline", given=name, accepted=list(FAMILIES))
    with torch.no_grad():
        return FAMILIES[name](pipeline, prompt)
