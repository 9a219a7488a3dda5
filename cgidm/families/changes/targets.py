"""Which modules of a network an adapter's names mean, in every dialect."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from diffusers.models.normalization import RMSNorm
from torch import nn

from ...intake.adapters import RENAMES, Rename

RESNET_PARTS = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "emb_layers.1": "time_emb_proj",
    "skip_connection": "conv_shortcut",
}
WEIGHTED = (nn.Linear, nn.Conv2d)
NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, RMSNorm)  # all are linear in weight and bias
# what files write before the names of a text encoder's modules; transformers 5 dropped some
TEXT_STARTS = ("", "text_model.", "model.", "language_model.", "model.language_model.")
TEXT_START = re.compile(r"^(?:model\.)?(?:text_model\.|language_model\.)?")
CLIP = re.compile(r"text_model|encoder[._]layers|text_projection")
ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")
Span = tuple[int, int]  # rows of a weight, from one to before the other


@dataclass(frozen=True)
class Region:
    """Rows of a file's change, and the rows of a network's weight that they change.

    Attributes:
        module: the network's module.
        theirs: rows of the change; None: all of them.
        ours: as many rows of the module's weight; None: all of them.
    """

    module: str
    theirs: Span | None = None
    ours: Span | None = None


Regions = tuple[Region, ...]


def find_targets(network: Any, component: str) -> dict[str, Regions]:
    """Map module names, as adapters of any dialect write them, to the weights of `network` that they mean.

    Returns:
        Names with dots and with underscores, of diffusers, of the family's own code and of trainers; empty if there is
        no such network.
    """
    if network is None:
        return {}
    own = {n: m for n, m in network.named_modules() if _has_weight(m)}
    names: dict[str, Regions] = {n: (Region(n),) for n in own}
    for row in RENAMES.get(type(network).__name__, ()):
        names = dict(_renamed(row, own)) | names  # a name of diffusers counts first
    if component == "unet":
        sgm = sgm_names(network, (*WEIGHTED, *NORMS))
        names |= {theirs: (Region(ours),) for theirs, ours in sgm.items() if ours in own}
    if component in ENCODERS:
        cores = {TEXT_START.sub("", n): (Region(n),) for n in own}
        names = {start + core: region for start in TEXT_STARTS for core, region in cores.items()} | names
    return {n.replace(".", "_"): regions for n, regions in names.items()} | names


def find_networks(pipeline: Any, named: Mapping[str, Collection[str]]) -> dict[str, str]:
    """The pipeline's attribute that holds each of a file's networks.

    Text encoders but CLIP have other numbers in files than in pipelines: T5 is kohya's third of FLUX, and diffusers'
    second. So an encoder that lacks all of the modules is not meant, if one has them that the file does not name.

    Args:
        pipeline: whose networks are asked.
        named: network, as the file names it -> the file's names of its modules.
    """
    free = [name for name in ENCODERS if hasattr(pipeline, name) and name not in named]
    found = {}
    for component, modules in named.items():
        is_other = component in (*ENCODERS, "another text encoder") and not any(CLIP.match(m) for m in modules)
        encoders = (component, *free) if is_other else (component,)
        known = {name: find_targets(getattr(pipeline, name, None), name) for name in encoders}
        found[component] = next((n for n in encoders if any(m in known[n] for m in modules)), component)
    return found


def sgm_names(unet: Any, kinds: tuple[type[nn.Module], ...] = WEIGHTED) -> dict[str, str]:
    """Map module names of Stability's code, which kohya uses for SDXL, to those of diffusers' UNet.

    Args:
        unet: diffusers' network.
        kinds: the classes of the modules to map.
    """
    layers = unet.config.layers_per_block
    found = {"input_blocks.0.0": "conv_in", "out.2": "conv_out"}
    if nn.GroupNorm in kinds:
        found["out.0"] = "conv_norm_out"
    for i, part in ((0, 1), (2, 2)):
        found[f"time_embed.{i}"] = f"time_embedding.linear_{part}"
        found[f"label_emb.0.{i}"] = f"add_embedding.linear_{part}"
    blocks = []  # (their block, our block)
    for i in range(len(unet.down_blocks)):
        start = 1 + i * (layers + 1)
        for j in range(layers):
            blocks.append((f"input_blocks.{start + j}.0", f"down_blocks.{i}.resnets.{j}"))
            blocks.append((f"input_blocks.{start + j}.1", f"down_blocks.{i}.attentions.{j}"))
        if unet.down_blocks[i].downsamplers:
            found[f"input_blocks.{start + layers}.0.op"] = f"down_blocks.{i}.downsamplers.0.conv"
    for i, block in enumerate(unet.up_blocks):
        for j in range(layers + 1):
            blocks.append((f"output_blocks.{i * (layers + 1) + j}.0", f"up_blocks.{i}.resnets.{j}"))
            blocks.append((f"output_blocks.{i * (layers + 1) + j}.1", f"up_blocks.{i}.attentions.{j}"))
        if not block.upsamplers:
            continue
        after = 2 if getattr(block, "attentions", None) else 1
        found[f"output_blocks.{i * (layers + 1) + layers}.{after}.conv"] = f"up_blocks.{i}.upsamplers.0.conv"
    for k, part in enumerate(("resnets.0", "attentions.0", "resnets.1")):
        blocks.append((f"middle_block.{k}", f"mid_block.{part}"))
    for name, module in unet.named_modules():
        for theirs, ours in blocks:
            if name.startswith(f"{ours}.") and isinstance(module, kinds):
                rest = name.removeprefix(f"{ours}.")
                rest = next((t for t, o in RESNET_PARTS.items() if o == rest), rest)
                found[f"{theirs}.{rest}"] = name
    return found


def _has_weight(module: nn.Module) -> bool:
    return isinstance(module, (*WEIGHTED, *NORMS)) and getattr(module, "weight", None) is not None


def _renamed(row: Rename, own: Mapping[str, Any]) -> Iterator[tuple[str, Regions]]:
    """The names of a table's row for each block that the network has."""
    first = re.compile(re.escape(row.ours[0]).replace(r"\{\}", r"(\d+)"))
    for match in (m for name in own if (m := first.fullmatch(name))):
        modules = [name.format(*match.groups()) for name in row.ours]
        if all(name in own for name in modules):
            yield row.theirs.format(*match.groups()), _regions(row, modules, own)


def _regions(row: Rename, modules: list[str], own: Mapping[str, Any]) -> Regions:
    shape = own[modules[0]].weight.shape
    if row.rows is not None:
        (start, end), unit = row.rows, shape[1]
        span = (start * unit, shape[0] if end is None else end * unit)
        return (Region(modules[0], (0, span[1] - span[0]), span),)
    if len(modules) == 1:
        half, rest = divmod(shape[0], 2)
        if row.swapped and not rest and half == shape[1]:  # shift and scale alone
            return (Region(modules[0], (0, half), (half, 2 * half)), Region(modules[0], (half, 2 * half), (0, half)))
        return (Region(modules[0]),)
    regions, start = [], 0
    for module in modules:
        rows = own[module].weight.shape[0]
        regions.append(Region(module, (start, start + rows)))
        start += rows
    return tuple(regions)
