"""How many null models a bank needs: the committed counts, and what is asked of whom."""

import json
from dataclasses import replace

import numpy as np
import pytest

from eval.__main__ import main
from eval.error_rates.banks import sizes
from eval.error_rates.banks.residuals import Scored
from eval.options import RESULTS


@pytest.fixture
def five_splits():
    """Six artists; each picture has a difficulty, and a suspect that learnt it scores it higher."""
    rng, found = np.random.default_rng(1), []
    for artist in "abcdef":
        difficulty = rng.normal(size=20)
        for split in range(1, 6):
            order = rng.permutation(20)
            for half in "ab":
                used = set(order[:10] if half == "a" else order[10:])
                for i in range(20):
                    score = difficulty[i] + 0.2 * rng.normal() + (i in used)
                    found.append(
                        Scored("lora", artist, f"d-{split}/{artist}-{half}", f"{artist}/{i}", i in used, score)
                    )
    return found


@pytest.mark.parametrize("size", sizes.SIZES)
def test_banks_of_every_size_hold_their_level_and_ask_no_model_of_the_suspect_s_split(five_splits, size):
    judged = list(sizes.judge_by_size(five_splits, size))
    assert len(judged) == len(five_splits) and {j.ranking for j in judged} == {f"{size} models"}
    unused, used = (np.mean([j.p_value <= 0.05 for j in judged if j.scored.member == m]) for m in (False, True))
    assert unused <= 0.08 and used >= 0.9
    lifted = [replace(s, score=s.score + 9.0 * (s.suspect == "d-1/a-b")) for s in five_splits]
    found = {j.scored.file: j.p_value for j in sizes.judge_by_size(lifted, size) if j.scored.suspect == "d-1/a-a"}
    assert found == {j.scored.file: j.p_value for j in judged if j.scored.suspect == "d-1/a-a"}


def test_the_committed_counts_are_those_of_the_committed_scores(tmp_path):
    main(["bank-sizes", "--out", str(tmp_path)])
    for name in ("sizes.json", "sizes.md"):
        assert (tmp_path / name).read_text() == (RESULTS / "mini" / "bank-sizes" / name).read_text()
    report = json.loads((tmp_path / "sizes.json").read_text())
    for row in report["rows"]:
        low, high = row["false calls at 0.05"]["interval"]
        assert low <= 0.05 <= high or row["false calls at 0.05"]["share"] <= 0.05
