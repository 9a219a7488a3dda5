"""The doctor on Python, packages, GPU, memory and temporary files."""

from pathlib import Path

import pytest

from cgidm.doctor import requirements
from cgidm.doctor.environment import (
    check_device,
    check_gradio,
    check_memory,
    check_packages,
    check_python,
    check_temporary,
)
from cgidm.doctor.machine import ROOT, Folder, Gpu, TorchFacts
from cgidm.messages import note
from tests.support.machines import make_machine, only_finding


def distribution(folder, name, version):
    """An installed package, as far as its version is read."""
    info = folder / f"{name}-{version or 0}.dist-info"
    info.mkdir(parents=True)
    stated = f"Version: {version}\n" if version else ""
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\n{stated}")


@pytest.mark.parametrize(
    ("running", "status"),
    [((3, 10), "error"), ((3, 11), "ok"), ((3, 12), "ok"), ((3, 13), "ok"), ((3, 14), "warning"), ((2, 7), "error")],
)
def test_python_must_be_one_that_is_tested(running, status):
    found = only_finding(check_python(make_machine(python=running)))
    assert found.status == status and found.note.params == {"version": ".".join(map(str, running))}
    assert ('python_version: "3.12"' in str(found.fix)) == (status == "error")


def test_the_packages_of_this_environment_are_there():
    found = only_finding(check_packages(make_machine()), "packages")
    count = sum(line[0].isalpha() for line in (ROOT / "requirements.txt").read_text().splitlines() if line)
    assert found.note.params == {"count": count} and count >= 20


def test_each_package_that_is_missing_or_too_old_has_its_command(tmp_path, monkeypatch):
    site = tmp_path / "site"
    for name, version in (("oldish", "1.9.1"), ("newish", "2.0+cu128"), ("early", "2.1.0rc1"), ("half", None)):
        distribution(site, name, version)
    distribution(site, "unreadable", "from-git")
    monkeypatch.syspath_prepend(site)
    lines = [
        "# a comment",
        "",
        "-c constraints.txt",
        "oldish>=2.0  # why",
        "newish>=2.0",
        "early>=2.0",
        "half>=1",
        "unreadable>=1",
        "absent_package[extra]>=3",
        'absent_elsewhere>=1; python_version < "3"',
        "what is this",
    ]
    (tmp_path / "requirements.txt").write_text("\n".join(lines))
    found = check_packages(make_machine(root=tmp_path))
    assert {f.status for f in found} == {"error"}
    assert {f.name: (f.note.code.removeprefix("doctor."), str(f.fix)) for f in found} == {
        "package oldish": ("package_version", 'python -m pip install -U "oldish>=2.0"'),
        "package half": ("package_in_part", 'python -m pip install -U "half>=1"'),
        "package unreadable": ("package_in_part", 'python -m pip install -U "unreadable>=1"'),
        "package absent_package": ("package_not_installed", 'python -m pip install -U "absent_package[extra]>=3"'),
        "packages": ("requirement_unreadable", "Write a line such as torch>=2.6."),
    }
    assert str(found[0].note) == "Expected >=2.0, got 1.9.1."


def test_open_clip_must_know_quick_gelu_by_name_whatever_the_requirements_say(tmp_path, monkeypatch):
    distribution(tmp_path / "site", "open_clip_torch", "2.28.0")
    monkeypatch.syspath_prepend(tmp_path / "site")
    (tmp_path / "requirements.txt").write_text("open_clip_torch\n")
    found = only_finding(check_packages(make_machine(root=tmp_path)), "package_version")
    assert found.name == "package open_clip_torch"


def test_an_installed_package_states_its_requirements(tmp_path, monkeypatch):
    distribution(tmp_path / "site", "cgidm", "0.0")
    info = tmp_path / "site" / "cgidm-0.0.dist-info" / "METADATA"
    info.write_text(info.read_text() + "Requires-Dist: pytest>=1\nRequires-Dist: absent; extra == 'page'\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    found = only_finding(check_packages(make_machine(root=tmp_path)), "packages")
    assert found.note.params == {"count": 1}


def test_without_requirements_nothing_is_claimed(tmp_path, monkeypatch):
    monkeypatch.setattr(requirements, "requires", lambda name: None)
    assert only_finding(check_packages(make_machine(root=tmp_path)), "no_requirements").status == "warning"


@pytest.mark.parametrize("missing", [[], ["mcp"], ["authlib", "itsdangerous"]])
def test_extras_of_gradio(missing):
    found = only_finding(check_gradio(make_machine(packages={"mcp", "authlib", "itsdangerous"} - {*missing})))
    assert found.status == ("warning" if missing else "ok") and found.note.params.get("packages", []) == missing
    assert not missing or str(found.fix) == 'python -m pip install "gradio[mcp,oauth]"'


def with_gpu(capability=(8, 9), cuda="13.0", count=1):
    gpu = Gpu(name="NVIDIA Thing", capability=capability, free=20_500_000_000, total=24_000_000_000, count=count)
    return make_machine(torch=TorchFacts(version="2.6", cuda=cuda, gpu=gpu), has_nvidia_driver=True)


def test_a_gpu_is_described():
    found = only_finding(check_device(with_gpu()), "gpu")
    assert str(found.note) == "NVIDIA Thing, the first of 1: 20.5 of 24.0 GB free, sm_89, bf16"
    found = only_finding(check_device(with_gpu(capability=(7, 5), count=2)), "gpu_no_bf16")
    assert "the first of 2" in str(found.note)


@pytest.mark.parametrize(
    ("capability", "cuda", "status"),
    [
        ((12, 0), "12.6", "error"),
        ((10, 0), "12.4", "error"),
        ((12, 0), "12.8", "ok"),
        ((12, 0), "13.0", "ok"),
        ((9, 0), "12.6", "ok"),
        ((12, 0), None, "ok"),  # another maker's, built for no CUDA
    ],
)
def test_blackwell_needs_wheels_that_hold_code_for_it(capability, cuda, status):
    found = only_finding(check_device(with_gpu(capability, cuda)))
    assert found.status == status and (status == "ok" or "CUDA 12.8 or newer" in str(found.fix))


@pytest.mark.parametrize(
    ("driver", "facts", "code"),
    [
        (False, {"cuda": None}, "no_gpu"),
        (True, {"cuda": None}, "torch_without_cuda"),
        (True, {"cuda": "13.0"}, "gpu_unseen"),
        (False, {"cuda": "13.0", "warning": "The NVIDIA driver is too old"}, "gpu_unseen_because"),
    ],
)
def test_a_gpu_that_torch_does_not_see_is_a_warning(driver, facts, code):
    machine = make_machine(torch=TorchFacts(version="2.6", **facts), has_nvidia_driver=driver)
    assert only_finding(check_device(machine), code).status == "warning"


def test_a_gpu_that_cannot_be_used_and_a_torch_that_is_missing_are_errors():
    machine = make_machine(torch=TorchFacts(version="2.6", cuda="13.0", gpu_error="CUDA error: device is busy"))
    found = only_finding(check_device(machine), "gpu_unusable")
    assert found.status == "error" and str(found.note).endswith("CUDA error: device is busy")
    missing = note("doctor.package_missing", package="torch")
    found = only_finding(check_device(make_machine(torch=missing)), "package_missing")
    assert found.status == "error" and str(found.fix) == "python -m pip install -r requirements.txt"


def test_on_zerogpu_the_gpu_is_not_looked_at():
    assert only_finding(check_device(make_machine(on_zerogpu=True, torch=None)), "zerogpu").status == "ok"


def test_memory():
    assert str(only_finding(check_memory(make_machine(memory=65_536_000_000)), "memory").note) == "65.5 GB"
    assert only_finding(check_memory(make_machine(memory=8_000_000_000)), "memory_small").status == "warning"
    assert check_memory(make_machine(memory=None)) == []


def test_temporary_files():
    assert only_finding(check_temporary(make_machine()), "writable").status == "ok"
    folder = Folder(Path("/gone"), "No such file or directory")
    found = only_finding(check_temporary(make_machine(temporary=folder)), "unwritable")
    assert found.status == "error" and "TMPDIR" in str(found.fix)
    assert only_finding(check_temporary(make_machine(temporary=None)), "no_temporary").status == "error"
