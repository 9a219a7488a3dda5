"""Rows of the table of what is refused by name: adapters of families and methods that are not computed here."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from tests.support.adapter_files import LORA, save
from tests.support.format_row import Refusal

RANK = 4
KEY = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
DOTTED = "base_model.model.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
DOWN, UP = "lora_down.weight", "lora_up.weight"
A, B = "lora_A.weight", "lora_B.weight"
Shapes = Mapping[str, tuple[int, int]]  # module, prefix included -> (out, in)


def pairs(modules: Shapes, down: str = DOWN, up: str = UP, alpha: bool = True) -> dict[str, torch.Tensor]:
    """LoRA factors of rank 4 for each module."""
    tensors = {}
    for module, (out, into) in modules.items():
        tensors |= {f"{module}.{down}": half(RANK, into), f"{module}.{up}": half(out, RANK)}
        tensors |= {f"{module}.alpha": torch.tensor(2.0)} if alpha else {}
    return tensors


def half(*shape: int) -> torch.Tensor:
    return torch.zeros(shape, dtype=torch.float16)


def one(parts: Mapping[str, tuple[int, ...]], key: str = KEY) -> dict[str, torch.Tensor]:
    """A module with these parts."""
    return {f"{key}.{part}": half(*shape) for part, shape in parts.items()}


def file(tensors: Mapping[str, Any], header: Mapping[str, str] | None = None, name: str = LORA) -> Any:
    def write(folder: Path) -> None:
        save(folder / name, dict(tensors), header)

    return write


def family(
    name: str, made_for: str, tensors: Any, header: Mapping[str, str] | None = None, base: str = "SD 1.x"
) -> Refusal:
    return Refusal(name, made_for, file(tensors, header), "families.other_family", made_for, base, made_for)


def method(name: str, says: str, tensors: Any) -> Refusal:
    return Refusal(name, "SD 1.x", file(tensors), "intake.adapter_other_method", says)


FLUX = {"double_blocks.0.img_attn.qkv": (9216, 3072), "single_blocks.0.linear1": (21504, 3072)}
Z_IMAGE = {"layers.0.attention.to_q": (3840, 3840), "layers.0.feed_forward.w1": (10240, 3840)}
QWEN = {"transformer_blocks.0.attn.add_q_proj": (3072, 3072), "transformer_blocks.0.img_mlp.net.0.proj": (12288, 3072)}
HIDREAM = {"double_stream_blocks.0.block.attn1.to_q": (2560, 2560)}
ANIMA = {"blocks.0.self_attn.q_proj": (2048, 2048), "blocks.0.mlp.layer1": (8192, 2048)}
WAN = {"blocks.0.self_attn.q": (1536, 1536), "blocks.0.ffn.0": (8960, 1536)}
AURA = {"joint_transformer_blocks.0.attn.to_q": (3072, 3072)}
JOINT = {"joint_blocks.0.x_block.attn.qkv": (48, 16), "joint_blocks.0.context_block.mlp.fc1": (64, 16)}
T5 = {"lora_te3_encoder_block_0_layer_0_SelfAttention_q": (24, 24)}
CLIP = {"lora_te1_text_model_encoder_layers_0_mlp_fc1": (3072, 768)}


def flat(modules: Shapes, prefix: str = "lora_unet_") -> Shapes:
    return {prefix + module.replace(".", "_"): shape for module, shape in modules.items()}


def dots(modules: Shapes, prefix: str) -> Shapes:
    return {prefix + module: shape for module, shape in modules.items()}


FAMILIES = (
    family("kohya, LoRA", "Anima", pairs(flat(ANIMA))),
    family("musubi-tuner, LoRA", "Wan", pairs(flat(WAN))),
    family("musubi-tuner, LoRA, prefix of two lines", "Wan", pairs(flat(WAN, "lora_unet__"))),
    family("ai-toolkit, LoRA", "HiDream", pairs(dots(HIDREAM, "diffusion_model."), A, B, alpha=False)),
    family("ai-toolkit, LoRA", "Anima", pairs(dots(ANIMA, "diffusion_model."), A, B, alpha=False)),
    family("diffusers, LoRA", "AuraFlow", pairs(dots(AURA, "transformer."), A, B, alpha=False)),
)
ANOTHER_BASE = tuple(  # of a family that is computed, but not this base's
    Refusal(name, made_for, file(tensors), "families.adapter_does_not_fit", made_for, base, made_for)
    for name, made_for, base, tensors in (
        ("kohya, LoRA, CLIP and T5, with another base", "FLUX", "SD 1.x", pairs({**flat(FLUX), **CLIP, **T5})),
        ("OneTrainer, LEGACY, with another base", "Z-Image", "SD 3", pairs(dots(Z_IMAGE, "transformer."))),
        ("musubi-tuner, LoRA, with another base", "Qwen-Image", "SD 3", pairs(flat(QWEN))),
    )
)
METHODS = (
    method("kohya, OFT", "OFT", one({"oft_blocks": (2, 4, 4), "alpha": ()}, KEY.replace("lora_", "oft_"))),
    method("LyCORIS, OFT", "OFT", one({"oft_blocks": (2, 4, 4), "rescale": (8, 1), "alpha": ()})),
    method("LyCORIS, BOFT", "BOFT", one({"oft_blocks": (2, 2, 4, 4), "alpha": ()})),
    method("LyCORIS, GLoRA", "GLoRA", one({f"{half}{i}.weight": (4, 8) for half in "ab" for i in (1, 2)})),
    method("LyCORIS, IA3", "IA3", one({"weight": (8, 1), "on_input": ()})),
    method("OneTrainer, OFT", "OFT", one({"oft_R.weight": (2, 6)})),
    method("peft, IA3", "IA3", one({"ia3_l": (8, 1)}, DOTTED)),
    method("peft, OFT", "OFT", one({"oft_R.weight": (2, 6)}, DOTTED)),
    method("peft, BOFT", "BOFT", one({"boft_R": (1, 2, 4, 4), "boft_s": (8, 1)}, DOTTED)),
    method("peft, VeRA", "VeRA", one({"vera_lambda_b": (8,), "vera_lambda_d": (4,)}, DOTTED)),
    method("peft, HRA", "HRA", one({"hra_u": (8, 4)}, DOTTED)),
)
PEFT_PAIR = pairs({DOTTED: (8, 8)}, A, B, alpha=False)
OTHERS = (
    Refusal("peft, one file without adapter_config.json", "SD 1.x", file(PEFT_PAIR), "families.alpha_unknown", "unet"),
    Refusal(
        "peft, one file without its prefix or an alpha",
        "SD 1.x",
        file({k.removeprefix("base_model.model."): v for k, v in PEFT_PAIR.items()}),
        "families.alpha_unknown",
        "unet",
    ),
    Refusal(
        "a rank of zero",
        "SD 1.x",
        file(one({DOWN: (0, 8), UP: (8, 0), "alpha": ()})),
        "intake.adapter_rank_zero",
        "rank of zero",
    ),
    Refusal(
        "kohya, LoRA of T5, which the base lacks",
        "SD 3",
        file(pairs({**flat(JOINT), **T5}), {"modelspec.architecture": "stable-diffusion-3-medium/lora"}),
        "families.adapter_does_not_fit",
        "text_encoder_3",
        base="SD 3",
        family="SD 3",
    ),
    Refusal(
        "OneTrainer, T5 vectors in a LoRA's file",
        "FLUX",
        file({**one({DOWN: (4, 8), UP: (8, 4), "alpha": ()}), "bundle_emb.sks.t5": half(2, 8)}),
        "intake.bundle_part",
        "bundles a textual inversion",
    ),
)
REFUSALS = (*FAMILIES, *ANOTHER_BASE, *METHODS, *OTHERS)
