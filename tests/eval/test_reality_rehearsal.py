"""The whole reality run against stand-ins: killed in every stage and resumed, with the results of a run left alone."""

import json
import os
import re
import signal
import time

import pytest

from eval.reality.command import NAMES
from tests.support.reality_hub import stand_ins, use_tiny_embedders
from tests.support.reality_runs import start

pytestmark = pytest.mark.slow
OF_THIS_SITTING = ("machine", "speed")  # they tell of the machine and the clock


def stages_in(out):
    """Stage -> what it found, of those that have a file."""
    read = {name: json.loads((out / f"{name}.json").read_text()) for name in NAMES if (out / f"{name}.json").exists()}
    assert [name for name, record in read.items() if record["failed"]] == [], read
    return {name: record["found"] for name, record in read.items()}


def kill_in(stage, started, out):
    """Kill the process soon after it has said that it starts a stage; True if it was still at it."""
    process, log = started
    mark = f"{stage}: about".encode()
    while process.is_alive() and mark not in log.read_bytes():
        time.sleep(0.02)
    time.sleep(0.15)
    killed = process.is_alive()
    if killed:
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    return killed and not (out / f"{stage}.json").exists()


def finish(started):
    process, log = started
    process.join(600)
    assert process.exitcode == 0, log.read_text()[-3000:]
    return log.read_text()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run that was killed in every stage, one that was left alone, and how often the kill met a stage at work."""
    folder = tmp_path_factory.mktemp("reality")
    killed, alone = folder / "killed" / "out", folder / "alone" / "out"
    with pytest.MonkeyPatch.context() as patch:
        use_tiny_embedders(patch.setitem, patch.setattr)
        with stand_ins(folder) as (hub, civitai, plan):
            met = []
            for place in (killed, alone):
                place.parent.mkdir()
            for stage in NAMES[1:]:
                started = start(hub, civitai, plan, killed)
                met.append(kill_in(stage, started, killed))
                started[1].write_bytes(b"")
            finish(start(hub, civitai, plan, killed))
            finish(start(hub, civitai, plan, alone, "--stages", ",".join(n for n in NAMES if n != "speed")))
            again = finish(start(hub, civitai, plan, killed))
    return killed, alone, met, again


def test_killed_in_every_stage_it_finds_the_same(runs):
    killed, alone, met, _ = runs
    assert sum(met) >= len(met) - 1, met  # a quick stage may be over before the kill
    found, expected = stages_in(killed), stages_in(alone)
    assert list(found) == list(NAMES)
    for name in set(NAMES) - set(OF_THIS_SITTING):
        assert found[name] == expected[name], name


def test_a_second_run_has_nothing_to_do(runs):
    *_, again = runs
    started = re.findall(r"(?m)^(\w+): about", again[again.rindex("an evaluation:") :])
    assert started == ["all", "machine"]  # the sum of the estimates, and the stage that is always repeated


def test_every_public_model_is_taken_for_what_it_is(runs):
    rows = stages_in(runs[0])["loading"]
    assert [row["location"] for row in rows if row.get("differs")] == []
    refused = [row["location"] for row in rows if row["refused"]]
    assert refused == ["black-forest-labs/FLUX.1-dev"]  # gated, and there is no token
    assert sum(row.get("answer") is not None for row in rows) == 4


def test_what_the_page_says_of_files_that_are_not_the_published_ones(runs):
    page = (runs[0] / "reality.md").read_text()
    wrong = page[page.index("## What does not hold") : page.index("## machine")]
    assert "v1-5" in wrong and "another digest" in wrong and "lcm-lora" in wrong
    assert "DreamBooth has 30 subjects" not in wrong and "evidence verifies" not in wrong
    html = (runs[0] / "reality.html").read_text()
    assert html.startswith("<!doctype html>") and all(f"<h2>{name}" in html for name in NAMES)


def test_the_base_as_its_own_suspect_is_never_called(runs):
    (base,) = (answer for answer in stages_in(runs[0])["verdicts"] if answer["name"] == "base")
    assert {picture["outcome"] for picture in base["pictures"]} <= {"cannot tell", "no evidence"}
