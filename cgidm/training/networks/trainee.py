"""A pipeline in training: its network, the text encoders that can be trained with it, how both are asked.

A network is asked as a verdict asks it, by its family's own function. So whatever can be judged can be trained, but for
models without a text.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler
from diffusers.pipelines.deprecated.alt_diffusion import RobertaSeriesModelWithTransformation
from jaxtyping import Int
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from ...errors import UserError
from ...families.codec import VaeCodec
from ...families.conditioning import FAMILIES, ConditionedNetwork, condition_on_prompt
from ...families.kinds.network import join_prompts
from ...families.pipelines import load_pipeline
from ...intake.layout import open_checkpoint

# what trainers offer to train with a network; larger encoders are language models that stay as they are
TRAINABLE = (CLIPTextModel, CLIPTextModelWithProjection, RobertaSeriesModelWithTransformation)


class Trainee:
    """A pipeline in training; nothing of it is trained until it is asked for.

    Args:
        pipe: a pipeline of a family that is judged.

    Raises:
        UserError: if the family's networks read no text.
    """

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe
        self.plain: ConditionedNetwork = condition_on_prompt(pipe, "")
        if not isinstance(self.plain.codec, VaeCodec):
            raise UserError("training.no_text", given=type(pipe).__name__)
        self.codec: VaeCodec = self.plain.codec
        self.network: Any = self.plain.network
        self.name = next(name for name, part in pipe.components.items() if part is self.network)
        # the noise of trainers, whichever scheduler the pipeline draws pictures with; None: rectified flow
        self.noise: Any = None if self.is_flow else DDPMScheduler.from_config(pipe.scheduler.config)
        self._encoded: dict[str, ConditionedNetwork] = {}
        for part in pipe.components.values():
            if isinstance(part, nn.Module):
                part.eval().requires_grad_(False)

    @property
    def is_flow(self) -> bool:
        """Whether the network is of rectified flow."""
        return self.plain.prediction == "flow"

    @property
    def timesteps(self) -> int:
        """The number of the schedule's timesteps; in rectified flow the network gets it as the time of noise alone."""
        return int(self.pipe.scheduler.config.num_train_timesteps)

    @property
    def encoders(self) -> dict[str, Any]:
        """The text encoders that a training may change, by the name of the component."""
        return {name: part for name, part in self.pipe.components.items() if isinstance(part, TRAINABLE)}

    def condition(self, prompts: str | Sequence[str], sizes: Int[Tensor, "b 6"] | None = None) -> ConditionedNetwork:
        """Encode prompts, with a gradient if a text encoder is trained, and condition the network on them.

        Args:
            prompts: one for all rows, or one for each.
            sizes: of each row what a trainer of SDXL tells the network of the picture's frame; None: a whole square.
        """
        model = self._encode(prompts)
        if sizes is None or model.sizes_at is None:
            return model
        conditions = list(model.conditions)
        conditions[model.sizes_at] = sizes.to(conditions[model.sizes_at])
        return replace(model, conditions=tuple(conditions))

    def _encode(self, prompts: str | Sequence[str]) -> ConditionedNetwork:
        family: Any = FAMILIES[type(self.pipe).__name__]
        trained = any(p.requires_grad for part in self.encoders.values() for p in part.parameters())
        if isinstance(prompts, str) and not trained:
            if prompts not in self._encoded:
                with torch.no_grad():
                    self._encoded[prompts] = family(self.pipe, prompts)
            return self._encoded[prompts]
        with torch.set_grad_enabled(trained):
            if isinstance(prompts, str) or not self.is_flow:
                return family(self.pipe, prompts if isinstance(prompts, str) else list(prompts))
            # these families' prompts have unequal lengths, and each fills them up in its own way
            return replace(join_prompts([family(self.pipe, prompt) for prompt in prompts]), prompts=1)


def open_trainee(base: Path, device: torch.device) -> Trainee:
    """Load a base pipeline to train, in single precision.

    Args:
        base: folder of the pipeline, in diffusers' layout.
        device: where it is trained.

    Raises:
        UserError: if it cannot be loaded completely, or its family is not trained.
    """
    pipe = load_pipeline(open_checkpoint(str(base), "base model"), "base", torch.float32)
    return Trainee(pipe.to(device))
