"""The keys that trainers write for flow transformers at their default targets, for the published sizes.

Names, prefixes and targets after the trainers' public code; each row says which file. No weights: names and shapes.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from transformers import CLIPTextConfig, CLIPTextModel, Gemma2Config, Gemma2Model, T5Config, T5EncoderModel

from cgidm.intake.header import TensorInfo
from eval.speed.build import read_architecture
from tests.support.flow_networks import published_transformer
from tests.support.original_layers import Layers, beginning, original_layers, without

RANK = 16
DOWN_UP = {"lora_down.weight": "down", "lora_up.weight": "up", "alpha": "alpha"}
BARE_DOWN_UP = {"down.weight": "down", "up.weight": "up"}
A_B = {"lora_A.weight": "down", "lora_B.weight": "up"}
A_B_ALPHA = {**A_B, "alpha": "alpha"}
DEFAULT = {"lora_A.default.weight": "down", "lora_B.default.weight": "up"}
LOKR = {"lokr_w1": "w1", "lokr_w2": "w2", "alpha": "alpha"}
LOHA = {f"hada_w{i}_{half}": f"h{half}" for i in (1, 2) for half in "ab"} | {"alpha": "alpha"}
DORA = {**DOWN_UP, "dora_scale": "per input"}


def part_shape(part: str, out: int, into: int) -> tuple[int, ...]:
    """The shape of a part for a layer."""
    shapes = {
        "down": (RANK, into),
        "up": (out, RANK),
        "alpha": (),
        "w1": (1, 1) if 1 in (out % 4, into % 4, out, into) else (4, 4),
        "w2": (out, into) if 1 in (out % 4, into % 4, out, into) else (out // 4, into // 4),
        "ha": (out, RANK),
        "hb": (RANK, into),
        "per input": (1, into),
    }
    return shapes[part]


@cache
def text_encoder(kind: str) -> Any:
    """CLIP-L, T5 XXL and Gemma 2 2B without their weights."""
    with torch.device("meta"):
        if kind == "CLIP-L":
            return CLIPTextModel(CLIPTextConfig(**read_architecture("sd14").text_encoders[0]))
        if kind == "T5":
            widths = {"d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64}
            return T5EncoderModel(T5Config(vocab_size=32128, feed_forward_proj="gated-gelu", **widths))
        return Gemma2Model(Gemma2Config())


def own_layers(network: Any) -> Layers:
    """The linear layers of a network, by its own names."""
    return {
        name: (module.weight.shape[0], module.weight.shape[1])
        for name, module in network.named_modules()
        if isinstance(module, torch.nn.Linear)
    }


def diffusers_layers(name: str) -> Layers:
    """The linear layers of a published model, as diffusers names them."""
    return own_layers(published_transformer(name))


def ending(layers: Layers, *ends: str) -> Layers:
    """The layers that peft finds by these names."""
    return {
        name: shape for name, shape in layers.items() if name in ends or name.endswith(tuple(f".{e}" for e in ends))
    }


def renamed(layers: Layers, *rules: tuple[str, str]) -> Layers:
    """The layers by other names."""
    found = {}
    for name, shape in layers.items():
        for pattern, new in rules:
            name = re.sub(pattern, new, name)
        found[name] = shape
    return found


@dataclass(frozen=True)
class TrainerKeys:
    """What a trainer writes for one model.

    Attributes:
        trainer: who writes it, and where its code says so.
        model: the published transformer.
        layers: of the transformer, as the file names them after the prefix.
        count: how many they are.
        prefix: before their names.
        flat: whether underscores take the place of dots.
        parts: ending -> part.
        text: prefix -> the text encoder whose layers stand in the file, too.
        text_count: how many these are.
    """

    trainer: str
    model: str
    layers: Layers
    count: int
    prefix: str = ""
    flat: bool = False
    parts: Mapping[str, str] = field(default_factory=lambda: DOWN_UP)
    text: Mapping[str, str] = field(default_factory=dict)
    text_count: int = 0

    def header(self) -> dict[str, TensorInfo]:
        """Name and shape of each tensor."""
        found = {}
        each = [(self.prefix, self.layers), *((prefix, clip_layers(kind)) for prefix, kind in self.text.items())]
        for prefix, layers in each:
            for name, (out, into) in layers.items():
                told = prefix + (name.replace(".", "_") if self.flat else name)
                for end, part in self.parts.items():
                    found[f"{told}.{end}"] = TensorInfo("BF16", part_shape(part, out, into))
        return found


def clip_layers(kind: str) -> Layers:
    """The layers of a text encoder that kohya's scripts train, by the names that transformers 4 gave them."""
    layers = own_layers(text_encoder(kind))
    return {f"text_model.{n}": s for n, s in layers.items()} if kind == "CLIP-L" else layers


BLOCKS = ("double_blocks", "single_blocks")
TRAINED_MODS = ("img_mod.lin", "txt_mod.lin", "modulation.lin")  # that musubi-tuner leaves out
ATTENTION = ("to_k", "to_q", "to_v", "to_out.0")
ADDED = ("add_k_proj", "add_q_proj", "add_v_proj", "to_add_out")
CLIP_T5 = {"lora_te1_": "CLIP-L", "lora_te3_": "T5"}
PARTS = tuple(  # the Open Model Initiative numbers the parts of a fused layer
    (rf"^transformer_blocks\.(\d+)\.attn\.{name}$", rf"double_blocks.\1.{stream}_attn.qkv.{i}")
    for stream, names in (("img", ("to_q", "to_k", "to_v")), ("txt", ("add_q_proj", "add_k_proj", "add_v_proj")))
    for i, name in enumerate(names)
)
OMI = (
    *PARTS,
    *(
        (rf"^single_transformer_blocks\.(\d+)\.{name}$", rf"single_blocks.\1.linear1.{i}")
        for i, name in enumerate((r"attn\.to_q", r"attn\.to_k", r"attn\.to_v", "proj_mlp"))
    ),
    (r"^transformer_blocks\.", "double_blocks."),
    (r"^single_transformer_blocks\.", "single_blocks."),
    (r"attn\.to_out\.0$", "img_attn.proj"),
    (r"attn\.to_add_out$", "txt_attn.proj"),
    (r"ff\.net\.(0)\.proj$|ff\.net\.(2)$", r"img_mlp.\1\2"),
    (r"ff_context\.net\.(0)\.proj$|ff_context\.net\.(2)$", r"txt_mlp.\1\2"),
    (r"norm1\.linear$", "img_mod.lin"),
    (r"norm1_context\.linear$", "txt_mod.lin"),
    (r"\.norm\.linear$", ".modulation.lin"),
    (r"\.proj_out$", ".linear2"),
    (r"^proj_out$", "final_layer.linear"),
    (r"^norm_out\.linear$", "final_layer.adaLN_modulation.1"),
    (r"^x_embedder$", "img_in.proj"),
    (r"^context_embedder$", "txt_in"),
    (r"^time_text_embed\.timestep_embedder", "time_in"),
    (r"^time_text_embed\.text_embedder", "vector_in"),
    (r"^time_text_embed\.guidance_embedder", "guidance_in"),
    (r"(in|out|guidance_layer\.layers\.\d+)\.linear_1$", r"\1.in_layer"),
    (r"(in|out|guidance_layer\.layers\.\d+)\.linear_2$", r"\1.out_layer"),
)
DIFFSYNTH = (
    (r"^double_blocks\.", "blocks."),
    (r"img_attn\.qkv$", "attn.a_to_qkv"),
    (r"txt_attn\.qkv$", "attn.b_to_qkv"),
    (r"img_attn\.proj$", "attn.a_to_out"),
    (r"txt_attn\.proj$", "attn.b_to_out"),
    (r"img_mlp\.", "ff_a."),
    (r"txt_mlp\.", "ff_b."),
    (r"img_mod\.lin$", "norm1_a.linear"),
    (r"txt_mod\.lin$", "norm1_b.linear"),
    (r"linear1$", "to_qkv_mlp"),
    (r"linear2$", "proj_out"),
    (r"modulation\.lin$", "norm.linear"),
)
XLABS = (
    (r"img_attn\.(qkv|proj)$", r"processor.\1_lora1"),
    (r"txt_attn\.(qkv|proj)$", r"processor.\1_lora2"),
    (r"linear1$", "processor.qkv_lora"),
    (r"linear2$", "processor.proj_lora"),
)


def x_flux_layers() -> Layers:
    """The projections of attention, of which those of single blocks stop before the feed-forward."""
    double = {n: s for n, s in beginning(original_layers("FLUX.1-dev"), ["double_blocks"]).items() if "_attn." in n}
    single = {}
    for i in range(38):
        single |= {f"single_blocks.{i}.linear1": (9216, 3072), f"single_blocks.{i}.linear2": (3072, 15360)}
    return renamed(double | single, *XLABS)


def trainer_keys() -> list[TrainerKeys]:
    """One row a trainer and model."""
    flux, chroma = original_layers("FLUX.1-dev"), original_layers("Chroma1")
    rows = []

    def add(trainer: str, model: str, layers: Layers, count: int, prefix: str = "", **more: Any) -> None:
        rows.append(TrainerKeys(trainer, model, layers, count, prefix, **more))

    # kohya, networks/lora_flux.py, lora_sd3.py and lora_lumina.py: all linear layers of their blocks
    kohya: dict[str, Any] = {"prefix": "lora_unet_", "flat": True}
    both: dict[str, Any] = {"text": CLIP_T5, "text_count": 72 + 168}
    add("kohya, CLIP and T5", "FLUX.1-dev", beginning(flux, BLOCKS), 304, **kohya, **both)
    add("kohya, train_blocks=single (fluxgym)", "FLUX.1-dev", beginning(flux, BLOCKS[1:]), 114, **kohya)
    add("kohya, in_dims", "FLUX.1-dev", without(flux, "final_layer"), 304 + 8, **kohya)
    add("kohya", "Chroma1", beginning(chroma, BLOCKS), 228, **kohya)
    add(
        "kohya, Gemma",
        "Lumina-Image-2.0",
        without(original_layers("Lumina-Image-2.0"), "_embedder"),
        180,
        text={"lora_te_": "Gemma 2"},
        text_count=182,
        **kohya,
    )
    add("kohya", "SD 3.5 medium", beginning(original_layers("SD 3.5 medium"), ["joint_blocks"]), 263, **kohya)

    # musubi-tuner, networks/lora_{flux,flux_2,zimage,qwen_image,krea2}.py, loha.py, lokr.py
    for model, count in (("FLUX.2-dev", 160), ("FLUX.2-klein-4B", 80), ("FLUX.2-klein-9B", 112)):
        add("musubi-tuner", model, beginning(original_layers(model), BLOCKS), count, **kohya)
    kontext = without(beginning(flux, BLOCKS), *TRAINED_MODS)
    add("musubi-tuner", "FLUX.1-dev", kontext, 228, **kohya)
    z_image = without(beginning(diffusers_layers("Z-Image"), ["layers"]), "_modulation")
    in_comfy = without(beginning(original_layers("Z-Image"), ["layers"]), "_modulation")
    add("musubi-tuner", "Z-Image", z_image, 210, **kohya)
    add("musubi-tuner, converted for ComfyUI", "Z-Image", in_comfy, 150, **kohya)
    qwen = beginning(diffusers_layers("Qwen-Image"), ["transformer_blocks"])
    add("musubi-tuner", "Qwen-Image", without(qwen, "_mod."), 720, **kohya)
    add("musubi-tuner", "Krea-2", original_layers("Krea-2"), 264, **kohya)
    for method, parts in (("LoHa", LOHA), ("LoKr", LOKR)):
        add(f"musubi-tuner, {method}", "Z-Image", z_image, 210, parts=parts, **kohya)
        add(
            f"musubi-tuner, {method}",
            "FLUX.2-dev",
            beginning(original_layers("FLUX.2-dev"), BLOCKS),
            160,
            parts=parts,
            **kohya,
        )
        add(f"musubi-tuner, {method}", "Krea-2", original_layers("Krea-2"), 264, parts=parts, **kohya)

    # ai-toolkit, toolkit/lora_special.py: all linear layers of the transformer's blocks
    comfy: dict[str, Any] = {"prefix": "diffusion_model.", "parts": A_B}
    of_blocks = beginning(diffusers_layers("FLUX.1-dev"), ["transformer_blocks", "single_transformer_blocks"])
    add("ai-toolkit", "FLUX.1-dev", of_blocks, 494, "transformer.", parts=A_B)
    for model, count in (("FLUX.2-dev", 160), ("FLUX.2-klein-4B", 80), ("FLUX.2-klein-9B", 112), ("Chroma1", 228)):
        add("ai-toolkit", model, beginning(original_layers(model), BLOCKS), count, **comfy)
        add("ai-toolkit, LoKr", model, beginning(original_layers(model), BLOCKS), count, **{**comfy, "parts": LOKR})
    layers = beginning(diffusers_layers("Z-Image"), ["layers"])
    add("ai-toolkit", "Z-Image", layers, 240, **comfy)
    add("ai-toolkit, LoKr", "Z-Image", layers, 240, **{**comfy, "parts": LOKR})
    add("ai-toolkit", "Qwen-Image", qwen, 840, **comfy)
    add("ai-toolkit", "Krea-2", beginning(original_layers("Krea-2"), ["blocks"]), 224, **comfy)
    add(
        "ai-toolkit, diffusers' class",
        "Krea-2",
        beginning(diffusers_layers("Krea-2"), ["transformer_blocks"]),
        224,
        **comfy,
    )
    add("ai-toolkit, LoKr, older names", "FLUX.1-dev", of_blocks, 494, "lycoris_", flat=True, parts=LOKR)

    # OneTrainer, modules/util/convert*_lora*.py: all linear layers of the transformer
    legacy = diffusers_layers("FLUX.1-dev")
    te: dict[str, Any] = {"text": {"lora_te1_": "CLIP-L", "lora_te2_": "T5"}, "text_count": 72 + 168}
    add("OneTrainer, LEGACY", "FLUX.1-dev", legacy, 504, "lora_transformer_", flat=True, **te)
    add("OneTrainer, LEGACY, DoRA per input", "FLUX.1-dev", legacy, 504, "lora_transformer_", flat=True, parts=DORA)
    te = {"text": {"clip_l.": "CLIP-L", "t5.": "T5"}, "text_count": 72 + 168}
    add("OneTrainer, OMI", "FLUX.1-dev", renamed(legacy, *OMI), 504, "transformer.", **te)
    of_chroma = diffusers_layers("Chroma1")
    t5: dict[str, Any] = {"text": {"lora_te_": "T5"}, "text_count": 168}
    add("OneTrainer, LEGACY", "Chroma1", of_chroma, 433, "lora_transformer_", flat=True, **t5)
    add("OneTrainer, OMI", "Chroma1", renamed(of_chroma, *OMI), 433, "transformer.")
    of_diffusers = {"Z-Image": 276, "Qwen-Image": 846, "FLUX.2-dev": 203, "FLUX.2-klein-9B": 153, "Krea-2": 264}
    for model, count in of_diffusers.items():
        own = diffusers_layers(model)
        add("OneTrainer, LEGACY", model, own, count, "transformer.")
        add("OneTrainer, DIFFUSERS", model, own, count, "transformer.", parts=A_B)
    fused = {"FLUX.1-dev": 314, "Chroma1": 243, "FLUX.2-dev": 171, "Z-Image": 208, "Krea-2": 264}
    for model, count in fused.items():
        theirs = original_layers(model)
        add("OneTrainer, KOHYA", model, theirs, count, **kohya)
        add("OneTrainer, ORIGINAL", model, theirs, count, "", parts=A_B_ALPHA)
        add("OneTrainer, COMFY", model, theirs, count, "diffusion_model.", parts=A_B_ALPHA)

    # SimpleTuner, helpers/models/*/model.py: DEFAULT_LORA_TARGET
    peft = {
        "FLUX.1-dev": ((*ATTENTION, *ADDED), 266),
        "FLUX.2-dev": (("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0", "attn.to_qkv_mlp_proj"), 80),
        "Z-Image": (ATTENTION, 136),
        "Qwen-Image": (ATTENTION, 240),
        "Chroma1": (ATTENTION, 190),
        "Lumina-Image-2.0": (ATTENTION, 120),
        "Krea-2": (ATTENTION, 128),
        "SD 3.5 medium": (ATTENTION, 148),
    }
    for model, (targets, count) in peft.items():
        found = ending(diffusers_layers(model), *targets)
        add("SimpleTuner, PEFT", model, found, count, "transformer.", parts=A_B)
        add("SimpleTuner, ComfyUI's prefix", model, found, count, "diffusion_model.", parts=A_B_ALPHA)
        add("SimpleTuner, LyCORIS", model, found, count, "lycoris_", flat=True, parts=LOKR)

    # diffusers, examples/dreambooth/train_dreambooth_lora_*.py
    feed = ("ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2")
    of_flux = ending(legacy, *(f"attn.{name}" for name in (*ATTENTION, *ADDED)), *feed)
    add("diffusers' script", "FLUX.1-dev", of_flux, 342, "transformer.", parts=A_B)
    for model, count in (("FLUX.2-dev", 32), ("Z-Image", 136), ("Qwen-Image", 240), ("Lumina-Image-2.0", 120)):
        add("diffusers' script", model, ending(diffusers_layers(model), *ATTENTION), count, "transformer.", parts=A_B)

    # DiffSynth, examples/*/model_training/lora/*.sh: --lora_target_modules
    in_blocks = renamed(beginning(flux, BLOCKS), *DIFFSYNTH)
    add("DiffSynth", "FLUX.1-dev", in_blocks, 304, parts=DEFAULT)
    add("DiffSynth", "Z-Image", ending(diffusers_layers("Z-Image"), *ATTENTION, "w1", "w2", "w3"), 238, parts=DEFAULT)
    of_qwen = ending(qwen, *ATTENTION, *ADDED, "img_mlp.net.2", "img_mod.1", "txt_mlp.net.2", "txt_mod.1")
    add("DiffSynth", "Qwen-Image", of_qwen, 720, parts=DEFAULT)
    klein = diffusers_layers("FLUX.2-klein-4B")
    of_klein = ending(klein, *ATTENTION, *ADDED, "linear_in", "linear_out", "to_qkv_mlp_proj")
    of_klein |= {n: s for n, s in klein.items() if n.startswith("single") and n.endswith("attn.to_out")}
    add("DiffSynth", "FLUX.2-klein-4B", of_klein, 100, parts=DEFAULT)
    of_krea = ending(diffusers_layers("Krea-2"), "to_q", "to_k", "to_v", "to_out.0", "to_gate", "gate", "up", "down")
    add("DiffSynth", "Krea-2", of_krea, 256, "transformer.", parts=A_B)

    # x-flux, src/flux/modules/layers.py
    add("XLabs", "FLUX.1-dev", x_flux_layers(), 152, parts=BARE_DOWN_UP)
    # ComfyUI's own extraction, and fal's trainer
    add("ComfyUI, extracted", "FLUX.1-dev", flux, 314, "diffusion_model.")
    add("fal, peft's names", "FLUX.1-dev", beginning(flux, BLOCKS), 304, "base_model.model.", parts=A_B)
    return rows
