"""Weights in 8 or 4 bits: the same in base and suspect, packed as is said, and of the size that is said."""

import importlib.util
import json

import pytest
import torch
from torch import nn

from cgidm.device import QUANTISATIONS, ComputeTarget, choose_device
from cgidm.families import load_pair, quantised
from cgidm.families.conditioning import condition_on_prompt
from cgidm.families.memory import weight_bytes
from cgidm.families.quantised import QuantisedLinear, quantise
from cgidm.intake.layout import open_checkpoint
from cgidm.run.provenance import describe_machine
from tests.support import tiny, tiny_flow
from tests.support.errors import refuses
from tests.support.tiny_lora import save_lora

ERRORS = {"fp8": 0.03, "nf4": 0.12}  # of a product with a random weight, as a share of it
BITS = {"fp8": 8, "nf4": 4.5}


def layer(out=64, into=256, dtype=torch.float32):
    torch.manual_seed(0)
    return nn.Linear(into, out).requires_grad_(False).to(dtype)


@pytest.mark.parametrize("kind", QUANTISATIONS)
def test_a_packed_layer_computes_with_what_it_unpacks_to(kind):
    whole, x = layer(), torch.randn(5, 256, requires_grad=True)
    packed = QuantisedLinear(whole, kind)
    out = packed(x)
    torch.testing.assert_close(out, nn.functional.linear(x, packed.weight, whole.bias))
    (gradient,) = torch.autograd.grad(out.square().sum(), x)
    torch.testing.assert_close(gradient, (2 * out) @ packed.weight)
    error = (packed.weight - whole.weight).norm() / whole.weight.norm()
    assert 0.3 * ERRORS[kind] < error < ERRORS[kind]
    held = 8 * sum(b.numel() * b.element_size() for b in packed.buffers()) / whole.weight.numel()
    assert held == pytest.approx(BITS[kind], abs=0.2)


@pytest.mark.parametrize("kind", QUANTISATIONS)
def test_packing_again_changes_nothing_and_zeros_stay(kind):
    whole = layer()
    whole.weight[3] = 0
    packed = QuantisedLinear(whole, kind)
    again = nn.Linear(256, 64)
    again.weight = nn.Parameter(packed.weight, requires_grad=False)
    assert torch.equal(QuantisedLinear(again, kind).weight, packed.weight)
    assert not packed.weight[3].any() and packed.weight.isfinite().all()


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="needs bitsandbytes")
def test_nf4_is_that_of_bitsandbytes():
    import bitsandbytes.functional as bnb

    weight = layer().weight
    packed, state = bnb.quantize_4bit(weight, blocksize=64, quant_type="nf4")
    ours = QuantisedLinear(layer(), "nf4")
    assert torch.equal(packed.flatten(), ours.packed) and torch.allclose(state.absmax, ours.scale)
    torch.testing.assert_close(bnb.dequantize_4bit(packed, state), ours.weight)


@pytest.fixture
def folders(tmp_path, monkeypatch):
    monkeypatch.setattr(quantised, "LEAST", 64)  # the weights of a tiny network are small
    tiny_flow.flux().save_pretrained(tmp_path / "base")
    tuned = tiny_flow.flux()
    tiny.perturbed(tuned.transformer, by=0.2)
    tuned.save_pretrained(tmp_path / "full")
    save_lora(tmp_path / "lora.safetensors", "transformer.single_transformer_blocks.0.attn.to_q", 16, 16)
    return tmp_path


def answers(pair):
    x = torch.randn(2, tiny_flow.LATENT, 8, 8, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        return [m.predict_velocity(x, torch.tensor([100, 700])) for m in (pair.base, pair.suspect)]


@pytest.mark.parametrize("kind", QUANTISATIONS)
def test_a_lora_lies_on_the_very_weights_of_the_packed_base(folders, kind):
    packed, whole = (
        load_pair(str(folders / "base"), str(folders / "lora.safetensors"), "a b", quantisation=q) for q in (kind, None)
    )
    base, adapted = packed.modules[:2]
    layers = [[m for m in n.modules() if isinstance(m, QuantisedLinear)] for n in (base, adapted)]
    assert len(layers[0]) > 20 and all(a is b for a, b in zip(*layers, strict=True))
    assert weight_bytes(*packed.networks) < weight_bytes(*whole.networks)
    (base_now, suspect_now), (base_whole, suspect_whole) = answers(packed), answers(whole)
    change, whole_change = suspect_now - base_now, suspect_whole - base_whole
    assert (change - whole_change).norm() < 0.5 * whole_change.norm(), "the adapter does about what it did"
    assert (base_now - base_whole).norm() < 0.3 * base_whole.norm() and not torch.equal(base_now, base_whole)
    assert describe_machine(packed)["precision"] == kind and describe_machine(whole)["precision"] == "float32"


@pytest.mark.parametrize("kind", QUANTISATIONS)
def test_a_whole_suspect_is_packed_like_its_base(folders, kind):
    pair = load_pair(str(folders / "base"), str(folders / "full"), "a b", quantisation=kind)
    base = load_pair(str(folders / "base"), str(folders / "lora.safetensors"), "a b", quantisation=kind)
    assert torch.equal(answers(pair)[0], answers(base)[0])
    assert len(pair.networks) == 2 and (answers(pair)[0] - answers(pair)[1]).abs().max() > 1e-3


@pytest.mark.parametrize("role", ["base", "full"])
@pytest.mark.parametrize("method", ["bitsandbytes", "torchao", "gguf"])
def test_what_another_library_packed_is_refused_by_name_before_it_is_fetched(folders, monkeypatch, role, method):
    file = folders / role / "transformer" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"quantization_config": {"quant_method": method}}))
    models = [open_checkpoint(str(folders / name)) for name in ("base", "full")]
    if role == "base":
        monkeypatch.setattr("cgidm.intake.listing.LocalListing.fetch", lambda *given: pytest.fail("fetched"))
    with refuses("families.packed_elsewhere", component="transformer", method=method):
        load_pair(*models, "a b")


def test_a_folder_whose_transformer_is_a_gguf_file_is_refused_by_name(folders):
    (file,) = (folders / "base" / "transformer").glob("*.safetensors")
    file.with_name("flux-Q8_0.gguf").write_bytes(b"GGUF")
    file.unlink()
    with refuses("intake.only_gguf", files=["flux-Q8_0.gguf"]):
        open_checkpoint(str(folders / "base"))


def test_a_network_of_ddpm_is_not_packed(tmp_path):
    tiny.stable_diffusion().save_pretrained(tmp_path / "base")
    with refuses("families.quantised_flow_only", given="nf4"):
        load_pair(str(tmp_path / "base"), str(tmp_path / "base"), "a", quantisation="nf4")


def test_small_weights_and_those_of_adapters_stay_as_they_are():
    network = condition_on_prompt(tiny_flow.flux(), "a").network
    before = {k: v.clone() for k, v in network.state_dict().items()}
    quantise([network], "nf4")
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items()), "all of them are small"


def test_a_precision_names_it(folders):
    base = open_checkpoint(str(folders / "base"))
    assert choose_device(base, "cpu", "nf4") == ComputeTarget("cpu", torch.float32, "nf4")
