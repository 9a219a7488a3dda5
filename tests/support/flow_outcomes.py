"""What is measured of an adapter for a flow transformer: the network that it gives, and its refusals when damaged."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from cgidm import UserError
from cgidm.families.adapters import adapted_layers, apply_adapter, merge, share_weights, split_batch_network
from cgidm.intake.layout import open_checkpoint
from tests.support.damage import DAMAGE, damaged
from tests.support.flow_formats import FlowFormat
from tests.support.flow_networks import answer, tiny_transformer

EXACT = 1e-5
CODES = {  # what each damage may be refused with
    "one tensor lost": {
        "intake.adapter_weights_missing",
        "intake.adapter_factors_missing",
        "intake.adapter_mixed_methods",
        "families.biases_missing",
    },
    "renamed": {"intake.adapter_unknown_names"},
    "transposed": {"intake.adapter_shapes", "intake.adapter_mixed_axes", "families.adapter_does_not_fit"},
    "another base": {"families.adapter_does_not_fit"},
}


@dataclass
class Outcome:
    """What was measured of one format."""

    tensors: int
    counted: int  # of them, what has a place in a module
    error: float  # largest difference from the network that has the merged weights
    merged: float  # the same, of the adapter merged into a copy
    together: float  # the same, of both models in one call
    effect: float  # largest difference from the base
    base_kept: bool  # what the base answers is the base's own answer, bit for bit
    refusals: dict[str, UserError | None] = field(default_factory=dict)


def adapted(form: FlowFormat, folder: Path, base: Any) -> Any:
    network = share_weights(base)
    pipeline = SimpleNamespace(transformer=network)
    apply_adapter(pipeline, open_checkpoint(str(folder / "lora.safetensors")))
    return pipeline.transformer


def refusal(form: FlowFormat, folder: Path, base: Any) -> UserError | None:
    try:
        adapted(form, folder, base)
    except UserError as error:
        return error
    return None


def measure(form: FlowFormat, folder: Path) -> Outcome:
    meant, base = tiny_transformer(form.family), tiny_transformer(form.family)
    own = {name: weight.clone() for name, weight in base.state_dict().items()}
    before = answer(form.family, base)
    form.write(folder / "sound", meant)
    wanted = answer(form.family, meant)
    tuned = adapted(form, folder / "sound", base)
    given = answer(form.family, tuned)
    both = answer(form.family, split_batch_network(tuned))
    copied = adapted(form, folder / "sound", base)
    merge(copied)
    checkpoint = open_checkpoint(str(folder / "sound" / "lora.safetensors"))
    assert checkpoint.adapter is not None and adapted_layers(tuned)
    outcome = Outcome(
        tensors=len(checkpoint.tensors),
        counted=sum(map(len, checkpoint.adapter.modules.values())),
        error=(given - wanted).abs().max().item(),
        merged=(answer(form.family, copied) - wanted).abs().max().item(),
        together=(both - torch.cat([before[:1], given[1:]])).abs().max().item(),
        effect=(given - before).abs().max().item(),
        base_kept=torch.equal(answer(form.family, base), before)
        and all(torch.equal(weight, own[name]) for name, weight in base.state_dict().items()),
    )
    for damage in DAMAGE[:3]:
        shutil.copytree(folder / "sound", folder / damage)
        damaged(folder / damage / "lora.safetensors", "", damage)
        outcome.refusals[damage] = refusal(form, folder / damage, base)
    other = tiny_transformer(form.family, heads=8 if form.family == "Krea 2" else 16 if form.family == "Z-Image" else 6)
    outcome.refusals[DAMAGE[3]] = refusal(form, folder / "sound", other)
    return outcome
