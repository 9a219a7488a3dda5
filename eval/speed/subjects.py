"""What is timed: a base and its suspect, as the library holds them and as two whole networks."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import nn

from cgidm.errors import UserError
from cgidm.families import load_pair
from cgidm.families.adapters import apply_adapter, merge, share_weights
from cgidm.families.changes.methods import Change, inject
from cgidm.families.codec import VaeCodec
from cgidm.families.conditioning import ConditionedNetwork, condition_on_prompt
from cgidm.families.load import make_pair, silence_libraries, split_batch_pair
from cgidm.families.memory import weight_bytes
from cgidm.families.pipelines import load_pipeline, load_suspect
from cgidm.intake.layout import open_checkpoint
from cgidm.method.memory_plan import worth_merging
from cgidm.method.models import ModelPair
from eval.memory.build import FlowArchitecture, build_network, flow_architectures
from eval.speed.build import (
    Architecture,
    architecture_names,
    build_pipeline,
    build_unet,
    made_on,
    read_architecture,
)
from eval.speed.needs import Shapes
from eval.speed.reference import TwoNetworks

PairKind = Literal["full", "lora"]  # a suspect of its own weights; an adapter on the base's network
KINDS: tuple[PairKind, ...] = get_args(PairKind)
MINI = "mini"
EXAMPLES: dict[PairKind, str] = {"full": "gerald-g-dreambooth", "lora": "rollandin-lora"}
PROMPT = "sks style"
RANK = 16  # of the LoRA, on the four projections of every attention
PERTURBATION = 0.05  # of every weight of a full suspect, relative


@dataclass(frozen=True, eq=False)
class Subject:
    """One model, ready to be opened as a pair of either kind on a device; nothing is held before that."""

    name: str
    title: str
    resolution: int  # pixels
    latent: tuple[int, int, int]  # channels, height, width
    open_pair: Callable[[PairKind, torch.device, torch.dtype], ModelPair]
    open_two: Callable[[PairKind, torch.device, torch.dtype], TwoNetworks] | None  # None: not a model of that code
    shapes: Callable[[torch.dtype], Shapes] | None = None  # without numbers; None: small enough for any machine

    @property
    def is_flow(self) -> bool:
        """Whether it is of rectified flow, which the paper's public code does not know."""
        return self.open_two is None


def find_subject(name: str, assets: Path) -> Subject:
    """`mini` or one of the published architectures.

    A name is looked up among those of the Stable Diffusion kind, then among those of rectified flow.

    Raises:
        UserError: if there is no such model.
    """
    if name == MINI:
        return _mini(assets)
    if name in architecture_names():
        return published(name, read_architecture(name))
    flows = flow_architectures()
    if name not in flows:
        raise UserError("speed.unknown_model", given=name, accepted=[MINI, *architecture_names(), *flows])
    return published_flow(name, flows[name])


def published(name: str, architecture: Architecture) -> Subject:
    """A published architecture with random weights. Speed does not depend on their values."""

    def open_pair(kind: PairKind, device: torch.device, dtype: torch.dtype) -> ModelPair:
        pipeline = build_pipeline(architecture, device, dtype)
        base = condition_on_prompt(pipeline, PROMPT)
        if kind == "lora":
            pipeline.unet = share_weights(pipeline.unet)
            add_lora(pipeline.unet)
            base = replace(base, shared_owner=pipeline.unet)
            suspect, joint = condition_on_prompt(pipeline, PROMPT), None
            if worth_merging(device, dtype):
                merge(pipeline.unet)
            else:
                joint = split_batch_pair(base, suspect)
            return make_pair(base, suspect, device=device, dtype=dtype, joint=joint)
        pipeline.unet = _another_unet(architecture, device, dtype)
        return make_pair(base, condition_on_prompt(pipeline, PROMPT), device=device, dtype=dtype)

    def open_two(kind: PairKind, device: torch.device, dtype: torch.dtype) -> TwoNetworks:
        base, tuned = (build_pipeline(architecture, device, dtype) for _ in range(2))
        if kind == "lora":
            add_lora(tuned.unet)
            merge_all(tuned)
        else:
            tuned.unet = _another_unet(architecture, device, dtype)
        return TwoNetworks(base, tuned, PROMPT, dtype)

    def shapes(dtype: torch.dtype) -> Shapes:
        pipeline = build_pipeline(architecture, torch.device("meta"), dtype)
        encoders = (getattr(pipeline, name, None) for name in ("text_encoder", "text_encoder_2"))
        return shapes_of(condition_on_prompt(pipeline, PROMPT), *(e for e in encoders if e is not None))

    cells, channels = architecture.unet["sample_size"], architecture.unet["in_channels"]
    scale = 2 ** (len(architecture.vae["block_out_channels"]) - 1)
    return Subject(name, architecture.title, cells * scale, (channels, cells, cells), open_pair, open_two, shapes)


def published_flow(name: str, architecture: FlowArchitecture) -> Subject:
    """A published transformer of rectified flow with random weights. The paper's public code has none.

    Text encoders are left out: a prompt's features are random, of as many tokens as the longest has.
    """

    def open_pair(kind: PairKind, device: torch.device, dtype: torch.dtype) -> ModelPair:
        def build() -> ConditionedNetwork:
            return build_network(architecture, dtype, device, made_on(device, dtype, seed=0))

        base = build()
        if kind == "full":
            suspect = build()
            _perturb(suspect.network, device, dtype)
            return make_pair(base, replace(suspect, conditions=base.conditions), device=device, dtype=dtype)
        adapted = share_weights(base.network)
        add_lora(adapted)
        base, suspect = replace(base, shared_owner=adapted), replace(base, network=adapted)
        if worth_merging(device, dtype):
            merge(adapted)
            return make_pair(base, suspect, device=device, dtype=dtype)
        return make_pair(base, suspect, device=device, dtype=dtype, joint=split_batch_pair(base, suspect))

    def shapes(dtype: torch.dtype) -> Shapes:
        return shapes_of(build_network(architecture, dtype))

    network = build_network(architecture)
    side = architecture.resolution // network.downscale
    latent = (network.channels, side, side)
    return Subject(name, architecture.title, architecture.resolution, latent, open_pair, None, shapes)


def _another_unet(architecture: Architecture, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """The base's network with every weight moved a little: a stand-in for fine-tuning."""
    unet = build_unet(architecture, device, dtype, seed=0)
    _perturb(unet, device, dtype)
    return unet


@torch.no_grad()
def _perturb(network: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    generator = torch.Generator(device).manual_seed(1)
    for p in network.parameters():
        p.mul_(1 + PERTURBATION * torch.randn(p.shape, generator=generator, device=device, dtype=dtype))


def _mini(assets: Path) -> Subject:
    """The embedded model and its shipped suspects."""
    base = str(assets / MINI)

    def suspect(kind: PairKind) -> str:
        return str(assets / "examples" / EXAMPLES[kind] / "checkpoint")

    def open_pair(kind: PairKind, device: torch.device, dtype: torch.dtype) -> ModelPair:
        pair = load_pair(base, suspect(kind), PROMPT, device=str(device), dtype=dtype)
        return replace(pair, memory=None)  # batches are as large as is asked for, here

    def open_two(kind: PairKind, device: torch.device, dtype: torch.dtype) -> TwoNetworks:
        silence_libraries()
        root, tuned = open_checkpoint(base, "base model"), open_checkpoint(suspect(kind), "fine-tuned model")
        first = load_pipeline(root, "base", dtype).to(device)
        if kind == "lora":
            second = load_pipeline(root, "base", dtype).to(device)
            apply_adapter(second, tuned)
            merge_all(second)
        else:
            second = load_suspect(tuned, root, first, dtype).to(device)
        return TwoNetworks(first, second, PROMPT, dtype)

    return Subject(MINI, "the embedded model", 128, (16, 16, 16), open_pair, open_two)


def add_lora(unet: Any) -> None:
    """A random LoRA over `unet`'s attention, put there as the library puts one that it has read from a file."""
    generator, changes = torch.Generator().manual_seed(2), {}
    for name, module in attention_layers(unet):
        out, into = module.weight.shape
        down = torch.randn(RANK, into, generator=generator) / into**0.5
        up = 0.1 * torch.randn(out, RANK, generator=generator) / RANK**0.5
        changes[name] = Change("LoRA", {"down": down, "up": up}, 1.0, RANK)
    inject(unet, changes)
    unet.eval().requires_grad_(False)


def attention_layers(network: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    """The projections of every attention, by their names."""
    for name, module in network.named_modules():
        projects = name.rpartition(".")[2] in ("to_q", "to_k", "to_v", "0") and ("attn" in name or "attention" in name)
        if projects and isinstance(module, nn.Linear):
            yield name, module


def shapes_of(model: ConditionedNetwork, *encoders: nn.Module) -> Shapes:
    """A network of the device `meta`, ready to be counted on the CPU."""
    codec = model.codec
    assert isinstance(codec, VaeCodec), "every published model has an autoencoder"
    model.network.to_empty(device="cpu")
    conditions = tuple(torch.zeros(c.shape, dtype=c.dtype) for c in model.conditions)
    return Shapes(
        network=replace(model, device=torch.device("cpu"), conditions=conditions),
        adapted=weight_bytes(*(layer for _, layer in attention_layers(model.network))),
        encoders=weight_bytes(*encoders),
        codec=weight_bytes(codec.vae),
    )


def merge_all(pipeline: Any) -> None:
    """The adapter's change added to the weights, so that the networks cost what whole ones cost."""
    for part in pipeline.components.values():
        if isinstance(part, nn.Module):
            merge(part)
