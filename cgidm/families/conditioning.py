"""Conditioning a pipeline's network on a prompt, whatever its family.

To add a family, write its function in a file of its own in `kinds/`, and enter the pipeline's class name in `FAMILIES`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from ..errors import UserError
from .kinds.flux import flux
from .kinds.network import ConditionedNetwork as ConditionedNetwork
from .kinds.network import combine_conditions as combine_conditions
from .kinds.network import tell_frame as tell_frame
from .kinds.network import tell_guidance as tell_guidance
from .kinds.parts import text_encoders as text_encoders
from .kinds.pixel_ddpm import pixel_ddpm
from .kinds.sd3 import stable_diffusion_3
from .kinds.sdxl import stable_diffusion_xl
from .kinds.stable_diffusion import stable_diffusion

FAMILIES: dict[str, Callable[[Any, str], ConditionedNetwork]] = {
    "StableDiffusionPipeline": stable_diffusion,
    "AltDiffusionPipeline": stable_diffusion,
    "StableDiffusionXLPipeline": stable_diffusion_xl,
    "DDPMPipeline": pixel_ddpm,
    "StableDiffusion3Pipeline": stable_diffusion_3,
    "FluxPipeline": flux,
}


def condition_on_prompts(pipeline: Any, prompts: Sequence[str]) -> ConditionedNetwork:
    """Encode each prompt and condition the pipeline's network on all of them; see `ConditionedNetwork.predict`.

    Args:
        pipeline: of a known family.
        prompts: one or more.

    Raises:
        UserError: if the pipeline's class belongs to no known family.
    """
    first, *others = (condition_on_prompt(pipeline, prompt) for prompt in prompts)
    if not others:
        return first
    conditions = zip(*(model.conditions for model in (first, *others)), strict=True)
    return replace(first, conditions=tuple(torch.cat(each) for each in conditions), prompts=len(prompts))


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
