"""Both parts of a LoRA's change: measured apart, and that the docs' numbers follow from scores."""

import json

import pandas as pd
import pytest

from eval.error_rates.wild.directions import PARTS, directions_table, measure_part
from tests.support.paths import RESULTS


def test_a_part_is_measured_by_auc_and_by_the_mean_of_used_and_unused_works():
    scores = [
        {"concept": concept, "member": member, "score": 0.1 * member + 0.01 * i}
        for concept in "abc"
        for member in (0, 1)
        for i in range(4)
    ]
    found = measure_part(pd.DataFrame(scores))
    assert found["AUC"] == 1 and found["interval"] == [1, 1]
    assert found["contrast of used works"] == pytest.approx(0.115)
    assert found["contrast of unused works"] == pytest.approx(0.015)


def test_the_committed_report_has_every_part():
    folder = RESULTS / "mini" / "directions"
    report = json.loads((folder / "directions.json").read_text())
    assert [row["part"] for row in report["rows"]] == list(PARTS)
    assert (folder / "directions.md").read_text().endswith(f"{directions_table(report)}\n")
