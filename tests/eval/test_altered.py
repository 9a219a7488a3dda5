"""LoRAs whose files were altered: what is done to them, how answers are compared, and that the committed ones hold."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from eval.error_rates.alteration import FILE, UNALTERED, Alteration
from eval.error_rates.altered import ALTERATIONS, altered_table, compare
from eval.error_rates.mirror_rates import MirrorDecision
from tests.support.errors import refuses
from tests.support.paths import RESULTS


@pytest.fixture
def adapter(tmp_path):
    g = torch.Generator().manual_seed(0)
    factors = {f"unet.{layer}.lora_{side}.weight": torch.randn(50, 40, generator=g) for layer in "xy" for side in "AB"}
    save_file(factors, tmp_path / FILE, {"format": "pt"})
    return tmp_path, factors


def test_the_change_is_scaled_by_one_of_its_factors(adapter):
    folder, factors = adapter
    with Alteration(scale=0.7).checkpoint(folder) as altered:
        found = load_file(altered / FILE)
    assert found.keys() == factors.keys() and not altered.exists()
    for name, value in factors.items():
        torch.testing.assert_close(found[name], value * (0.7 if "lora_B" in name else 1))


def test_noise_is_a_share_of_each_factor_s_own_spread(adapter):
    folder, factors = adapter
    with Alteration(noise=0.25).checkpoint(folder) as altered:
        found = load_file(altered / FILE)
    added = {name: found[name] - value for name, value in factors.items()}
    for name, value in factors.items():
        assert (added[name].std() / value.std()).item() == pytest.approx(0.25, rel=0.1)
    first, second, *_ = added.values()
    assert abs(torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1]) < 0.1


def test_nothing_is_done_where_nothing_is_asked(adapter):
    with UNALTERED.checkpoint(adapter[0]) as same:
        assert same == adapter[0]
    assert [a.name for a in ALTERATIONS[:2]] == ["not altered", "times 0.5"]


def test_a_whole_network_is_refused(tmp_path):
    with refuses("error_rates.no_factors", folder=str(tmp_path)), Alteration(scale=2).checkpoint(tmp_path):
        pass


def decision(file, member, p):
    known = {"training": "lora", "artist": file[0], "suspect": "s", "score": 0.0, "reference_p": None}
    return MirrorDecision(file=file, member=member, p_value=p, **known)


def test_an_answer_is_as_before_if_its_words_are():
    before = {
        (d.suspect, d.file): d for d in (decision("a1", 1, 0.001), decision("a2", 1, 0.03), decision("b", 1, 0.2))
    }
    now = [decision("a1", 1, 0.009), decision("a2", 1, 0.01), decision("b", 1, 0.06), decision("c", 0, 0.04)]
    found = compare(now, before)
    assert found["as before"]["count"] == 1 and found["as before"]["of"] == 2
    assert found["false calls at 0.05"]["share"] == 1 and found["false calls at 0.01"]["share"] == 0
    assert found["power at 0.05"]["count"] == found["power at 0.01"]["count"] == 2


def test_nine_in_ten_members_are_answered_as_under_the_untouched_file():
    report = json.loads((RESULTS / "mini" / "altered" / "altered.json").read_text())
    assert [r["altered"] for r in report["rows"]] == [a.name for a in ALTERATIONS]
    for row in report["rows"]:
        assert row["as before"]["share"] >= 0.9 and row["false calls at 0.05"]["share"] <= 0.05
    assert (RESULTS / "mini" / "altered" / "altered.md").read_text() == altered_table(report)
