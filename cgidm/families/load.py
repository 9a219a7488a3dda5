"""Build a `ModelPair` from a base and a suspect that `intake` has identified."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers.utils import logging as diffusers_logging
from torch import Tensor, nn
from transformers.utils import logging as transformers_logging

from ..device import Quantisation
from ..errors import UserError
from ..intake.family import lend_configuration
from ..intake.framing_notes import read_framing
from ..intake.layout import Checkpoint, fingerprint_weights, open_checkpoint
from ..intake.likely_framing import LikelyFraming, likely_framing
from ..intake.notes import read_notes
from ..intake.remarks import find_purpose, stated_guidance, stated_prediction
from ..intake.source import is_scale
from ..messages import Note, note
from ..method.memory_plan import free_memory, worth_merging
from ..method.models import IdentityCodec, ModelPair, OtherAdapter
from .adapters import (
    MAX_ROUNDING_LOSS,
    apply_adapter,
    check_family,
    count_unused,
    merge,
    share_weights,
)
from .codec import Encoding, VaeCodec
from .conditioning import (
    ConditionedNetwork,
    condition_on_prompts,
    tell_guidance,
    text_encoders,
)
from .embeddings import apply_embedding
from .library_errors import explain_library_errors
from .memory import fit_pair, weight_bytes
from .mixtures import add_to_weights, open_others
from .offloading import WeightOffloader
from .pairs import make_pair, split_batch_pair
from .pipelines import load_pipeline, load_suspect
from .prediction import check_markers, check_prediction, check_scheduler
from .quantised import quantise
from .tokenizers import check_tokenizers

ROOM_FOR_TEXT = 0.9  # share of the free bytes that text encoders may take on the device: they hold little beside


@dataclass(frozen=True, eq=False)
class ConditionedPair:
    """Base and suspect, and the network that computes both in one call, if their weights allow one."""

    base: ConditionedNetwork
    suspect: ConditionedNetwork
    joint: ConditionedNetwork | None = None
    notes: tuple[Note, ...] = ()  # what was assumed to load the suspect


def load_pair(
    base: str | Path | Checkpoint,
    suspect: str | Path | Checkpoint,
    prompt: str | Sequence[str],
    embeddings: Sequence[str | Path | Checkpoint] = (),
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    encoding: Encoding = "mode",
    free: int | None = None,
    max_rounding_loss: float = MAX_ROUNDING_LOSS,
    configuration: str | Checkpoint | None = None,
    adapter_alpha: float | None = None,
    quantisation: Quantisation | None = None,
    also: Sequence[str | Checkpoint] = (),
) -> ModelPair:
    """Load a base pipeline and a suspect made from it, both conditioned on `prompt`.

    An adapter's suspect shares the base's weights; so does that of a textual inversion. Weights are frozen. Only
    safetensors files are opened. While loading, only the module in use is on the device, unless memory is plentiful.
    Text encoders are released afterwards.

    Args:
        base: a path, an id on the Hub or a link (read without a token or key), or a `Checkpoint` from
            `intake.layout.open_checkpoint`.
        suspect: likewise; behind a LoRA, "@0.8" is the scale that it is used at.
        prompt: the prompt of both models; it may be blank. Of several, each timestep is denoised under one
            (`ConditionedNetwork.predict`): for a suspect whose prompt is not known.
        embeddings: textual inversions that came with the suspect. The prompt must contain their word, or be blank.
        device: a torch device.
        dtype: the precision of the networks.
        encoding: "mode", or "sample" for unseeded draws from the autoencoder's posterior.
        free: bytes that the pair may take; None: what is free on the device. `ModelPair.memory` holds the plan.
        max_rounding_loss: share of an adapter's change that merging may lose to rounding; see `adapters.merge`.
        configuration: the pipeline whose configuration, tokenizers and scheduler a base in one file uses; None: the
            public base of its family.
        adapter_alpha: alpha of an adapter whose file states none; its changes are multiplied by alpha / rank.
        quantisation: how the networks' large weights are packed, in both models alike; None: they are not. For
            networks of rectified flow.
        also: adapters that base and suspect both have, each with its scale: other LoRAs that are used with the suspect,
            or the adapter through which a distilled base is trained. The pair is base + others against base + others +
            suspect, so what it tells is what the suspect alone adds.

    Raises:
        UserError: if a model is missing, has another layout, or does not fit the other one.
    """
    silence_libraries()
    root = open_checkpoint(base, "base model") if isinstance(base, str | Path) else base
    suspect = open_checkpoint(suspect, "fine-tuned model") if isinstance(suspect, str | Path) else suspect
    root = lend_configuration(root, configuration)
    if root.config is None or root.kind not in ("pipeline", "single file"):
        raise UserError("families.base_kind", name=root.name, given=root.kind)
    check_family(suspect)
    if adapter_alpha is not None and suspect.kind != "adapter":
        raise UserError("families.alpha_of_no_adapter", name=suspect.name, kind=suspect.kind)
    if suspect.scale <= 0:
        raise UserError("families.scale_not_positive", name=suspect.name, given=suspect.scale)
    others = open_others(suspect, also)
    for scaled in (suspect, *others):
        if not is_scale(scaled.scale):
            raise UserError("families.no_scale", name=scaled.name, given=scaled.scale)
    words = _open_embeddings(suspect, embeddings)
    prompts = (prompt,) if isinstance(prompt, str) else tuple(prompt)
    if words and len(prompts) > 1:
        raise UserError("families.prompts_with_embedding", name=words[0].name, count=len(prompts))
    for checkpoint in (root, suspect):
        if (purpose := find_purpose(checkpoint)) is not None:
            raise UserError("families.special_purpose", name=checkpoint.name, purpose=purpose)
    target = torch.device(device)
    free = free_memory(target) if free is None else free
    numbers = sum(t.numel for c in (root, suspect) for t in c.tensors.values())
    plentiful = free is None or free > 2 * numbers * dtype.itemsize
    guidance = stated_guidance(suspect)
    loader = _PairLoader(
        offloader=WeightOffloader(target, offloads=not plentiful),
        prompts=prompts,
        dtype=dtype,
        max_rounding_loss=max_rounding_loss,
        adapter_alpha=adapter_alpha,
        others=others,
        guidance=guidance,
        quantisation=quantisation,
        free=free,
    )
    pair = loader.load(root, suspect, words)
    if isinstance(pair.base.codec, VaeCodec):
        pair = replace(pair, base=replace(pair.base, codec=replace(pair.base.codec, encoding=encoding)))
    likely = _likely_framing(pair.base, suspect)
    memory = fit_pair(
        pair.base,
        pair.suspect,
        loader.offloader,
        dtype=dtype,
        free=free,
        joint=pair.joint,
        pixels=0 if likely is None else likely.framing.most_pixels,
    )
    fingerprints = fingerprint_weights(root, suspect, *words, *others)
    made = make_pair(
        pair.base, pair.suspect, device=target, dtype=dtype, fingerprints=fingerprints, memory=memory, joint=pair.joint
    )
    return replace(
        made,
        mirrored_training=read_notes(suspect.metadata).mirrored,
        trained_framing=None if likely is None else likely.framing,
        framing_is_guessed=likely is not None and likely.guessed,
        excludes=read_framing(suspect.metadata).excludes,
        prompts=prompts,
        base_files=tuple(f"{root.listing.name}/{f}" for f in root.weights),
        quantisation=quantisation,
        notes=(*pair.notes, *_guidance_notes(pair.base, suspect, guidance)),
        suspect_scale=suspect.scale,
        as_loaded=suspect.as_loaded,
        unused_tensors=count_unused(pair.notes),
        others=tuple(OtherAdapter(name=o.name, scale=o.scale, sha256=o.weights_sha256) for o in others),
    )


def _guidance_notes(base: ConditionedNetwork, suspect: Checkpoint, guidance: float | None) -> tuple[Note, ...]:
    if base.guidance_at is None:
        return ()
    told = float(base.conditions[base.guidance_at][0])
    return (note(f"families.guidance_{'assumed' if guidance is None else 'stated'}", name=suspect.name, guidance=told),)


def _likely_framing(base: ConditionedNetwork, suspect: Checkpoint) -> LikelyFraming | None:
    """How the suspect's training framed pictures; models of pixels take squares alone."""
    return None if isinstance(base.codec, IdentityCodec) else likely_framing(suspect.metadata, base.resolution)


def silence_libraries() -> None:
    """Turn off the progress bars and warnings of diffusers and transformers; our own checks replace the warnings."""
    diffusers_logging.set_verbosity_error()
    diffusers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    for library in ("diffusers", "transformers"):  # advice on old schedulers; it prints their whole configuration
        warnings.filterwarnings("ignore", category=FutureWarning, module=rf"{library}\.")
    transformers_logging.disable_progress_bar()


def _open_embeddings(suspect: Checkpoint, given: Sequence[str | Path | Checkpoint]) -> list[Checkpoint]:
    """Open the suspect's textual inversions; the suspect may be one itself."""
    words = [open_checkpoint(e, "embedding") if isinstance(e, str | Path) else e for e in given]
    for word in words:
        if word.kind != "textual inversion":
            raise UserError("families.embedding_kind", name=word.name, given=word.kind)
    if suspect.adapter is not None:  # words in the file of a LoRA
        more = {"kind": "textual inversion", "adapter": None}
        return [*(replace(suspect, **more, embedding=bundled) for bundled in suspect.adapter.bundle), *words]
    return [suspect, *words] if suspect.kind == "textual inversion" else words


@dataclass(frozen=True, eq=False)
class _PairLoader:
    """Loads and conditions base and suspect. Each reads the prompts with its own text encoder and vocabulary."""

    offloader: WeightOffloader
    prompts: tuple[str, ...]
    dtype: torch.dtype
    max_rounding_loss: float
    adapter_alpha: float | None = None
    guidance: float | None = None  # that the suspect's training told the network; None: the family's usual one
    quantisation: Quantisation | None = None
    free: int | None = None  # bytes that the pair may take
    others: tuple[Checkpoint, ...] = ()

    def load(self, root: Checkpoint, suspect: Checkpoint, embeddings: Sequence[Checkpoint]) -> ConditionedPair:
        pipeline = load_pipeline(root, "base", self.dtype)
        check_tokenizers(pipeline, root.name)
        assumed = add_to_weights(pipeline, self.others)
        with explain_library_errors("base", root.name):
            base = self._condition(pipeline)
            if self.quantisation is None:
                _probe(base)
            elif base.prediction != "flow":
                raise UserError("families.quantised_flow_only", name=root.name, given=self.quantisation)
            check_scheduler(base, f"base model {root.name}")
        check_markers(stated_prediction(suspect), base.prediction, suspect.name)
        if suspect.kind == "adapter":
            adapted = self._adapted(pipeline, base.network, suspect, embeddings)
            return replace(adapted, notes=(*adapted.notes, *assumed))
        if suspect.kind == "textual inversion":
            self._quantise(base.network)
            before = _probe(base)
            taught = self._condition(pipeline, embeddings)
            _check_changed(before, _probe(taught), suspect)
            return ConditionedPair(base, taught, split_batch_pair(base, taught), assumed)
        finetuned = load_suspect(suspect, root, pipeline, self.dtype)
        add_to_weights(finetuned, self.others, [*pipeline.components.values()])
        with explain_library_errors("fine-tuned", suspect.name):
            conditioned = self._condition(finetuned, embeddings)
            _check_shapes(base, conditioned, suspect.name)
            for network in (base.network, conditioned.network):
                self._quantise(network)
            _probe(conditioned)
            check_prediction(base, conditioned, f"fine-tuned model {suspect.name}")
        return ConditionedPair(base, conditioned, notes=assumed)

    def _condition(
        self, pipeline: Any, embeddings: Sequence[Checkpoint] = (), *, shared_owner: nn.Module | None = None
    ) -> ConditionedNetwork:
        """Encode the prompts on the pair's device; the text encoders leave it before a network is loaded."""
        prompts = self.prompts
        if embeddings:
            prompt = prompts[0] or " ".join(e.embedding.word for e in embeddings if e.embedding is not None)
            for embedding in embeddings:
                prompt = apply_embedding(pipeline, embedding, prompt)
            prompts = (prompt,)
        _freeze(pipeline)
        encoders = text_encoders(pipeline)
        if self.free is None or weight_bytes(*encoders) < ROOM_FOR_TEXT * self.free:  # else they encode on the host
            self.offloader(*encoders)
        conditioned = condition_on_prompts(pipeline, prompts)
        conditions = tuple(condition.to(self.offloader.device) for condition in conditioned.conditions)
        conditioned = replace(conditioned, conditions=conditions, shared_owner=shared_owner)
        if self.guidance is not None:
            conditioned = tell_guidance(conditioned, self.guidance)
        return self.offloader.wrap(conditioned)

    def _quantise(self, *networks: nn.Module) -> None:
        """Pack the weights of networks that share them, before they reach the device."""
        if self.quantisation is not None:
            quantise(networks, self.quantisation)

    def _adapted(
        self, pipeline: Any, network: nn.Module, suspect: Checkpoint, embeddings: Sequence[Checkpoint]
    ) -> ConditionedPair:
        """The pipeline's `network`, and a second network on the same weights that carries the adapter.

        Raises:
            UserError: if the adapter does not change the network's prediction for a fixed input.
        """
        adapted = share_weights(network)
        self.offloader.transfer(network, adapted)
        base = self._condition(pipeline, shared_owner=adapted)
        before = None if self.quantisation else _probe(base)
        setattr(pipeline, next(name for name, part in pipeline.components.items() if part is network), adapted)
        notes = apply_adapter(pipeline, suspect, self.adapter_alpha)
        self._quantise(network, adapted)
        if merging := self.quantisation is None and worth_merging(self.offloader.device, self.dtype):
            merge(adapted, self.max_rounding_loss)
        before = _probe(base) if before is None else before
        changed = self._condition(pipeline)
        _check_changed(before, _probe(changed), suspect)
        assert torch.equal(before, _probe(base)), "the base must not change"
        if embeddings:
            changed = self._condition(pipeline, embeddings)
        return ConditionedPair(base, changed, None if merging else split_batch_pair(base, changed), notes)


def _check_changed(before: Tensor, after: Tensor, suspect: Checkpoint) -> None:
    if torch.equal(before, after):
        raise UserError("families.changes_nothing", name=suspect.name)


@torch.no_grad()
def _probe(model: ConditionedNetwork) -> Tensor:
    """Compute the prediction for one fixed input."""
    weight = next(model.network.parameters())
    x = torch.randn(1, model.channels, 16, 16, generator=torch.Generator().manual_seed(0))
    row = len(model.schedule) // 2
    return model.predict(x.to(model.device, weight.dtype), model.schedule.timesteps[row : row + 1].to(model.device))


def _check_shapes(base: ConditionedNetwork, suspect: ConditionedNetwork, name: str) -> None:
    shapes = [{k: tuple(v.shape) for k, v in m.network.state_dict().items()} for m in (base, suspect)]
    different = [k for k in shapes[0].keys() | shapes[1].keys() if shapes[0].get(k) != shapes[1].get(k)]
    if different:
        first = min(different)
        given, expected = (str(table.get(first)) for table in (shapes[1], shapes[0]))
        raise UserError(
            "families.other_shapes", name=name, count=len(different), first=first, given=given, expected=expected
        )
    if len(base.schedule) != len(suspect.schedule):
        rows, wanted = len(suspect.schedule), len(base.schedule)
        raise UserError("families.schedule_length", name=name, given=rows, expected=wanted)


def _freeze(pipeline: Any) -> None:
    for module in pipeline.components.values():
        if isinstance(module, nn.Module):
            module.eval().requires_grad_(False)
