"""Every format of an adapter for flow transformers: loaded exactly, every tensor counted; damaged, refused.

The table in docs/usage/formats.md is made here: `python -m scripts.render_docs --formats` writes it.
"""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cgidm import UserError
from cgidm.families.adapters import adapted_layers, apply_adapter, merge, share_weights, split_batch_network
from cgidm.intake.layout import open_checkpoint
from tests.support.damage import DAMAGE, damaged
from tests.support.flow_formats import FLOW_FORMATS, FlowFormat
from tests.support.flow_networks import answer, tiny_transformer
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

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


@pytest.fixture(scope="module")
def flow_outcomes(tmp_path_factory):
    return {form: measure(form, tmp_path_factory.mktemp("suspect")) for form in FLOW_FORMATS}


@pytest.mark.parametrize("form", FLOW_FORMATS, ids=lambda form: f"{form.name}, {form.family}")
def test_it_computes_what_is_meant_and_is_refused_when_damaged(flow_outcomes, form):
    outcome = flow_outcomes[form]
    assert outcome.error <= EXACT and outcome.merged <= EXACT and outcome.together <= EXACT
    assert outcome.effect > 100 * EXACT and outcome.base_kept
    assert outcome.counted == outcome.tensors > 0
    for damage, error in outcome.refusals.items():
        assert error is not None and error.code in CODES[damage], (damage, error)


def test_the_docs_state_what_was_measured(flow_outcomes):
    page = (ROOT / "docs" / "usage" / "formats.md").read_text(encoding="utf-8")
    assert table(flow_outcomes) in page, "run python -m scripts.render_docs --formats"


def table(outcomes) -> str:
    """Markdown; no figure that differs from machine to machine."""
    head = ["suspect", "made for", "tensors", "equal to the merged weights", "base untouched", *DAMAGE]
    rows = [head, ["---"] * len(head)]
    for form, o in outcomes.items():
        exact = "to 1e-5" if max(o.error, o.merged) <= EXACT else "NO"
        refused = ["refused" if o.refusals[d] else "ACCEPTED" for d in DAMAGE]
        rows.append([form.name, form.family, str(o.tensors), exact, "yes" if o.base_kept else "NO", *refused])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def measure_table() -> str:
    """Measure every format and return the table."""
    with TemporaryDirectory() as name:
        return table({form: measure(form, Path(name) / str(i)) for i, form in enumerate(FLOW_FORMATS)})
