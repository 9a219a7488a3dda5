"""LoRAs merged in bfloat16: how much of a change rounding takes, and that the committed measurement holds."""

import json

import pytest
import torch
from safetensors.torch import load_file

from cgidm.families import adapters, load_pair
from eval.studies import merging
from eval.studies.precision import NEEDED
from tests.support.paths import ASSETS, RESULTS

pytestmark = pytest.mark.slow

LORA = ASSETS / "examples" / merging.SUSPECT / "checkpoint"


def test_a_weaker_lora_changes_as_much_less_and_loses_more(tmp_path):
    changes, lost = [], []
    for strength in (1.0, 1 / 64):
        merging.weaken(LORA / merging.WEIGHTS, strength, tmp_path / f"{strength}" / merging.WEIGHTS)
        pair = load_pair(str(ASSETS / "mini"), str(tmp_path / f"{strength}"), "sks style", device="cpu")
        base, suspect = pair.modules
        places = [n for n, m in suspect.named_modules() if isinstance(m, adapters.ADAPTED)]
        own, merged = base.get_submodule(places[0]), suspect.get_submodule(places[0]).get_base_layer()
        changes.append(merged.weight - own.weight)
        lost.append(merging.lost_shares(pair))
        assert len(lost[-1]) == len(places) == len(load_file(LORA / merging.WEIGHTS)) // 2
    torch.testing.assert_close(changes[0] / 64, changes[1], rtol=1e-2, atol=1e-5)
    assert 0 < max(lost[0]) < min(0.25, min(lost[1])) and max(lost[1]) > 0.5


def test_the_committed_measurement_bears_out_the_choice():
    """Ranks are as with the factors kept; and as in float32, but for a change of a sixty-fourth, in whatever way."""
    report = json.loads((RESULTS / "merging.json").read_text())
    assert report["most_lost"] == adapters.MAX_ROUNDING_LOSS
    assert [row["strength"] for row in report["rows"]] == list(merging.STRENGTHS)
    for row in report["rows"]:
        assert row["merged"]["layers_merged"] == row["layers"] and row["factors"]["layers_merged"] == 0
        chosen = sum(share <= adapters.MAX_ROUNDING_LOSS for share in row["lost"])
        assert row["as chosen"]["layers_merged"] == chosen
        for score in merging.SCORES:
            ranks = row["as chosen"][score]["spearman"]
            assert ranks >= row["factors"][score]["spearman"] - 0.002
            assert ranks >= (NEEDED if row["strength"] >= 1 / 16 else 0.95)
    assert (RESULTS / "merging.md").read_text() == merging.merging_table(report)
