"""Adapters of every dialect on a tiny pipeline: exactly the network with merged weights, or refused."""

import copy
import json
from dataclasses import replace

import pytest
import torch
from diffusers import StableDiffusionPipeline
from peft import LoraConfig, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file

from cgidm import UserError
from cgidm.families import load_pair
from cgidm.families.adapters import SplitBatchLayer, adapted_layers, apply_adapter, merge, share_weights
from cgidm.families.changes.added_layer import AddedLayer
from cgidm.families.changes.methods import Change, inject
from cgidm.intake.layout import open_checkpoint
from cgidm.method.loss_pair import Samples, loss_pair
from cgidm.method.memory_plan import worth_merging
from tests.support import tiny
from tests.support.adapters import ALPHA, ATTENTION, RANK, UNET, assert_exact, kohya, weights, written
from tests.support.errors import refuses


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    tiny.stable_diffusion().save_pretrained(folder)
    tiny.stable_diffusion(width=8).save_pretrained(folder.parent / "wide")
    return folder


def diffusers(pairs, down="lora_A.weight", up="lora_B.weight", text=""):
    prefix = {"unet": "unet.", "text_encoder": f"text_encoder.{text}"}
    named = {f"{prefix[c]}{name}": both for (c, name), both in pairs.items()}
    return {f"{k}.{part}": x for k, both in named.items() for part, x in zip((down, up), both, strict=True)}


def test_kohya_with_alphas_convolutions_and_text_encoder(base, tmp_path):
    pairs, merged = weights(base)
    assert_exact(base, written(tmp_path, kohya(pairs)), merged)


@pytest.mark.parametrize(
    ("down", "up", "text"),
    [
        ("lora_A.weight", "lora_B.weight", ""),
        ("lora.down.weight", "lora.up.weight", "text_model."),
        ("lora_linear_layer.down.weight", "lora_linear_layer.up.weight", "text_model."),
    ],
)
def test_diffusers_without_alpha_takes_the_rank(base, tmp_path, down, up, text):
    pairs, merged = weights(base, scale=1.0)
    assert_exact(base, written(tmp_path, diffusers(pairs, down, up, text)), merged)


def test_diffusers_notes_its_alpha_in_the_header(base, tmp_path):
    pairs, merged = weights(base)
    notes = {f"{c}.{k}": v for c in ("unet", "text_encoder") for k, v in (("r", RANK), ("lora_alpha", ALPHA))}
    path = written(tmp_path, diffusers(pairs), {"lora_adapter_metadata": json.dumps(notes)})
    assert_exact(base, path, merged)


def test_a_folder_that_diffusers_saved(base, tmp_path):
    pairs, merged = weights(base)
    state = {name: both for (c, name), both in pairs.items() if c == "unet"}
    layers = {
        f"{n}.{p}.weight": x for n, both in state.items() for p, x in zip(("lora_A", "lora_B"), both, strict=True)
    }
    config = {"r": RANK, "lora_alpha": ALPHA, "target_modules": list(state)}
    StableDiffusionPipeline.save_lora_weights(tmp_path / "lora", layers, unet_lora_adapter_metadata=config)
    merged.text_encoder = tiny.stable_diffusion().text_encoder
    assert_exact(base, tmp_path / "lora", merged)


@pytest.mark.parametrize("root", [False, True], ids=["alpha by rank", "rslora"])
def test_a_folder_that_peft_saved_with_its_patterns(base, tmp_path, root):
    unet = copy.deepcopy(tiny.stable_diffusion().unet)
    ranks, alphas = {"mid_block.resnets.0.conv1": 4}, {ATTENTION: 7}
    config = LoraConfig(
        r=RANK, lora_alpha=5, rank_pattern=ranks, alpha_pattern=alphas, target_modules=list(UNET), use_rslora=root
    )
    model = get_peft_model(unet, config)
    for name, p in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(p, std=0.3)
    model.save_pretrained(tmp_path / "lora")
    merged = tiny.stable_diffusion()
    merged.unet = model.merge_and_unload()
    assert_exact(base, tmp_path / "lora", merged)


def test_a_tucker_core_and_other_kernels_of_one(base, tmp_path):
    """LoCon's core, folded into down; a 1x1 convolution's adapter written as a linear layer's."""
    pairs, merged = weights(base, scale=1.0)
    state = kohya(pairs, alpha=RANK)
    key = "lora_unet_mid_block_resnets_0_conv1"
    down, up = pairs["unet", "mid_block.resnets.0.conv1"]
    g = torch.Generator().manual_seed(3)
    inner, core = torch.randn(RANK, down.shape[1], 1, 1, generator=g), torch.randn(RANK, RANK, 3, 3, generator=g)
    state |= {f"{key}.lora_down.weight": inner, f"{key}.lora_mid.weight": core}
    folded = torch.nn.functional.conv2d(core, inner[..., 0, 0].T[..., None, None])
    with torch.no_grad():
        target = merged.unet.get_submodule("mid_block.resnets.0.conv1").weight
        target += torch.einsum("orxy,rihw->oihw", up, folded - down)
    flat = "lora_unet_down_blocks_1_attentions_0_proj_in"
    for part in ("lora_down", "lora_up"):
        state[f"{flat}.{part}.weight"] = state[f"{flat}.{part}.weight"].flatten(1)
    assert_exact(base, written(tmp_path, state), merged)


@pytest.mark.parametrize("write", [kohya, diffusers])
def test_what_does_not_fit_is_refused_with_counts_and_cause(base, tmp_path, write):
    pairs, _ = weights(base)
    state = write(pairs)
    with refuses("families.adapter_does_not_fit", total=5) as error:
        load_pair(str(base.parent / "wide"), str(written(tmp_path, state)), "")
    assert [(p.code, p.params["count"]) for p in error.value.params["problems"]] == [("families.modules_misshapen", 4)]
    assert "another base" in str(error.value)
    attention = ATTENTION if write is diffusers else ATTENTION.replace(".", "_")
    stray = {k.replace(attention, attention.replace("attn2", "attn9")): v for k, v in state.items()}
    with refuses("families.adapter_does_not_fit") as error:
        load_pair(str(base), str(written(tmp_path, stray)), "")
    (problem,) = error.value.params["problems"]
    assert (problem.code, problem.params["count"]) == ("families.modules_missing", 1)
    assert problem.params["first"].startswith("unet ") and "attn9" in problem.params["first"]
    missing = {
        k: v for k, v in state.items() if not (attention in k and k.endswith(("lora_B.weight", "lora_up.weight")))
    }
    with pytest.raises(UserError, match=r"lacks weights of .* \(up\)"):
        load_pair(str(base), str(written(tmp_path, missing)), "")
    second = {
        k.replace("lora_te_", "lora_te2_").replace("text_encoder.", "text_encoder_2."): v for k, v in state.items()
    }
    with refuses("families.adapter_does_not_fit") as error:
        load_pair(str(base), str(written(tmp_path, second)), "")
    assert error.value.params["problems"][0].params["first"].startswith("text_encoder_2")


def test_an_adapter_that_changes_nothing_is_refused(base, tmp_path):
    pairs, _ = weights(base)
    zero = {k: torch.zeros_like(v) if "lora_up" in k else v for k, v in kohya(pairs).items()}
    with refuses("families.changes_nothing"):
        load_pair(str(base), str(written(tmp_path, zero)), "")


@pytest.mark.parametrize("setting", [{"use_dora": True}, {"modules_to_save": ["conv_in"]}, {"lora_bias": True}])
def test_settings_of_peft_that_change_the_computation_are_refused(base, tmp_path, setting):
    pairs, _ = weights(base)
    only = {k: v for k, v in pairs.items() if k[0] == "unet"}
    state = {k.replace("unet.", "base_model.model."): v for k, v in diffusers(only).items()}
    written(tmp_path, state, name="adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": RANK, "lora_alpha": RANK, **setting}))
    with pytest.raises(UserError, match=next(iter(setting))):
        load_pair(str(base), str(tmp_path), "")


def test_magnitudes_of_some_modules_or_of_two_axes_are_refused(base, tmp_path):
    """A DoRA that lost a magnitude, or whose magnitude was transposed."""
    state, key = kohya(weights(base)[0]), "lora_unet_conv_out"
    one = {**state, f"{key}.dora_scale": torch.ones(4, 1, 1, 1)}
    with refuses("intake.adapter_mixed_methods", methods=["LoRA (4)", "DoRA (1)"], rarest="DoRA", module=key[10:]):
        load_pair(str(base), str(written(tmp_path, one)), "")
    names = [k.removesuffix(".alpha") for k in state if k.endswith(".alpha")]
    every = {f"{name}.dora_scale": torch.ones(1, state[f"{name}.lora_down.weight"].shape[1]) for name in names}
    every[f"{key}.dora_scale"] = torch.ones(4, 1)
    with refuses("intake.adapter_mixed_axes", axes=["input (4)", "output (1)"]):
        load_pair(str(base), str(written(tmp_path, state | every)), "")


def test_what_kohya_s_file_holds_is_what_is_loaded(base, tmp_path):
    """The file's own numbers, in half precision, arrive unchanged."""
    pairs, _ = weights(base)
    path = written(tmp_path, {k: v.half() for k, v in kohya(pairs).items()})
    pair = load_pair(str(base), str(path), "")
    loaded = dict(pair.networks[0].named_parameters())
    given = load_file(path)["lora_unet_conv_out.lora_up.weight"].float()
    assert torch.equal(loaded["conv_out.lora_B.suspect.weight"], given)


def test_a_twin_has_the_very_weights_and_takes_the_adapter_alone(base, tmp_path):
    pipeline = StableDiffusionPipeline.from_pretrained(base, safety_checker=None, requires_safety_checker=False)
    network = pipeline.unet
    own = dict(network.named_parameters())
    pipeline.unet = share_weights(network)
    assert {name: id(weight) for name, weight in pipeline.unet.named_parameters()} == {n: id(w) for n, w in own.items()}
    apply_adapter(pipeline, open_checkpoint(str(written(tmp_path, kohya(weights(base)[0])))))
    assert adapted_layers(pipeline.unet) and not adapted_layers(network)
    assert dict(network.named_parameters()).keys() == own.keys()
    held = {id(weight) for weight in pipeline.unet.parameters()}
    assert held.issuperset(id(weight) for weight in own.values()) and len(held) > len(own)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_merged_adapter_leaves_the_base_alone(base, tmp_path, dtype):
    pipeline = StableDiffusionPipeline.from_pretrained(
        base, safety_checker=None, requires_safety_checker=False, dtype=dtype
    )
    network, before = pipeline.unet, {name: w.clone() for name, w in pipeline.unet.named_parameters()}
    pipeline.unet = share_weights(network)
    apply_adapter(pipeline, open_checkpoint(str(written(tmp_path, kohya(weights(base)[0])))))
    merge(pipeline.unet)
    layers = adapted_layers(pipeline.unet)
    assert layers and all(layer.merged for layer in layers)
    assert {layer.get_base_layer().weight.dtype for layer in layers} == {dtype}
    assert all(torch.equal(w, before[name]) for name, w in network.named_parameters())
    assert worth_merging(torch.device("cpu"), dtype) and not worth_merging(torch.device("cuda"), dtype)


@pytest.mark.parametrize("method", ["LoRA", "DoRA"])
def test_a_change_that_half_precision_would_round_away_stays_in_its_factors(method):
    """bfloat16 keeps 8 bits: of a change a thousandth as large as its weights little would be left."""
    g = torch.Generator().manual_seed(3)
    linear = torch.nn.Linear(32, 32, bias=False).to(torch.bfloat16).requires_grad_(False)
    network = torch.nn.ModuleDict({"weak": linear, "strong": share_weights(linear)})
    down, up = torch.randn(2, 32, 4, generator=g) / 4
    size = linear.weight.float().norm() / (up @ down.T).norm()
    changes = {}
    for place, share in (("weak", 0.001), ("strong", 0.3)):
        factors = {"down": down.T, "up": share * size * up}
        if method == "DoRA":
            factors["magnitude"] = linear.weight.float().norm(dim=1)
        changes[place] = Change(method, factors, 1.0, 4)
    inject(network, changes)
    x = torch.randn(8, 32, generator=g).to(torch.bfloat16)
    before = {place: network[place](x).float() for place in changes}
    merge(network)
    assert [network[place].merged for place in ("weak", "strong")] == [False, True]
    assert torch.equal(network["weak"].get_base_layer().weight, linear.weight)
    assert torch.equal(network["weak"](x).float(), before["weak"])
    torch.testing.assert_close(network["strong"](x).float(), before["strong"], rtol=0.02, atol=0.02)


def test_a_pair_of_an_adapter_is_both_models_in_one_call_too(base, tmp_path, monkeypatch):
    """The first half of the rows by the base, the second by the suspect, gradients included; other pairs have none."""
    monkeypatch.setattr("cgidm.families.load.worth_merging", lambda *_: False)  # as on a GPU
    pair = load_pair(str(base), str(written(tmp_path, kohya(weights(base)[0]))), "a b")
    g = torch.Generator().manual_seed(5)
    draws = (torch.randn(3, 4, 8, 8, generator=g), torch.randint(1, 900, (3,), generator=g))
    samples = Samples(*draws, *torch.randn(2, 3, 4, 8, 8, generator=g))
    assert pair.joint is not None and torch.get_num_threads() == 1
    at_once, in_turn = loss_pair(pair, samples, 6), loss_pair(pair, samples, 5)
    alone = loss_pair(replace(pair, shared_network=None), samples, 6)
    for a, b, c in zip(at_once, in_turn, alone, strict=True):
        torch.testing.assert_close(a.loss, b.loss, rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(a.gradient, b.gradient, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(c.gradient, b.gradient, rtol=1e-4, atol=1e-5)
    assert (at_once[0].gradient - at_once[1].gradient).abs().max() > 1e-3
    base, suspect, joint = pair.modules
    assert all(
        isinstance(m, SplitBatchLayer) == isinstance(suspect.get_submodule(n), BaseTunerLayer)
        for n, m in joint.named_modules()
        if n and ".layer" not in n
    )
    assert {id(w) for w in joint.parameters()} == {id(w) for w in suspect.parameters()}
    for other in (replace(pair, suspect=pair.base), replace(pair, base=pair.suspect, suspect=pair.base)):
        assert other.joint is None  # it would answer as another pair


def added(network, change=0.3, seed=0):
    """The layers of `network` that a full difference can change, and such differences."""
    g, changes = torch.Generator().manual_seed(seed), {}
    for name, layer in network.named_children():
        parts = {"diff": change * torch.randn(layer.weight.shape, generator=g)}
        parts |= {} if layer.bias is None else {"diff_b": change * torch.randn(layer.bias.shape, generator=g)}
        changes[name] = Change("Full", parts)
    return changes


def layers():
    torch.manual_seed(1)
    return torch.nn.ModuleDict(
        {
            "linear": torch.nn.Linear(6, 4),
            "no bias": torch.nn.Linear(6, 4, bias=False),
            "convolution": torch.nn.Conv2d(6, 4, 3, stride=2, padding=1),
            "layer norm": torch.nn.LayerNorm(6),
            "group norm": torch.nn.GroupNorm(2, 6),
        }
    ).requires_grad_(False)


@pytest.mark.parametrize("name", layers())
def test_a_layer_with_a_change_beside_it_computes_the_changed_weights_and_their_gradient(name):
    network = layers()
    before = {key: weight.clone() for key, weight in network.state_dict().items()}
    suspect, changes = share_weights(network), added(network)
    inject(suspect, changes)
    meant = copy.deepcopy(network[name])
    meant.weight += changes[name].parts["diff"]
    if meant.bias is not None:
        meant.bias += changes[name].parts["diff_b"]
    spatial = name in ("convolution", "group norm")
    x = torch.randn((2, 6, 8, 8) if spatial else (3, 6), generator=torch.Generator().manual_seed(2))
    found, wanted = (layer(given).square().sum() for layer, given in ((suspect[name], leaf(x)), (meant, leaf(x))))
    torch.testing.assert_close(found, wanted)
    gradients = [
        torch.autograd.grad(layer(given := leaf(x)).square().sum(), given)[0] for layer in (suspect[name], meant)
    ]
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-5)
    assert suspect[name].weight is network[name].weight and suspect[name].bias is network[name].bias
    merge(suspect)
    assert suspect[name].merged
    torch.testing.assert_close(suspect[name](x), meant(x), atol=1e-5, rtol=1e-5)
    assert all(torch.equal(weight, before[key]) for key, weight in network.state_dict().items())


def leaf(x):
    return x.clone().requires_grad_()


def test_a_full_difference_that_half_precision_would_round_away_stays_beside_its_layer():
    network = torch.nn.ModuleDict({"linear": torch.nn.Linear(32, 32)}).to(torch.bfloat16).requires_grad_(False)
    for size, merged in ((1e-5, False), (1.0, True)):
        suspect = share_weights(network)
        inject(suspect, added(network, size))
        x = torch.randn(4, 32, generator=torch.Generator().manual_seed(3)).to(torch.bfloat16)
        before = suspect["linear"](x)
        merge(suspect)
        assert suspect["linear"].merged is merged and before.dtype == torch.bfloat16
        torch.testing.assert_close(suspect["linear"](x), before, atol=0.1, rtol=0.05)


def test_a_layer_that_would_compute_another_change_is_a_bug(monkeypatch):
    """The last check of every kind of module: a number, not a name."""
    monkeypatch.setattr(
        "cgidm.families.changes.methods.AddedLayer", lambda layer, weight, bias: AddedLayer(layer, 2 * weight, bias)
    )
    network = layers()
    with pytest.raises(AssertionError, match="computes another change"):
        inject(network, added(network))
