"""CGI-DM: was this picture used to train that LoRA or DreamBooth checkpoint?"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .config import PRESETS as PRESETS
    from .config import RecoveryConfig as RecoveryConfig
    from .config import RunConfig as RunConfig
    from .errors import UserError as UserError
    from .models import Codec as Codec
    from .models import EpsModel as EpsModel
    from .models import IdentityCodec as IdentityCodec
    from .models import ModelPair as ModelPair
    from .models import NetworkEpsModel as NetworkEpsModel
    from .objective import contrast as contrast
    from .partial import Partial as Partial
    from .partial import block_mask as block_mask
    from .partial import make_partial as make_partial
    from .recovery import RecoveryStep as RecoveryStep
    from .recovery import recover as recover
    from .schedule import Schedule as Schedule
else:  # the same names, imported when they are asked for: `python -m cgidm doctor` must answer where torch is missing
    from importlib import import_module

    NAMES = {
        "config": ("PRESETS", "RecoveryConfig", "RunConfig"),
        "errors": ("UserError",),
        "models": ("Codec", "EpsModel", "IdentityCodec", "ModelPair", "NetworkEpsModel"),
        "objective": ("contrast",),
        "partial": ("Partial", "block_mask", "make_partial"),
        "recovery": ("RecoveryStep", "recover"),
        "schedule": ("Schedule",),
    }

    def __getattr__(name):
        for module, names in NAMES.items():
            if name in names:
                return getattr(import_module(f".{module}", __name__), name)
        raise AttributeError(f"module {__name__} has no attribute {name}")


__version__ = "0.1.0"
