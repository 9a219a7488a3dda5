"""Where an adapter states its alpha: in tensors, in peft's configuration, in the header's texts, or nowhere.

A module's change is multiplied by alpha / rank. An alpha that was lost makes a suspect too weak or too strong, without
an error anywhere. So a file that states none is read only by its writer's own rule, alpha = rank.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Literal

from ...errors import UserError
from ...messages import Note, note
from ..note_values import read_number
from .parse import FACTORED, Adapter
from .shapes import kind_of

AlphaSource = Literal["tensors", "configuration", "header", "writer's rule", "unknown", "not needed"]
NOTED = "lora_adapter_metadata"  # where diffusers writes peft's configuration into a file's header
# plain texts of a header, by peft's names; the last two are too common to be refused when they are no number
PLAIN = (("lora_alpha", "lora_alpha"), ("r", "r"), ("lora_alpha", "alpha"), ("r", "rank"))
COMMON = ("alpha", "rank")
STATING = ("lora_alpha", "alpha", "alpha_pattern")
NUMBER = re.compile(r"\s*[-+]?\d{1,12}(?:\.\d{0,20})?(?:e[-+]?\d{1,3})?\s*", re.IGNORECASE)


def find_alpha_source(
    adapter: Adapter, config: Mapping[str, Any] | None, metadata: Mapping[str, str], name: str
) -> Mapping[str, AlphaSource]:
    """Where the alpha of each network's modules is stated.

    The rule alpha = rank is that of kohya's scripts and LyCORIS for a file without alphas, of diffusers, which folded
    them into the factors until it noted them, of ai-toolkit (`diffusion_model.`) and of DiffSynth. Under peft's own
    names a missing configuration may be a lost one.

    Args:
        adapter: the parsed file.
        config: adapter_config.json of the network, if it came with the file. One that states no alpha is no statement.
        metadata: the header's texts.
        name: what the file is called, for errors.
    """
    found: dict[str, AlphaSource] = {}
    for (component, _), parts in adapter.modules.items():
        if found.get(component, "not needed") != "not needed":
            continue
        if kind_of(parts.keys()) not in FACTORED:
            found[component] = "not needed"
        elif "alpha" in parts:
            found[component] = "tensors"
        elif any(config.get(key) is not None for key in STATING) if config is not None else False:
            found[component] = "configuration"
        elif config is not None:
            found[component] = "unknown"
        elif "lora_alpha" in (settings := header_settings(name, component, metadata)) or "alpha" in settings:
            found[component] = "header"
        else:
            found[component] = "unknown" if adapter.dialect == "peft" else "writer's rule"
    return found


def find_lost_alpha(name: str, metadata: Mapping[str, str]) -> Note | None:
    """What kohya's notes state of a file without alphas, if that is another scale than 1.

    Args:
        name: what the file is called.
        metadata: the header's texts.
    """
    alpha, rank = (read_number(metadata.get(f"ss_network_{key}")) for key in ("alpha", "dim"))
    if alpha is None or not rank or alpha == rank:
        return None
    return note("families.alphas_lost", name=name, alpha=alpha, rank=rank, share=round(alpha / rank, 6))


def header_settings(name: str, component: str, metadata: Mapping[str, str]) -> dict[str, Any]:
    """Peft's configuration of one network, as a file's header states it; it may be empty.

    Args:
        name: what the file is called, for errors.
        component: the network.
        metadata: the header's texts.

    Raises:
        UserError: if it is damaged, or stands there twice with different numbers.
    """
    settings = _json_settings(name, component, metadata)
    for key, value in _plain_settings(name, component, metadata).items():
        if settings.setdefault(key, value) != value:
            raise UserError("families.settings_disagree", name=name, setting=key, given=[settings[key], value])
    if not {"lora_alpha", "alpha"} & settings.keys() and settings.keys() == {"r"}:
        return {}  # a rank by itself says nothing of the scale
    return settings


def _json_settings(name: str, component: str, metadata: Mapping[str, str]) -> dict[str, Any]:
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


def _plain_settings(name: str, component: str, metadata: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, written in PLAIN:
        for place in (f"{component}.{written}", written):
            text = metadata.get(place)
            if text is None or key in found:
                continue
            if NUMBER.fullmatch(text):
                found[key] = float(text)
            elif written not in COMMON:
                raise UserError("families.setting_invalid", name=name, setting=place, given=f"{text!r:.60}")
    return found
