"""From a base and a suspect to a `ModelPair`. What each of them is, `intake` says; here they are built."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from diffusers.utils import logging as diffusers_logging
from torch import Tensor, nn
from transformers.utils import logging as transformers_logging

from ..errors import UserError
from ..intake.layout import Checkpoint, open_checkpoint
from ..method.memory_plan import MemoryPlan, free_memory, worth_merging
from ..method.models import ModelPair, NetworkEpsModel, Shared
from .adapters import Halved, adapted_layers, apply_adapter, merge, twin_of
from .bind import Bound, bind, join, text_encoders
from .embeddings import apply_embedding
from .kernels import choose_kernels
from .memory import fit_pair
from .offloading import Turns
from .pipelines import load_pipeline, load_suspect
from .prediction import check_prediction, check_reading


def load_pair(
    base: str | Checkpoint,
    suspect: str | Checkpoint,
    prompt: str,
    embeddings: Sequence[str | Checkpoint] = (),
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    encoding: str = "mode",
    free: int | None = None,
) -> ModelPair:
    """Load a base pipeline and a suspect made from it, with `prompt` bound to both (it may be blank).

    Each is a path, a place on the Hub (without a token), or a `Checkpoint` opened by `intake.layout.open_checkpoint`.
    An adapter's suspect is the base's own weights, seen through the adapter; that of a textual inversion is the base's
    own too, with other text features. `embeddings` are textual inversions that came with the suspect; the prompt must
    say their word, or be blank. Weights are frozen. Only safetensors are opened.

    The pair is fitted into `free` bytes, or what is free on the device: `ModelPair.memory` says how. On the way there,
    unless there is plenty, only what computes is on the device. The text encoders are let go.

    Raises:
        UserError: if one of them is missing, in another layout, or does not fit the other.
    """
    silence()
    root = open_checkpoint(base, "base model") if isinstance(base, str) else base
    suspect = open_checkpoint(suspect, "fine-tuned model") if isinstance(suspect, str) else suspect
    if root.kind != "pipeline":
        raise UserError(f"base model {root.name} is a {root.kind}; accepted: a model in the diffusers layout")
    words = _open_embeddings(suspect, embeddings)
    here = torch.device(device)
    free = free_memory(here) if free is None else free
    numbers = sum(t.numel for c in (root, suspect) for t in c.tensors.values())
    turns = Turns(here, keep=free is None or free > 2 * numbers * dtype.itemsize)
    first, second, joint = _bind_pair(turns, root, suspect, words, prompt, dtype)
    memory = fit_pair(first, second, turns, dtype, free)
    if hasattr(first.codec, "encoding"):
        first.codec.encoding = encoding  # type: ignore[attr-defined]
    fingerprints = {f"{c.listing.name}/{f}": c.listing.sha256(f) for c in (root, suspect, *words) for f in c.weights}
    return make_pair(first, second, here, dtype, fingerprints, memory, joint)


def silence() -> None:
    """A library prints nothing; diffusers and transformers draw on stderr while they load."""
    diffusers_logging.set_verbosity_error()  # its warnings are answered by our own checks, in our own words
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()


def make_pair(
    first: Bound,
    second: Bound,
    device: torch.device,
    dtype: torch.dtype,
    fingerprints: dict[str, str],
    memory: MemoryPlan | None = None,
    joint: Bound | None = None,
) -> ModelPair:
    """Base and suspect, which compute on `device` in `dtype`, as the pair that the method works on.

    `joint` is the network of both, where they share one, asked as both in one call.
    """

    def model(bound: Bound) -> NetworkEpsModel:
        return NetworkEpsModel(bound.call, bound.schedule.to(device), bound.prediction, dtype)

    for network in (first.network, second.network):
        choose_kernels(network, device, dtype)
    base, suspect = model(first), model(second)
    return ModelPair(
        base,
        suspect,
        schedule=base.schedule,
        codec=first.codec,
        resolution=first.side,
        device=device,
        fingerprints=fingerprints,
        networks=(first.holder,) if first.holder is second.holder else (first.holder, second.holder),
        modules=tuple(dict.fromkeys((first.network, second.network))),
        memory=memory,
        shared=None if joint is None else Shared(base, suspect, model(joint)),
    )


def _open_embeddings(suspect: Checkpoint, given: Sequence[str | Checkpoint]) -> list[Checkpoint]:
    """Every textual inversion of the suspect; it may be one itself."""
    words = [open_checkpoint(e, "embedding") if isinstance(e, str) else e for e in given]
    for word in words:
        if word.kind != "textual inversion":
            raise UserError(f"embedding {word.name} is a {word.kind}; accepted: a textual inversion (.safetensors)")
    return [suspect, *words] if suspect.kind == "textual inversion" else words


def _bind_pair(
    turns: Turns,
    root: Checkpoint,
    suspect: Checkpoint,
    embeddings: Sequence[Checkpoint],
    prompt: str,
    dtype: torch.dtype,
) -> tuple[Bound, Bound, Bound | None]:
    """The base's network, the suspect's, and, if they are one, that network as both.

    One prompt, read by each with its own text encoder and vocabulary.
    """
    pipeline = load_pipeline(root, "base", dtype)
    first = _bind(pipeline, prompt, turns)
    check_reading(first, f"base model {root.name}")
    if suspect.kind == "adapter":
        return _adapted_pair(pipeline, turns, first.network, suspect, embeddings, prompt, dtype)
    if suspect.kind == "textual inversion":
        before = _probe(first)
        second = _bind(pipeline, _teach(pipeline, embeddings, prompt), turns)
        _check_changed(before, _probe(second), suspect)
        return first, second, join(first, second)
    tuned = load_suspect(suspect, root, pipeline, dtype)
    second = _bind(tuned, _teach(tuned, embeddings, prompt), turns)
    _check_shapes(first, second, suspect.name)
    check_prediction(first, second, f"fine-tuned model {suspect.name}")
    return first, second, None


def _bind(pipeline: Any, prompt: str, turns: Turns, held_by: nn.Module | None = None) -> Bound:
    """The prompt read where the pair will compute, by text encoders that leave the device before a network comes."""
    _frozen(pipeline)
    turns(*text_encoders(pipeline))
    return turns.seat(replace(bind(pipeline, prompt), held_by=held_by))


def _teach(pipeline: Any, embeddings: Sequence[Checkpoint], prompt: str) -> str:
    for embedding in embeddings:
        prompt = apply_embedding(pipeline, embedding, prompt)
    return prompt


def _adapted_pair(
    pipeline: Any,
    turns: Turns,
    network: nn.Module,
    suspect: Checkpoint,
    embeddings: Sequence[Checkpoint],
    prompt: str,
    dtype: torch.dtype,
) -> tuple[Bound, Bound, Bound | None]:
    """The pipeline's `network`, and its twin with the adapter: the prompt is encoded without it and with it.

    Raises:
        UserError: if the adapter changes nothing in what the network answers to a fixed input.
    """
    twin = twin_of(network)
    turns.hand_over(network, twin)
    first = _bind(pipeline, prompt, turns, held_by=twin)
    before = _probe(first)
    setattr(pipeline, next(name for name, part in pipeline.components.items() if part is network), twin)
    apply_adapter(pipeline, suspect)
    if merging := worth_merging(turns.device, dtype):
        merge(twin)
    second = _bind(pipeline, prompt, turns)
    _check_changed(before, _probe(second), suspect)
    assert torch.equal(before, _probe(first)), "the base must stay the base"
    if embeddings:
        second = _bind(pipeline, _teach(pipeline, embeddings, prompt), turns)
    return (first, second, None) if merging else (first, *halve(first, second))


def halve(first: Bound, second: Bound) -> tuple[Bound, Bound | None]:
    """The network of `second`, an adapter on that of `first`: as the suspect, and as both models in one call.

    It stays as it was asked last, since activations may be computed a second time on the way back.
    """
    layers = adapted_layers(second.network)
    for layer in layers:
        layer.__class__ = type(f"Halved{type(layer).__name__}", (Halved, type(layer)), {})

    def seen(bound: Bound, halved: bool) -> Bound:
        def answer(*given: Tensor) -> Tensor:
            for layer in layers:
                layer.halved = halved
            return bound.answer(*given)

        return replace(bound, answer=answer)

    joint = join(first, second)
    return seen(second, False), None if joint is None else seen(joint, True)


def _check_changed(before: Tensor, after: Tensor, suspect: Checkpoint) -> None:
    if torch.equal(before, after):
        raise UserError(f"{suspect.name} changes nothing in the base's answer; accepted: one that was trained")


@torch.no_grad()
def _probe(bound: Bound) -> Tensor:
    """What a network answers to one fixed input."""
    weight = next(bound.network.parameters())
    config: Any = bound.network.config
    x = torch.randn(1, config.in_channels, 16, 16, generator=torch.Generator().manual_seed(0))
    row = len(bound.schedule) // 2
    return bound.call(x.to(bound.device, weight.dtype), bound.schedule.timesteps[row : row + 1].to(bound.device))


def _check_shapes(base: Bound, suspect: Bound, name: str) -> None:
    shapes = [{k: tuple(v.shape) for k, v in b.network.state_dict().items()} for b in (base, suspect)]
    different = [k for k in shapes[0].keys() | shapes[1].keys() if shapes[0].get(k) != shapes[1].get(k)]
    if different:
        tensor = min(different)
        raise UserError(
            f"fine-tuned model {name} differs from the base in {len(different)} tensor shapes (first: {tensor}: "
            f"{shapes[1].get(tensor)}, base {shapes[0].get(tensor)}); accepted: a model fine-tuned from this base"
        )


def _frozen(pipeline: Any) -> Any:
    for module in pipeline.components.values():
        if isinstance(module, torch.nn.Module):
            module.eval().requires_grad_(False)
    return pipeline
