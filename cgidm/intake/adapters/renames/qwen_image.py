"""Qwen-Image: its own names are diffusers', https://github.com/QwenLM/Qwen-Image; diffusers may fuse projections."""

from .rename import FUSED, inside

QWEN_IMAGE = inside("transformer_blocks.{}", "transformer_blocks.{}", FUSED)
