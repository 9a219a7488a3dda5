"""Damaged files of every format, by the hundred: a picture or a refusal in one line, quickly and with little memory.

`python -m scripts.fuzz_pictures --count 10000` does the same with more of them.
"""

import resource

import pytest

from tests.support.mutations import damage, read_damaged_files
from tests.support.picture_files import every_picture_file

QUICK, MANY = 500, 4000
MOST_SECONDS, MOST_MEMORY = 2.0, 1_000_000  # kilobytes


@pytest.mark.parametrize("count", [QUICK, pytest.param(MANY, marks=pytest.mark.slow)])
def test_a_damaged_file_is_read_or_refused(count):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report = read_damaged_files(count, seed=count)
    assert report.broken == []
    assert report.read + report.refused.total() == count
    assert report.read > count // 10 and report.refused["pictures.damaged"] > count // 10
    assert report.slowest[0] < MOST_SECONDS, report.slowest[1]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_MEMORY


def test_the_damage_is_the_same_for_the_same_seed():
    import random

    files = every_picture_file()
    first, second = (damage(files["rgb.png"], random.Random(7), files) for _ in range(2))
    assert first == second != files["rgb.png"]
