"""Which card a model fits: exact architectures, counted on tensors without numbers."""

import json
from dataclasses import replace

import pytest
import torch

from eval.memory.build import META, build_network, flow_architectures, text_encoder_bytes
from eval.memory.fits import CARDS, PRECISIONS, count_model, fused_attention, plan_for, smallest_card, table
from tests.support.paths import ROOT

ARCHITECTURES = flow_architectures()
PUBLISHED = {  # parameters of the networks on the Hub
    "flux-1-dev": 11_901_408_320,
    "qwen-image": 20_430_401_088,
    "z-image": 6_154_908_736,
    "sd-3.5-large": 8_056_627_520,
    "sd-3.5-medium": 2_243_171_520,
}
COUNTS = json.loads((ROOT / "eval" / "results" / "memory.json").read_text())


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_architecture_has_the_published_size(name):
    model = build_network(ARCHITECTURES[name])
    assert sum(w.numel() for w in model.network.parameters()) == PUBLISHED[name]
    assert {w.device for w in model.network.parameters()} == {META}
    assert (model.resolution, model.downscale, model.channels) == (1024, 8, 16)
    assert {w.dtype for w in model.network.parameters()} == {torch.bfloat16}


def test_t5_and_clip_have_the_published_size():
    assert text_encoder_bytes(ARCHITECTURES["flux-1-dev"]) == 2 * (4_762_310_656 + 123_060_480)


def test_a_small_model_is_counted_in_every_precision():
    whole = ARCHITECTURES["flux-1-dev"]
    small = {"num_layers": 1, "num_single_layers": 1, "num_attention_heads": 4, "joint_attention_dim": 512}
    counted = count_model(replace(whole, transformer={**whole.transformer, **small}, conditions=((64, 512), (768,))))
    weights = [counted[p or "bf16"]["network"] for p in PRECISIONS]
    assert weights[0] > weights[1] > weights[2] > weights[0] / 4
    for precision in PRECISIONS:
        found = counted[precision or "bf16"]
        assert 0 < found["forward"] < found["backward"] and 0 < found["picture_tiled"] < found["picture"]
        assert found["forward"] < 4 * 16 * 4096 * 4096, "less than its attention matrices"


def test_attention_counted_as_fused_is_of_the_same_shape():
    q, k = torch.randn(1, 4, 5, 8), torch.randn(1, 2, 7, 8)
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, k, enable_gqa=True)
    with fused_attention():
        found = torch.nn.functional.scaled_dot_product_attention(q, k, k, enable_gqa=True)
    torch.testing.assert_close(found, expected)


def test_the_committed_counts_are_of_all_architectures():
    assert COUNTS.keys() == ARCHITECTURES.keys()
    for name, parameters in PUBLISHED.items():
        counted = COUNTS[name]
        assert counted["parameters"] == parameters
        settings = ARCHITECTURES[name].transformer
        places = settings.get("pos_embed_max_size", 0) ** 2 * settings.get("caption_projection_dim", 0)  # a table
        assert counted["bf16"]["network"] == pytest.approx(2 * (parameters + places), rel=0.001)
        assert counted["nf4"]["network"] < 0.32 * 2 * parameters + 2 * places
        assert counted["fp8"]["network"] < 0.54 * 2 * parameters + 2 * places
    assert table(COUNTS).count("\n") == 1 + len(PRECISIONS) * len(COUNTS)


def test_flux_fits_the_cards_that_people_own():
    flux = COUNTS["flux-1-dev"]

    def card(precision, recovery):
        found = smallest_card(flux[precision], recovery=recovery)
        assert found is not None
        return found[0]

    assert card("nf4", False) <= 16 and card("fp8", False) <= 24
    assert card("nf4", True) <= 24 and card("fp8", True) <= 24 and card("bf16", True) <= 48
    plan = plan_for(flux["nf4"], 16, recovery=True)
    assert plan.fits and not plan.offloading and plan_for(flux["bf16"], 8, recovery=False).fits is False
    assert CARDS == tuple(sorted(CARDS))
