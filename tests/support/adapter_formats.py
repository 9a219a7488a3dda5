"""Rows of the table of formats: adapters of every trainer that load, in every layout and family."""

from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from peft import LoHaConfig, LoKrConfig, LoraConfig, get_peft_model

from tests.support.adapter_files import (
    ALT_TEXT,
    ATTENTION,
    BARE,
    COMFY,
    COMFY_AB,
    COMFY_DIFFUSERS,
    DIFFUSERS,
    DIFFUSERS_DORA,
    KOHYA,
    KOHYA_SGM,
    KOHYA_XL,
    KOHYA_XL_DIFFUSERS,
    LINEAR,
    LORA,
    NORM_LAYERS,
    OLD,
    OLDER_TEXT,
    OMI,
    ORIGINAL,
    PEFT,
    SAVED,
    SD1,
    TEXT,
    TRANSFORMER,
    UNET,
    WRAPPED,
    XL,
    adapter,
    change,
    noted,
    save,
)
from tests.support.adapter_methods import (
    ALPHA,
    RANK,
    decomposed,
    dora,
    draw,
    extracted,
    full,
    loha,
    lokr,
    lora,
    lora_with_bias,
    norm,
    plain,
    reshaped,
    set_weight,
    tucker,
    whole_lokr,
)
from tests.support.format_row import Format

ADAPTED = ["to_k", "proj_in", "conv1"]
ONLY = {"unet": UNET}
FEW = {"unet": LINEAR}
DIT = {"transformer": TRANSFORMER}
NORMED = {"unet": NORM_LAYERS}
ALPHA_KEY = ("alpha",)
CONFIG = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "target_modules": ["to_k"]}
INTO = decomposed(lora, 1)
FILE = "adapter_model.safetensors"


def peft_dora(layer: Any, g: torch.Generator) -> Any:
    """DoRA with the magnitudes' shape of peft."""
    parts = decomposed(plain, 0)(layer, g)
    shape = (1, -1, 1, 1) if layer.weight.ndim == 4 else (-1,)
    return {**parts, "dora_scale": parts["dora_scale"].reshape(shape)}


def old_processors(folder: Any, p: Any) -> None:
    """diffusers before 0.22 kept LoRA in attention processors."""
    block, names = ATTENTION.removesuffix(".to_k"), ("to_q", "to_k", "to_v", "to_out")
    modules = {n: f"{block}.{n}{'.0' if n == 'to_out' else ''}" for n in names}
    found = change(p, plain, {"unet": tuple(modules.values())})
    tensors = {}
    for n, module in modules.items():
        parts = found["unet", module]
        for half in ("down", "up"):
            tensors[f"unet.{block}.processor.{n}_lora.{half}.weight"] = parts[f"lora_{half}.weight"]
    save(folder / SAVED, tensors)


def peft_folder(config: Any) -> Any:
    """What peft itself saves of an adapter on the UNet, and merges."""

    def write(folder: Any, p: Any) -> None:
        model = get_peft_model(p.unet, config())
        g = torch.Generator().manual_seed(0)
        for name, weight in model.named_parameters():
            if any(mark in name for mark in ("lora_", "hada_", "lokr_")):
                weight.data += draw(g, *weight.shape)
        model.save_pretrained(folder)
        p.unet = model.merge_and_unload()

    return write


def saved_by_diffusers(folder: Any, p: Any) -> None:
    """What diffusers itself saves."""
    found = change(p, lora, ONLY)
    halves = {"lora_A": "lora_down.weight", "lora_B": "lora_up.weight"}
    layers: Any = {f"{n}.{ours}.weight": parts[t] for (_, n), parts in found.items() for ours, t in halves.items()}
    config = {"r": RANK, "lora_alpha": ALPHA, "target_modules": list(UNET)}
    StableDiffusionPipeline.save_lora_weights(folder, layers, unet_lora_adapter_metadata=config)


def two_folders(folder: Any, p: Any) -> None:
    """peft's DreamBooth script: an adapter of each network in its own folder."""
    for component, modules in SD1.items():
        write = adapter(PEFT, (lora, {component: modules}), file=FILE, folder=component, config=CONFIG, drop=ALPHA_KEY)
        write(folder, p)


KOHYA_ROWS = (
    Format("kohya, LoRA, alphas, text encoder, convolutions", "SD 1.x", adapter(KOHYA, (lora, SD1)), LORA),
    Format("kohya, LoRA without alphas", "SD 1.x", adapter(KOHYA, (plain, SD1)), LORA),
    Format("kohya, LoRA", "SD 2.x (v)", adapter(KOHYA, (lora, SD1)), LORA),
    Format("kohya, LoRA, both text encoders", "SDXL", adapter(KOHYA_XL, (lora, XL)), LORA),
    Format("kohya, LoRA", "AltDiffusion", adapter(KOHYA, (lora, ONLY)), LORA),
)
LYCORIS_ROWS = tuple(
    Format(f"LyCORIS under kohya, {name}", base, adapter(names, *groups), LORA)
    for base, names, modules in (("SD 1.x", KOHYA, SD1), ("SD 2.x (v)", KOHYA, SD1), ("SDXL", KOHYA_XL, XL))
    for name, groups in (
        ("LoCon with a Tucker core", [(tucker, modules)]),
        ("LoHa", [(loha, modules)]),
        ("LoKr", [(lokr, modules)]),
        ("LoKr of two whole factors", [(whole_lokr, modules)]),
        ("DoRA per output", [(dora, modules)]),
        ("DoRA per input", [(INTO, modules)]),
        ("LoHa and DoRA", [(decomposed(loha, 0), modules)]),
        ("LoKr and DoRA per input", [(decomposed(lokr, 1), modules)]),
        ("full differences and biases", [(full, modules)]),
        ("a preset: LoKr, LoRA and norms", [(lokr, FEW), (lora, {"unet": UNET[1:4]}), (norm, NORMED)]),
    )
)
AI_TOOLKIT_ROWS = (
    Format("ai-toolkit, LoRA, names of its key map", "SD 1.x", adapter(KOHYA_SGM, (lora, SD1)), LORA),
    Format("ai-toolkit, LoRA, names of its key map", "SDXL", adapter(KOHYA_XL, (lora, XL)), LORA),
    Format("ai-toolkit, LoRA, alpha is the rank", "SDXL", adapter(COMFY_AB, (plain, ONLY)), LORA),
    Format("ai-toolkit, LoRA, alpha is the rank", "SD 3", adapter(DIFFUSERS, (plain, DIT)), LORA),
    Format("ai-toolkit, LoKr", "SDXL", adapter(COMFY, (lokr, ONLY)), LORA),
)
ONE_TRAINER_ROWS = (
    Format("OneTrainer, DIFFUSERS: alpha folded", "SD 1.x", adapter(DIFFUSERS, (plain, SD1)), LORA),
    Format("OneTrainer, DIFFUSERS: alpha folded", "SDXL", adapter(DIFFUSERS, (plain, XL)), LORA),
    Format(
        "OneTrainer, DIFFUSERS, DoRA",
        "SD 1.x",
        adapter(DIFFUSERS_DORA, (decomposed(plain, 0), {"unet": LINEAR, "text_encoder": (TEXT,)})),
        LORA,
    ),
    Format("OneTrainer, KOHYA", "SD 1.x", adapter(KOHYA, (lora, SD1)), LORA),
    Format("OneTrainer, KOHYA", "SDXL", adapter(KOHYA_XL, (lora, XL)), LORA),
    Format("OneTrainer, LEGACY: diffusers' names", "SDXL", adapter(KOHYA_XL_DIFFUSERS, (lora, XL)), LORA),
    Format("OneTrainer, LEGACY, DoRA per input", "SDXL", adapter(KOHYA_XL_DIFFUSERS, (INTO, XL)), LORA),
    Format("OneTrainer, LEGACY, LoHa", "SDXL", adapter(KOHYA_XL_DIFFUSERS, (loha, XL)), LORA),
    Format("OneTrainer, OMI: dots", "SD 1.x", adapter(OMI, (lora, SD1)), LORA),
    Format("OneTrainer, OMI: dots", "SDXL", adapter(OMI, (lora, XL)), LORA),
    Format("OneTrainer, ORIGINAL: no prefix", "SD 1.x", adapter(ORIGINAL, (lora, SD1)), LORA),
    Format("OneTrainer, COMFY", "SD 1.x", adapter(COMFY_AB, (lora, SD1)), LORA),
    Format("OneTrainer, COMFY", "SDXL", adapter(COMFY_AB, (lora, XL)), LORA),
)
SIMPLE_TUNER_ROWS = (
    *(
        Format(
            f"SimpleTuner, PEFT, alpha in the header{more}",
            base,
            adapter(names, group, header=noted(group[1]), drop=ALPHA_KEY),
            LORA,
        )
        for base, names, group, more in (
            ("SD 1.x", OLD, (lora, ONLY), ""),
            ("SDXL", DIFFUSERS, (lora, ONLY), ""),
            ("SD 3", DIFFUSERS, (lora, DIT), ""),
        )
    ),
    Format("SimpleTuner, ComfyUI's names", "SDXL", adapter(KOHYA_XL_DIFFUSERS, (lora, XL)), LORA),
    Format("SimpleTuner, ComfyUI's names", "SD 3", adapter(COMFY_DIFFUSERS, (lora, DIT)), LORA),
    *(
        Format(f"SimpleTuner, LyCORIS, {name}", base, adapter(WRAPPED, (method, modules)), LORA, key)
        for base, modules in (("SD 1.x", ONLY), ("SDXL", ONLY), ("SD 3", DIT))
        for name, method, key in (("LoKr", lokr, ""), ("full differences", full, "ff_net_2.diff"))
    ),
)
DIFFUSERS_ROWS = (
    Format("diffusers, LoRA, saved by it", "SD 1.x", saved_by_diffusers, SAVED),
    Format(
        "diffusers, LoRA, alpha in the header",
        "SD 2.x (v)",
        adapter(DIFFUSERS, (lora, SD1), header=noted(SD1), drop=ALPHA_KEY, file=SAVED),
        SAVED,
    ),
    Format(
        "diffusers, LoRA, alpha in the header",
        "SDXL",
        adapter(DIFFUSERS, (lora, XL), header=noted(XL), drop=ALPHA_KEY, file=SAVED),
        SAVED,
    ),
    Format(
        "diffusers, LoRA, alpha as plain texts of the header",
        "SD 1.x",
        adapter(DIFFUSERS, (lora, ONLY), header={"unet.lora_alpha": "3", "unet.r": "2"}, drop=ALPHA_KEY, file=SAVED),
        SAVED,
    ),
    Format(
        "diffusers, LoRA",
        "AltDiffusion-m18",
        adapter(DIFFUSERS, (plain, {"unet": UNET, "text_encoder": (ALT_TEXT,)}), file=SAVED),
        SAVED,
    ),
    Format("diffusers, LoRA", "SD 3", adapter(DIFFUSERS, (plain, DIT), file=SAVED), SAVED),
    Format("diffusers, DoRA", "SDXL", adapter(DIFFUSERS_DORA, (peft_dora, ONLY), file=SAVED), SAVED),
    Format("diffusers, older names", "SD 1.x", adapter(OLD, (plain, SD1), file=SAVED), SAVED),
    Format("diffusers, oldest names", "SD 1.x", adapter(OLDER_TEXT, (plain, SD1), file=SAVED), SAVED),
    Format("diffusers, in attention processors", "SD 1.x", old_processors, SAVED),
)
PEFT_ROWS = (
    *(
        Format(f"peft, folder, {name}", "SD 1.x", peft_folder(config), FILE)
        for name, config in (
            ("LoRA", lambda: LoraConfig(r=2, lora_alpha=5, target_modules=ADAPTED)),
            (
                "LoRA by the root of the rank",
                lambda: LoraConfig(r=2, lora_alpha=5, target_modules=ADAPTED, use_rslora=True),
            ),
            ("DoRA", lambda: LoraConfig(r=2, lora_alpha=5, target_modules=ADAPTED, use_dora=True)),
            ("LoHa", lambda: LoHaConfig(r=2, alpha=5, target_modules=ADAPTED)),
            ("LoKr", lambda: LoKrConfig(r=2, alpha=5, target_modules=ADAPTED)),
        )
    ),
    Format(
        "peft, folder, LoRA", "SDXL", peft_folder(lambda: LoraConfig(r=2, lora_alpha=5, target_modules=ADAPTED)), FILE
    ),
    Format(
        "peft, folder, LoRA with biases",
        "SD 1.x",
        adapter(PEFT, (lora_with_bias, ONLY), file=FILE, config={**CONFIG, "lora_bias": True}, drop=ALPHA_KEY),
        FILE,
    ),
    Format("peft, folders of two networks", "SD 1.x", two_folders, f"unet/{FILE}"),
    Format("peft, one file without its prefix, alphas", "SD 1.x", adapter(BARE, (lora, ONLY)), LORA),
)
COMFY_ROWS = (
    *(
        Format(
            "ComfyUI, extracted: factors, biases, norms",
            base,
            adapter(COMFY, (extracted, modules), (extracted, NORMED)),
            LORA,
        )
        for base, modules in (("SD 1.x", SD1), ("SDXL", XL))
    ),
    Format("ComfyUI, extracted: full differences", "SD 1.x", adapter(COMFY, (full, SD1), (full, NORMED)), LORA),
    Format(
        "ComfyUI, a weight set, another reshaped to its own shape",
        "SDXL",
        adapter(COMFY, (reshaped, {"unet": UNET[1:]}), (set_weight, {"unet": UNET[:1]})),
        LORA,
    ),
)
ADAPTER_FORMATS = (
    *KOHYA_ROWS,
    *LYCORIS_ROWS,
    *AI_TOOLKIT_ROWS,
    *ONE_TRAINER_ROWS,
    *SIMPLE_TUNER_ROWS,
    *DIFFUSERS_ROWS,
    *PEFT_ROWS,
    *COMFY_ROWS,
)
