"""Two conditioned networks as the pair that the method asks, or as one network that computes both in one call."""

from dataclasses import replace

import torch

from ..framing.frame import Frame
from ..method.memory_plan import MemoryPlan
from ..method.models import ModelPair, NetworkEpsModel, SharedNetwork
from .adapters import split_batch_network
from .conditioning import ConditionedNetwork, combine_conditions, tell_frame
from .kernels import choose_kernels


def make_pair(
    base: ConditionedNetwork,
    suspect: ConditionedNetwork,
    *,
    device: torch.device,
    dtype: torch.dtype,
    fingerprints: dict[str, str] | None = None,
    memory: MemoryPlan | None = None,
    joint: ConditionedNetwork | None = None,
) -> ModelPair:
    """Make the `ModelPair` of two conditioned networks.

    Args:
        base: the public model.
        suspect: the model that was fine-tuned from it.
        device: where both compute.
        dtype: the precision that the networks compute in.
        fingerprints: weight file -> SHA-256.
        memory: how the pair is held on its device.
        joint: the network that computes both models in one call, if they share their weights.
    """

    def model(conditioned: ConditionedNetwork) -> NetworkEpsModel:
        schedule = conditioned.schedule.to(device)
        return NetworkEpsModel(conditioned.predict, schedule, conditioned.prediction, dtype)

    def told_of(frame: Frame) -> ModelPair:
        both = None if joint is None else tell_frame(joint, frame)
        more = {"device": device, "dtype": dtype, "fingerprints": fingerprints, "memory": memory, "joint": both}
        return make_pair(tell_frame(base, frame), tell_frame(suspect, frame), **more)

    each = [base, suspect] if joint is None else [base, suspect, joint]
    modules = tuple(dict.fromkeys(conditioned.network for conditioned in each))
    for network in modules:
        choose_kernels(network, device, dtype)
    base_model, suspect_model = model(base), model(suspect)
    return ModelPair(
        base_model,
        suspect_model,
        base_model.schedule,
        codec=base.codec,
        resolution=base.resolution,
        device=device,
        fingerprints=fingerprints or {},
        networks=tuple(dict.fromkeys((base.weight_owner, suspect.weight_owner))),
        modules=modules,
        memory=memory,
        shared_network=None if joint is None else SharedNetwork(base_model, suspect_model, model(joint)),
        told_of=None if base.sizes_at is None else told_of,
    )


def split_batch_pair(base: ConditionedNetwork, suspect: ConditionedNetwork) -> ConditionedNetwork | None:
    """Make the network of both models: the base's for the first half of the rows, the suspect's for the second.

    Returns:
        None if the encoded prompts of the two models have different shapes.
    """
    conditions = combine_conditions(base, suspect)
    if conditions is None:
        return None
    network = split_batch_network(suspect.network)
    return replace(suspect, network=network, conditions=conditions, shared_owner=suspect.weight_owner)
