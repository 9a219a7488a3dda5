"""The real architectures, without their weights: every key of a kohya file for them finds its module."""

import diffusers.loaders.lora_conversion_utils as diffusers_conversion
import pytest
import torch
from diffusers import UNet2DConditionModel

from cgidm.families.changes.targets import Region, find_targets, sgm_names
from cgidm.intake.adapters import parse_adapter
from cgidm.intake.header import TensorInfo
from eval.speed.build import read_architecture

RANK = 16
SD1, SD2, SDXL = (read_architecture(name).unet for name in ("sd14", "sd21", "sdxl"))
# AltDiffusion and -m9 have the UNet of SD 1.x; -m18 was trained from SD 2.1-base
ARCHITECTURES = {"SD 1.4": SD1, "SDXL": SDXL, "AltDiffusion": SD1, "AltDiffusion-m18": SD2}
# attention (as many as kohya's script counts), and convolutions outside of it
COUNTS = {
    "SD 1.4": (192, 66),
    "SDXL": (722, 51),
    "AltDiffusion": (192, 66),
    "AltDiffusion-m18": (192, 66),
}


def unet_of(name):
    with torch.device("meta"):
        return UNet2DConditionModel(**ARCHITECTURES[name])


def kohya_file(unet, names):
    """The header of a LoRA of rank 16 for every linear layer of attention and every convolution."""
    tensors, wanted = {}, {}
    for name, module in unet.named_modules():
        convolution = isinstance(module, torch.nn.Conv2d)
        if not convolution and not (isinstance(module, torch.nn.Linear) and ".attentions." in name):
            continue
        told = names.get(name, name).replace(".", "_")
        (out, into), kernel = module.weight.shape[:2], module.kernel_size if convolution else ()
        shapes = {
            "lora_down.weight": (RANK, into, *kernel),
            "lora_up.weight": (out, RANK, *(1 for _ in kernel)),
            "alpha": (),
        }
        tensors |= {f"lora_unet_{told}.{part}": TensorInfo("F16", shape) for part, shape in shapes.items()}
        wanted[told] = name
    return tensors, wanted


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_key_of_a_kohya_file_finds_its_module(name):
    unet = unet_of(name)
    names = {ours: theirs for theirs, ours in sgm_names(unet).items()} if name == "SDXL" else {}
    tensors, wanted = kohya_file(unet, names)
    adapter, regions = parse_adapter(tensors, "file"), find_targets(unet, "unet")
    assert {module: regions[module] for _, module in adapter.modules} == {n: (Region(m),) for n, m in wanted.items()}
    assert sum(len(parts) for parts in adapter.modules.values()) == len(tensors) and adapter.ranks == (RANK,)
    attention = sum(".attentions." in place for place in wanted.values())
    assert (attention, len(wanted) - attention) == COUNTS[name] and len(tensors) == 3 * sum(COUNTS[name])


def test_the_names_of_stability_s_own_code_are_those_that_diffusers_maps():
    """kohya's SDXL names, against diffusers' own conversion."""
    unet = unet_of("SDXL")
    names, kinds = sgm_names(unet), (torch.nn.Linear, torch.nn.Conv2d)
    assert sorted(names.values()) == sorted(n for n, m in unet.named_modules() if isinstance(m, kinds))
    blocks = {t: o for t, o in names.items() if ".attentions." in o}
    assert len(blocks) == 722
    parts = ("lora_down.weight", "lora_up.weight")
    state = {f"lora_unet_{t.replace('.', '_')}.{part}": torch.zeros(1, 1) for t in blocks for part in parts}
    state = diffusers_conversion._maybe_map_sgm_blocks_to_diffusers(state, unet.config)
    converted, _ = diffusers_conversion._convert_non_diffusers_lora_to_diffusers(state)
    shapes = {k: TensorInfo("F32", tuple(v.shape)) for k, v in converted.items()}
    assert {module for _, module in parse_adapter(shapes, "converted").modules} == set(blocks.values())
