"""A line-up: chance is as it is said to be, an observer who can see finds the member, and the sheet betrays nothing."""

import dataclasses
import itertools
import json
import pickle
import re
import shutil
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import binom, chisquare

from cgidm import UserError
from cgidm.cli import main
from cgidm.conductor import authenticate
from cgidm.evidence.bundle_reader import open_bundle
from cgidm.evidence.bundle_writer import write_evidence
from cgidm.evidence.lineup_sheet import ROLES, lineup_sheet
from cgidm.evidence.record_of_result import lineup_of, make_record
from cgidm.evidence.reports.blocks import Heading, Panels
from cgidm.evidence.reports.report import report_blocks
from cgidm.evidence.seal import check_seal
from cgidm.judging.lineup import (
    LETTERS,
    LeftOut,
    Lineup,
    Panel,
    Round,
    draw_lineup,
    explain_reach,
    judge_lineup,
    lineup_p_value,
    plan_lineup,
)
from cgidm.messages import note
from cgidm.method.config import RecoveryConfig, RunConfig
from cgidm.pictures.images import Picture, to_uint8
from tests.support.bundles import MODELS, record_of, reseal
from tests.support.errors import refuses
from tests.support.paths import ASSETS
from tests.support.pictures import pair_that_learnt, picture, square
from tests.support.results import HOSTILE, block_texts, result_of

KEY = Lineup((Round(0, "C", (7, 3, 11)), Round(1, "A", (0, 39, 20))))
NAMES = [f"{a}" * 64 for a in "abcdef"]


@pytest.mark.parametrize("sizes", [(6,), (20,), (2, 2, 2), (3, 5, 2, 7), (4,) * 5])
def test_the_p_value_is_that_of_every_outcome_counted_out(sizes):
    """All choices of one panel in each round, of which the first is the picture's, are equally likely."""
    hits = [sum(place == 0 for place in places) for places in itertools.product(*map(range, sizes))]
    for least in range(len(sizes) + 1):
        expected = sum(h >= least for h in hits) / len(hits)
        assert lineup_p_value(sizes, least) == pytest.approx(expected, rel=1e-12)
        if len(set(sizes)) == 1:
            assert lineup_p_value(sizes, least) == pytest.approx(binom.sf(least - 1, len(sizes), 1 / sizes[0]))


def test_every_place_and_every_decoy_are_equally_likely_and_rounds_do_not_depend_on_each_other():
    places, decoys = Counter(), Counter()
    for seed in range(5000):
        lineup = draw_lineup(NAMES[:2], [0, 1], range(10), 5, seed)
        places["".join(r.letter for r in lineup.rounds)] += 1
        decoys.update(lineup.rounds[0].decoys)
        assert len(set(lineup.decoys)) == 8  # none stands in two rounds
    assert len(places) == 25 and chisquare(list(places.values())).pvalue > 0.001
    assert len(decoys) == 10 and chisquare(list(decoys.values())).pvalue > 0.001


def test_an_observer_who_looks_at_what_chance_made_is_right_as_often_as_is_said():
    """Picture and decoys could change places; the observer takes the panel that stands out most."""
    rng, hits = np.random.default_rng(0), []
    for seed in range(3000):
        values = rng.standard_cauchy(15)
        lineup = draw_lineup(NAMES[:3], [0, 1, 2], range(12), 4, seed)
        shown = lineup.in_order(values[:3].tolist(), [values[3 + d] for d in lineup.decoys])
        hits.append(judge_lineup(lineup, [LETTERS[int(np.argmax(panels))] for panels in shown]).hits)
    counts = np.bincount(hits, minlength=4)
    assert chisquare(counts, 3000 * binom.pmf(range(4), 3, 1 / 4)).pvalue > 0.001
    p = np.array([lineup_p_value((4,) * 3, h) for h in hits])
    assert all((p <= level).mean() < level + 0.015 for level in (0.02, 0.05, 0.16, 0.58))


def test_a_line_up_is_drawn_again_and_is_not_the_same_for_other_pictures():
    first = draw_lineup(NAMES, range(6), range(40), 6, 0)
    assert first == draw_lineup(NAMES, range(6), range(40), 6, 0) == pickle.loads(pickle.dumps(first))
    assert first != draw_lineup(NAMES, range(6), range(40), 6, 1)
    assert first.sizes == (6,) * 6 and len({r.letter for r in first.rounds}) > 1  # not settled by the seed alone
    for r in first.rounds:
        assert r.in_order("x", "abcde")[LETTERS.index(r.letter)] == "x" and sorted(r.in_order("x", "abcde")) == [
            *"abcdex"
        ]


def test_where_controls_run_out_the_last_pictures_have_no_round_and_that_is_said():
    lineup = draw_lineup(NAMES[:4], [0, 0, 2, 3], range(11), 6, 0)
    assert [r.picture for r in lineup.rounds] == [0, 2] and [left.picture for left in lineup.left_out] == [1, 3]
    assert lineup.left_out[0].reason == note("judging.lineup.near_duplicate", picture=1)
    assert lineup.left_out[1].reason == note("judging.lineup.no_decoys_left")


def test_copies_count_once_among_pictures_and_among_decoys():
    one, other = picture(0), picture(1)
    again = Picture("again.png", "f" * 64, (one.image * 1.03).clamp(0, 1))
    controls = [picture(100 + i) for i in range(5)]
    copy = Picture("copy.png", "e" * 64, (controls[0].image * 1.03).clamp(0, 1))
    for seed in range(20):
        lineup = plan_lineup([one, again, other], [*controls, copy], 3, seed)
        assert [r.picture for r in lineup.rounds] == [0, 2] and 5 not in lineup.decoys
    with refuses("judging.lineup.few_controls", size=7, need=6, given=5):
        plan_lineup([one], [*controls, copy], 7, 0)


@pytest.mark.parametrize("wrong", [-1, 1, 21])
def test_sizes_that_cannot_be_are_refused(wrong):
    with pytest.raises(UserError, match=f"expected 2 to 20 panels per round, or none, got {wrong}"):
        RunConfig(lineup=wrong)


def test_choices_are_counted_and_put_into_words():
    lineup = draw_lineup(NAMES[:3], [0, 1, 2], range(60), 20, 0)
    right = [r.letter for r in lineup.rounds]
    found = judge_lineup(lineup, [right[0].lower(), " - ", right[2]])
    assert found.right == (True, False, True) and found.hits == 2
    assert found.p_value == pytest.approx(binom.sf(1, 3, 1 / 20)) and found.reason.code == "judging.lineup.stands_out"
    nothing = judge_lineup(lineup, ["-"] * 3)
    assert nothing.p_value == 1 and nothing.reason == note("judging.lineup.may_be_chance", hits=0, n=3, p=1.0)
    with refuses("judging.lineup.number_of_picks", rounds=3, given=2):
        judge_lineup(lineup, right[:2])
    with refuses("judging.lineup.unknown_pick", round=1, given="U", last="T"):
        judge_lineup(lineup, ["U", "A", "A"])


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ((6,), "One round of 6 cannot go below p = 1/6, whatever is chosen. For p <= 0.05 it takes 2 rounds of 6"),
        ((2, 2), "2 rounds of 2 cannot go below p = 1/4, whatever is chosen. For p <= 0.05 it takes 5 rounds of 2"),
        ((20,), "One round of 20 can go down to p = 1/20. For p <= 0.05, 1 of 1 must be right"),
        ((6,) * 5, "5 rounds of 6 can go down to p = 1/7776. For p <= 0.05, 3 of 5 must be right"),
    ],
)
def test_what_can_be_reached_is_said(sizes, said):
    assert str(explain_reach(sizes)).startswith(said)
    rounds = tuple(Round(i, "A", tuple(range(i * 30, i * 30 + m - 1))) for i, m in enumerate(sizes))
    reason = judge_lineup(Lineup(rounds), ["A"] * len(sizes)).reason
    assert (reason.code == "judging.lineup.cannot_show") == ("cannot go below" in said)


@pytest.fixture(scope="module")
def pair():
    """The suspect has learnt pictures 0, 1 and 2; ideal denoisers."""
    return pair_that_learnt([picture(i).image for i in range(3)])


CONFIG = RunConfig(recovery=RecoveryConfig(steps=60), lineup=6)


@pytest.fixture(scope="module")
def run(pair):
    return authenticate(pair, [picture(i) for i in range(3)], [picture(2000 + i) for i in range(25)], config=CONFIG)


def likeness(panel):
    """Of the recovery to the original, where something was missing."""
    return -(panel.recovered - panel.original).norm() / (panel.partial - panel.original).norm()


def test_an_observer_who_takes_the_closest_recovery_finds_the_members(run):
    picks = [LETTERS[int(torch.stack([likeness(p) for p in panels]).argmax())] for panels in run.panels_by_round]
    found = judge_lineup(run.lineup, picks)
    assert found.hits == 3 and found.p_value == pytest.approx(6**-3)


def test_a_line_up_changes_nothing_of_the_answer_and_decoys_are_recovered_as_pictures_are(pair):
    pictures, controls = [picture(i) for i in range(2)], [picture(2000 + i) for i in range(20)]
    config = RunConfig(recovery=RecoveryConfig(steps=2))
    plain, shown = (
        authenticate(pair, pictures, controls, config=c) for c in (config, dataclasses.replace(config, lineup=4))
    )
    assert plain.lineup is None and plain.decoys == () and plain.panels_by_round == [] and len(shown.decoys) == 6
    for a, b in zip(plain.pictures, shown.pictures, strict=True):
        assert a.scores == b.scores and a.verdict == b.verdict and torch.equal(a.recovered, b.recovered)
    for panel, which in zip(shown.decoys, shown.lineup.decoys, strict=True):
        asked = authenticate(pair, [controls[which]], config=config).pictures[0]
        for one, other in zip(asked.panel.images, panel.images, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-3)  # another batch rounds otherwise


def test_too_few_controls_are_refused_before_anything_is_computed(pair, monkeypatch):
    monkeypatch.setattr("cgidm.run.sitting.score_controls", None)
    with refuses("judging.lineup.few_controls", given=0):
        authenticate(pair, [picture(0)], [], config=CONFIG)


def with_lineup(lineup):
    """A result of two pictures whose decoys stand where `lineup` says."""
    result, g = result_of([2.0, 3.0]), torch.Generator().manual_seed(9)
    made = {d: Panel(*(torch.rand(3, 16, 16, generator=g) for _ in range(3))) for d in sorted(lineup.decoys)}
    decoys = tuple(made[d] for d in lineup.decoys)
    return dataclasses.replace(result, lineup=lineup, decoys=decoys)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evidence") / "out"
    write_evidence(with_lineup(KEY), folder, MODELS)
    return folder


@pytest.fixture
def out(written, tmp_path):
    """A copy, which a test may spoil."""
    return shutil.copytree(written, tmp_path / "out")


def bare(page):
    """A page without the bytes of its images."""
    return re.sub(r"base64,[^']*", "", page)


def test_the_sheet_shows_each_panel_where_the_key_says(out):
    result = with_lineup(KEY)
    for number, r in enumerate(KEY.rounds, 1):
        table = dict(zip(KEY.decoys, result.decoys, strict=True))
        panels = r.in_order(result.pictures[r.picture].panel, [table[d] for d in r.decoys])
        for letter, panel in zip("ABCD", panels, strict=True):
            for role, image in zip(ROLES, panel.images, strict=True):
                with Image.open(out / "lineup" / f"{number}-{letter}-{role}.png") as written:
                    np.testing.assert_array_equal(np.asarray(written), to_uint8(image))
    assert (out / "lineup" / "1-C-recovered.png").read_bytes() == (out / "00-recovered.png").read_bytes()
    assert (out / "lineup.html").read_text().count("data:image/png;base64,") == 2 * 4 * 3


def test_no_word_of_the_sheet_depends_on_who_is_asked_about(out, tmp_path):
    """Every role is exchanged, and the decoys are others: but for the bytes of images, the sheet stays the same."""
    other = Lineup((Round(1, "B", (5, 6, 1)), Round(0, "D", (30, 31, 2))))
    write_evidence(with_lineup(other), tmp_path / "other", MODELS)
    page, swapped = (bare((tmp_path / name / "lineup.html").read_text()) for name in ("out", "other"))
    assert page == swapped
    assert (out / "lineup.html").read_text() != (tmp_path / "other" / "lineup.html").read_text()
    folders = [{p.name for p in (tmp_path / name / "lineup").iterdir()} for name in ("out", "other")]
    assert folders[0] == folders[1] == {f"{n}-{a}-{role}.png" for n in "12" for a in "ABCD" for role in ROLES}
    record = record_of(out)
    secrets = [
        HOSTILE,
        "alert",
        *(p.sha256 for p in record.pictures),
        "consistent",
        "no evidence",
        "2.000",
        "0.024",
    ]
    assert not [s for s in secrets if s in page]
    assert not re.search(r"[0-9a-f]{16}|\.png|control|trained", page)


def test_the_report_has_the_sheet_before_its_key_and_the_key_last(out):
    record = record_of(out)
    blocks = report_blocks(record, "f" * 64)
    titles = [b.text for b in blocks if isinstance(b, Heading) and b.level < 3]
    assert titles[-4:] == ["Line-up: which picture came back best?", "Round 1 of 2", "Round 2 of 2", titles[-1]]
    assert titles[-1] == "Key of the line-up: read after choosing"
    place = blocks.index(Heading(titles[-1]))
    assert all(blocks.index(b) < place for b in blocks if isinstance(b, Panels))
    assert all(b in blocks for b in lineup_sheet(KEY.sizes))
    said = " ".join(w for b in blocks[blocks.index(Heading(titles[-4])) :] for w in block_texts(b))
    assert "somebody who has not seen the pictures" in said and "1 C script>" in said
    assert (
        "7.png, 3.png, 11.png" in said
        and "0.png, 39.png, 20.png" in said
        and "2 rounds of 4 cannot go below p = 1/16" in said
    )
    before = bare((out / "report.html").read_text()).split("Line-up: which")[0]
    assert "lineup" not in before
    assert (out / "report.pdf").stat().st_size > 10_000


def test_pictures_without_a_round_are_named_in_the_key():
    lineup = Lineup(KEY.rounds[:1], (LeftOut(1, note("judging.lineup.no_decoys_left")),))
    record = make_record(with_lineup(lineup), MODELS)
    said = " ".join(w for b in report_blocks(record, "f") for w in block_texts(b))
    assert "Picture 2 has no round: no round shares decoys" in said and "control 8, control 4, control 12" in said
    assert "One round of 4 cannot go below p = 1/4" in said


def test_a_second_run_leaves_no_line_up_behind(out):
    write_evidence(result_of([2.0]), out, MODELS)
    assert not (out / "lineup.html").exists() and not list((out / "lineup").iterdir())
    assert json.loads((out / "result.json").read_text())["lineup"] is None
    assert main(["verify", str(out)]) == 0


def test_every_file_of_a_line_up_is_sealed(out, capsys):
    stated = json.loads((out / "manifest.json").read_text())["sha256"]
    shown = [out / "lineup.html", *(out / "lineup").iterdir()]
    assert {p.relative_to(out).as_posix() for p in shown} <= set(stated) and len(shown) == 25
    for path in shown:
        data = path.read_bytes()
        path.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
        assert main(["verify", str(out)]) == 1 == main(["lineup", str(out), "--picks=A,A"])
        assert capsys.readouterr().out.count(f"{path.name}: was changed") == 2
        path.write_bytes(data)
    with open_bundle(out) as bundle:
        assert check_seal(bundle) == []


def test_a_key_that_was_not_drawn_by_the_run_is_named(out, capsys):
    """The key of this bundle was written by hand: it follows neither from the seed nor from the pictures."""
    assert main(["verify", str(out)]) == 1
    said = capsys.readouterr().out
    assert "NOT consistent in itself" in said and ("  lineup" in said or "  record: " in said)


def test_the_command_counts_choices(out, capsys):
    assert main(["lineup", str(out), "--picks=c,-"]) == 0
    said = capsys.readouterr().out
    assert "whole" in said and "round 1: c, right" in said and "round 2: -, wrong: it was A" in said
    assert "1 of 2 right, p = 0.44" in said and "Right choices: 1 of 2." in said
    assert main(["lineup", str(out), "--picks", "C,A"]) == 0 and "p = 0.062" in capsys.readouterr().out
    for picks, expected in (("A", "one for each round, got 1"), ("A,E", "from A to D, or -"), ("A,AB", "A to D")):
        assert main(["lineup", str(out), f"--picks={picks}"]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and expected in error


def test_a_bundle_without_a_line_up_is_answered_in_words(tmp_path, capsys):
    write_evidence(result_of([2.0]), tmp_path, MODELS)
    assert main(["lineup", str(tmp_path), "--picks=A"]) == 2
    assert "line-up" in capsys.readouterr().err


@pytest.mark.parametrize(
    "stated",
    [
        3,
        {},
        {"rounds": 3},
        {"rounds": [{"picture": 0, "letter": "AB", "decoys": [1]}]},
        {"rounds": [{"picture": 0, "letter": "", "decoys": [1]}]},
        {"rounds": [{"picture": 0, "letter": "C", "decoys": [1]}]},
        {"rounds": [{"picture": "x", "letter": "A", "decoys": [1]}]},
        {"rounds": [{"picture": 0, "letter": "A", "decoys": [None]}]},
    ],
)
def test_a_hostile_record_is_answered_in_words(out, capsys, stated):
    reseal(out, lambda record: record.update(lineup=stated))
    assert main(["lineup", str(out), "--picks=A"]) in (1, 2)
    said = capsys.readouterr()
    assert "result.json: cannot be read" in said.out or "The line-up of the record cannot be read" in said.err


def test_a_record_is_read_back_and_older_ones_have_none(out, tmp_path):
    assert lineup_of(record_of(out)) == KEY
    for folder in sorted((ASSETS / "answers").glob("*/*")):
        record = record_of(folder)
        assert lineup_of(record) is None and report_blocks(record, "f" * 64)
        shutil.copytree(folder, tmp_path / folder.parent.name / folder.name)
        assert main(["verify", str(tmp_path / folder.parent.name / folder.name)]) == 0


def test_a_picture_stands_among_decoys_of_its_own_shape():
    def shaped(seed, shape):
        image = torch.nn.functional.interpolate(square(seed)[None], shape, mode="bilinear")[0]
        return Picture(f"{seed}.png", f"{seed:064x}", image)

    controls = [shaped(100 + i, (60, 40) if i % 2 else (40, 40)) for i in range(12)]
    lineup = plan_lineup([shaped(1, (60, 40)), shaped(2, (40, 40)), shaped(3, (40, 60))], controls, 4, 0)
    upright, even = lineup.rounds
    assert all(i % 2 for i in upright.decoys) and not any(i % 2 for i in even.decoys)
    (left,) = lineup.left_out
    assert left.picture == 2 and left.reason.code == "judging.lineup.no_decoys_left"
