"""What a suspect's files tell beside its weights: other parts, averages, markers, and the base that they name."""

import hashlib
import json
from dataclasses import replace

import pytest
import torch

from cgidm.intake.family import LINEAGES, compare_bases, confirm_base, find_lineage, guess_base, stated_base
from cgidm.intake.inspect import inspect_checkpoint, report_lines
from cgidm.intake.known_bases.table import digests_of
from cgidm.intake.layout import open_checkpoint
from cgidm.intake.listing import About
from cgidm.intake.remarks import list_pair_remarks, list_remarks
from tests.support import tiny
from tests.support.adapter_files import DIFFUSERS, KOHYA, SAVED, adapter, save
from tests.support.adapter_methods import lora
from tests.support.formats import whole
from tests.support.single_files import single_file

MODULES = {"unet": ("mid_block.resnets.0.conv1",)}
LORA = adapter(DIFFUSERS, (lora, MODULES), file=SAVED)
PONY = "ponyDiffusionV6XL_v6StartWithThisOne.safetensors"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bases") / "my-base"
    tiny.stable_diffusion().save_pretrained(folder)
    return open_checkpoint(str(folder))


def codes(remarks):
    return {remark.code.removeprefix("intake."): remark.params for remark in remarks}


def write_lora(folder, notes=None):
    tensors = {f"unet.{MODULES['unet'][0]}.lora_{side}.weight": torch.ones(2, 8, 1, 1) for side in "AB"}
    tensors["unet.mid_block.resnets.0.conv1.lora_B.weight"] = torch.ones(8, 2, 1, 1)
    save(folder / "pytorch_lora_weights.safetensors", tensors, notes)
    return open_checkpoint(str(folder))


def test_a_suspect_alone_has_nothing_beside_it(tmp_path):
    assert list_remarks(write_lora(tmp_path)) == ()


@pytest.mark.parametrize("file", ["repo_emb.safetensors", "learned_embeds.bin"])
def test_embeddings_beside_a_lora_are_said_unless_they_are_given(tmp_path, base, file):
    suspect = write_lora(tmp_path)
    save(tmp_path / file, {"clip_l": torch.zeros(2, 768), "clip_g": torch.zeros(2, 1280)})
    suspect = open_checkpoint(str(tmp_path))
    assert codes(list_remarks(suspect)) == {"embeddings_beside": {"files": [file]}}
    assert codes(list_pair_remarks(base, suspect)).keys() == {"embeddings_beside", "base_assumed"}
    if file.endswith(".safetensors"):
        given = open_checkpoint(str(tmp_path / file))
        assert codes(list_pair_remarks(base, suspect, [given])).keys() == {"base_assumed"}


def test_a_second_lora_and_a_lora_beside_a_whole_model_are_said(tmp_path):
    LORA(tmp_path / "two", tiny.stable_diffusion())
    adapter(KOHYA, (lora, MODULES))(tmp_path / "two", tiny.stable_diffusion())
    whole(tmp_path / "model", tiny.stable_diffusion())
    LORA(tmp_path / "model", tiny.stable_diffusion())
    two, model = (open_checkpoint(str(tmp_path / name)) for name in ("two", "model"))
    assert (two.kind, model.kind) == ("adapter", "pipeline")
    assert codes(list_remarks(two)) == {"adapters_beside": {"files": ["lora.safetensors"]}}
    assert codes(list_remarks(model)) == {"adapters_beside": {"files": ["pytorch_lora_weights.safetensors"]}}


def test_what_is_damaged_or_foreign_beside_a_suspect_is_no_matter_of_its(tmp_path):
    write_lora(tmp_path)
    (tmp_path / "broken.safetensors").write_bytes(b"no header")
    save(tmp_path / "notes.safetensors", {"x": torch.zeros(3, 3, 3)})
    assert list_remarks(open_checkpoint(str(tmp_path))) == ()


def test_averaged_weights_are_said_inside_a_file_and_beside_a_folder(tmp_path):
    pipeline = tiny.stable_diffusion()
    averages = {f"model_ema.{i}": torch.zeros(2) for i in range(3)} | {"model_ema.decay": torch.zeros(())}
    state = {k: v for k, v in single_file(pipeline).items() if not k.startswith("model_ema.")}
    save(tmp_path / "a.safetensors", state | averages)
    save(
        tmp_path / "b.safetensors",
        state | {"model_ema.decay": torch.zeros(()), "model_ema.num_updates": torch.zeros(())},
    )
    assert codes(list_remarks(open_checkpoint(str(tmp_path / "a.safetensors")))) == {"averages_inside": {"count": 3}}
    assert list_remarks(open_checkpoint(str(tmp_path / "b.safetensors"))) == ()
    for name in ("unet", "unet_ema"):
        pipeline.unet.save_pretrained(tmp_path / "run" / name)
    (tmp_path / "run" / "schema").mkdir()
    save(tmp_path / "run" / "schema" / "x.safetensors", {"x": torch.zeros(1)})
    assert codes(list_remarks(open_checkpoint(str(tmp_path / "run")))) == {"averages_beside": {"files": ["unet_ema"]}}


def test_markers_and_purpose_are_said(tmp_path):
    state = single_file(tiny.stable_diffusion()) | {"v_pred": torch.zeros(0)}
    state["model.diffusion_model.input_blocks.0.0.weight"] = torch.zeros(4, 9, 3, 3)
    save(tmp_path / "a.safetensors", state)
    found = codes(list_remarks(open_checkpoint(str(tmp_path / "a.safetensors"))))
    assert found["markers"] == {"markers": ["v_pred"]}
    assert found["for_purpose"]["purpose"].code == "intake.purpose_inpainting"


def test_parts_that_a_suspect_lacks_are_said_to_be_the_base_s(tmp_path, base):
    whole(tmp_path, tiny.stable_diffusion())
    file = tmp_path / "model_index.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"vae": [None, None], "scheduler": [None, None]}))
    found = codes(list_pair_remarks(base, open_checkpoint(str(tmp_path))))
    assert found["parts_of_base"] == {"parts": ["scheduler", "vae"]}


@pytest.mark.parametrize(("stated", "differs"), [("v", True), ("epsilon", False), ("x", False)])
def test_a_prediction_that_the_notes_state_is_compared_with_the_base_s(tmp_path, base, stated, differs):
    suspect = write_lora(tmp_path, {"modelspec.prediction_type": stated})
    assert ("prediction_differs" in codes(list_pair_remarks(base, suspect))) == differs


NAMES = {
    PONY: "Pony Diffusion V6 XL",
    "illustriousXL_v01.safetensors": "Illustrious XL",
    "waiNSFWIllustrious_v120.safetensors": "Illustrious XL",
    "noobaiXLNAIXL_vPred10Version.safetensors": "NoobAI XL",
    "Laxhar/noobai-XL-1.1": "NoobAI XL",
    "animagineXLV31_v31.safetensors": "Animagine XL",
    "sd_xl_base_1.0.safetensors": "SDXL 1.0",
    "v1-5-pruned-emaonly.safetensors": "Stable Diffusion 1.5",
    "ponyV7_base.safetensors": None,
    "my_merge.safetensors": None,
}


@pytest.mark.parametrize("name", NAMES)
def test_a_base_is_known_by_the_name_that_is_noted(tmp_path, name):
    stated = stated_base(write_lora(tmp_path, {"ss_sd_model_name": name}))
    assert stated.text == name and (stated.lineage.name if stated.lineage else None) == NAMES[name]


def test_every_published_digest_is_known_and_no_two_models_share_one(tmp_path):
    digests = [(digest, lineage) for lineage in LINEAGES for digest in lineage.sha256]
    assert len({d for d, _ in digests}) == len(digests) >= 8 and all(len(bytes.fromhex(d)) == 32 for d, _ in digests)
    for digest, lineage in digests:
        suspect = write_lora(tmp_path, {"ss_new_sd_model_hash": digest.upper(), "ss_sd_model_name": "renamed"})
        assert stated_base(suspect).lineage == lineage


@pytest.mark.parametrize(
    ("notes", "location"),
    [
        ({}, "stabilityai/stable-diffusion-xl-base-1.0"),
        ({"ss_sd_model_name": "my_merge.safetensors"}, "stabilityai/stable-diffusion-xl-base-1.0"),
        ({"ss_sd_model_name": PONY}, "civitai:257749"),
        ({"ss_sd_model_name": "illustriousXL_v01.safetensors"}, None),  # not on the list
        ({"ss_sd_model_name": "animagineXLV31_v31.safetensors"}, None),  # several versions are
        ({"ss_new_sd_model_hash": digests_of("Animagine XL 3.1")[0]}, "cagliostrolab/animagine-xl-3.1"),
        ({"ss_sd_model_name": "v1-5-pruned.safetensors"}, "stabilityai/stable-diffusion-xl-base-1.0"),  # shapes count
    ],
)
def test_the_base_to_judge_with_is_the_published_model_that_is_named(tmp_path, notes, location):
    name = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
    tensors = {f"{name}.lora_down.weight": torch.ones(2, 2048), f"{name}.lora_up.weight": torch.ones(640, 2)}
    save(tmp_path / "lora.safetensors", tensors, notes)
    guess = guess_base(open_checkpoint(str(tmp_path / "lora.safetensors")))
    assert (guess.family, guess.base) == ("SDXL", location)


def on_the_hub(checkpoint, repo):
    about = About(repo=repo, sha="0" * 40, requested_id=repo)
    return replace(checkpoint, listing=replace(checkpoint.listing, about=about))


def test_a_descendant_is_judged_against_another_base_with_a_warning(tmp_path, base):
    suspect = write_lora(tmp_path, {"ss_sd_model_name": PONY})
    sdxl = on_the_hub(base, "stabilityai/stable-diffusion-xl-base-1.0")
    pony = on_the_hub(base, "owner/pony-diffusion-v6-xl")
    found = compare_bases(sdxl, suspect)
    assert found.code == "intake.made_for_lineage"
    assert found.params | {"base": 0} == {
        **{"lineage": "Pony Diffusion V6 XL", "family": "SDXL", "base": 0},
        **{"source": "ss_sd_model_name", "text": PONY},
    }
    assert confirm_base(sdxl, suspect) is None
    assert compare_bases(pony, suspect) is None and confirm_base(pony, suspect).code == "intake.base_agrees"
    assert compare_bases(base, suspect).code == "intake.made_for_lineage_perhaps"  # nothing tells what `my-base` is


def test_a_base_that_is_named_otherwise_or_not_at_all_is_only_assumed(tmp_path, base):
    assert confirm_base(base, write_lora(tmp_path)).code == "intake.base_assumed"
    found = confirm_base(base, write_lora(tmp_path, {"ss_sd_model_name": "my_merge"}))
    assert found.code == "intake.base_not_compared" and found.params["text"] == "my_merge"


@pytest.mark.parametrize("kind", ["new", "old"])
def test_the_hash_of_a_base_in_one_file_decides(tmp_path, kind):
    state = single_file(tiny.stable_diffusion(width=64))  # more than a megabyte: the old hash is of a part behind that
    save(tmp_path / "base.safetensors", state)
    save(tmp_path / "other.safetensors", {k: v + 1 for k, v in state.items()})
    data = (tmp_path / "base.safetensors").read_bytes()
    part = data if kind == "new" else data[0x100000:0x110000]
    digest = hashlib.sha256(part).hexdigest()
    notes = {"new": {"ss_new_sd_model_hash": digest}, "old": {"ss_sd_model_hash": digest[:8]}}[kind]
    suspect = write_lora(tmp_path / "lora", notes | {"ss_sd_model_name": PONY})
    mine, other = (open_checkpoint(str(tmp_path / f"{name}.safetensors")) for name in ("base", "other"))
    assert len(part) > 60_000 and compare_bases(mine, suspect) is None
    assert confirm_base(mine, suspect).code == "intake.base_hash_agrees"
    found = compare_bases(other, suspect)
    assert found.code == "intake.base_hash_differs" and digest.startswith(found.params["stated"])


@pytest.mark.parametrize("noted", ["NOFILE", "IsADirectoryError", "None", ""])
def test_what_trainers_note_instead_of_a_hash_says_nothing(tmp_path, noted):
    save(tmp_path / "base.safetensors", single_file(tiny.stable_diffusion()))
    suspect = write_lora(tmp_path / "lora", {"ss_sd_model_hash": noted, "ss_new_sd_model_hash": noted})
    base = open_checkpoint(str(tmp_path / "base.safetensors"))
    assert compare_bases(base, suspect) is None and confirm_base(base, suspect).code == "intake.base_assumed"


def test_a_base_is_known_by_its_repository_or_folder(base):
    assert find_lineage(base) is None
    assert find_lineage(on_the_hub(base, "cagliostrolab/animagine-xl-4.0")).name == "Animagine XL"


def test_inspect_says_all_of_it(tmp_path):
    write_lora(tmp_path, {"ss_sd_model_name": PONY})
    adapter(KOHYA, (lora, MODULES))(tmp_path, tiny.stable_diffusion())
    found = inspect_checkpoint(open_checkpoint(str(tmp_path)))
    json.dumps(found)
    assert [r["code"] for r in found["remarks"]] == ["intake.adapters_beside"]
    assert found["stated_base"]["lineage"] == "Pony Diffusion V6 XL" and found["stated_base"]["family"] == "SDXL"
    lines = report_lines(found)
    assert any(line.startswith("note ") and "lora.safetensors" in line for line in lines)
    assert any("names as its base" in line and PONY in line for line in lines)
