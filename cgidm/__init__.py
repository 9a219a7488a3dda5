"""CGI-DM: was this picture used to train that LoRA or DreamBooth checkpoint?

The public API. Each name is imported when it is first used: `import cgidm` stays light, and `cgidm doctor` and `cgidm
verify` answer where torch is not installed.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .conductor import authenticate as authenticate
    from .errors import UserError as UserError
    from .evidence.bundle_writer import write_evidence as write_evidence
    from .evidence.record import ModelsRecord as ModelsRecord
    from .evidence.standalone.record_schema import record_schema as record_schema
    from .families import load_pair as load_pair
    from .intake.layout import open_checkpoint as open_checkpoint
    from .judging.banks.null_bank import open_bank as open_bank
    from .judging.result import PictureResult as PictureResult
    from .judging.result import Result as Result
    from .messages import Note as Note
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
    from .pictures.embedders import load_embedders as load_embedders
    from .pictures.folders import picture_files as picture_files
    from .pictures.images import Picture as Picture
    from .pictures.images import read_picture as read_picture
    from .resources import ShippedExample as ShippedExample
    from .resources import find_example as find_example
else:
    from importlib import import_module

    NAMES = {
        "conductor": ("authenticate",),
        "evidence.standalone.record_schema": ("record_schema",),
        "pictures.folders": ("picture_files",),
        "errors": ("UserError",),
        "evidence.bundle_writer": ("write_evidence",),
        "evidence.record": ("ModelsRecord",),
        "families": ("load_pair",),
        "intake.layout": ("open_checkpoint",),
        "judging.banks.null_bank": ("open_bank",),
        "judging.result": ("PictureResult", "Result"),
        "messages": ("Note",),
        "method.config": ("PRESETS", "RecoveryConfig", "RunConfig"),
        "method.models": ("Codec", "EpsModel", "IdentityCodec", "ModelPair", "NetworkEpsModel"),
        "method.objective": ("contrast",),
        "method.partial": ("Partial", "block_mask", "make_partial"),
        "method.recovery": ("RecoveryStep", "recover"),
        "method.schedule": ("Schedule",),
        "pictures.embedders": ("load_embedders",),
        "pictures.images": ("Picture", "read_picture"),
        "resources": ("ShippedExample", "find_example"),
    }

    def __getattr__(name):
        for module, names in NAMES.items():
            if name in names:
                found = getattr(import_module(f".{module}", __name__), name)
                globals()[name] = found
                return found
        raise AttributeError(f"module {__name__} has no attribute {name}")

    __all__ = sorted({name for names in NAMES.values() for name in names})

    def __dir__():
        return [*__all__, *(name for name in globals() if name.startswith("__"))]


__version__ = "0.2.0"
