"""The grammar of adapter files: names, shapes, scale and family of what a file changes, from its header alone."""

from .alpha import AlphaSource, find_alpha_source, find_lost_alpha, header_settings
from .i2l import find_i2l_model
from .names import Component, Dialect
from .parse import Adapter, is_adapter, join_adapters, parse_adapter
from .renames import RENAMES, Rename
from .shapes import Kind, Shape, change_shape, find_rank, kind_of, magnitude_axis

__all__ = [
    "RENAMES",
    "Adapter",
    "AlphaSource",
    "Component",
    "Dialect",
    "Kind",
    "Rename",
    "Shape",
    "change_shape",
    "find_alpha_source",
    "find_i2l_model",
    "find_lost_alpha",
    "find_rank",
    "header_settings",
    "is_adapter",
    "join_adapters",
    "kind_of",
    "magnitude_axis",
    "parse_adapter",
]
