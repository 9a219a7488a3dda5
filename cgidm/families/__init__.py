"""The model families: the only place that imports diffusers, transformers or peft."""

from .load import load_pair as load_pair
