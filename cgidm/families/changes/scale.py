"""The scale of an adapter's changes, alpha / rank: known from what the file states, or refused."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import UserError
from ...intake.adapters import AlphaSource, Kind, find_alpha_source, find_lost_alpha, header_settings
from ...intake.layout import Checkpoint
from ...intake.note_values import read_number
from ...messages import Note, note

PEFT_TYPES: Mapping[str, str] = {
    **dict.fromkeys(("LoRA", "LoCon", "DoRA"), "LORA"),
    **{"LoHa": "LOHA", "LoKr": "LOKR", "LoHa + DoRA": "LOHA", "LoKr + DoRA": "LOKR"},
}
# peft's settings that change what an adapter computes, unless they are empty
CHANGING = (
    *("fan_in_fan_out", "modules_to_save", "layer_replication", "use_qalora", "alora_invocation_tokens"),
    *("arrow_config", "velora_config", "monteclora_config", "use_bdlora", "kasa_config", "target_parameters"),
    "trainable_token_indices",
)
# initialisations that leave the base's weights unchanged; others (PiSSA, OLoRA, ...) subtract theirs
INITS = (None, True, False, "gaussian", "eva", "orthogonal", "mica")


# Names of modules, alternatives of them, `.*` and anchors, as peft writes them: no pattern that takes for ever to match
SIMPLE = re.compile(r"\^?(?:[\w.\-|]|\\[.d]|\.\*|\d\+){1,400}\$?")
MOST_PATTERNS = 5000  # modules of a large network, each with its own


@dataclass
class ScaleReader:
    """Finds the scale of each module of one adapter, and remembers the alphas that it met.

    Attributes:
        checkpoint: the adapter.
        given: the alpha that the user states for a file that states none.
    """

    checkpoint: Checkpoint
    given: float | None = None
    _sources: Mapping[str, AlphaSource] = field(init=False, default_factory=dict)
    _settings: dict[str, Mapping[str, Any]] = field(init=False, default_factory=dict)
    _alphas: set[float] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        """Find out where alphas are stated.

        Raises:
            UserError: if a configuration is damaged, contradicts the tensors or requests what is not computed, if the
                alpha is unknown, or if one is given and the file states another.
        """
        checkpoint, name = self.checkpoint, self.checkpoint.name
        adapter = checkpoint.adapter
        assert adapter is not None
        if self.given is not None and not (math.isfinite(self.given) and self.given > 0):
            raise UserError("families.alpha_not_positive", name=name, given=self.given)
        sources: dict[str, AlphaSource] = {}
        for component in adapter.count():
            config = self._config(component)
            own = find_alpha_source(adapter, config, checkpoint.metadata, name)
            sources[component] = own[component]
            biased = any("bias" in parts for (c, _), parts in adapter.modules.items() if c == component)
            kinds: list[Kind] = [kind for kind in adapter.kinds if kind in PEFT_TYPES]
            kind = kinds[0] if len(kinds) == 1 else None
            self._settings[component] = _read_settings(name, kind, biased, component, config, checkpoint.metadata)
        if self.given is not None:
            if stated := [c for c, source in sources.items() if source in ("tensors", "configuration", "header")]:
                raise UserError(
                    "families.alpha_given_twice",
                    name=name,
                    given=self.given,
                    component=stated[0],
                    source=note(f"families.alpha_in_{sources[stated[0]]}"),
                )
        elif unknown := [component for component, source in sources.items() if source == "unknown"]:
            raise UserError("families.alpha_unknown", name=name, component=unknown[0])
        self._sources = sources

    def _config(self, component: str) -> Mapping[str, Any] | None:
        """The adapter_config.json of one network."""
        return self.checkpoint.configs.get(component) if self.checkpoint.configs else self.checkpoint.config

    def find(self, component: str, module: str, kind: Kind, rank: int | None, alpha: float | None) -> float:
        """The scale of one module.

        A LoKr of two full factors has no rank. Its scale is 1 for any alpha of the file, as in LyCORIS. With peft's
        configuration it is what the configuration states.

        Args:
            component: the network.
            module: the module's name in the file.
            kind: the module's method.
            rank: of its factors.
            alpha: its own, of a tensor.

        Raises:
            UserError: if the configuration states another rank than the tensors have, or the scale is unknown.
        """
        settings, name = self._settings[component], self.checkpoint.name
        if alpha is not None:
            self._alphas.add(alpha)
            if rank is None and settings.get("use_rslora"):  # LyCORIS then trains with the root of a rank it drops
                raise UserError("families.rs_lora_without_rank", name=name, module=f"{module:.120}")
            return alpha / rank if rank else 1.0
        if self.given is not None:
            if rank is None:
                raise UserError("families.alpha_without_rank", name=name, module=f"{module:.120}", given=self.given)
            return self.given / rank
        if self._sources[component] == "writer's rule":
            return 1.0
        stated = _of_module(settings, module, "rank_pattern", "r") or rank
        if rank and stated != rank:
            raise UserError("families.rank_differs", name=name, module=f"{module:.120}", given=rank, stated=f"{stated}")
        value = _of_module(settings, module, "alpha_pattern", "lora_alpha")
        if kind.startswith(("LoHa", "LoKr")):
            value = _of_module(settings, module, "alpha_pattern", "alpha") or value
        if stated is None and value is not None:
            raise UserError("families.alpha_without_rank", name=name, module=f"{module:.120}", given=f"{value!r:.60}")
        if stated is None or value is None:
            return 1.0
        return value / (math.sqrt(stated) if settings.get("use_rslora") else stated)

    def notes(self) -> tuple[Note, ...]:
        """What a reader of the answer must know of the scale, once every module's was found."""
        metadata, name = self.checkpoint.metadata, self.checkpoint.name
        noted = read_number(metadata.get("ss_network_alpha"))
        found = []
        if self.given is not None:
            found.append(note("families.alpha_given", name=name, alpha=self.given))
        elif "writer's rule" in self._sources.values():
            found.append(find_lost_alpha(name, metadata) or note("families.alpha_is_rank", name=name))
        if self._alphas and noted is not None and noted not in self._alphas:
            alphas = sorted(self._alphas)[:4]
            found.append(note("families.alpha_differs_from_notes", name=name, noted=noted, alphas=alphas))
        return tuple(found)


def _read_settings(
    name: str,
    kind: Kind | None,
    biased: bool,
    component: str,
    config: Mapping[str, Any] | None,
    metadata: Mapping[str, str],
) -> Mapping[str, Any]:
    """Read peft's configuration for one network, from adapter_config.json or the file's header; it may be empty."""
    settings = header_settings(name, component, metadata) | _trainer_notes(metadata) if config is None else config
    wanted: list[tuple[str, Any]] = (
        [] if kind is None else [("peft_type", PEFT_TYPES[kind]), ("use_dora", kind == "DoRA")]
    )
    for key, value in (*wanted, ("lora_bias", biased)):
        if settings.get(key) not in (None, value):
            given = f"{settings[key]!r:.60}"
            raise UserError("families.setting_contradicts", name=name, setting=key, given=given, method=kind or "mix")
    odd = [key for key in CHANGING if settings.get(key)]
    if settings.get("init_lora_weights") not in INITS:
        odd.append("init_lora_weights")
    if odd:
        raise UserError("families.setting_unsupported", name=name, setting=odd[0], given=f"{settings[odd[0]]!r:.60}")
    if not isinstance(settings.get("use_rslora", False), bool | None):
        given = f"{settings['use_rslora']!r:.60}"
        raise UserError("families.setting_invalid", name=name, setting="use_rslora", given=given)
    for key in ("r", "lora_alpha", "alpha", "rank_pattern", "alpha_pattern"):
        if not _is_valid(key, settings.get(key)):
            raise UserError("families.setting_invalid", name=name, setting=key, given=f"{settings[key]!r:.60}")
    return settings


def _trainer_notes(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Read from kohya's metadata whether the scale divides by the root of the rank; the key is peft's."""
    try:
        notes = json.loads(metadata.get("ss_network_args", "{}"))
    except (ValueError, RecursionError):
        return {}
    root = isinstance(notes, dict) and str(notes.get("rs_lora", False)).lower() != "false"
    return {"use_rslora": True} if root else {}


def _is_valid(key: str, value: Any) -> bool:
    """Whether a rank or alpha is a finite number other than 0, a pattern a table of such. An absent value is valid."""
    if value is None:
        return True
    if not key.endswith("_pattern"):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and math.isfinite(value) and value != 0 and (value > 0 or key not in ("r", "rank"))
    part = key.removesuffix("_pattern")
    if not isinstance(value, dict) or len(value) > MOST_PATTERNS:
        return False
    return all(SIMPLE.fullmatch(pattern) and _is_valid(part, number) for pattern, number in value.items())


def _of_module(settings: Mapping[str, Any], module: str, patterns: str, common: str) -> Any:
    """Look up a module's number: of the pattern that matches its name, as in peft, else the common one, or None."""
    for pattern, value in (settings.get(patterns) or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return settings.get(common)
