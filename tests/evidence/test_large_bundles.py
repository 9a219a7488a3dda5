"""A bundle of thirty pictures and two hundred controls is checked in seconds, without a network."""

import resource
import subprocess
import sys

import pytest

PICTURES, CONTROLS, PIXELS = 30, 200, 512
MOST_SECONDS = 20  # of a processor
WRITE = f"""
import sys
import torch
from dataclasses import replace
from pathlib import Path
from cgidm.evidence.bundle_writer import write_evidence
from cgidm.pictures.images import Picture
from tests.support import results
from tests.support.bundles import MODELS

results.CONTROL_SCORES = tuple(i / {CONTROLS} for i in range({CONTROLS}))
found = results.result_of([0.1 * i for i in range({PICTURES})])
generator = torch.Generator().manual_seed(1)

def large():
    small = torch.rand(1, 3, {PIXELS // 16}, {PIXELS // 16}, generator=generator)
    return torch.nn.functional.interpolate(small, size=({PIXELS}, {PIXELS}), mode="bicubic")[0].clamp(0, 1)

def enlarge(judged, number):
    picture = replace(judged.picture, name=f"{{number}}.png", image=large())
    return replace(judged, picture=picture, partial=large(), recovered=large())

pictures = tuple(enlarge(p, i) for i, p in enumerate(found.pictures))
controls = tuple(replace(c, image=large()) for c in found.controls)
write_evidence(replace(found, pictures=pictures, controls=controls), Path(sys.argv[1]), MODELS)
"""


@pytest.mark.slow
def test_thirty_pictures_and_two_hundred_controls_are_checked_in_20_seconds(tmp_path):
    subprocess.run([sys.executable, "-c", WRITE, str(tmp_path / "bundle")], check=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    checked = subprocess.run(
        [sys.executable, "-m", "cgidm", "verify", str(tmp_path / "bundle")], capture_output=True, text=True, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert checked.returncode == 0 and "whole" in checked.stdout, checked.stdout + checked.stderr
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime <= MOST_SECONDS
