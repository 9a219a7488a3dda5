"""The job on rented hardware: its packages, its commands, and what it copies."""

import re
import sys
import tomllib

import pytest

from eval.reality.command import NAMES
from eval.reality.machine import benchmark_requirements
from scripts.jobs import reality_job
from tests.support.paths import ROOT

SCRIPT = ROOT / "scripts" / "jobs" / "reality_job.py"


def test_its_packages_are_those_of_the_benchmark():
    block = re.search(r"(?m)^# /// script\n((?:#.*\n)+?)# ///$", SCRIPT.read_text(encoding="utf-8"))
    assert block is not None
    stated = tomllib.loads("\n".join(line[2:] for line in block[1].splitlines()))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert stated == {"requires-python": project["requires-python"], "dependencies": benchmark_requirements()}
    assert NAMES == reality_job.STAGES


@pytest.mark.parametrize("codes", [(0, 0), (0, 1), (1, 0)])
def test_each_stage_is_a_command_and_small_files_are_copied(tmp_path, codes):
    out, results, called, left = tmp_path / "out", tmp_path / "results", [], iter(codes)

    def call(command, cwd, env):
        called.append((command, cwd, env["PYTHONPATH"]))
        for name in ("reality.html", "work/suspect.safetensors", "data/dog/1.jpg", "evidence/lora/seal.txt"):
            path = out / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x")
        return next(left)

    given = [f"--project={ROOT}", f"--results={results}", f"--out={out}", "--stages=machine,speed", "--price=2"]
    assert reality_job.main(given, call) == max(codes)
    command = [sys.executable, "-m", "eval", "reality", f"--out={out}", "--price=2"]
    assert called == [([*command, f"--stages={stage}"], ROOT, str(ROOT)) for stage in ("machine", "speed")]
    copied = sorted(p.relative_to(results).as_posix() for p in results.rglob("*") if p.is_file())
    assert copied == ["evidence/lora/seal.txt", "reality.html"]


def test_without_a_checkout_nothing_starts(tmp_path, capsys):
    assert reality_job.main([f"--project={tmp_path}"], lambda *_, **__: pytest.fail("started")) == 2
    assert str(tmp_path) in capsys.readouterr().err
