"""The Dockerfile names what exists, runs as nobody's account, and copies what an installed package needs."""

import fnmatch
import json
import re
import shlex
import shutil
import subprocess
import tomllib

import pytest

from cgidm.cli import build_parser
from tests.support.paths import ROOT

TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")
KNOWN = "FROM ARG ENV RUN WORKDIR COPY USER EXPOSE HEALTHCHECK CMD".split()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def instructions():
    """Each instruction with its arguments, continued lines joined."""
    lines = [line for line in TEXT.splitlines() if not line.startswith("#")]
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        if line.strip():
            name, _, rest = line.partition(" ")
            yield name, rest.strip()


def test_every_instruction_is_known_and_in_order():
    names = [name for name, _ in instructions()]
    assert set(names) <= set(KNOWN) and names[0] == "FROM" and names[-1] == "CMD" and names.count("FROM") == 1
    assert names.index("USER") > max(i for i, name in enumerate(names) if name == "RUN")
    [base] = [rest for name, rest in instructions() if name == "FROM"]
    low, high = re.findall(r"3\.(\d+)", PROJECT["requires-python"])
    assert int(low) <= int(re.search(r"python:3\.(\d+)", base)[1]) < int(high)


def test_what_it_copies_exists_and_is_sent_to_the_builder():
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [path for name, rest in instructions() if name == "COPY" for path in rest.split()[:-1]]
    assert copied and all((ROOT / path).exists() for path in copied)
    assert all(any(fnmatch.fnmatch(path.removeprefix("./"), k) for k in kept) for path in copied)
    needed = {PROJECT["readme"], *PROJECT["license-files"], "pyproject.toml", "./cgidm", "./assets"}
    assert {n.removeprefix("./") for n in needed} <= {c.removeprefix("./") for c in copied}


def test_its_extras_exist_and_its_command_can_be_parsed():
    extras = re.search(r"pip install \"\.\[([a-z,]+)\]\"", TEXT)[1].split(",")
    assert set(extras) <= PROJECT["optional-dependencies"].keys()
    [command] = [json.loads(rest) for name, rest in instructions() if name == "CMD"]
    assert command[0] == "cgidm"
    options = build_parser().parse_args(command[1:])
    assert options.host == "0.0.0.0"
    assert [rest for name, rest in instructions() if name == "EXPOSE"] == [str(options.port)]


def test_the_processor_is_the_default_and_an_argument_chooses_the_gpu():
    assert [rest for name, rest in instructions() if name == "ARG"] == ["TORCH=cpu"]
    assert "${TORCH}" in TEXT and "--build-arg TORCH=cu" in TEXT


def test_the_continuous_integration_builds_it_and_asks_it():
    [workflow] = (ROOT / ".github" / "workflows").glob("*.yml")
    runs = [shlex.split(line.partition("run: ")[2]) for line in workflow.read_text().splitlines() if "docker" in line]
    assert ["docker", "build", "-t", "cgidm", "."] in runs
    [asked] = [run for run in runs if "smoke" in run]
    build_parser().parse_args(asked[asked.index("cgidm") + 1 :])


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("docker") is None, reason="docker is missing")
def test_an_engine_accepts_it():
    if subprocess.run(["docker", "version"], capture_output=True).returncode:
        pytest.skip("no engine of docker runs here")
    subprocess.run(["docker", "build", "--check", "."], cwd=ROOT, check=True)
