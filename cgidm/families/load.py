"""From a base and a suspect to a `ModelPair`. What each of them is, `intake` says; here they are built."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from diffusers.utils import logging as diffusers_logging
from torch import Tensor
from transformers.utils import logging as transformers_logging

from ..errors import UserError
from ..intake.layout import Checkpoint, open_checkpoint
from ..memory import MemoryPlan, free_memory
from ..models import ModelPair, NetworkEpsModel
from .adapters import Switch, apply_adapter
from .bind import Bound, bind, text_encoders
from .embeddings import apply_embedding
from .memory import fit_pair
from .pipelines import load_pipeline, load_suspect
from .prediction import check_prediction, check_reading
from .turns import Turns


def load_pair(
    base: str | Checkpoint,
    finetuned: str | Checkpoint,
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
    An adapter's suspect is the base's own network, seen with the adapter on; that of a textual inversion is the base's
    own too, with other text features. `embeddings` are textual inversions that came with the suspect; the prompt must
    say their word, or be blank. Weights are frozen. Only safetensors are opened.

    The pair is fitted into `free` bytes, or what is free on the device: `ModelPair.memory` says how. On the way there,
    unless there is plenty, only what computes is on the device. The text encoders are let go.

    Raises:
        UserError: if one of them is missing, in another layout, or does not fit the other.
    """
    silence()
    root = open_checkpoint(base, "base model") if isinstance(base, str) else base
    suspect = open_checkpoint(finetuned, "fine-tuned model") if isinstance(finetuned, str) else finetuned
    if root.kind != "pipeline":
        raise UserError(f"base model {root.name} is a {root.kind}; accepted: a model in the diffusers layout")
    words = _open_embeddings(suspect, embeddings)
    here = torch.device(device)
    free = free_memory(here) if free is None else free
    numbers = sum(t.numel for c in (root, suspect) for t in c.tensors.values())
    turns = Turns(here, keep=free is None or free > 2 * numbers * dtype.itemsize)
    first, second = _bind_pair(turns, root, suspect, words, prompt, dtype)
    memory = fit_pair(first, second, turns, dtype, free)
    if hasattr(first.codec, "encoding"):
        first.codec.encoding = encoding  # type: ignore[attr-defined]
    fingerprints = {f"{c.listing.name}/{f}": c.listing.sha256(f) for c in (root, suspect, *words) for f in c.weights}
    return make_pair(first, second, here, dtype, fingerprints, memory)


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
) -> ModelPair:
    """Base and suspect, which compute on `device` in `dtype`, as the pair that the method works on."""
    base, finetuned = (NetworkEpsModel(b.call, b.schedule.to(device), b.prediction, dtype) for b in (first, second))
    return ModelPair(
        base,
        finetuned,
        schedule=base.schedule,
        codec=first.codec,
        side=first.side,
        device=device,
        fingerprints=fingerprints,
        networks=(first.network,) if first.network is second.network else (first.network, second.network),
        memory=memory,
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
) -> tuple[Bound, Bound]:
    """The base's network and the suspect's: one prompt, read by each with its own text encoder and vocabulary."""
    pipeline = load_pipeline(root, "base", dtype)
    first = _bind(pipeline, prompt, turns)
    check_reading(first, f"base model {root.name}")
    if suspect.kind == "adapter":
        return _switched_pair(pipeline, turns, first, suspect, embeddings, prompt)
    if suspect.kind == "textual inversion":
        before = _probe(first, first.call)
        second = _bind(pipeline, _teach(pipeline, embeddings, prompt), turns)
        _check_changed(before, _probe(second, second.call), suspect)
        return first, second
    tuned = load_suspect(suspect, root, pipeline, dtype)
    second = _bind(tuned, _teach(tuned, embeddings, prompt), turns)
    _check_shapes(first, second, suspect.name)
    check_prediction(first, second, f"fine-tuned model {suspect.name}")
    return first, second


def _bind(pipeline: Any, prompt: str, turns: Turns) -> Bound:
    """The prompt read where the pair will compute, by text encoders that leave the device before a network comes."""
    _frozen(pipeline)
    turns(*text_encoders(pipeline))
    return turns.seat(bind(pipeline, prompt))


def _teach(pipeline: Any, embeddings: Sequence[Checkpoint], prompt: str) -> str:
    for embedding in embeddings:
        prompt = apply_embedding(pipeline, embedding, prompt)
    return prompt


def _switched_pair(
    pipeline: Any, turns: Turns, alone: Bound, suspect: Checkpoint, embeddings: Sequence[Checkpoint], prompt: str
) -> tuple[Bound, Bound]:
    """The pipeline's one network with the adapter off and on; the prompt is encoded under both.

    Raises:
        UserError: if the adapter changes nothing in what the network answers to a fixed input.
    """
    before = _probe(alone, alone.call)
    switch = apply_adapter(pipeline, suspect)
    switch(False)
    first = _bind(pipeline, prompt, turns)
    switch(True)
    second = _bind(pipeline, prompt, turns)
    own = Switch([first.network])  # without the text encoders, which nobody needs any more
    off, on = see_both(own, first, second)
    _check_changed(before, _probe(on, on.call), suspect)
    assert torch.equal(before, _probe(off, off.call)), "the adapter off, the base must be the base"
    if embeddings:
        switch(True)
        off, on = see_both(own, first, _bind(pipeline, _teach(pipeline, embeddings, prompt), turns))
    return off, on


def see_both(switch: Switch, first: Bound, second: Bound) -> tuple[Bound, Bound]:
    """One network as base and as suspect: its adapter goes off, or on, before each call."""

    def off(x: Tensor, t: Tensor) -> Tensor:
        switch(False)
        return first.call(x, t)

    def on(x: Tensor, t: Tensor) -> Tensor:
        switch(True)
        return second.call(x, t)

    return replace(first, call=off), replace(second, call=on)


def _check_changed(before: Tensor, after: Tensor, suspect: Checkpoint) -> None:
    if torch.equal(before, after):
        raise UserError(f"{suspect.name} changes nothing in the base's answer; accepted: one that was trained")


@torch.no_grad()
def _probe(bound: Bound, call: Any) -> Tensor:
    """What a network answers to one fixed input."""
    weight = next(bound.network.parameters())
    config: Any = bound.network.config
    x = torch.randn(1, config.in_channels, 16, 16, generator=torch.Generator().manual_seed(0))
    row = len(bound.schedule) // 2
    return call(x.to(bound.device, weight.dtype), bound.schedule.timesteps[row : row + 1].to(bound.device))


def _check_shapes(base: Bound, finetuned: Bound, suspect: str) -> None:
    shapes = [{k: tuple(v.shape) for k, v in b.network.state_dict().items()} for b in (base, finetuned)]
    different = [k for k in shapes[0].keys() | shapes[1].keys() if shapes[0].get(k) != shapes[1].get(k)]
    if different:
        name = min(different)
        raise UserError(
            f"fine-tuned model {suspect} differs from the base in {len(different)} tensor shapes (first: {name}: "
            f"{shapes[1].get(name)}, base {shapes[0].get(name)}); accepted: a model fine-tuned from this base"
        )


def _frozen(pipeline: Any) -> Any:
    for module in pipeline.components.values():
        if isinstance(module, torch.nn.Module):
            module.eval().requires_grad_(False)
    return pipeline
