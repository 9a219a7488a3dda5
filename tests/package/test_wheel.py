"""The wheel, installed into an environment of its own, works from an unrelated folder."""

import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
import zipfile
from pathlib import Path

import pytest

from tests.support.paths import ROOT, pictures_of

EXAMPLE = "rollandin-lora"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [path] = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def command(wheel, tmp_path_factory):
    """The console script of an environment that holds this wheel; what it needs is this environment's."""
    home = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    [packages] = home.glob("lib/python*/site-packages")
    (packages / "needs.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    install = ["pip", "--python", str(home / "bin" / "python"), "install", "-q", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([sys.executable, "-m", *install], check=True)
    return home / "bin" / "cgidm"


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """An unrelated folder."""
    return tmp_path_factory.mktemp("elsewhere")


def run(command, folder, *arguments):
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "CGIDM_ASSETS")}
    return subprocess.run([str(command), *arguments], cwd=folder, capture_output=True, text=True, env=environment)


def test_it_holds_the_library_and_what_ships_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {n.split("/")[0] for n in names} == {"cgidm", f"cgidm-{wheel.name.split('-')[1]}.dist-info"}
    wanted = ("py.typed", "page/runs/store.py", "messages/en/resources.json", "assets/mini/model_index.json")
    assert {f"cgidm/{name}" for name in wanted} <= set(names)
    tracked = subprocess.run(["git", "ls-files", "cgidm"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    assert set(tracked) <= set(names)
    assert not [n for n in names if "assets/mini/training" in n or n.endswith("page.jpg")]


def test_an_example_is_judged_and_its_evidence_verified(command, elsewhere):
    few = elsewhere / "controls"  # of the 40 that it would take
    few.mkdir()
    for path in pictures_of(EXAMPLE, "control")[:4]:
        shutil.copy(path, few)
    steps = ("--steps", "2", "--controls", "controls", "--out", "evidence", "--bundle", "evidence.zip")
    done = run(command, elsewhere, "example", EXAMPLE, *steps)
    assert done.returncode == 0, done.stderr
    shipped, given = re.findall(r"--controls (\S+)", done.stdout.splitlines()[0])
    assert len(list(Path(shipped).iterdir())) == 40 and given == "controls"
    assert f"--suspect shipped:{EXAMPLE}" in done.stdout and "evidence: evidence/report.pdf" in done.stdout
    assert str(ROOT) not in done.stdout
    checked = run(command, elsewhere, "verify", "evidence.zip")
    assert checked.returncode == 0 and "are as they were sealed" in checked.stdout
    with (elsewhere / "evidence" / "result.json").open("a") as file:
        file.write(" ")
    assert run(command, elsewhere, "verify", "evidence").returncode == 1


def test_the_page_answers(command, elsewhere):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (elsewhere / "log").open("w") as log:
        page = subprocess.Popen([str(command), "page", "--port", str(port)], cwd=elsewhere, stdout=log, stderr=log)
        try:
            address, deadline = f"http://127.0.0.1:{port}/", time.monotonic() + 180
            while True:
                try:
                    with urllib.request.urlopen(address) as answer:
                        assert answer.status == 200 and "gradio" in answer.read().decode()
                        break
                except OSError:
                    assert page.poll() is None and time.monotonic() < deadline, (elsewhere / "log").read_text()
                    time.sleep(1)
        finally:
            page.terminate()
            page.wait()
