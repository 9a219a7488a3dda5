"""Rows of the table of formats: adapters of flow transformers, as each trainer writes them, on tiny random networks.

A writer takes a network, changes its weights into those that the suspect means, and writes the suspect's file. What a
file names as one layer is changed as one layer, whatever diffusers makes of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cgidm.families.changes.targets import find_targets
from tests.support.adapter_files import AB, AB_DORA, DEFAULT, LORA, noted, save
from tests.support.adapter_methods import (
    Method,
    decomposed,
    dora,
    full,
    loha,
    lokr,
    lora,
    plain,
    split_lora,
    whole_lokr,
)

INTO = decomposed(lora, 1)
MAGNITUDE = {**AB_DORA, "dora_scale": "lora_magnitude_vector"}
OLD = {"lora_down.weight": "down.weight", "lora_up.weight": "up.weight"}
ORIGINAL: Mapping[str, tuple[str, ...]] = {  # family -> layers, as its own code names them
    "FLUX": (
        *("double_blocks.0.img_attn.qkv", "double_blocks.1.txt_attn.qkv", "double_blocks.0.img_attn.proj"),
        *("double_blocks.0.txt_mlp.2", "double_blocks.0.img_mod.lin", "single_blocks.1.linear1"),
        *("single_blocks.0.linear2", "single_blocks.0.modulation.lin"),
    ),
    "Chroma": (
        *("double_blocks.0.img_attn.qkv", "double_blocks.1.txt_attn.qkv", "double_blocks.0.txt_attn.proj"),
        *("double_blocks.0.img_mlp.0", "single_blocks.1.linear1", "single_blocks.0.linear2"),
    ),
    "FLUX.2": (
        *("double_blocks.0.img_attn.qkv", "double_blocks.1.txt_attn.qkv", "double_blocks.0.txt_attn.proj"),
        *("double_blocks.0.img_mlp.0", "single_blocks.1.linear1", "single_blocks.0.linear2"),
    ),
    "Z-Image": (
        *("layers.0.attention.qkv", "layers.0.attention.out", "layers.0.feed_forward.w2"),
        *("noise_refiner.0.attention.qkv", "layers.0.adaLN_modulation.0"),
    ),
    "Lumina 2": (
        *("layers.0.attention.qkv", "layers.1.attention.out", "layers.0.feed_forward.w1", "layers.1.feed_forward.w3"),
        *("layers.0.adaLN_modulation.1", "context_refiner.0.attention.qkv"),
    ),
    "Krea 2": (
        *("blocks.0.attn.wq", "blocks.1.attn.wk", "blocks.0.attn.wo", "blocks.1.attn.gate", "blocks.0.mlp.gate"),
        *("blocks.1.mlp.down", "txtfusion.refiner_blocks.0.attn.wv"),
    ),
    "SD 3": (
        *(
            "joint_blocks.0.x_block.attn.qkv",
            "joint_blocks.1.context_block.attn.qkv",
            "joint_blocks.0.x_block.attn2.qkv",
        ),
        *("joint_blocks.0.x_block.mlp.fc2", "joint_blocks.1.context_block.adaLN_modulation.1"),
    ),
}
OUTSIDE: Mapping[str, tuple[str, ...]] = {  # layers outside of the blocks, the last one with its halves swapped
    "FLUX": (
        "img_in",
        "time_in.in_layer",
        "vector_in.out_layer",
        "final_layer.linear",
        "final_layer.adaLN_modulation.1",
    ),
    "FLUX.2": ("txt_in", "single_stream_modulation.lin", "final_layer.adaLN_modulation.1"),
    "Chroma": ("txt_in", "distilled_guidance_layer.layers.1.in_layer"),
    "Krea 2": ("first", "tproj.1", "txtmlp.3", "txtfusion.projector", "last.linear"),
    "Z-Image": ("x_embedder", "cap_embedder.1"),
    "Lumina 2": ("cap_embedder.1", "final_layer.adaLN_modulation.1", "final_layer.linear"),
    "SD 3": ("context_embedder", "y_embedder.mlp.0", "final_layer.adaLN_modulation.1"),
}
SPLIT: Mapping[str, tuple[str, ...]] = {  # where kohya's scripts split a layer's LoRA, and layers beside
    "FLUX": (
        *("double_blocks.0.img_attn.qkv", "double_blocks.1.txt_attn.qkv", "double_blocks.0.img_attn.proj"),
        *("single_blocks.1.linear1", "single_blocks.0.linear2"),
    ),
    "Chroma": ("double_blocks.0.txt_attn.qkv", "double_blocks.1.txt_attn.proj", "single_blocks.1.linear1"),
    "SD 3": (
        "joint_blocks.0.x_block.attn.qkv",
        "joint_blocks.1.context_block.attn.qkv",
        "joint_blocks.0.x_block.mlp.fc2",
    ),
}
BLOCK, SINGLE = "transformer_blocks.0.", "single_transformer_blocks.1."
OWN: Mapping[str, tuple[str, ...]] = {  # family -> layers, as diffusers names them
    "FLUX": (
        *(BLOCK + name for name in ("attn.to_q", "attn.add_k_proj", "attn.to_out.0", "ff.net.0.proj", "norm1.linear")),
        *(SINGLE + name for name in ("attn.to_v", "proj_mlp", "proj_out")),
    ),
    "Chroma": (
        *(BLOCK + name for name in ("attn.to_q", "attn.add_k_proj", "attn.to_add_out", "ff_context.net.2")),
        *(SINGLE + name for name in ("attn.to_v", "proj_mlp", "proj_out")),
    ),
    "FLUX.2": (
        *(BLOCK + name for name in ("attn.to_q", "attn.add_v_proj", "attn.to_out.0", "ff.linear_in", "ff.linear_out")),
        *(SINGLE + name for name in ("attn.to_qkv_mlp_proj", "attn.to_out")),
    ),
    "Z-Image": (
        *("layers.0.attention.to_q", "layers.0.attention.to_out.0", "layers.0.feed_forward.w1"),
        *("layers.0.feed_forward.w2", "context_refiner.0.attention.to_v"),
    ),
    "Qwen-Image": tuple(
        BLOCK + name
        for name in (
            "attn.to_q",
            "attn.add_v_proj",
            "attn.to_out.0",
            "img_mlp.net.0.proj",
            "txt_mlp.net.2",
            "img_mod.1",
        )
    ),
    "Krea 2": tuple(BLOCK + name for name in ("attn.to_q", "attn.to_k", "attn.to_out.0", "attn.to_gate", "ff.down")),
    "Lumina 2": (
        *("layers.0.attn.to_q", "layers.1.attn.to_k", "layers.0.attn.to_out.0", "layers.0.feed_forward.linear_2"),
        *("layers.0.norm1.linear",),
    ),
    "SD 3": tuple(BLOCK + name for name in ("attn.to_q", "attn2.to_v", "ff.net.2", "norm1_context.linear")),
}
PARTS_OF_FUSED = tuple(SINGLE + name for name in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"))
OMI = (
    *(f"double_blocks.0.{s}_attn.qkv.{i}" for s in ("img", "txt") for i in range(3)),
    *("double_blocks.1.img_mlp.2", "single_blocks.0.linear1.1", "single_blocks.0.linear1.3", "img_in.proj"),
)
DIFFSYNTH = (
    *("blocks.0.attn.a_to_qkv", "blocks.1.attn.b_to_out", "blocks.0.ff_a.2", "blocks.0.norm1_b.linear"),
    *("single_blocks.0.to_qkv_mlp", "single_blocks.1.proj_out"),
)
X_FLUX = {  # as the file names them -> as our table does
    "double_blocks.0.processor.qkv_lora1": "double_blocks.0.img_attn.qkv",
    "double_blocks.0.processor.proj_lora2": "double_blocks.0.txt_attn.proj",
    "single_blocks.1.processor.qkv_lora": "single_blocks.1.qkv",
    "single_blocks.1.processor.proj_lora": "single_blocks.1.proj",
}
ALPHA = ("alpha",)


@dataclass(frozen=True, eq=False, kw_only=True)
class FlowFormat:
    """A row of the table: who writes a file, for which family, and how.

    Attributes:
        name: the trainer and the format.
        family: of the tiny network.
        layers: as the file names them.
        method: what each of them is changed by.
        prefix: before their names.
        flat: whether underscores take the region of dots.
        endings: part -> ending, where it is another one.
        drop: parts that are not written.
        header: texts of the file's header.
        known: name in the file -> name that is looked up, where these differ.
    """

    name: str
    family: str
    layers: tuple[str, ...]
    method: Method = lora
    prefix: str = ""
    flat: bool = False
    endings: Mapping[str, str] = field(default_factory=dict)
    drop: tuple[str, ...] = ()
    header: Mapping[str, str] | None = None
    known: Mapping[str, str] = field(default_factory=dict)

    def write(self, folder: Path, network: Any) -> Path:
        """Change the network into what the file means, and write the file."""
        g, tensors = torch.Generator().manual_seed(0), {}
        regions = find_targets(network, "transformer")
        for name in self.layers:
            told = self.prefix + (name.replace(".", "_") if self.flat else name)
            parts = change_rows(network, regions[self.known.get(name, name)], self.method, g)
            tensors |= {f"{told}.{self.endings.get(p, p)}": x for p, x in parts.items() if p not in self.drop}
        save(folder / LORA, tensors, self.header)
        return folder / LORA


def change_rows(network: Any, regions: Any, method: Method, g: torch.Generator) -> dict[str, torch.Tensor]:
    """Change the rows of a network's weights as one layer; returns the parts of the change."""
    owns = [(network.get_submodule(r.module), slice(*r.ours) if r.ours else slice(None)) for r in regions]
    weight = torch.cat([own.weight.detach()[rows] for own, rows in owns])
    layer: Any = nn.Linear(weight.shape[1], weight.shape[0], bias=owns[0][0].bias is not None)
    layer.weight.data = weight.clone()
    if layer.bias is not None:
        layer.bias.data = torch.cat([own.bias.detach()[rows] for own, rows in owns])
    parts, at = method(layer.requires_grad_(False), g), 0
    for own, rows in owns:
        count = own.weight[rows].shape[0]
        own.weight.data[rows] = layer.weight[at : at + count]
        if own.bias is not None:
            own.bias.data[rows] = layer.bias[at : at + count]
        at += count
    return parts


def _rows() -> tuple[FlowFormat, ...]:
    rows = []

    def add(name: str, family: str, layers: tuple[str, ...], method: Method = lora, **more: Any) -> None:
        rows.append(FlowFormat(name=name, family=family, layers=layers, method=method, **more))

    kohya: dict[str, Any] = {"prefix": "lora_unet_", "flat": True}
    comfy: dict[str, Any] = {"prefix": "diffusion_model.", "endings": AB}
    for family in ("FLUX", "Chroma", "Lumina 2", "SD 3"):
        add("kohya, LoRA", family, ORIGINAL[family], **kohya)
    for family, layers in SPLIT.items():
        add("kohya, LoRA, split_qkv", family, layers, split_lora, **kohya)
    add("kohya, LoRA, layers outside of the blocks", "FLUX", OUTSIDE["FLUX"], **kohya)
    methods: tuple[tuple[str, Method], ...] = (
        ("LoHa", loha),
        ("LoKr", lokr),
        ("LoKr of two whole factors", whole_lokr),
        ("DoRA per output", dora),
        ("DoRA per input", INTO),
        ("LoHa and DoRA", decomposed(loha, 0)),
        ("LoKr and DoRA per input", decomposed(lokr, 1)),
        ("full differences and biases", full),
    )
    for name, method in methods:
        add(f"LyCORIS under kohya, {name}", "FLUX", ORIGINAL["FLUX"], method, **kohya)
    for family in ("FLUX.2", "Krea 2"):
        for name, method in (("LoRA", lora), ("LoHa", loha), ("LoKr", lokr)):
            add(f"musubi-tuner, {name}", family, ORIGINAL[family], method, **kohya)
    for family in ("Z-Image", "Qwen-Image"):
        for name, method in (("LoRA", lora), ("LoHa", loha), ("LoKr", lokr)):
            add(f"musubi-tuner, {name}", family, OWN[family], method, **kohya)
    add("musubi-tuner, LoRA, converted for ComfyUI", "Z-Image", ORIGINAL["Z-Image"], **kohya)
    add("ai-toolkit, LoRA, alpha is the rank", "FLUX", OWN["FLUX"], plain, prefix="transformer.", endings=AB)
    for family in ("FLUX.2", "Chroma", "Krea 2"):
        add("ai-toolkit, LoRA, alpha is the rank", family, ORIGINAL[family], plain, **comfy)
        add("ai-toolkit, LoKr", family, ORIGINAL[family], whole_lokr, **comfy)
    for family in ("Z-Image", "Qwen-Image"):
        add("ai-toolkit, LoRA, alpha is the rank", family, OWN[family], plain, **comfy)
        add("ai-toolkit, LoKr", family, OWN[family], whole_lokr, **comfy)
    add("ai-toolkit, LoRA, diffusers' class", "Krea 2", OWN["Krea 2"], plain, **comfy)
    add("ai-toolkit, DoRA", "FLUX.2", ORIGINAL["FLUX.2"], _flat_dora, prefix="diffusion_model.", endings=_MAGNITUDE)
    add("ai-toolkit, LoKr, older names", "FLUX", OWN["FLUX"], lokr, prefix="lycoris_", flat=True)
    legacy: dict[str, Any] = {"prefix": "lora_transformer_", "flat": True}
    for family in ("FLUX", "Chroma"):
        add("OneTrainer, LEGACY", family, OWN[family], **legacy)
        add("OneTrainer, OMI: numbered parts", family, OMI, prefix="transformer.")
    for name, method in (("DoRA per input", INTO), ("LoHa", loha)):
        add(f"OneTrainer, LEGACY, {name}", "FLUX", OWN["FLUX"], method, **legacy)
    for family in ("Z-Image", "FLUX.2", "Qwen-Image"):
        add("OneTrainer, LEGACY", family, OWN[family], prefix="transformer.")
        add("OneTrainer, DIFFUSERS: alpha folded", family, OWN[family], plain, prefix="transformer.", endings=AB)
    for family in ("FLUX", "Chroma", "FLUX.2", "Z-Image", "Krea 2"):
        both = (*ORIGINAL[family], *OUTSIDE[family])
        add("OneTrainer, KOHYA", family, both, **kohya)
        add("OneTrainer, ORIGINAL", family, both, endings=AB)
        add("OneTrainer, COMFY", family, both, **comfy)
    add("OneTrainer, COMFY, DoRA per input", "FLUX", ORIGINAL["FLUX"], INTO, **comfy)
    own: dict[str, Any] = {"prefix": "transformer.", "endings": AB}
    add("OneTrainer, DIFFUSERS, DoRA per input", "Krea 2", OWN["Krea 2"], decomposed(plain, 1), **own)
    add("OneTrainer, DIFFUSERS, LoHa", "Z-Image", OWN["Z-Image"], loha, **own)
    note: dict[str, Any] = {"prefix": "transformer.", "endings": AB, "header": noted(["transformer"]), "drop": ALPHA}
    for family, layers in OWN.items():
        add("SimpleTuner, PEFT, alpha in the header", family, layers, **note)
        add("SimpleTuner, ComfyUI's names", family, layers, **comfy)
        add("SimpleTuner, LyCORIS, LoKr", family, layers, lokr, prefix="lycoris_", flat=True)
    for family, layers in OWN.items():
        add("diffusers, LoRA", family, layers, plain, prefix="transformer.", endings=AB)
    add("diffusers, DoRA", "FLUX", OWN["FLUX"], _flat_dora, prefix="transformer.", endings=MAGNITUDE)
    add(
        "diffusers, parts of a layer that diffusers fuses",
        "FLUX.2",
        PARTS_OF_FUSED,
        plain,
        prefix="transformer.",
        endings=AB,
    )
    add("LyCORIS, LoKr of parts of a fused layer", "FLUX.2", PARTS_OF_FUSED, lokr, prefix="lycoris_", flat=True)
    add("LyCORIS, LoHa of parts of a fused layer", "FLUX.2", PARTS_OF_FUSED, loha, prefix="lycoris_", flat=True)
    add("LyCORIS, DoRA of parts of a fused layer", "FLUX.2", PARTS_OF_FUSED[1:], dora, prefix="lycoris_", flat=True)
    add("DiffSynth, LoRA", "FLUX", DIFFSYNTH, plain, endings=DEFAULT)
    for family in ("Z-Image", "Qwen-Image", "FLUX.2"):
        add("DiffSynth, LoRA", family, OWN[family], plain, endings=DEFAULT)
    add("XLabs, LoRA", "FLUX", tuple(X_FLUX), plain, endings=OLD, known=X_FLUX)
    for family in ("FLUX", "Chroma", "SD 3"):  # where every layer has a bias: else nobody can tell that one was lost
        both = (*ORIGINAL[family], *OUTSIDE[family])
        add("ComfyUI, extracted: full differences", family, both, full, prefix="diffusion_model.")
    return tuple(rows)


_MAGNITUDE = {**AB, "dora_scale": "magnitude"}


def _flat_dora(layer: Any, g: torch.Generator) -> dict[str, torch.Tensor]:
    """DoRA with the magnitudes' shape of peft and ai-toolkit."""
    parts = decomposed(plain, 0)(layer, g)
    return {**parts, "dora_scale": parts["dora_scale"].flatten()}


FLOW_FORMATS = _rows()
