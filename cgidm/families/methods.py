"""Inject an adapter into a network: peft's layers, with the factors of the file.

A module's weight W becomes W + scale * change. The change is up @ down (LoRA; a core `mid` is folded into down),
(w1_a @ w1_b) * (w2_a @ w2_b) (LoHa), or the Kronecker product of w1 and w2 (LoKr). DoRA then rescales every output row
to the length that its magnitude states. LyCORIS 3.2 trains this way, and peft 0.21 applies it this way.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoHaConfig, LoKrConfig, LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import get_pattern_key
from torch import Tensor, nn

from ..errors import UserError
from ..intake.adapters import Method

NAME = "suspect"
NOTED = "lora_adapter_metadata"  # where diffusers writes peft's configuration into a file's header
PEFT_TYPES = {"LoRA": "LORA", "LoCon": "LORA", "DoRA": "LORA", "LoHa": "LOHA", "LoKr": "LOKR"}
# peft's settings that change what an adapter computes, unless they are empty
CHANGING = (
    *("lora_bias", "fan_in_fan_out", "modules_to_save", "layer_replication", "use_qalora", "alora_invocation_tokens"),
    *("arrow_config", "velora_config", "monteclora_config", "use_bdlora", "kasa_config", "target_parameters"),
    "trainable_token_indices",
)
# initialisations that leave the base's weights unchanged; others (PiSSA, OLoRA, ...) subtract theirs
INITS = (None, True, False, "gaussian", "eva", "orthogonal", "mica")


@dataclass(frozen=True, eq=False)
class Change:
    """The change that an adapter makes to one module.

    Attributes:
        factors: the factors, under peft's names.
        scale: what their product is multiplied by.
        rank: the rank.
    """

    factors: Mapping[str, Tensor]
    scale: float
    rank: int


def read_settings(
    name: str, method: Method, component: str, config: Mapping[str, Any] | None, metadata: Mapping[str, str]
) -> Mapping[str, Any]:
    """Read peft's configuration for one network, from adapter_config.json or the file's header; it may be empty.

    Raises:
        UserError: if it is damaged, contradicts the tensors, or requests a computation that is not supported.
    """
    settings = (_metadata(name, component, metadata) | _trainer_notes(metadata)) if config is None else config
    for key, wanted in (("peft_type", PEFT_TYPES[method]), ("use_dora", method == "DoRA")):
        if settings.get(key) not in (None, wanted):
            raise UserError(
                "families.setting_contradicts", name=name, setting=key, given=f"{settings[key]!r:.60}", method=method
            )
    odd = [key for key in CHANGING if settings.get(key)]
    if settings.get("init_lora_weights") not in INITS:
        odd.append("init_lora_weights")
    if odd:
        raise UserError("families.setting_unsupported", name=name, setting=odd[0], given=f"{settings[odd[0]]!r:.60}")
    for key in ("r", "lora_alpha", "alpha", "rank_pattern", "alpha_pattern"):
        if not _is_valid(key, settings.get(key)):
            raise UserError("families.setting_invalid", name=name, setting=key, given=f"{settings[key]!r:.60}")
    return settings


def find_scale(
    name: str, method: Method, settings: Mapping[str, Any], module: str, rank: int | None, alpha: Tensor | None
) -> float:
    """Find the scale, alpha / rank; alpha is from the file, else from peft's configuration, else the rank.

    A LoKr of two full factors has no rank. Its scale is 1 for any alpha of the file, as in LyCORIS. With peft's
    configuration it is what the configuration states.

    Raises:
        UserError: if the configuration states another rank than the tensors have, or the scale is unknown.
    """
    if alpha is not None:
        if rank is None and settings.get("use_rslora"):  # LyCORIS then trains with the root of a rank that it drops
            raise UserError("families.rs_lora_without_rank", name=name, module=f"{module:.120}")
        return float(alpha) / rank if rank else 1.0
    stated = _of_module(settings, module, "rank_pattern", "r") or rank
    if rank and stated != rank:
        raise UserError("families.rank_differs", name=name, module=f"{module:.120}", given=rank, stated=f"{stated}")
    value = _of_module(settings, module, "alpha_pattern", "alpha" if method in ("LoHa", "LoKr") else "lora_alpha")
    if stated is None and value is not None:
        raise UserError("families.alpha_without_rank", name=name, module=f"{module:.120}", given=f"{value!r:.60}")
    if stated is None or value is None:
        return 1.0
    return value / (math.sqrt(stated) if settings.get("use_rslora") else stated)


def fits(method: Method, change: tuple[int, ...], weight: tuple[int, ...]) -> bool:
    """Whether a change of this shape can be added to a weight of that shape; either may leave out 1x1 kernels."""
    flat = (weight[0], math.prod(weight[1:]))
    return _plain(change) == _plain(weight) or (method in ("LoHa", "LoKr") and change == flat)


def peft_factors(factors: Mapping[str, Tensor], target: nn.Module) -> dict[str, Tensor]:
    """Rename the factors of one module to peft's names, and reshape those of a LoRA for peft's layer for `target`.

    A core is folded into down. LoHa and LoKr are unchanged: peft reshapes their product to the weight's shape.
    """
    if "down" not in factors:
        return dict(factors)
    down, up = factors["down"], factors["up"]
    if "mid" in factors:
        down = torch.einsum("rskl,si->rikl", factors["mid"], down.flatten(1))
    convolution = isinstance(target, nn.Conv2d)
    if not convolution:
        down, up = down.flatten(1), up.flatten(1)
    elif down.ndim == 2:
        down, up = down[..., None, None], up[..., None, None]
    found = {"lora_A": down, "lora_B": up}
    if "magnitude" in factors:
        found["lora_magnitude_vector"] = factors["magnitude"].reshape((1, -1, 1, 1) if convolution else -1)
    return found


def inject(network: nn.Module, method: Method, changes: Mapping[str, Change]) -> None:
    """Wrap the modules named in `changes` with peft's layers, with these factors and scales."""
    ranks = {re.escape(module): change.rank for module, change in changes.items()}
    common = {"r": max(ranks.values()), "rank_pattern": ranks, "target_modules": "|".join(ranks)}
    if PEFT_TYPES[method] == "LORA":
        config = LoraConfig(**common, init_lora_weights=False, use_dora=method == "DoRA")
    else:
        config = (LoHaConfig if method == "LoHa" else LoKrConfig)(**common, init_weights=False)
    inject_adapter_in_model(config, network, NAME)
    layers = {n: m for n, m in network.named_modules() if isinstance(m, BaseTunerLayer)}
    assert layers.keys() == changes.keys(), "peft adapted other modules than those of the file"
    for module, change in changes.items():
        _fill(layers[module], change)


def _fill(layer: Any, change: Change) -> None:
    """Replace the factors that peft initialised by those of the file, and delete the others."""
    device = layer.get_base_layer().weight.device
    for part in layer.adapter_layer_names:
        held = getattr(layer, part)
        if NAME in held and part not in change.factors:
            del held[NAME]
    for part, factor in change.factors.items():
        held, parameter = getattr(layer, part), nn.Parameter(factor.to(device).contiguous())  # peft takes views
        if isinstance(held, nn.ModuleDict):
            held[NAME].weight = parameter
        else:
            held[NAME] = parameter
    layer.scaling[NAME] = change.scale


def _metadata(name: str, component: str, metadata: Mapping[str, str]) -> dict[str, Any]:
    """Read diffusers' metadata of one network: under its name if the file may hold several, else directly."""
    try:
        noted = json.loads(metadata.get(NOTED, "{}"))
    except (ValueError, RecursionError) as error:
        raise UserError("families.metadata_damaged", name=name, key=NOTED) from error
    if not isinstance(noted, dict):
        raise UserError("families.metadata_damaged", name=name, key=NOTED)
    start = f"{component}."
    own = {key.removeprefix(start): value for key, value in noted.items() if key.startswith(start)}
    return own or {key: value for key, value in noted.items() if "." not in key}


def _trainer_notes(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Read from kohya's metadata whether the scale divides by the root of the rank; the key is peft's."""
    try:
        notes = json.loads(metadata.get("ss_network_args", "{}"))
    except (ValueError, RecursionError):
        return {}
    root = isinstance(notes, dict) and str(notes.get("rs_lora", False)).lower() != "false"
    return {"use_rslora": True} if root else {}


def _is_valid(key: str, value: Any) -> bool:
    """Whether a rank is positive, an alpha finite, a pattern a table of such numbers. An absent value is valid."""
    if value is None:
        return True
    if not key.endswith("_pattern"):
        return isinstance(value, int | float) and math.isfinite(value) and (value > 0 or key not in ("r", "rank"))
    part = key.removesuffix("_pattern")
    try:
        return all(re.compile(pattern) and _is_valid(part, number) for pattern, number in value.items())
    except (AttributeError, re.error):
        return False


def _of_module(settings: Mapping[str, Any], module: str, patterns: str, common: str) -> Any:
    """Look up a module's number: of the pattern that matches its name, else the common one, or None."""
    table = settings.get(patterns) or {}
    return table.get(get_pattern_key(list(table), module), settings.get(common))


def _plain(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[:2] if set(shape[2:]) <= {1} else shape
