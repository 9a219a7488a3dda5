"""What silence is worth: what foretells a suspect has not seen it, and the committed table is what was counted."""

import json

import pytest

from cgidm.judging.tables.power import PowerCurve, PowerTable
from cgidm.judging.verdict import LEAST_POWER
from cgidm.resources import resource_root
from eval.error_rates.banks.residuals import Scored
from eval.error_rates.power.curves import GROUP, LOW, curves, mean_power
from eval.error_rates.power.silence import (
    Counted,
    curves_of,
    family,
    foretell_by_bank,
    foretold,
    read_counted,
    silence_text,
    summary,
)
from tests.support.paths import ROOT
from tests.support.results import power_row

REPORT = json.loads((ROOT / "eval/results/mini/silence/silence.json").read_text())


def suspects(training, shares, distance, *, test="mirror", step=0.0):
    """One suspect of each artist."""
    return [
        Counted(test, "lora", training, f"artist {i}", distance + step * i, share, 10) for i, share in enumerate(shares)
    ]


def test_a_curve_is_the_low_quantile_of_a_training_and_never_falls():
    points = [("controls", "lora", t, at, s) for t, at, shares in (
        ("few", 0.01, [0.5] * 10), ("more", 0.02, [0.1] * 5 + [0.3] * 5), ("most", 0.04, [0.9] * 10)
    ) for s in shares]  # fmt: skip
    (found,) = curves(points)
    assert found.distances == pytest.approx((0.009, 0.018, 0.036)), "a training's suspects differ by a tenth"
    assert found.shares == pytest.approx((0.3, 0.3, 0.9))
    assert found.share(0.0089) is None and found.share(0.02) == pytest.approx(0.3)


def test_a_curve_of_many_trainings_takes_neighbours_and_begins_with_the_weakest_suspect():
    weak = [("mirror", "lora", f"t{i}", 0.001 + 0.0001 * i, 0.2) for i in range(GROUP)]
    strong = [("mirror", "lora", f"t{i}", 0.1 + 0.001 * i, 0.8) for i in range(GROUP)]
    (found,) = curves([*strong, *weak, ("mirror", "lora", "one more", 0.2, 0.8)])
    assert len(found.distances) == 2 and found.distances[0] == 0.001 and found.shares == pytest.approx((0.2, 0.8))
    assert 0.1 < found.distances[1] < 0.15 and LOW["mirror"] < LOW["controls"]


def test_nothing_is_foretold_by_the_artist_or_by_the_training():
    """A suspect whose own training, or whose artist's other suspects, would foretell more is not foretold by them."""
    strange = [Counted("mirror", "lora", "own", "own artist", 0.05, 1.0, 10)]
    of_artist = [Counted("mirror", "lora", "other", "own artist", 0.02, 1.0, 10) for _ in range(30)]
    of_training = [Counted("mirror", "lora", "own", f"a{i}", 0.02, 1.0, 10) for i in range(30)]
    others = suspects("others", [0.4] * 30, 0.01)
    ((_, found),) = [f for f in foretold([*strange, *of_artist, *of_training, *others], "mirror") if f[0] in strange]
    assert found == pytest.approx(0.4)
    ((_, nothing),) = foretold(strange, "mirror")
    assert nothing is None, "nothing else was counted"
    assert family("buckets, no notes") == family("buckets") != family("random crops")
    assert family("8 bits") == family("times 2") == "laboratory", "altered files are of one training"
    mixture = Counted("mirror", "lora", "mixture", "mixture", 0.05, 1.0, 10, mixed=frozenset({"own artist", "x"}))
    found = [p for c, p in foretold([mixture, *of_artist, *others], "mirror") if c is mixture]
    assert found == pytest.approx([0.4]), "nor by the artists of a mixture"


def test_suspects_that_mirrored_their_pictures_stand_apart():
    mirrored, plain = suspects("flips, no notes", [0.0] * 5, 0.05), suspects("plain", [1.0] * 9, 0.04)
    table = PowerTable(base=(), level=0.05, rows=(power_row(0.01, 0.9),))
    ((curve,),) = (curves_of([*mirrored, *plain]),)
    assert curve.shares == (1.0,), "they enter no curve"
    found = summary([*mirrored, *plain, *suspects("more", [1.0] * 9, 0.03)], "mirror", table)
    assert found["of"] == 9 and found["difference"] == 0 and found["by mean power"]["difference"] == pytest.approx(-0.1)
    assert found["unknown"] == 9, "no weaker suspects than those of the third training were counted"
    (flips,) = [r for r in found["trainings"] if r["training"].startswith("flips")]
    assert flips["difference"] == 1.0 == flips["worst tenth"]


def test_a_bank_foretells_from_its_own_members_alone():
    """The suspect's own scores have no say."""

    def scores(suspect, member, score, half):
        return [
            Scored("t", "a", suspect, f"{i}.jpg", (i < 10) == (half == "a") if member is None else member, score(i))
            for i in range(20)
        ]

    works = []
    for split in (1, 2):
        for half in "ab":
            own = lambda i, half=half, split=split: 0.001 * ((7 * i + split) % 5) + ((i < 10) == (half == "a"))  # noqa: E731
            works += scores(f"s-{split}/a-{half}", None, own, half)
    assert foretell_by_bank(works, "s-1/a-a") == 1.0
    deaf = [s if s.suspect == "s-1/a-a" else Scored(s.training, s.artist, s.suspect, s.file, s.member, s.score % 1 / 9)
            for s in works]  # fmt: skip
    assert foretell_by_bank(deaf, "s-1/a-a") < 0.5


def test_the_mean_power_is_non_decreasing_and_constant_beyond_its_rows():
    rows = (
        power_row(0.01, 0.6, 30),
        power_row(0.02, 0.3, 60),
        power_row(0.1, 1.0),
        power_row(0.1, 0.2, kind="dreambooth"),
    )
    table = PowerTable(base=("a",), level=0.05, rows=rows)
    found = [mean_power(table, at, "lora") for at in (0.0, 0.01, 0.02, (0.02 * 0.1) ** 0.5, 0.1, 9.0)]
    assert found == pytest.approx([0.4, 0.4, 0.4, 0.7, 1.0, 1.0]) and mean_power(table, 9.0, "dreambooth") == 0.2


def test_the_committed_curves_are_those_of_the_committed_answers():
    (table,) = [PowerTable.model_validate(t) for t in json.loads((resource_root() / "detectability.json").read_text())]
    assert list(table.curves) == [PowerCurve.model_validate(c) for c in REPORT["curves"]]
    counted = read_counted(ROOT / "eval" / "results" / "mini", table)
    for found, kept in zip(curves_of(counted), table.curves, strict=True):
        assert (found.test, found.kind) == (kept.test, kept.kind)
        assert found.distances == pytest.approx(kept.distances, abs=6e-5) and found.shares == pytest.approx(
            kept.shares, abs=6e-5
        )
    assert {c.artist for c in counted if c.test == "controls" and c.training == "laboratory"} > {
        "gerald-g",
        "rembrandt",
    }


def test_what_is_stated_is_above_what_was_counted_for_at_most_one_suspect_in_ten():
    mirror, controls, bank, both = REPORT["tests"]
    for test in (mirror, controls):
        assert test["worst tenth"] <= 0 and test["above"] < 0.1 and test["difference"] <= 0.05, test["test"]
    for test in (bank, both):
        assert abs(test["difference"]) <= 0.05 < test["worst tenth"] <= 0.1, (
            "a bank's members are a mean, and said to be"
        )
    assert both["worst tenth"] < bank["worst tenth"] and both["counted"] > bank["counted"]
    for old in (mirror["by mean power"], controls["by mean power"]):
        assert old["worst tenth"] > 0.15, "what verdicts stated before"
    strong = max(s for c in REPORT["curves"] if c["test"] == "mirror" for s in c["shares"])
    assert strong > LEAST_POWER, "the caution has not silenced every answer"
    assert "mirror test" in silence_text(REPORT)
