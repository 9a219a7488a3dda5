"""Names of modules beside diffusers' own, one table a family: what families' own code and trainers call them."""

from collections.abc import Mapping

from .flux import CHROMA, FLUX
from .flux2 import FLUX_2
from .krea2 import KREA_2
from .lumina2 import LUMINA_2
from .qwen_image import QWEN_IMAGE
from .rename import Rename
from .sd3 import SD_3
from .z_image import Z_IMAGE

RENAMES: Mapping[str, tuple[Rename, ...]] = {  # diffusers' class -> its table
    "ChromaTransformer2DModel": CHROMA,
    "Flux2Transformer2DModel": FLUX_2,
    "FluxTransformer2DModel": FLUX,
    "Krea2Transformer2DModel": KREA_2,
    "Lumina2Transformer2DModel": LUMINA_2,
    "QwenImageTransformer2DModel": QWEN_IMAGE,
    "SD3Transformer2DModel": SD_3,
    "ZImageTransformer2DModel": Z_IMAGE,
}

__all__ = ["RENAMES", "Rename"]
