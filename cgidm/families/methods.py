"""What an adapter's method computes, given to peft: its layers put into a network, the file's own factors into them.

To the weight W of a module is added scale * change, where the change is up @ down (LoRA; a core `mid` is folded into
down), (w1_a @ w1_b) * (w2_a @ w2_b) (LoHa) or the Kronecker product of w1 and w2 (LoKr). DoRA then scales every output
row of W + scale * change to the length that its magnitude states. LyCORIS 3.2 trains so, and peft 0.21 applies it so.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

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
# settings of peft that change what an adapter computes, unless they are empty
CHANGING = (
    *("lora_bias", "fan_in_fan_out", "modules_to_save", "layer_replication", "use_qalora", "alora_invocation_tokens"),
    *("arrow_config", "velora_config", "monteclora_config", "use_bdlora", "kasa_config", "target_parameters"),
    "trainable_token_indices",
)
# starts of a LoRA that leave the base's weights alone; the others (PiSSA, OLoRA, ..) subtract theirs from them
INITS = (None, True, False, "gaussian", "eva", "orthogonal", "mica")


@dataclass(frozen=True, eq=False)
class Change:
    """What an adapter does to one module."""

    factors: Mapping[str, Tensor]  # under peft's names
    scale: float
    rank: int


def read_settings(
    name: str, method: Method, component: str, config: Mapping[str, Any] | None, metadata: Mapping[str, str]
) -> Mapping[str, Any]:
    """peft's configuration for one network: adapter_config.json, else what diffusers noted in the header; may be empty.

    Raises:
        UserError: if it is damaged, contradicts the tensors, or asks for what is not computed here.
    """
    settings = (_noted(name, component, metadata) | _trainer_notes(metadata)) if config is None else config
    for key, wanted in (("peft_type", PEFT_TYPES[method]), ("use_dora", method == "DoRA")):
        if settings.get(key) not in (None, wanted):
            _refuse(name, f"was made with {key} = {settings[key]!r:.60}, but its tensors are those of a {method}")
    odd = [key for key in CHANGING if settings.get(key)]
    if settings.get("init_lora_weights") not in INITS:
        odd.append("init_lora_weights")
    if odd:
        _refuse(name, f"was made with {odd[0]} = {settings[odd[0]]!r:.60}, which changes more than the factors say")
    for key in ("r", "lora_alpha", "alpha", "rank_pattern", "alpha_pattern"):
        if not _sound(key, settings.get(key)):
            _refuse(name, f"has a configuration with {key} = {settings[key]!r:.60}")
    return settings


def find_scale(
    name: str, method: Method, settings: Mapping[str, Any], module: str, rank: int | None, alpha: Tensor | None
) -> float:
    """alpha / rank; alpha from the file, else from peft's configuration, else the rank.

    A LoKr of two whole factors has no `rank`: then the scale is 1, whatever the file's alpha, as in LyCORIS; but peft
    scales it as the configuration says.

    Raises:
        UserError: if the configuration states another rank than the tensors have, or the scale cannot be known.
    """
    if alpha is not None:
        if rank is None and settings.get("use_rslora"):  # LyCORIS then trains with the root of a rank that it drops
            _refuse(name, f"was trained with rs_lora, and {module:.120} has two whole factors and no rank")
        return float(alpha) / rank if rank else 1.0
    stated = _of_module(settings, module, "rank_pattern", "r") or rank
    if rank and stated != rank:
        _refuse(name, f"has rank {rank} in {module:.120}, but its configuration states {stated}")
    value = _of_module(settings, module, "alpha_pattern", "alpha" if method in ("LoHa", "LoKr") else "lora_alpha")
    if stated is None and value is not None:
        _refuse(name, f"has a configuration with alpha = {value!r:.60} and no rank for {module:.120}")
    if stated is None or value is None:
        return 1.0
    return value / (math.sqrt(stated) if settings.get("use_rslora") else stated)


def fits(method: Method, change: tuple[int, ...], weight: tuple[int, ...]) -> bool:
    """Can a change of this shape be added to a weight of that shape? Kernels of 1x1 may be left out on either side."""
    flat = (weight[0], math.prod(weight[1:]))
    return _plain(change) == _plain(weight) or (method in ("LoHa", "LoKr") and change == flat)


def peft_factors(factors: Mapping[str, Tensor], target: nn.Module) -> dict[str, Tensor]:
    """The factors of one module under peft's names; those of a LoRA in the shapes that peft's layer for `target` has.

    A core is folded into down. LoHa and LoKr stay as they are: peft reshapes their product to the weight's shape.
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
    """Put peft's layers over the modules named in `changes`, with these factors and scales."""
    ranks = {re.escape(place): change.rank for place, change in changes.items()}
    common = {"r": max(ranks.values()), "rank_pattern": ranks, "target_modules": "|".join(ranks)}
    if PEFT_TYPES[method] == "LORA":
        config = LoraConfig(**common, init_lora_weights=False, use_dora=method == "DoRA")
    else:
        config = (LoHaConfig if method == "LoHa" else LoKrConfig)(**common, init_weights=False)
    inject_adapter_in_model(config, network, NAME)
    layers = {n: m for n, m in network.named_modules() if isinstance(m, BaseTunerLayer)}
    assert layers.keys() == changes.keys(), "peft adapted other modules than those of the file"
    for place, change in changes.items():
        _fill(layers[place], change)


def _fill(layer: Any, change: Change) -> None:
    """The file's factors for those that peft made, and no other: a layer of peft computes with what it holds."""
    device = layer.get_base_layer().weight.device
    for part in layer.adapter_layer_names:
        held = getattr(layer, part)
        if NAME in held and part not in change.factors:
            del held[NAME]
    for part, factor in change.factors.items():
        held, parameter = getattr(layer, part), nn.Parameter(factor.to(device).contiguous())  # peft takes views of it
        if isinstance(held, nn.ModuleDict):
            held[NAME].weight = parameter
        else:
            held[NAME] = parameter
    layer.scaling[NAME] = change.scale


def _noted(name: str, component: str, metadata: Mapping[str, str]) -> dict[str, Any]:
    """What diffusers noted of one network: behind its name if the file may hold several, else as it is."""
    try:
        noted = json.loads(metadata.get(NOTED, "{}"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name} has a damaged {NOTED} in its header; accepted: JSON") from error
    if not isinstance(noted, dict):
        _refuse(name, f"has a {NOTED} in its header that is no table")
    start = f"{component}."
    own = {key.removeprefix(start): value for key, value in noted.items() if key.startswith(start)}
    return own or {key: value for key, value in noted.items() if "." not in key}


def _trainer_notes(metadata: Mapping[str, str]) -> dict[str, Any]:
    """What kohya's trainer noted of a scale by the root of the rank, under peft's name of it."""
    try:
        notes = json.loads(metadata.get("ss_network_args", "{}"))
    except (ValueError, RecursionError):
        return {}
    root = isinstance(notes, dict) and str(notes.get("rs_lora", False)).lower() != "false"
    return {"use_rslora": True} if root else {}


def _sound(key: str, value: Any) -> bool:
    """Is a rank positive, an alpha finite, a pattern a table of them? What is left out is sound."""
    if value is None:
        return True
    if not key.endswith("_pattern"):
        return isinstance(value, int | float) and math.isfinite(value) and (value > 0 or key not in ("r", "rank"))
    part = key.removesuffix("_pattern")
    try:
        return all(re.compile(pattern) and _sound(part, number) for pattern, number in value.items())
    except (AttributeError, re.error):
        return False


def _of_module(settings: Mapping[str, Any], module: str, patterns: str, common: str) -> Any:
    """A number of the configuration for one module: of the pattern that fits its name, else the common one, or None."""
    table = settings.get(patterns) or {}
    return table.get(get_pattern_key(list(table), module), settings.get(common))


def _plain(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[:2] if set(shape[2:]) <= {1} else shape


def _refuse(name: str, what: str) -> NoReturn:
    raise UserError(f"{name} {what}; accepted: LoRA, LoHa, LoKr or DoRA whose configuration fits its tensors")
