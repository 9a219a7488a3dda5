"""Error rates are counted right: on answers whose truth is known."""

import numpy as np
import pytest

from eval.benchmark.experiment import load_experiment
from eval.error_rates.rates import decide, portfolios, reference_of, share, summarise, summarise_portfolios
from eval.error_rates.scoring import SuspectScores
from eval.error_rates.trust_text import rates_text

EXPERIMENT = load_experiment("mini-rates")
FILES = tuple(f"{i}.jpg" for i in range(20))


def answers(rng, dataset, concept, half, gap):
    """A suspect trained on ten of twenty pictures, whose scores are `gap` deviations higher."""
    chosen = rng.permutation(20)[:10]
    member = tuple(int(i in chosen) for i in range(20))
    scores = tuple(float(rng.normal() + gap * m) for m in member)
    return SuspectScores(
        dataset=dataset,
        concept=concept,
        half=half,
        training="lora",
        files=FILES,
        member=member,
        scores=scores,
        prediction_distances=(0.1,) * 20,
    )


def everything(gap, artists=20, seed=0):
    rng = np.random.default_rng(seed)
    return [
        answers(rng, f"wikiart-{split}", f"maker {maker}", half, gap)
        for maker in range(artists)
        for split in (1, 2)
        for half in (0, 1)
    ]


def test_a_suspect_is_judged_by_models_of_the_other_splits_of_its_maker():
    scored = everything(5.0, artists=2)
    found = reference_of(scored[0], scored, EXPERIMENT)
    others = [a for a in scored if a.dataset == "wikiart-2" and a.concept == "maker 0"]
    assert len(others) == 2 and len(found.nulls) == len(found.members) == 20
    assert set(found.nulls) == {s for a in others for m, s in zip(a.member, a.scores, strict=True) if not m}


def test_the_rates_of_a_world_where_nothing_and_where_everything_can_be_found():
    nothing = summarise(decide(everything(0.0), EXPERIMENT))
    assert nothing["concepts"] == 20 and nothing["suspects"] == 80
    found = nothing["p at or below the level"]
    assert found["of"] == 800 and found["interval"][0] <= 0.05 <= found["interval"][1] + 0.01
    assert nothing["called, members"]["share"] == pytest.approx(found["share"], abs=0.03)
    everything_found = summarise(decide(everything(50.0), EXPERIMENT))
    assert everything_found["called, members"]["share"] == 1
    assert nothing["uniformity"]["p_value"] > 0.01


def test_a_test_that_is_not_uniform_is_noticed():
    scored = [
        a if a.dataset.endswith("2") else SuspectScores(**{**vars(a), "scores": tuple(s + 1 for s in a.scores)})
        for a in everything(0.0)
    ]
    found = summarise(decide([a for a in scored], EXPERIMENT))
    assert found["uniformity"]["p_value"] < 0.001 and found["p at or below the level"]["interval"][0] > 0.05


@pytest.mark.slow
def test_portfolios_know_how_many_were_used():
    rows = list(portfolios(everything(6.0), EXPERIMENT))
    assert len(rows) == 5 * 20 and {r["used"] for r in rows} == {0, 2, 3, 5, 7, 8, 10}
    cells = summarise_portfolios(rows)
    assert [c["portion"] for c in cells] == [0, 0.25, 0.5, 0.75, 1]
    assert all(c["covered"] >= 17 for c in cells) and cells[0]["called"] <= 3
    assert all(c["called"] == 20 for c in cells[2:])
    # two of ten above all of twenty nulls come by chance in C(10, 2) / C(30, 2) = 10 % of orders: no test can call them
    assert 10 <= cells[1]["called"] < 20


def test_the_interval_of_a_share_is_the_exact_one():
    found = share([True] * 5 + [False] * 95)
    assert found is not None and found["interval"] == pytest.approx([0.0164, 0.1128], abs=1e-4)
    assert share([]) is None


@pytest.mark.slow
def test_the_page_shows_every_cell():
    decisions, sets = decide(everything(5.0, 3), EXPERIMENT), list(portfolios(everything(5.0, 3), EXPERIMENT))
    text = rates_text(
        {
            "experiment": "mini-rates",
            "pictures": {"lora": summarise(decisions)},
            "portfolios": summarise_portfolios(sets),
        }
    )
    assert "| lora | 25% |" in text and "of 120;" in text and "KS" in text
