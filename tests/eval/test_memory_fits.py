"""Which card a model fits: exact architectures, counted on tensors without numbers."""

import json
from dataclasses import replace

import pytest
import torch

from cgidm.method.card_fit import CARDS, plan_for_memory, smallest_card
from eval.memory.build import META, build_network, flow_architectures, text_encoder_bytes
from eval.memory.fits import EXCERPT, PRECISIONS, UNETS, count_model, fused_attention, page_excerpt, table
from tests.support.paths import ROOT

ARCHITECTURES = flow_architectures()
PUBLISHED = {  # parameters of the networks on the Hub
    "flux-1-dev": 11_901_408_320,
    "qwen-image": 20_430_401_088,
    "z-image": 6_154_908_736,
    "sd-3.5-large": 8_056_627_520,
    "sd-3.5-medium": 2_243_171_520,
}
PUBLISHED_UNETS = {"sd14": 859_520_964, "sd21": 865_910_724, "sdxl": 2_567_463_684}
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
    assert COUNTS.keys() == ARCHITECTURES.keys() | UNETS.keys()
    for name, parameters in PUBLISHED.items():
        counted = COUNTS[name]
        assert counted["parameters"] == parameters
        settings = ARCHITECTURES[name].transformer
        places = settings.get("pos_embed_max_size", 0) ** 2 * settings.get("caption_projection_dim", 0)  # a table
        assert counted["bf16"]["network"] == pytest.approx(2 * (parameters + places), rel=0.001)
        assert counted["nf4"]["network"] < 0.32 * 2 * parameters + 2 * places
        assert counted["fp8"]["network"] < 0.54 * 2 * parameters + 2 * places
    assert table(COUNTS).count("\n") == 1 + len(PRECISIONS) * len(ARCHITECTURES) + len(UNETS)
    assert json.loads((ROOT / EXCERPT).read_text()) == page_excerpt(COUNTS), "run `python -m eval fits`"


def test_flux_fits_the_cards_that_people_own():
    flux = COUNTS["flux-1-dev"]

    def card(precision, recovery):
        found = smallest_card(flux[precision], recovery=recovery)
        assert found is not None
        return found[0]

    assert card("nf4", False) <= 16 and card("fp8", False) <= 24
    assert card("nf4", True) <= 24 and card("fp8", True) <= 24 and card("bf16", True) <= 48
    plan = plan_for_memory(flux["nf4"], 16_000_000_000, recovery=True)
    assert plan.fits and not plan.offloading and not plan_for_memory(flux["bf16"], 8_000_000_000, recovery=False).fits
    assert CARDS == tuple(sorted(CARDS))


def test_unets_are_counted_at_their_own_size():
    for name, parameters in PUBLISHED_UNETS.items():
        counted = COUNTS[name]
        assert counted["parameters"] == parameters and counted["bf16"]["network"] == 2 * parameters
        assert 0 < counted["bf16"]["forward"] < counted["bf16"]["backward"]
    assert COUNTS["sd14"]["bf16"]["picture"] < COUNTS["sd21"]["bf16"]["picture"] < COUNTS["sdxl"]["bf16"]["picture"]


def test_two_networks_need_no_less_than_one():
    for counted in (model["bf16"] for model in COUNTS.values()):
        cards = [smallest_card(counted, recovery=True, networks=n) for n in (1, 2)]
        one, two = (CARDS[-1] + 1 if found is None else found[0] for found in cards)
        assert one <= two
