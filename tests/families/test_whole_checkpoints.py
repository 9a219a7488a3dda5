"""Whole checkpoints as people really have them: parts lost, null, cut, diverged. Loaded as meant, or refused."""

import json
import re

import pytest
import torch
from diffusers import EDMEulerScheduler, FlowMatchEulerDiscreteScheduler, schedulers
from safetensors.torch import load_file, save_file

from cgidm import UserError
from cgidm.families import load_pair
from cgidm.families.conditioning import condition_on_prompt
from tests.support import tiny, tiny_families
from tests.support.adapter_files import save
from tests.support.errors import refuses
from tests.support.formats import whole
from tests.support.single_files import nai_names, single_file

UNET = "unet/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"
FAMILIES = {
    "SD 1.x": tiny.stable_diffusion,
    "SDXL": tiny_families.stable_diffusion_xl,
    "SD 3": tiny_families.stable_diffusion_3,
    "AltDiffusion": tiny_families.alt_diffusion,
    "pixel DDPM": tiny.pixel_ddpm,
}


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bases")
    for name, make in FAMILIES.items():
        make().save_pretrained(folder / name)
    return folder


@pytest.fixture
def tuned(tmp_path):
    """Write the fine-tune of a family into a folder, and return both."""

    def write(family="SD 1.x"):
        pipeline = FAMILIES[family]()
        whole(tmp_path / "tuned", pipeline)
        return tmp_path / "tuned", pipeline

    return write


def edit_json(file, **entries):
    file.write_text(json.dumps(json.loads(file.read_text()) | entries))


def load(bases, suspect, family="SD 1.x", prompt="a b"):
    return load_pair(str(bases / family), str(suspect), prompt)


def answer(model):
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        return model.predict_eps(x, torch.tensor([300]))


@pytest.mark.parametrize("family", ["SD 1.x", "SDXL", "SD 3", "AltDiffusion"])
@pytest.mark.parametrize("absent", ["null", "not listed"])
def test_every_component_but_the_network_may_be_null_and_is_then_the_base_s(bases, tuned, family, absent):
    folder, pipeline = tuned(family)
    unchanged = [n for n in pipeline.components if n.startswith(("vae", "tokenizer", "scheduler"))]
    listed = json.loads((folder / "model_index.json").read_text())
    before = answer(load(bases, folder, family).suspect)
    for name in (n for n in unchanged if listed.get(n, [None, None]) != [None, None]):
        index = {k: v for k, v in listed.items() if k != name}
        (folder / "model_index.json").write_text(json.dumps(index | ({name: [None, None]} if absent == "null" else {})))
        assert torch.equal(answer(load(bases, folder, family).suspect), before), name


@pytest.mark.parametrize("name", ["vae", "text_encoder", "tokenizer", "unet", "scheduler"])
def test_a_base_without_a_component_is_refused_by_its_name(bases, tuned, name):
    folder, _ = tuned()
    edit_json(folder / "model_index.json", **{name: [None, None]})
    with pytest.raises(UserError) as error:
        load_pair(str(folder), str(bases / "SD 1.x"), "a b")
    assert error.value.code in ("families.component_absent", "families.cannot_be_loaded") and name in str(error.value)


@pytest.mark.parametrize("number", ["nan", "inf"])
@pytest.mark.parametrize(
    ("part", "layout"),
    [
        *(("unet", layout) for layout in ("folder", "checkpoint", "single file", "bare")),
        *(("text_encoder", layout) for layout in ("folder", "checkpoint", "single file")),
        ("base's vae", "folder"),
    ],
)
def test_weights_that_are_not_finite_are_refused_in_every_component_and_layout(bases, tmp_path, number, part, layout):
    pipeline = tiny.stable_diffusion()
    hurt = pipeline.vae if part == "base's vae" else getattr(pipeline, part)
    with torch.no_grad():
        next(iter(hurt.parameters())).view(-1)[3] = float(number)
    base, suspect = bases / "SD 1.x", tmp_path / "tuned"
    if part == "base's vae":
        pipeline.save_pretrained(tmp_path / "base")
        base, suspect = tmp_path / "base", bases / "SD 1.x"
    elif layout == "folder":
        pipeline.save_pretrained(suspect)
    elif layout == "checkpoint":
        for name in ("unet", "text_encoder"):
            getattr(pipeline, name).save_pretrained(suspect / name)
    else:
        suspect = tmp_path / "tuned.safetensors"
        save(suspect, single_file(pipeline) if layout == "single file" else pipeline.unet.state_dict())
    with refuses("families.not_finite", count=1):
        load_pair(str(base), str(suspect), "a b")


def test_a_tokenizer_without_settings_is_the_base_s_if_its_words_are(bases, tuned):
    folder, _ = tuned()
    before = answer(load(bases, folder).suspect)
    (folder / "tokenizer" / "tokenizer_config.json").unlink()
    assert torch.equal(answer(load(bases, folder).suspect), before)
    with refuses("families.tokenizer_length", component="tokenizer", expected=7):  # nobody lends a base its settings
        load_pair(str(folder), str(folder), "a b")
    words = json.loads((folder / "tokenizer" / "tokenizer.json").read_text())
    a, b = words["model"]["vocab"]["a"], words["model"]["vocab"]["b"]
    words["model"]["vocab"] |= {"a": b, "b": a}
    (folder / "tokenizer" / "tokenizer.json").write_text(json.dumps(words))
    with refuses("families.tokenizer_length"):
        load(bases, folder)


def test_a_tokenizer_that_lost_words_or_rules_is_refused(bases, tuned):
    folder, _ = tuned()
    file = folder / "tokenizer" / "tokenizer.json"
    whole_table = json.loads(file.read_text())
    half = {k: v for k, v in whole_table["model"]["vocab"].items() if v % 2 == 0 or k.startswith("<|")}
    file.write_text(json.dumps(whole_table | {"model": whole_table["model"] | {"vocab": half}}))
    with refuses("families.vocabulary_words", component="tokenizer", expected=54):
        load(bases, folder)
    joined = {k: v for k, v in whole_table["model"]["vocab"].items() if k != "z</w>"} | {"ab</w>": 53}
    file.write_text(json.dumps(whole_table | {"model": whole_table["model"] | {"vocab": joined}}))
    with refuses("families.merges_missing", given=0, expected=1):
        load(bases, folder)


@pytest.mark.parametrize("size", [[8, 8], [8], None, 99, [8, 16]])
def test_the_size_that_a_suspect_notes_is_not_used(bases, tuned, size):
    folder, _ = tuned()
    before = answer(load(bases, folder).suspect)
    edit_json(folder / "unet" / "config.json", sample_size=size)
    pair = load(bases, folder)
    assert pair.resolution == 64 and torch.equal(answer(pair.suspect), before)


@pytest.mark.parametrize(("size", "resolution"), [([8, 8], 64), ([8, 16], 64), ([16], 128)])
def test_a_base_may_note_its_size_as_height_and_width(bases, tuned, size, resolution):
    folder, _ = tuned()
    edit_json(folder / "unet" / "config.json", sample_size=size)
    assert load_pair(str(folder), str(bases / "SD 1.x"), "a b").resolution == resolution


@pytest.mark.parametrize("size", [None, 0, -8, "8", [8, 8, 8], [], 8_000, 8.0, True])
def test_a_base_without_a_size_is_refused(bases, tuned, size):
    folder, _ = tuned()
    edit_json(folder / "unet" / "config.json", sample_size=size)
    with pytest.raises(UserError) as error:
        load_pair(str(folder), str(bases / "SD 1.x"), "a b")
    assert error.value.code in ("families.sample_size", "families.cannot_be_loaded")


@pytest.mark.parametrize("role", ["base", "suspect"])
@pytest.mark.parametrize("scheduler", [EDMEulerScheduler, FlowMatchEulerDiscreteScheduler])
def test_a_scheduler_of_another_noise_is_refused_by_its_name(bases, tmp_path, scheduler, role):
    pipeline = tiny.stable_diffusion()
    pipeline.scheduler = scheduler()
    pipeline.save_pretrained(tmp_path / "other")
    given = [str(bases / "SD 1.x"), str(tmp_path / "other")]
    with refuses("families.scheduler_class", given=scheduler.__name__):
        load_pair(*(given if role == "suspect" else reversed(given)), "a b")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # numpy's, of a scheduler that was not kept up
def test_every_scheduler_of_the_library_has_ddpm_s_noise_or_is_refused():
    pipeline, taken = tiny.stable_diffusion(), set()
    kinds = [getattr(schedulers, name) for name in dir(schedulers) if name.endswith("Scheduler")]
    for kind in (k for k in kinds if isinstance(k, type) and hasattr(k, "from_config")):
        try:
            pipeline.scheduler = kind()
        except (ImportError, TypeError):  # needs a package, or settings
            continue
        try:
            bound = condition_on_prompt(pipeline, "a b")
        except UserError as error:
            assert error.code in ("families.scheduler_class", "families.schedule_values", "families.prediction_type")
        else:
            taken.add(kind.__name__)
            assert bound.schedule.is_monotonic
    known = ("DDIM", "DDPM", "PNDM", "EulerDiscrete", "EulerAncestralDiscrete", "LMSDiscrete", "DPMSolverMultistep")
    assert taken >= {f"{name}Scheduler" for name in (*known, "UniPCMultistep", "HeunDiscrete", "DEISMultistep")}
    assert not [name for name in taken if "EDM" in name or "Flow" in name] and len(kinds) > 40


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"num_train_timesteps": 10}, "schedule_length"),
        ({"num_train_timesteps": 10**12}, "setting_too_large"),
        ({"beta_end": 1e9}, "schedule_values"),
        ({"beta_start": -3.0, "beta_schedule": "linear"}, "schedule_values"),
        ({"trained_betas": [0.1]}, "schedule_values"),
        ({"prediction_type": ["epsilon"]}, "prediction_type"),
        ({"prediction_type": "sample"}, "prediction_type"),
        ({"beta_schedule": "no such"}, "cannot_be_loaded"),
    ],
)
def test_a_scheduler_that_no_training_used_is_refused(bases, tuned, changes, code):
    folder, _ = tuned()
    edit_json(folder / "scheduler" / "scheduler_config.json", **changes)
    with refuses(f"families.{code}"):
        load(bases, folder)


@pytest.mark.parametrize("config", ["{}", "[]", "", '{"vocab_size": null}', '{"num_hidden_layers": 100000}'])
def test_a_cut_configuration_is_refused_in_one_line_and_nothing_else_is_printed(bases, tuned, capfd, config):
    folder, _ = tuned()
    (folder / "text_encoder" / "config.json").write_text(config)
    with pytest.raises(UserError) as error:
        load(bases, folder)
    assert "\n" not in str(error.value) and "above" not in str(error.value)
    out, err = capfd.readouterr()
    assert out == "" and "LOAD REPORT" not in err and not re.search(r"Status|MISMATCH|MISSING", err)


@pytest.mark.parametrize("family", ["SD 1.x", "SDXL", "SD 3", "pixel DDPM"])
def test_a_network_s_bare_weights_load_with_the_base_s_configuration(bases, tuned, tmp_path, family):
    """accelerate saves a UNet as model.safetensors, and people hand over a component's file without its folder."""
    _, pipeline = tuned(family)
    name = "transformer" if family == "SD 3" else "unet"
    network = getattr(pipeline, name)
    save(tmp_path / "checkpoint-500" / "model.safetensors", network.state_dict())
    (tmp_path / "checkpoint-500" / "optimizer.bin").write_bytes(b"\x80\x04")
    network.save_pretrained(tmp_path / "folder" / name)
    bare = load(bases, tmp_path / "checkpoint-500", family)
    channels = 3 if family == "pixel DDPM" else 4
    x = torch.randn(1, channels, 16, 16, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        given, base = (m.predict_eps(x, torch.tensor([300])) for m in (bare.suspect, bare.base))
    assert (given - base).abs().max() > 1e-3
    state = bare.networks[1].state_dict()
    assert all(torch.equal(v, state[k]) for k, v in network.state_dict().items())


@pytest.mark.parametrize("change", ["lost", "stray", "wide"])
def test_bare_weights_that_do_not_fit_are_refused_as_such(bases, tmp_path, change):
    state = tiny.stable_diffusion(width=8 if change == "wide" else 4).unet.state_dict()
    if change == "lost":
        del state["mid_block.resnets.0.conv1.weight"]
    if change == "stray":
        state["mid_block.more"] = torch.zeros(1)
    save(tmp_path / "model.safetensors", state)
    with refuses("families.bare_network_misfit", component="unet"):
        load(bases, tmp_path / "model.safetensors")


def test_an_old_text_encoder_s_names_load_from_one_file(bases, tuned, tmp_path):
    folder, pipeline = tuned()
    save(tmp_path / "nai.safetensors", nai_names(single_file(pipeline)))
    ours, theirs = load(bases, tmp_path / "nai.safetensors"), load(bases, folder)
    torch.testing.assert_close(answer(ours.suspect), answer(theirs.suspect), rtol=0, atol=2e-6)
    state = load_file(tmp_path / "nai.safetensors")
    del state["cond_stage_model.transformer.final_layer_norm.weight"]
    save_file(state, tmp_path / "nai.safetensors")
    with refuses("families.file_does_not_fit"):
        load(bases, tmp_path / "nai.safetensors")


@pytest.mark.parametrize(("channels", "purpose"), [(9, "inpainting"), (8, "editing"), (7, "upscaling"), (5, "depth")])
@pytest.mark.parametrize("layout", ["single file", "checkpoint", "bare", "folder"])
def test_a_network_of_another_purpose_is_refused_by_its_name(bases, tmp_path, channels, purpose, layout):
    pipeline = tiny.stable_diffusion()
    pipeline.unet = tiny_families.unet(8, in_channels=channels, use_linear_projection=False, attention_head_dim=2)
    suspect = tmp_path / "tuned.safetensors"
    if layout == "checkpoint":
        pipeline.unet.save_pretrained(tmp_path / "tuned" / "unet")
        suspect = tmp_path / "tuned"
    elif layout == "folder":
        suspect = tmp_path / "whole"
        pipeline.save_pretrained(suspect)
    else:
        save(suspect, single_file(pipeline) if layout == "single file" else pipeline.unet.state_dict())
    with refuses("families.special_purpose") as error:
        load(bases, suspect)
    assert error.value.params["purpose"].code == f"intake.purpose_{purpose}"


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize(
    ("markers", "code"),
    [
        (("v_pred",), "prediction_differs"),
        (("v_pred", "ztsnr"), "prediction_differs"),
        (("edm_mean", "edm_std"), "edm_noise"),
        (("edm_vpred.sigma_max", "edm_vpred.sigma_min"), "edm_noise"),
        (("ztsnr",), None),
    ],
)
def test_markers_say_what_a_single_file_predicts(tmp_path, prediction, markers, code):
    base = tiny_families.stable_diffusion_xl()
    base.scheduler.register_to_config(prediction_type=prediction)
    base.save_pretrained(tmp_path / "base")
    for name in ("unet", "text_encoder"):
        tiny.perturbed(getattr(base, name))
    state = single_file(base) | {m: torch.zeros(1 if m.startswith("edm") else 0) for m in markers}
    save(tmp_path / "tuned.safetensors", state)
    if code == "edm_noise" or (code is not None and prediction == "epsilon"):
        with refuses(f"families.{code}"):
            load_pair(str(tmp_path / "base"), str(tmp_path / "tuned.safetensors"), "a b")
    else:
        pair = load_pair(str(tmp_path / "base"), str(tmp_path / "tuned.safetensors"), "a b")
        assert pair.suspect.prediction == ("v" if prediction == "v_prediction" else "eps")


@pytest.mark.parametrize("key", ["scaled_fp8", "{}.scale_weight", "{}.weight_scale", "{}.absmax"])
def test_weights_that_were_rounded_with_scales_are_refused_by_name(bases, tmp_path, key):
    state = single_file(tiny.stable_diffusion())
    save(tmp_path / "a.safetensors", state | {key.format("model.diffusion_model.out.2"): torch.ones(1)})
    with refuses("families.scaled_weights", count=1):
        load(bases, tmp_path / "a.safetensors")


def test_embeddings_that_are_not_finite_are_refused(bases, tmp_path):
    save(tmp_path / "sks.safetensors", {"<sks>": torch.full((2, 8), float("nan"))})
    with refuses("families.not_finite", count=1):
        load(bases, tmp_path / "sks.safetensors", prompt="a <sks>")


@pytest.mark.parametrize("changes", [{"pos_embed_max_size": 8000}, {"sample_size": 8000}, {"num_layers": 10**6}])
def test_a_configuration_cannot_ask_for_the_memory_of_the_machine(bases, tuned, changes):
    """A table of positions is computed, not read: of 8,000 places a side it takes 17 GB."""
    folder, _ = tuned("SD 3")
    edit_json(folder / "transformer" / "config.json", **changes)
    with refuses("families.setting_too_large", setting=next(iter(changes))):
        load(bases, folder, "SD 3")


@pytest.mark.parametrize("name", ["layers_per_block", "transformer_layers_per_block"])
def test_a_unet_cannot_be_deeper_than_its_weights(bases, tuned, name):
    folder, _ = tuned()
    edit_json(folder / "unet" / "config.json", **{name: 1000})
    with refuses("families.setting_too_large", setting=name):
        load(bases, folder)
