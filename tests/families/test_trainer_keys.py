"""Every key that trainers write for flow transformers at their default settings has its module, at published sizes."""

from collections import defaultdict
from types import SimpleNamespace

import pytest

from cgidm.families.changes.methods import Change, fits
from cgidm.families.changes.regions import FileChange, overlaps
from cgidm.families.changes.targets import find_networks, find_targets
from cgidm.intake.adapters import change_shape, kind_of, parse_adapter
from tests.support.flow_networks import published_transformer
from tests.support.trainer_keys import text_encoder, trainer_keys

ROWS = trainer_keys()
ENCODERS = {  # as pipelines of diffusers have them
    "FLUX": {"text_encoder": "CLIP-L", "text_encoder_2": "T5"},
    "Chroma": {"text_encoder": "T5"},
    "Lumina": {"text_encoder": "Gemma 2"},
}
TARGETS = {}


def targets_of(network, component):
    if network not in TARGETS:
        TARGETS[network] = find_targets(network, component)
    return TARGETS[network]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.trainer}, {row.model}")
def test_every_key_has_its_module(row, monkeypatch):
    header = row.header()
    adapter = parse_adapter(header, "file")
    encoders = next((told for start, told in ENCODERS.items() if row.model.startswith(start)), {})
    pipeline = SimpleNamespace(
        transformer=published_transformer(row.model), **{name: text_encoder(kind) for name, kind in encoders.items()}
    )
    named = defaultdict(list)
    for component, module in adapter.modules:
        named[component].append(module)
    monkeypatch.setattr("cgidm.families.changes.targets.find_targets", targets_of)
    networks = find_networks(pipeline, named)
    changed = defaultdict(list)
    for (component, module), parts in adapter.modules.items():
        network = getattr(pipeline, networks[component])
        regions = targets_of(network, networks[component])[module]
        change = change_shape({part: header[key].shape for part, key in parts.items()})
        weight = tuple(network.get_submodule(regions[0].module).weight.shape)
        rows = sum(end - start for start, end in (p.theirs for p in regions if p.theirs)) or weight[0]
        assert change is not None and fits(kind_of(parts.keys()), change, (rows, *weight[1:]))
        changed[networks[component]].append(FileChange(Change("LoRA", {}), regions))
    assert sum(map(len, adapter.modules.values())) == len(header)
    assert len(changed.pop("transformer")) == row.count == len(row.layers)
    assert sum(map(len, changed.values())) == row.text_count
    assert changed.keys() == {name for name, kind in encoders.items() if kind in row.text.values()}
    assert all(overlaps(each) is None for each in changed.values())


def test_there_is_a_row_for_every_family_that_has_a_table():
    assert len(ROWS) >= 80 and len({(row.trainer, row.model) for row in ROWS}) == len(ROWS)
