"""The doctor on computing: a right gradient, wrong ones, and the speed of bfloat16."""

import time

import pytest
import torch

from cgidm.doctor import self_test
from cgidm.doctor.machine import Gpu, TorchFacts
from cgidm.doctor.self_test import check_bfloat16, check_computing
from tests.support.machines import make_machine, only_finding


def test_a_small_gradient_is_right_and_of_both_networks():
    assert self_test.gradient_error("cpu") < 1e-5
    assert only_finding(check_computing(make_machine()), "gradient").note.params == {"device": "cpu"}
    assert only_finding(check_computing(make_machine(on_zerogpu=True, torch=None)), "gradient").status == "ok"


@pytest.mark.parametrize("wrong", [0.0, 1.1, float("nan")])
def test_a_device_that_computes_wrongly_is_an_error(monkeypatch, wrong):
    def conv2d(x, kernel, padding):
        exact = torch.nn.functional.conv2d(x, kernel, padding=padding)
        return exact if x.dtype == torch.float64 else exact * wrong

    monkeypatch.setattr(self_test, "conv2d", conv2d)
    assert only_finding(check_computing(make_machine()), "gradient_wrong").status == "error"


def test_a_device_that_cannot_compute_is_an_error(monkeypatch):
    def conv2d(*_, **__):
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device\nmore")

    monkeypatch.setattr(self_test, "conv2d", conv2d)
    found = only_finding(check_computing(make_machine()), "gradient_refused")
    assert found.status == "error" and str(found.note).endswith("available for execution on the device")


@pytest.mark.parametrize(("slower", "code"), [(torch.float32, "faster"), (torch.bfloat16, "slower")])
def test_whether_bfloat16_saves_time_is_measured(monkeypatch, slower, code):
    def conv2d(x, kernel, padding):
        time.sleep(0.02 if x.dtype == slower else 0.001)

    monkeypatch.setattr(self_test, "conv2d", conv2d)
    found = only_finding(check_bfloat16(make_machine()), f"bfloat16_{code}")
    assert found.status == "ok" and 2 < found.note.params["times"] < 25


def test_with_a_gpu_the_processor_s_bfloat16_is_not_timed():
    gpu = Gpu(name="x", capability=(9, 0), free=1, total=1)
    assert check_bfloat16(make_machine(torch=TorchFacts(version="2.6", cuda="13.0", gpu=gpu))) == []
    assert check_bfloat16(make_machine(on_zerogpu=True, torch=None)) == []
