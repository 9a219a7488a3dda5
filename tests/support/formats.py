"""A factory of suspects: one of every format that is accepted, as its own writer lays it out, on tiny random networks.

A writer takes a pipeline of the base, changes its weights into those that the suspect means, by the formulas of the
methods, and writes the suspect's files. So what is loaded can be compared with what was meant.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from peft import LoHaConfig, LoKrConfig, LoraConfig, get_peft_model
from safetensors.torch import save_file

from cgidm.families.adapters import sgm_names
from tests.support import tiny, tiny_families
from tests.support.single_files import single_file

RANK, ALPHA = 2, 3.0
WORD = "<sks>"
BASES: dict[str, Callable[[], Any]] = {
    "SD 1.x": tiny.stable_diffusion,
    "SD 2.x (v)": tiny_families.stable_diffusion_2,
    "SDXL": tiny_families.stable_diffusion_xl,
    "AltDiffusion": tiny_families.alt_diffusion,
    "AltDiffusion-m18": lambda: tiny_families.alt_diffusion(pre_transformation=True),
    "SD 3": tiny_families.stable_diffusion_3,
    "pixel DDPM": tiny.pixel_ddpm,
}
OTHER = {  # a base of other shapes, or of another class, to be offered by mistake
    **dict.fromkeys(BASES, "SD 2.x (v)"),
    "SD 2.x (v)": "SD 1.x",
    "AltDiffusion": "SD 2.x (v)",
}
NETWORKS = ("unet", "transformer", "text_encoder", "text_encoder_2")
ATTENTION = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
UNET = (ATTENTION, "down_blocks.1.attentions.0.proj_in", "mid_block.resnets.0.conv1", "conv_out")
LINEAR = ("down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k",)
TEXT = "encoder.layers.0.mlp.fc1"
ALT_TEXT = "roberta.encoder.layer.0.attention.self.query"
TRANSFORMER = ("transformer_blocks.0.attn.to_q", "transformer_blocks.0.ff.net.2")
PREFIXES = {"unet": "lora_unet_", "text_encoder": "lora_te_text_model_"}
PREFIXES_XL = {"unet": "lora_unet_", "text_encoder": "lora_te1_text_model_", "text_encoder_2": "lora_te2_"}

Parts = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Format:
    """A row of the table."""

    name: str
    base: str  # of BASES
    write: Callable[[Path, Any], None]  # (folder, pipeline): the pipeline becomes what the suspect means
    file: str  # the one that is tampered with
    key: str  # its tensor that is lost, renamed, transposed
    given: str = ""  # what is named of the folder; empty: the folder
    embedding: str = ""  # the file of a textual inversion beside it
    prompt: str = "a b"


def whole(folder: Path, p: Any) -> None:
    for name in NETWORKS:
        if getattr(p, name, None) is not None:
            tiny.perturbed(getattr(p, name))
    p.save_pretrained(folder)


def published_alt(folder: Path, p: Any) -> None:
    """The index names a library that left diffusers."""
    whole(folder, p)
    index = json.loads((folder / "model_index.json").read_text())
    index["text_encoder"][0] = "alt_diffusion"
    (folder / "model_index.json").write_text(json.dumps(index))


def training(folder: Path, p: Any) -> None:
    for name in ("unet", "text_encoder"):
        tiny.perturbed(getattr(p, name)).save_pretrained(folder / "checkpoint-500" / name)
    (folder / "checkpoint-500" / "optimizer.bin").write_bytes(b"\x80\x04")


def one_file(folder: Path, p: Any) -> None:
    for name in NETWORKS:
        if getattr(p, name, None) is not None:
            tiny.perturbed(getattr(p, name))
    save(folder / "model.safetensors", single_file(p))


def save(path: Path, tensors: Parts, metadata: dict[str, str] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in tensors.items()}, path, metadata)


# the methods: (weight, generator) -> (parts of the file, the weight that is meant)


def draw(g: torch.Generator, *shape: int) -> torch.Tensor:
    return 0.4 * torch.randn(*shape, generator=g)


def lora(weight: torch.Tensor, g: torch.Generator, alpha: float | None = ALPHA) -> tuple[Parts, torch.Tensor]:
    down = draw(g, RANK, *weight.shape[1:])
    up = draw(g, weight.shape[0], RANK, *[1] * (weight.ndim - 2))
    scale = 1.0 if alpha is None else alpha / RANK
    parts = {"lora_down.weight": down, "lora_up.weight": up}
    parts |= {} if alpha is None else {"alpha": torch.tensor(alpha)}
    return parts, weight + scale * torch.einsum("or...,ri...->oi...", up, down)


def plain(weight: torch.Tensor, g: torch.Generator) -> tuple[Parts, torch.Tensor]:
    return lora(weight, g, alpha=None)


def tucker(weight: torch.Tensor, g: torch.Generator) -> tuple[Parts, torch.Tensor]:
    if weight.ndim == 2 or weight.shape[2:] == (1, 1):
        return lora(weight, g)
    down, up = draw(g, RANK, weight.shape[1], 1, 1), draw(g, weight.shape[0], RANK, 1, 1)
    mid = draw(g, RANK, RANK, *weight.shape[2:])
    parts = {"lora_down.weight": down, "lora_up.weight": up, "lora_mid.weight": mid, "alpha": torch.tensor(ALPHA)}
    delta = torch.einsum("or,rsxy,si->oixy", up[..., 0, 0], mid, down[..., 0, 0])
    return parts, weight + ALPHA / RANK * delta


def dora(weight: torch.Tensor, g: torch.Generator) -> tuple[Parts, torch.Tensor]:
    """Liu et al. 2024: each output's row keeps a length of its own."""
    parts, changed = lora(weight, g)
    lengths = changed.flatten(1).norm(dim=1).reshape(-1, *[1] * (weight.ndim - 1))
    magnitude = lengths * (1 + 0.2 * torch.rand(lengths.shape, generator=g))
    return parts | {"dora_scale": magnitude}, changed * magnitude / lengths


def loha(weight: torch.Tensor, g: torch.Generator) -> tuple[Parts, torch.Tensor]:
    """Hyeon-Woo et al. 2022, as LyCORIS flattens it."""
    out, into = weight.shape[0], weight[0].numel()
    parts = {f"hada_w{i}_a": draw(g, out, RANK) for i in (1, 2)} | {f"hada_w{i}_b": draw(g, RANK, into) for i in (1, 2)}
    delta = (parts["hada_w1_a"] @ parts["hada_w1_b"]) * (parts["hada_w2_a"] @ parts["hada_w2_b"])
    return parts | {"alpha": torch.tensor(ALPHA)}, weight + ALPHA / RANK * delta.reshape(weight.shape)


def lokr(weight: torch.Tensor, g: torch.Generator) -> tuple[Parts, torch.Tensor]:
    """LyCORIS: a Kronecker product, of which the second factor has a low rank."""
    out, into = weight.shape[0] // 2, weight.shape[1] // 2
    first, a, b = draw(g, 2, 2), draw(g, out, 1), draw(g, 1, into * weight[0, 0].numel())
    second = (a @ b).reshape(out, into, *weight.shape[2:])
    delta = torch.kron(first.reshape(2, 2, *[1] * (weight.ndim - 2)), second)
    parts = {"lokr_w1": first, "lokr_w2_a": a, "lokr_w2_b": b, "alpha": torch.tensor(0.5)}
    return parts, weight + 0.5 * delta


# the names


def change(p: Any, method: Callable[..., tuple[Parts, torch.Tensor]], modules: dict[str, tuple[str, ...]]) -> dict:
    """Change the weights of `modules` (network -> names) by `method`; returns (network, module) -> parts."""
    g, found = torch.Generator().manual_seed(0), {}
    for component, names in modules.items():
        for name in names:
            weight = getattr(p, component).get_submodule(name).weight
            with torch.no_grad():
                found[component, name], meant = method(weight, g)
                weight.copy_(meant)
    return found


def kohya(method: Any, modules: dict[str, tuple[str, ...]], prefixes: dict[str, str] = PREFIXES) -> Any:
    def write(folder: Path, p: Any) -> None:
        theirs = {o: t for t, o in sgm_names(p.unet).items()} if "text_encoder_2" in prefixes else {}
        tensors = {}
        for (component, name), parts in change(p, method, modules).items():
            told = theirs.get(name, name) if component == "unet" else name
            tensors |= {f"{prefixes[component]}{told.replace('.', '_')}.{part}": x for part, x in parts.items()}
        save(folder / "lora.safetensors", tensors)

    return write


def dotted(modules: dict[str, tuple[str, ...]], down: str, up: str, text: str = "", noted: bool = False) -> Any:
    """diffusers' names, now and formerly; its alpha stands in the header, if anywhere."""

    def write(folder: Path, p: Any) -> None:
        tensors = {}
        for (component, name), parts in change(p, lora if noted else plain, modules).items():
            inner = text if component.startswith("text") else ""
            pair = {down: parts["lora_down.weight"], up: parts["lora_up.weight"]}
            tensors |= {f"{component}.{inner}{name}.{part}": x for part, x in pair.items()}
        notes = {f"{c}.{k}": v for c in modules for k, v in (("r", RANK), ("lora_alpha", ALPHA))}
        header = {"lora_adapter_metadata": json.dumps(notes)} if noted else None
        save(folder / "pytorch_lora_weights.safetensors", tensors, header)

    return write


def old_processors(folder: Path, p: Any) -> None:
    """diffusers before 0.22 kept LoRA in attention processors."""
    block, names = ATTENTION.removesuffix(".to_k"), ("to_q", "to_k", "to_v", "to_out")
    modules = {n: f"{block}.{n}{'.0' if n == 'to_out' else ''}" for n in names}
    found = change(p, plain, {"unet": tuple(modules.values())})
    tensors = {}
    for n, module in modules.items():
        parts = found["unet", module]
        for side in ("down", "up"):
            tensors[f"unet.{block}.processor.{n}_lora.{side}.weight"] = parts[f"lora_{side}.weight"]
    save(folder / "pytorch_lora_weights.safetensors", tensors)


def peft_folder(config: Any) -> Any:
    def write(folder: Path, p: Any) -> None:
        model = get_peft_model(p.unet, config())
        g = torch.Generator().manual_seed(0)
        for name, weight in model.named_parameters():
            if any(mark in name for mark in ("lora_", "hada_", "lokr_")):
                weight.data += draw(g, *weight.shape)
        model.save_pretrained(folder)
        p.unet = model.merge_and_unload()

    return write


def saved_by_diffusers(folder: Path, p: Any) -> None:
    found = change(p, lora, {"unet": UNET})
    sides = {"lora_A": "lora_down.weight", "lora_B": "lora_up.weight"}
    layers = {f"{n}.{ours}.weight": parts[t] for (_, n), parts in found.items() for ours, t in sides.items()}
    config = {"r": RANK, "lora_alpha": ALPHA, "target_modules": list(UNET)}
    StableDiffusionPipeline.save_lora_weights(folder, layers, unet_lora_adapter_metadata=config)


def inversion(keys: dict[str, str], file: str, given_word: str = WORD) -> Any:
    """Vectors for the text encoders, under `keys` (encoder -> tensor)."""

    def write(folder: Path, p: Any) -> None:
        g, tensors = torch.Generator().manual_seed(0), {}
        for component, key in keys.items():
            encoder = getattr(p, component)
            tensors[key] = draw(g, 2, encoder.get_input_embeddings().weight.shape[1])
            names = getattr(p, component.replace("text_encoder", "tokenizer"))
            p.load_textual_inversion(tensors[key], given_word, tokenizer=names, text_encoder=encoder)
        save(folder / file, tensors)

    return write


def together(*writers: Any) -> Any:
    def write(folder: Path, p: Any) -> None:
        for writer in writers:
            writer(folder, p)

    return write


SD1 = {"unet": UNET, "text_encoder": (TEXT,)}
XL = {**SD1, "text_encoder_2": (f"text_model.{TEXT}",)}
ADAPTED = ["to_k", "proj_in", "conv1"]
KEY = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
LORA = "lora.safetensors"
FOLDER = "unet/diffusion_pytorch_model.safetensors"
CONVOLUTION = "down_blocks.1.resnets.0.conv1.weight"
SAVED = "pytorch_lora_weights.safetensors"
FORMATS = (
    *(
        Format("folder of diffusers", base, whole, FOLDER, CONVOLUTION)
        for base in ("SD 1.x", "SD 2.x (v)", "SDXL", "AltDiffusion-m18")
    ),
    Format("folder, as published", "AltDiffusion", published_alt, FOLDER, CONVOLUTION),
    Format(
        "folder of diffusers",
        "SD 3",
        whole,
        FOLDER.replace("unet", "transformer"),
        "transformer_blocks.0.ff.net.2.weight",
    ),
    Format("folder of diffusers", "pixel DDPM", whole, FOLDER, "down_blocks.1.resnets.0.conv1.weight"),
    Format("training checkpoint", "SD 1.x", training, f"checkpoint-500/{FOLDER}", CONVOLUTION, "checkpoint-500"),
    *(
        Format(
            "single file",
            base,
            one_file,
            "model.safetensors",
            "model.diffusion_model.input_blocks.3.0.in_layers.2.weight",
        )
        for base in ("SD 1.x", "SD 2.x (v)", "SDXL")
    ),
    Format(
        "LoRA of kohya, alphas, text encoder, convolutions", "SD 1.x", kohya(lora, SD1), LORA, f"{KEY}.lora_up.weight"
    ),
    Format(
        "LoRA of kohya, both text encoders", "SDXL", kohya(lora, XL, PREFIXES_XL), LORA, "attn2_to_k.lora_up.weight"
    ),
    Format("LoRA of kohya", "AltDiffusion", kohya(lora, {"unet": UNET}), LORA, f"{KEY}.lora_up.weight"),
    Format("LoCon with a Tucker core", "SD 1.x", kohya(tucker, SD1), LORA, f"{KEY}.lora_down.weight"),
    Format("LoHa", "SD 1.x", kohya(loha, SD1), LORA, f"{KEY}.hada_w1_a"),
    Format("LoKr", "SD 1.x", kohya(lokr, SD1), LORA, f"{KEY}.lokr_w2_a"),
    Format("DoRA", "SD 1.x", kohya(dora, SD1), LORA, f"{KEY}.dora_scale"),
    Format("LoRA of diffusers, saved by it", "SD 1.x", saved_by_diffusers, SAVED, f"unet.{ATTENTION}.lora_B.weight"),
    Format(
        "LoRA of diffusers, alpha in the header",
        "SD 2.x (v)",
        dotted(SD1, "lora_A.weight", "lora_B.weight", noted=True),
        SAVED,
        f"unet.{ATTENTION}.lora_A.weight",
    ),
    Format(
        "LoRA of diffusers",
        "AltDiffusion-m18",
        dotted({"unet": UNET, "text_encoder": (ALT_TEXT,)}, "lora_A.weight", "lora_B.weight"),
        SAVED,
        f"unet.{ATTENTION}.lora_A.weight",
    ),
    Format(
        "LoRA of diffusers",
        "SD 3",
        dotted({"transformer": TRANSFORMER}, "lora_A.weight", "lora_B.weight"),
        SAVED,
        f"transformer.{TRANSFORMER[1]}.lora_A.weight",
    ),
    Format(
        "LoRA of older diffusers",
        "SD 1.x",
        dotted(SD1, "lora.down.weight", "lora.up.weight", "text_model."),
        SAVED,
        f"unet.{ATTENTION}.lora.up.weight",
    ),
    Format(
        "LoRA in attention processors",
        "SD 1.x",
        old_processors,
        SAVED,
        f"unet.{ATTENTION.replace('.to_k', '.processor.to_k_lora')}.up.weight",
    ),
    *(
        Format(f"{name} folder of peft", "SD 1.x", peft_folder(config), "adapter_model.safetensors", key)
        for name, key, config in (
            ("LoRA", f"{ATTENTION}.lora_A.weight", lambda: LoraConfig(r=2, lora_alpha=5, target_modules=ADAPTED)),
            (
                "DoRA",
                f"{ATTENTION}.lora_A.weight",
                lambda: LoraConfig(r=2, lora_alpha=5, target_modules=ADAPTED, use_dora=True),
            ),
            ("LoHa", f"{ATTENTION}.hada_w1_a", lambda: LoHaConfig(r=2, alpha=5, target_modules=ADAPTED)),
            ("LoKr", "down_blocks.1.resnets.0.conv1.lokr_w2", lambda: LoKrConfig(r=2, alpha=5, target_modules=ADAPTED)),
        )
    ),
    Format(
        "textual inversion of diffusers",
        "SD 1.x",
        inversion({"text_encoder": WORD}, "any.safetensors"),
        "any.safetensors",
        WORD,
        "any.safetensors",
        prompt=f"a {WORD}",
    ),
    Format(
        "textual inversion of A1111",
        "SD 2.x (v)",
        inversion({"text_encoder": "emb_params"}, "sks.safetensors", "sks"),
        "sks.safetensors",
        "emb_params",
        "sks.safetensors",
        prompt="a sks",
    ),
    Format(
        "textual inversion, both text encoders",
        "SDXL",
        inversion({"text_encoder": "clip_l", "text_encoder_2": "clip_g"}, "sks.safetensors", "sks"),
        "sks.safetensors",
        "clip_l",
        "sks.safetensors",
        prompt="a sks",
    ),
    Format(
        "LoRA with a textual inversion",
        "SD 1.x",
        together(kohya(lora, SD1), inversion({"text_encoder": WORD}, "sks.safetensors")),
        LORA,
        f"{KEY}.lora_up.weight",
        LORA,
        "sks.safetensors",
        f"a {WORD}",
    ),
)
