"""Where a pair computes: the GPU in half precision if there is one, else the CPU in float32; and with which kernels."""

from types import SimpleNamespace

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

from cgidm import device as place
from cgidm.device import ComputeTarget, choose_device, recorded_device
from cgidm.families.conditioning import condition_on_prompt
from cgidm.families.kernels import choose_kernels
from cgidm.families.pairs import make_pair
from cgidm.intake.layout import open_checkpoint
from tests.support import tiny, tiny_families
from tests.support.errors import refuses
from tests.support.paths import ASSETS

CPU = torch.device("cpu")
BASE = open_checkpoint(str(ASSETS / "mini"))


@pytest.fixture
def machine(monkeypatch):
    """A machine with a GPU or without, and a base of some family."""

    def pretend(gpu, family="SD 1.x", bf16=True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: bf16)
        monkeypatch.setattr(place, "guess_base", lambda base: SimpleNamespace(family=family))

    return pretend


@pytest.mark.parametrize(
    ("gpu", "family", "bf16", "expected"),
    [
        (False, "SD 3", True, ComputeTarget("cpu", torch.float32)),
        (True, "SD 1.x", True, ComputeTarget("cuda", torch.float16)),
        (True, "SD 3 (flow)", True, ComputeTarget("cuda", torch.bfloat16)),
        (True, "SD 3 (flow)", False, ComputeTarget("cuda", torch.float16)),
        (True, None, True, ComputeTarget("cuda", torch.float16)),
    ],
)
def test_the_default_depends_on_gpu_and_family(machine, gpu, family, bf16, expected):
    machine(gpu, family, bf16)
    assert choose_device(BASE) == expected


def test_a_request_is_met_or_refused(machine):
    machine(gpu=True)
    assert choose_device(BASE, "cpu") == ComputeTarget("cpu", torch.float32)
    assert choose_device(BASE, "cpu", "bfloat16") == ComputeTarget("cpu", torch.bfloat16)
    assert choose_device(BASE, "auto", "float32") == ComputeTarget("cuda", torch.float32)
    machine(gpu=False)
    for wrong, code in (
        (("cuda", "auto"), "no_gpu"),
        (("cpu", "float16"), "float16_on_cpu"),
        (("x", "auto"), "unknown_device"),
        (("cpu", "int8"), "unknown_precision"),
    ):
        with refuses(f"device.{code}") as error:
            choose_device(BASE, *wrong)
    assert (
        str(error.value) == "Expected one of auto, float32, bfloat16, float16, fp8, nf4 as the precision, got 'int8'."
    )


def test_a_recorded_run_is_repeated_as_near_to_it_as_can_be(machine):
    machine(gpu=True)
    assert recorded_device(BASE, "cuda", "bfloat16") == ComputeTarget("cuda", torch.bfloat16)
    assert recorded_device(BASE, "cpu", "float32") == ComputeTarget("cpu", torch.float32)
    machine(gpu=False)
    assert recorded_device(BASE, "cpu", "bfloat16") == ComputeTarget("cpu", torch.bfloat16)
    assert recorded_device(BASE, "cuda", "float16") == ComputeTarget("cpu", torch.float32), (
        "a CPU has no convolutions in it"
    )
    assert (
        recorded_device(BASE, "cpu", "") == recorded_device(BASE, "cpu", "odd") == ComputeTarget("cpu", torch.float32)
    )


def processors(network):
    return {type(p) for p in network.attn_processors.values()}


def test_attention_is_plain_in_bfloat16_on_a_cpu_and_nowhere_else():
    unet = tiny.stable_diffusion().unet
    for device, dtype in (("cpu", torch.float32), ("cuda", torch.bfloat16), ("cuda", torch.float16)):
        choose_kernels(unet, torch.device(device), dtype)
        assert processors(unet) == {AttnProcessor2_0}
    large = tiny.stable_diffusion().unet
    large.register_to_config(sample_size=64)  # a table of attention of 4096 x 4096
    choose_kernels(large, CPU, torch.bfloat16)
    assert processors(large) == {AttnProcessor2_0}
    choose_kernels(unet, CPU, torch.bfloat16)
    assert processors(unet) == {AttnProcessor}
    other = tiny_families.stable_diffusion_3().transformer
    before = processors(other)
    choose_kernels(other, CPU, torch.bfloat16)
    assert processors(other) == before, "attention of another kind"


def test_plain_attention_gives_the_same_numbers():
    x, t = (
        torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64),
        torch.tensor([7, 500]),
    )
    models = [tiny.stable_diffusion() for _ in range(2)]
    for model in models:
        model.unet.double().requires_grad_(False)
        model.text_encoder.double()
    choose_kernels(models[1].unet, CPU, torch.bfloat16)
    fused, plain = (condition_on_prompt(model, "a").predict(x, t) for model in models)
    assert fused.abs().sum() > 0 and processors(models[1].unet) == {AttnProcessor}
    torch.testing.assert_close(plain, fused, rtol=1e-9, atol=1e-12)


def test_every_network_of_a_pair_is_given_its_kernels():
    models = tiny.stable_diffusion(), tiny.stable_diffusion()
    pair = make_pair(*(condition_on_prompt(m, "a") for m in models), device=CPU, dtype=torch.bfloat16)
    assert all(processors(network) == {AttnProcessor} for network in pair.modules) and len(pair.modules) == 2
