"""A suspect as other programs load it: the part that they use is judged, and the rest is named."""

import dataclasses

import pytest
import torch
from PIL import Image

from cgidm.conductor import authenticate
from cgidm.evidence.record import ModelsRecord
from cgidm.evidence.record_of_result import make_record
from cgidm.families import load_pair
from cgidm.intake.layout import open_checkpoint
from cgidm.intake.remarks import list_remarks
from cgidm.judging.mirror_test import MirrorReference
from cgidm.judging.tables.power import expect_power, find_power_table
from cgidm.method.config import RecoveryConfig, RunConfig
from cgidm.pictures.images import read_picture
from cgidm.training.trained_model import weight_digests
from tests.support import tiny
from tests.support.adapter_files import save
from tests.support.adapters import answers, kohya, weights, written
from tests.support.errors import refuses

ELSEWHERE = "lora_unet_down_blocks_7_attentions_0_proj_in"  # of a network with more blocks
BY_TABLE = MirrorReference("table", tuple(i / 20 for i in range(-20, 21)), 0.2, 18)
CONFIG = RunConfig(recovery=RecoveryConfig(steps=2), mirror_draws=0, loss_draws=2, preset="fast")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    tiny.stable_diffusion().save_pretrained(folder)
    return folder


def open_so(path):
    return open_checkpoint(str(path), as_loaded=True)


def test_of_several_adapters_the_first_by_name_is_taken_and_the_others_are_named(base, tmp_path):
    pairs, _ = weights(base)
    for name in ("v2", "v1", "checkpoint-1", "optimizer"):
        written(tmp_path, kohya(pairs), name=f"{name}.safetensors")
    save(tmp_path / "a_emb.safetensors", {"clip_l": torch.zeros(2, 768)})
    with refuses("intake.several_models"):
        open_checkpoint(str(tmp_path))
    found = open_so(tmp_path)
    assert found.root == "v1.safetensors" and found.as_loaded
    beside = {n.code: n.params["files"] for n in list_remarks(found)}
    others = ["checkpoint-1.safetensors", "optimizer.safetensors", "v2.safetensors"]
    assert sorted(beside["intake.adapters_beside"]) == others
    assert beside["intake.embeddings_beside"] == ["a_emb.safetensors"]


def test_a_name_that_ends_as_diffusers_own_has_priority(base, tmp_path):
    pairs, _ = weights(base)
    for name in ("a", "my_pytorch_lora_weights", "b"):
        written(tmp_path, kohya(pairs), name=f"{name}.safetensors")
    assert open_so(tmp_path).root == "my_pytorch_lora_weights.safetensors"


def test_where_no_file_is_an_adapter_nothing_is_chosen(tmp_path):
    for name in "ab":
        save(tmp_path / f"{name}.safetensors", {"x": torch.zeros(3)})
    with refuses("intake.several_models"):
        open_so(tmp_path)


@pytest.mark.parametrize(
    ("extra", "code", "unused"),
    [
        ({"lora_unet_mystery": torch.ones(2)}, "intake.adapter_unknown_names", 1),
        (
            {f"{ELSEWHERE}.lora_down.weight": torch.ones(2, 8), f"{ELSEWHERE}.lora_up.weight": torch.ones(8, 2)}
            | {f"{ELSEWHERE}.alpha": torch.tensor(3.0)},
            "families.adapter_does_not_fit",
            3,
        ),
    ],
    ids=["a name of no dialect", "a module that the base lacks"],
)
def test_what_the_base_has_no_place_for_is_left_out_and_counted(base, tmp_path, extra, code, unused):
    pairs, _ = weights(base)
    path = written(tmp_path, kohya(pairs) | extra)
    with refuses(code):
        load_pair(str(base), str(path), "a b")
    pair = load_pair(str(base), open_so(path), "a b")
    whole = load_pair(str(base), str(written(tmp_path, kohya(pairs), name="whole.safetensors")), "a b")
    assert all(torch.equal(a, b) for a, b in zip(answers(pair), answers(whole), strict=True))
    assert pair.unused_tensors == unused and pair.as_loaded and whole.unused_tensors == 0
    (told,) = [n for n in pair.notes if n.code == "families.used_in_part"]
    assert told.params["count"] == unused and told.params["of"] == len(kohya(pairs) | extra)


def test_a_file_of_which_nothing_fits_is_refused_all_the_same(base, tmp_path):
    state = {f"{ELSEWHERE}.lora_down.weight": torch.ones(2, 8), f"{ELSEWHERE}.lora_up.weight": torch.ones(8, 2)}
    with refuses("families.adapter_does_not_fit"):
        load_pair(str(base), open_so(written(tmp_path, state)), "a b")
    with refuses("intake.adapter_unknown_names"):
        open_so(written(tmp_path, {"lora_unet_mystery": torch.ones(2)}))


def test_the_answer_is_flagged_and_the_record_holds_it(base, tmp_path):
    pairs, _ = weights(base)
    pair = load_pair(str(base), open_so(written(tmp_path, kohya(pairs) | {"lora_unet_mystery": torch.ones(2)})), "a b")
    Image.effect_noise((64, 64), 80).convert("RGB").save(tmp_path / "a.png")
    result = authenticate(pair, [read_picture(tmp_path / "a.png", pair.framing)], config=CONFIG)
    (flag,) = [f for f in result.pictures[0].flags if f.name == "in_part"]
    assert flag.note.params == {"count": 1} and not flag.blocks_verdict
    record = make_record(result, ModelsRecord(base="b", suspect="s", prompt="a b"))
    assert record.models.as_loaded and record.checks is not None and record.checks.unused_tensors == 1
    assert "families.used_in_part" in [n.code for n in record.models.notes]
    plain = dataclasses.replace(pair, unused_tensors=0)
    known = authenticate(plain, [read_picture(tmp_path / "a.png", pair.framing)], config=CONFIG)
    assert "in_part" not in [f.name for f in known.pictures[0].flags]


def test_what_silence_is_worth_was_not_measured_in_part_or_with_others():
    weights_of_base = list(weight_digests("shipped:mini"))
    assert find_power_table(weights_of_base) is not None
    assert expect_power(weights_of_base, [0.05], mirror=BY_TABLE).either is not None
    assert expect_power(weights_of_base, [0.05], mirror=BY_TABLE, unused=1).either is None
    assert expect_power(weights_of_base, [0.05], mirror=BY_TABLE, others=1).either is None
