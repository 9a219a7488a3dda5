"""What the doctor gathers of a machine: torch, memory, folders, environment."""

import tempfile
import warnings
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from cgidm.doctor import machine as machines
from cgidm.doctor.machine import Gpu, gather_machine, look_at_folder, memory_limit, torch_facts
from cgidm.messages import Note
from tests.support.machines import NOWHERE, make_plain


@pytest.fixture(autouse=True)
def plain_machine(monkeypatch, tmp_path):
    make_plain(monkeypatch, tmp_path)


def test_this_machine_is_gathered(tmp_path):
    found = gather_machine()
    assert not found.on_space and not found.on_zerogpu and not found.has_token and not found.has_login
    assert not isinstance(found.torch, Note) and not isinstance(found.hub, Note)
    assert found.torch.version == torch.__version__ and found.memory > 1_000_000_000
    assert (found.hub.endpoint, found.hub.cache.path) == (NOWHERE, tmp_path / "cache")
    assert found.hub.cache.free > 0 and not (tmp_path / "cache").exists(), "it was looked at, not made"


def test_a_space_is_known_by_its_environment(monkeypatch):
    for name, value in (("SPACE_ID", "owner/space"), ("HF_TOKEN", "hf_secret"), ("OAUTH_CLIENT_ID", "x")):
        monkeypatch.setenv(name, value)
    found = gather_machine()
    assert found.on_space and found.has_token and found.has_login and "hf_secret" not in repr(found)


def test_on_zerogpu_cuda_is_not_touched(monkeypatch):
    def touched(*_):
        raise AssertionError("CUDA was touched")

    monkeypatch.setenv("SPACES_ZERO_GPU", "1")
    monkeypatch.setattr(torch.cuda, "is_available", touched)
    monkeypatch.setattr(torch.cuda, "_lazy_init", touched)
    found = gather_machine()
    assert found.on_zerogpu and found.torch is None and found.device == "cpu"


def test_a_gpu_is_described_as_torch_does(monkeypatch):
    facts = {
        "is_available": True,
        "get_device_capability": (8, 9),
        "mem_get_info": (20, 24),
        "get_device_name": "NVIDIA Thing",
        "device_count": 2,
    }
    for name, value in facts.items():
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)
    assert torch_facts().gpu == Gpu(name="NVIDIA Thing", capability=(8, 9), free=20, total=24, count=2)
    assert gather_machine().device == "cuda"

    def busy():
        raise RuntimeError("CUDA error: device is busy\nCompile with TORCH_USE_CUDA_DSA")

    monkeypatch.setattr(torch.cuda, "mem_get_info", busy)
    assert torch_facts().gpu_error == "CUDA error: device is busy" and gather_machine().device == "cpu"


def test_what_torch_warns_of_an_old_driver_is_passed_on(monkeypatch):
    def warn():
        warnings.warn("The NVIDIA driver on your system is too old\nand more", stacklevel=1)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", warn)
    assert torch_facts().warning == "The NVIDIA driver on your system is too old"


def test_what_fails_is_a_note(monkeypatch):
    def damaged():
        raise OSError("libtorch.so: undefined symbol\nmore")

    monkeypatch.setattr(machines, "torch_facts", damaged)
    found = gather_machine().torch
    assert found == Note("doctor.check_failed", {"kind": "OSError", "error": "libtorch.so: undefined symbol"})


def test_memory_is_that_of_the_container(monkeypatch, tmp_path):
    monkeypatch.setattr(machines.os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 16_000_000}.get)
    limits = (tmp_path / "max", tmp_path / "absent")
    (tmp_path / "max").write_text("max\n")
    assert memory_limit(limits) == 65_536_000_000
    (tmp_path / "max").write_text("8000000000\n")
    assert memory_limit(limits) == 8_000_000_000
    monkeypatch.delattr(machines.os, "sysconf")
    assert memory_limit(()) is None


def test_folders(monkeypatch, tmp_path):
    assert not look_at_folder(tmp_path).problem and not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    assert look_at_folder(tmp_path / "file" / "hub").problem == "Not a directory"
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    assert gather_machine().temporary.problem == "No such file or directory"

    def nowhere():
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    assert gather_machine().temporary is None


def test_a_cache_that_cannot_be_written_is_known(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
    assert gather_machine().hub.cache.problem and gather_machine().hub.cache.path == Path(tmp_path / "file" / "hub")
