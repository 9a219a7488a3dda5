"""CGI-DM: was this picture used to train that LoRA or DreamBooth checkpoint?"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .errors import UserError as UserError
    from .method.config import PRESETS as PRESETS
    from .method.config import RecoveryConfig as RecoveryConfig
    from .method.config import RunConfig as RunConfig
    from .method.models import Codec as Codec
    from .method.models import EpsModel as EpsModel
    from .method.models import IdentityCodec as IdentityCodec
    from .method.models import ModelPair as ModelPair
    from .method.models import NetworkEpsModel as NetworkEpsModel
    from .method.objective import contrast as contrast
    from .method.partial import Partial as Partial
    from .method.partial import block_mask as block_mask
    from .method.partial import make_partial as make_partial
    from .method.recovery import RecoveryStep as RecoveryStep
    from .method.recovery import recover as recover
    from .method.schedule import Schedule as Schedule
else:  # the same names, imported when they are asked for: `python -m cgidm doctor` must answer where torch is missing
    from importlib import import_module

    NAMES = {
        "method.config": ("PRESETS", "RecoveryConfig", "RunConfig"),
        "errors": ("UserError",),
        "method.models": ("Codec", "EpsModel", "IdentityCodec", "ModelPair", "NetworkEpsModel"),
        "method.objective": ("contrast",),
        "method.partial": ("Partial", "block_mask", "make_partial"),
        "method.recovery": ("RecoveryStep", "recover"),
        "method.schedule": ("Schedule",),
    }

    def __getattr__(name):
        for module, names in NAMES.items():
            if name in names:
                return getattr(import_module(f".{module}", __name__), name)
        raise AttributeError(f"module {__name__} has no attribute {name}")


__version__ = "0.1.0"
