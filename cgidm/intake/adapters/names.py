"""The names in adapter files: which network, module and part a tensor belongs to, in every known dialect.

A name is a prefix (whose network), the module's path with dots or underscores, and an ending (which part). Dialects
differ in prefix and ending, and writers mix them. So each of the three is read by itself.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from .architectures import is_transformer, is_unet

Dialect = Literal["kohya", "LyCORIS", "diffusers", "peft", "ComfyUI", "DiffSynth"]
Component = Literal["unet", "transformer", "text_encoder", "text_encoder_2", "text_encoder_3", "another text encoder"]

FACTOR = r"hada_w[12]_[ab]|hada_t[12]|lokr_w[12](?:_[ab])?|lokr_t2"
DIFFERENCE = r"diff|diff_b|set_weight|reshape_weight|w_norm|b_norm"
ENDINGS = tuple(  # the module's path, then one of these; peft may add the adapter's name
    re.compile(rf"(.+)\.{ending}")
    for ending in (
        r"lora_([AB])(?:\.\w+)?\.weight",
        r"lora_B(?:\.\w+)?\.(bias)",
        r"lora_(down|up|mid)\.weight",
        r"lora(?:_linear_layer)?\.(down|up)\.weight",
        r"lora_(magnitude_vector)(?:\.\w+)?(?:\.weight)?",
        r"(alpha|dora_scale|magnitude)",
        rf"({FACTOR})(?:\.\w+)?",
        rf"({DIFFERENCE})",
    )
)
PARTS = {"A": "down", "B": "up", "magnitude_vector": "magnitude"}
# old attention processors of diffusers, and XLabs' of FLUX
PROCESSOR = re.compile(r"(.+)\.processor\.(to_q|to_k|to_v|to_out|qkv|proj)_lora([12]?)\.(down|up)\.weight")
OTHER_METHODS = tuple(  # an ending that only this method has
    (method, re.compile(rf".+\.(?:{ending})(?:\.\w+)?(?:\.weight)?"))
    for method, ending in (
        ("BOFT", r"boft_\w+"),
        ("OFT", r"oft_\w+|rescale"),
        ("GLoRA", r"[ab][12]\.weight|bm\.weight"),
        ("IA3", r"on_input|ia3_l"),
        ("VeRA", r"vera_lambda_[bd]|vera_[AB]"),
        ("LoRA of an embedding table", r"lora_embedding_[AB]"),
        ("FourierFT", r"fourierft_\w+"),
        ("HRA", r"hra_u"),
        ("LN tuning", r"ln_tuning_layers"),
        ("DyLoRA", r"lora_[AB]\.\d+"),
    )
)
FLAT = re.compile(r"(?:lora|oft)_(unet|transformer|prior_unet|te[123]?|prior_te)__?([^.]+)")  # as kohya's scripts write
LYCORIS = re.compile(r"lycoris_([^.]+)")
FLAT_COMPONENTS: Mapping[str, Component] = {
    **{"te": "text_encoder", "te1": "text_encoder", "te2": "text_encoder_2", "te3": "text_encoder_3"},
    **{"transformer": "transformer", "prior_te": "another text encoder", "prior_unet": "transformer"},
}
OTHER_ENCODERS, OF_ENCODER = "text_encoders.", re.compile(r"^\w+\.transformer\.")
PEFT_PREFIX = "base_model.model."
PREFIXES: tuple[tuple[str, Component | None, Dialect], ...] = (  # None: the denoising network, whichever it is
    ("diffusion_model.", None, "ComfyUI"),
    ("text_encoders.clip_l.transformer.", "text_encoder", "ComfyUI"),
    ("text_encoders.clip_h.transformer.", "text_encoder", "ComfyUI"),
    ("text_encoders.clip_g.transformer.", "text_encoder_2", "ComfyUI"),
    ("text_encoders.t5xxl.transformer.", "text_encoder_3", "ComfyUI"),
    (OTHER_ENCODERS, "another text encoder", "ComfyUI"),
    ("unet.", "unet", "diffusers"),
    ("transformer.", "transformer", "diffusers"),
    ("text_encoder.", "text_encoder", "diffusers"),
    ("text_encoder_2.", "text_encoder_2", "diffusers"),
    ("text_encoder_3.", "text_encoder_3", "diffusers"),
    # OneTrainer's names after the Open Model Initiative
    ("clip_l.", "text_encoder", "diffusers"),
    ("clip_g.", "text_encoder_2", "diffusers"),
    ("t5.", "text_encoder_3", "diffusers"),
)
TEXT_STARTS = re.compile(r"text_model\.|encoder\.layers\.\d|text_projection$")
OF_PEFT = re.compile(r"\.lora_[AB]\.|\.(?:hada|lokr)_")  # how peft, too, ends its names

OF_DIFFSYNTH = re.compile(r"\.lora_[AB]\.default\.")  # peft drops the adapter's name from what it saves


@dataclass(frozen=True)
class Name:
    """What one tensor's name says."""

    component: Component
    module: str  # as the file names it, without the prefix
    part: str
    dialect: Dialect


def read_name(key: str, folder: Component | None = None) -> Name | None:
    """Read the name of one tensor; None if it is of no dialect.

    Args:
        key: the name.
        folder: the network whose folder holds the file; None: the name says it.
    """
    split = _split_ending(key)
    if split is None:
        return None
    path, part = split
    found = (folder, path.removeprefix(PEFT_PREFIX), "peft") if folder else _split_prefix(path, key)
    if found is None:
        return None
    component, module, dialect = found
    return Name(component, module, part, dialect)


def other_method(key: str, shape: tuple[int, ...] = ()) -> str | None:
    """The method whose own ending `key` has, if it is one that is not computed here; `shape` is the tensor's."""
    if key.endswith(".oft_blocks") and len(shape) == 4:  # (factors, blocks, size, size)
        return "BOFT"
    if key.startswith("oft_"):
        return "OFT"
    return next((method for method, ending in OTHER_METHODS if ending.fullmatch(key)), None)


def _split_ending(key: str) -> tuple[str, str] | None:
    """The path of the module, prefix included, and the part."""
    if match := PROCESSOR.fullmatch(key):
        module, projection, stream, part = match.groups()
        if stream:
            return f"{module}.{('img', 'txt')[int(stream) - 1]}_attn.{projection}", part
        return f"{module}.{projection}{'.0' if projection == 'to_out' else ''}", part
    match = next((m for pattern in ENDINGS if (m := pattern.fullmatch(key))), None)
    return None if match is None else (match[1], PARTS.get(match[2], match[2]))


def _split_prefix(path: str, key: str) -> tuple[Component, str, Dialect] | None:
    if match := FLAT.fullmatch(path):
        network, module = match.groups()
        if network in FLAT_COMPONENTS:
            return FLAT_COMPONENTS[network], module, "kohya"
        return ("unet" if is_unet(module) or not is_transformer(module) else "transformer"), module, "kohya"
    if match := LYCORIS.fullmatch(path):
        return _lycoris(match[1])
    inner = path.removeprefix(PEFT_PREFIX)
    peft = inner != path
    for prefix, component, dialect in PREFIXES:
        if inner.startswith(prefix):
            module = inner.removeprefix(prefix)
            if prefix == OTHER_ENCODERS:
                module = OF_ENCODER.sub("", module)
            return component or _network(module) or "transformer", module, "peft" if peft else dialect
    component = "text_encoder" if TEXT_STARTS.match(inner) else _network(inner)
    if component is None:
        return None
    if not peft and OF_DIFFSYNTH.search(key):
        return component, inner, "DiffSynth"
    return component, inner, "peft" if peft or OF_PEFT.search(key) else "diffusers"


def _lycoris(module: str) -> tuple[Component, str, Dialect] | None:
    """LyCORIS' wrapper names no network: the path begins in the wrapped one."""
    component = "text_encoder" if module.startswith("text_model_") else _network(module)
    return None if component is None else (component, module, "LyCORIS")


def _network(module: str) -> Component | None:
    """Whether a path leads into a UNet or a transformer; None if into neither."""
    return "unet" if is_unet(module) else "transformer" if is_transformer(module) else None
