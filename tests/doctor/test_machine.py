"""The doctor on GPU, memory, disk, the Hub and what is computed: as it should be, and each way in which it is not."""

import re
import shutil
import socket
import tempfile
import time
import warnings
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.utils import close_session

from cgidm.doctor import environment as doctor
from cgidm.doctor import self_test
from cgidm.doctor.environment import ROOT, Finding
from tests.support.hub_server import Repository, serve
from tests.support.machines import NOWHERE, make_plain, only_finding


@pytest.fixture(autouse=True)
def plain_machine(monkeypatch, tmp_path):
    make_plain(monkeypatch, tmp_path)
    yield
    close_session()


@pytest.fixture
def gpu(monkeypatch):
    """A GPU as torch would describe it; the keyword `cuda` is what torch was built for."""

    def pretend(capability=(8, 9), cuda="13.0", count=1):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (20_500_000_000, 24_000_000_000))
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA Thing")
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.version, "cuda", cuda)

    return pretend


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda name: None)


def test_a_gpu_is_described(gpu):
    gpu()
    assert only_finding(doctor.check_device(ROOT)).said == "NVIDIA Thing: 20.5 of 24.0 GB free, sm_89, bf16"
    gpu(capability=(7, 5), count=2)
    assert (
        only_finding(doctor.check_device(ROOT)).said
        == "NVIDIA Thing, the first of 2: 20.5 of 24.0 GB free, sm_75, no bf16"
    )


@pytest.mark.parametrize(
    ("capability", "cuda", "status"),
    [
        ((12, 0), "12.6", "broken"),
        ((10, 0), "12.4", "broken"),
        ((12, 0), "12.8", "ok"),
        ((12, 0), "13.0", "ok"),
        ((9, 0), "12.6", "ok"),
        ((12, 0), None, "ok"),  # another maker's, built for no CUDA
    ],
)
def test_blackwell_needs_wheels_that_hold_code_for_it(gpu, capability, cuda, status):
    gpu(capability, cuda)
    found = only_finding(doctor.check_device(ROOT))
    assert found.status == status and (status == "ok" or "CUDA 12.8 or newer" in found.fix)


def test_without_a_gpu_only_small_models(no_gpu):
    found = only_finding(doctor.check_device(ROOT))
    assert found.status == "careful" and found.said == "no GPU: only small models such as the shipped one"


@pytest.mark.parametrize(
    ("cuda", "said"), [(None, "torch was built without CUDA"), ("13.0", "torch, built for CUDA 13.0, sees no GPU")]
)
def test_a_driver_whose_gpu_torch_does_not_see(no_gpu, monkeypatch, cuda, said):
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(torch.version, "cuda", cuda)
    found = only_finding(doctor.check_device(ROOT))
    assert found.status == "careful" and found.said == f"there is an NVIDIA driver, but {said}"


def test_what_torch_says_of_an_old_driver_is_passed_on(no_gpu, monkeypatch):
    def warn():
        warnings.warn("The NVIDIA driver on your system is too old\nand more", stacklevel=1)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", warn)
    found = only_finding(doctor.check_device(ROOT))
    assert found.said.endswith(": The NVIDIA driver on your system is too old") and "update the driver" in found.fix


def test_a_gpu_that_cannot_be_used_is_broken(gpu, monkeypatch):
    def busy():
        raise RuntimeError("CUDA error: device is busy\nCompile with TORCH_USE_CUDA_DSA")

    gpu()
    monkeypatch.setattr(torch.cuda, "mem_get_info", busy)
    found = only_finding(doctor.check_device(ROOT))
    assert found.status == "broken" and found.said.endswith("CUDA error: device is busy")


def test_on_zerogpu_cuda_is_not_touched(monkeypatch):
    def touched(*_):
        raise AssertionError("CUDA was touched")

    monkeypatch.setenv("SPACES_ZERO_GPU", "1")
    monkeypatch.setattr(torch.cuda, "is_available", touched)
    monkeypatch.setattr(torch.cuda, "_lazy_init", touched)
    assert only_finding(doctor.check_device(ROOT)).status == "ok"
    assert only_finding(doctor.check_itself(ROOT)).said.endswith("on cpu")


def test_memory_is_that_of_the_container(monkeypatch, tmp_path):
    whole = only_finding(doctor.check_memory(ROOT))
    assert re.fullmatch(r"\d+\.\d GB.*", whole.said)
    monkeypatch.setattr(doctor.os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 16_000_000}.get)
    monkeypatch.setattr(doctor, "CGROUPS", (tmp_path / "max", tmp_path / "absent"))
    (tmp_path / "max").write_text("max\n")
    assert only_finding(doctor.check_memory(ROOT)) == Finding("memory", "ok", "65.5 GB")
    (tmp_path / "max").write_text("8000000000\n")
    found = only_finding(doctor.check_memory(ROOT))
    assert found.status == "careful" and found.said.startswith("8.0 GB")


def test_a_system_that_does_not_tell_its_memory_gets_no_finding(monkeypatch):
    monkeypatch.setattr(doctor, "CGROUPS", ())
    monkeypatch.delattr(doctor.os, "sysconf")
    assert doctor.check_memory(ROOT) == []


def test_temporary_files(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert only_finding(doctor.check_temporary(ROOT)).status == "ok" and not list(tmp_path.iterdir())
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    found = only_finding(doctor.check_temporary(ROOT))
    assert found.status == "broken" and found.said.endswith("No such file or directory") and "TMPDIR" in found.fix

    def nowhere():
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    assert only_finding(doctor.check_temporary(ROOT)).status == "broken"


def test_the_cache_can_be_written_and_has_room(monkeypatch, tmp_path):
    free = SimpleNamespace(free=50_000_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert only_finding(doctor.check_cache(ROOT)) == Finding(
        "the Hub's cache", "ok", "~/cache can be written, 50.0 GB free"
    )
    assert not (tmp_path / "cache").exists()
    free.free = 19_900_000_000
    found = only_finding(doctor.check_cache(ROOT))
    assert found.status == "careful" and "19.9 GB free" in found.said and "20 GB" in found.fix
    (tmp_path / "file").touch()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
    found = only_finding(doctor.check_cache(ROOT))
    assert found.status == "broken" and found.said == "~/file/hub cannot be written: Not a directory"
    assert "HF_HUB_CACHE" in found.fix


def test_a_hub_that_answers_is_asked_one_short_question_without_a_token(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with serve({doctor.ASKED: Repository({"model.safetensors": b""})}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url.replace("//", "//name:password@"))
        found = only_finding(doctor.check_hub(ROOT))
        assert found == Finding("Hub", "ok", f"{server.url.removeprefix('http://')} answers")
        ((command, path, _, _),) = server.seen
        assert (command, path) == ("GET", f"/api/models/{doctor.ASKED}")
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        doctor.check_hub(ROOT)
        assert server.seen[-1][3] is None
        close_session()


@pytest.mark.parametrize("endpoint", [NOWHERE, "nonsense", "http://127.0.0.1:99999"])
def test_a_hub_out_of_reach_is_no_reason_to_stop(monkeypatch, endpoint):
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    found = only_finding(doctor.check_hub(ROOT))
    assert found.status == "careful" and "cannot be reached: models on this machine" in found.said
    assert (endpoint.removeprefix("http://") if "//" in endpoint else "HF_ENDPOINT") in found.said


def test_an_answer_that_is_not_the_wanted_one_is_named(monkeypatch):
    with serve({doctor.ASKED: Repository(status=503)}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        found = only_finding(doctor.check_hub(ROOT))
        assert found.status == "careful" and "answers 503" in found.said
        monkeypatch.setattr(
            server.RequestHandlerClass, "describe", lambda self, *_: self.answer(200, {}, b"<html>log in")
        )
        server.repositories[doctor.ASKED] = Repository()
        found = only_finding(doctor.check_hub(ROOT))
        assert found.status == "careful" and "is not the Hub" in found.said
        close_session()


def test_a_hub_that_does_not_answer_in_time(monkeypatch):
    monkeypatch.setattr(doctor, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert "cannot be reached" in only_finding(doctor.check_hub(ROOT)).said


def test_offline_the_hub_is_not_asked(monkeypatch):
    with serve({}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        found = only_finding(doctor.check_hub(ROOT))
        assert found.status == "careful" and "HF_HUB_OFFLINE is set" in found.said and server.seen == []


def test_a_small_gradient_is_right_and_of_both_networks():
    assert self_test.gradient_error("cpu") < 1e-5
    assert only_finding(doctor.check_itself(ROOT)).status == "ok"


@pytest.mark.parametrize("wrong", [0.0, 1.1, float("nan")])
def test_a_device_that_computes_wrongly_is_broken(monkeypatch, wrong):
    def conv2d(x, kernel, padding):
        exact = torch.nn.functional.conv2d(x, kernel, padding=padding)
        return exact if x.dtype == torch.float64 else exact * wrong

    monkeypatch.setattr(self_test, "conv2d", conv2d)
    found = only_finding(doctor.check_itself(ROOT))
    assert found.status == "broken" and "comes out wrong on cpu" in found.said


@pytest.mark.parametrize(
    ("slower", "said"), [(torch.float32, "times as fast as in float32"), (torch.bfloat16, "times as long as in")]
)
def test_whether_bfloat16_saves_time_is_measured(monkeypatch, slower, said):
    def conv2d(x, kernel, padding):
        time.sleep(0.02 if x.dtype == slower else 0.001)

    monkeypatch.setattr(self_test, "conv2d", conv2d)
    found = only_finding(doctor.check_bfloat16(ROOT))
    times = re.search(rf"([\d.]+) {said}", found.said)
    assert found.status == "ok" and times and 5 < float(times[1]) < 25


def test_where_a_gpu_computes_bfloat16_is_said_of_it_alone(monkeypatch):
    monkeypatch.setattr(doctor, "_cuda", lambda: (True, ""))
    assert doctor.check_bfloat16(ROOT) == []


def test_a_device_that_cannot_compute_is_broken(monkeypatch):
    def conv2d(*_, **__):
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device\nmore")

    monkeypatch.setattr(self_test, "conv2d", conv2d)
    found = only_finding(doctor.check_itself(ROOT))
    assert found.status == "broken" and found.said.endswith("no kernel image is available for execution on the device")
