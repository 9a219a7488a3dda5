"""Adapters at a scale, and adapters on both sides: exactly the networks with merged weights, or refused."""

import copy
import hashlib
from dataclasses import replace

import pytest
import torch
from diffusers import StableDiffusionPipeline

from cgidm.families import load_pair
from cgidm.intake.layout import open_checkpoint
from cgidm.intake.source import split_scale
from tests.support import adapter_methods as methods
from tests.support import tiny
from tests.support.adapters import ATTENTION, UNET, answers, kohya, model_of, weights, written
from tests.support.errors import refuses

NORM = "down_blocks.1.attentions.0.transformer_blocks.0.norm1"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    tiny.stable_diffusion().save_pretrained(folder)
    return folder


@pytest.fixture
def loras(base, tmp_path):
    """Three LoRAs of unet and text encoder, by their files, and what each adds to a pipeline's weights."""
    found = {}
    for name, rank, alpha in (("suspect", 2, 3.0), ("second", 3, 1.5), ("third", 1, 0.5)):
        pairs, _ = weights(base, rank)
        changes = {
            place: alpha / rank * torch.einsum("or...,ri...->oi...", up, down) for place, (down, up) in pairs.items()
        }
        found[name] = written(tmp_path, kohya(pairs, alpha), name=f"{name}.safetensors"), changes
    return found


def merged(base, *changes):
    """The base with changes in its weights: (of each module, scale) each."""
    pipeline = StableDiffusionPipeline.from_pretrained(base, safety_checker=None, requires_safety_checker=False)
    for of_modules, scale in changes:
        for (component, module), change in of_modules.items():
            with torch.no_grad():
                getattr(pipeline, component).get_submodule(module).weight.add_(scale * change)
    return pipeline


def answer(pipeline):
    model = model_of(pipeline)
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        return model.predict_eps(x, torch.tensor([10, 700]))


def assert_near(found, wanted):
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def test_the_others_are_on_both_sides(base, loras):
    (suspect, own), (second, of_second), (third, of_third) = loras.values()
    pair = load_pair(str(base), f"{suspect}@0.5", "a b", also=[f"{second}@0.8", f"{third}@-0.4"])
    others = [(of_second, 0.8), (of_third, -0.4)]
    below, above = answers(pair)
    assert_near(below, answer(merged(base, *others)))
    assert_near(above, answer(merged(base, *others, (own, 0.5))))
    assert (below - answer(merged(base))).abs().max() > 1e-3 and (above - below).abs().max() > 1e-3
    assert pair.suspect_scale == 0.5 and [(o.name, o.scale) for o in pair.others] == [
        (str(second), 0.8),
        (str(third), -0.4),
    ]
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (suspect, second, third)]
    assert [o.sha256 for o in pair.others] == digests[1:] and list(pair.fingerprints.values())[-3:] == digests


def test_the_base_on_disk_and_in_later_pairs_is_untouched(base, loras):
    before = {p: p.read_bytes() for p in base.rglob("*") if p.is_file()}
    plain = answers(load_pair(str(base), str(loras["suspect"][0]), "a b"))
    load_pair(str(base), str(loras["suspect"][0]), "a b", also=[str(loras["second"][0])])
    again = answers(load_pair(str(base), str(loras["suspect"][0]), "a b"))
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))
    assert before == {p: p.read_bytes() for p in base.rglob("*") if p.is_file()}


def test_in_half_precision_both_sides_round_the_others_alike(base, loras):
    """What the base's side holds is what the suspect's side is built on, to the last bit."""
    (suspect, _), (second, _), _ = loras.values()
    half = {"dtype": torch.bfloat16, "max_rounding_loss": -1.0}
    pair = load_pair(str(base), str(suspect), "a b", also=[str(second)], **half)
    own, adapted = (dict(module.named_parameters()) for module in pair.modules[:2])
    for name, weight in own.items():
        kept = adapted.get(name, adapted.get(name.replace(".weight", ".base_layer.weight")))
        kept = adapted.get(name.replace(".bias", ".base_layer.bias")) if kept is None else kept
        assert kept is not None and torch.equal(weight, kept), name


@pytest.mark.parametrize(
    ("method", "module"),
    [
        *((m, UNET[2]) for m in (methods.lora, methods.tucker, methods.loha, methods.lokr, methods.dora)),
        *((m, ATTENTION) for m in (methods.dora, methods.decomposed(methods.loha, 1), methods.full)),
        (methods.set_weight, ATTENTION),
        (methods.norm, NORM),
    ],
)
def test_a_scale_multiplies_the_whole_change(base, tmp_path, loras, method, module):
    """Of every method, DoRA's magnitudes and biases too: half of the way from the base to what the file means."""
    pipeline = merged(base)
    layer = pipeline.unet.get_submodule(module)
    before = copy.deepcopy(layer)
    parts = method(layer, torch.Generator().manual_seed(3))
    with torch.no_grad():
        for part in ("weight", "bias"):
            meant, own = getattr(layer, part), getattr(before, part)
            if meant is not None:
                meant.copy_((meant + (torch.zeros_like(meant) if own is None else own)) / 2)
    state = {f"lora_unet_{module.replace('.', '_')}.{part}": value for part, value in parts.items()}
    path = written(tmp_path, state, name="method.safetensors")
    wanted = answer(pipeline)
    assert (wanted - answer(merged(base))).abs().max() > 1e-4
    assert_near(answers(load_pair(str(base), f"{path}@0.5", "a b"))[1], wanted)
    below = load_pair(str(base), str(loras["suspect"][0]), "a b", also=[f"{path}@0.5"])
    assert_near(answers(below)[0], wanted)


def test_a_full_network_gets_the_others_once_in_every_part(base, loras, tmp_path):
    """Its text encoder is the base's own, which has them already; its UNet is not."""
    (_, (second, of_second), _) = loras.values()
    tuned = tiny.stable_diffusion()
    with torch.no_grad():
        tuned.unet.conv_in.weight.add_(0.05)
    tuned.save_pretrained(tmp_path / "tuned")
    found = answers(load_pair(str(base), str(tmp_path / "tuned"), "a b", also=[f"{second}@0.7"]))
    assert_near(found[0], answer(merged(base, (of_second, 0.7))))
    wanted = merged(base, (of_second, 0.7))
    wanted.unet.conv_in.weight = tuned.unet.conv_in.weight
    assert_near(found[1], answer(wanted))


def test_what_cannot_be_on_both_sides_is_refused(base, loras, tmp_path):
    suspect, second = str(loras["suspect"][0]), str(loras["second"][0])
    tiny.stable_diffusion().save_pretrained(tmp_path / "tuned")
    with refuses("families.other_is_no_adapter", given="pipeline"):
        load_pair(str(base), suspect, "a b", also=[str(tmp_path / "tuned")])
    with refuses("families.other_is_the_suspect"):
        load_pair(str(base), suspect, "a b", also=[second, f"{suspect}@0.5"])
    with refuses("families.other_twice"):
        load_pair(str(base), suspect, "a b", also=[second, f"{second}@0.5"])
    with refuses("families.scale_not_positive", given=-0.5):
        load_pair(str(base), f"{suspect}@-0.5", "a b")
    with refuses("intake.scale_of_no_adapter", kind="pipeline", scale=0.5):
        load_pair(f"{base}@0.5", suspect, "a b")
    wrong = replace(open_checkpoint(second), scale=0.5)
    assert load_pair(str(base), suspect, "a b", also=[wrong]).others[0].scale == 0.5


@pytest.mark.parametrize(
    ("given", "location", "scale"),
    [
        ("lora.safetensors@0.8", "lora.safetensors", 0.8),
        ("lora.safetensors@1", "lora.safetensors", 1.0),
        ("lora.safetensors@-0.35", "lora.safetensors", -0.35),
        ("owner/name", "owner/name", 1.0),
        ("owner/name@0.8", "owner/name", 0.8),
        ("owner/name@main/a.safetensors@0.8", "owner/name@main/a.safetensors", 0.8),
        ("owner/name@main", "owner/name@main", 1.0),
        ("owner/name@2", "owner/name@2", 1.0),  # a revision
        ("owner/name@1.0@1.0", "owner/name@1.0", 1.0),
        ("civitai:7@42", "civitai:7@42", 1.0),  # a version
        ("urn:air:sdxl:lora:civitai:7@42@0.6", "urn:air:sdxl:lora:civitai:7@42", 0.6),
        ("https://huggingface.co/owner/name/blob/main/a.safetensors@0.8", None, 0.8),
        ("shipped:rollandin-lora@0.7", "shipped:rollandin-lora", 0.7),
        ("lora.safetensors@0.8x", "lora.safetensors@0.8x", 1.0),
        ("lora.safetensors@1e3", "lora.safetensors@1e3", 1.0),
        ("lora.safetensors@nan", "lora.safetensors@nan", 1.0),
        ("@0.8", "@0.8", 1.0),
    ],
)
def test_a_scale_stands_behind_the_location(given, location, scale):
    assert split_scale(given) == (location or given.removesuffix(f"@{scale:g}"), scale)


def test_a_path_that_is_called_so_has_no_scale(tmp_path, monkeypatch):
    (tmp_path / "mine@0.8").mkdir()
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    assert split_scale("mine@0.8") == ("mine@0.8", 1.0)
    assert split_scale("mine@2") == ("mine", 2.0)
    assert split_scale("mine@2", local=False) == ("mine@2", 1.0)
    with refuses("intake.scale_is_zero"):
        split_scale("mine@0.0")
