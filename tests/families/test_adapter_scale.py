"""The scale of an adapter: known from what the file states, or refused; what was assumed is said."""

import json

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from cgidm import UserError
from cgidm.cli import main
from cgidm.families import load_pair
from cgidm.intake.adapters import header_settings
from cgidm.intake.inspect import inspect_checkpoint, report_lines
from cgidm.intake.layout import open_checkpoint
from cgidm.messages import Note
from tests.support import tiny
from tests.support.adapter_files import BARE, DIFFUSERS, KOHYA, PEFT, SD1, UNET, adapter
from tests.support.adapter_methods import ALPHA, RANK, lora, plain, whole_lokr
from tests.support.adapters import assert_exact
from tests.support.errors import refuses

ONLY = {"unet": UNET}
NOTES = {"ss_network_dim": "2", "ss_network_alpha": "0.25"}
DROP = {"drop": ("alpha",)}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    tiny.stable_diffusion().save_pretrained(folder)
    return folder


def made(tmp_path, writer, name="lora.safetensors"):
    """The file that `writer` writes, and the pipeline that it means."""
    pipeline = tiny.stable_diffusion()
    writer(tmp_path, pipeline)
    return tmp_path / name, pipeline


def alpha_of(path):
    found = inspect_checkpoint(open_checkpoint(str(path)))
    assert any(line.startswith("alpha ") for line in report_lines(json.loads(json.dumps(found))))
    return found["adapter"]["alpha"]


@pytest.mark.parametrize(
    "header",
    [
        {"unet.lora_alpha": "3", "unet.r": "2"},
        {"lora_alpha": "3.0"},
        {"alpha": "3", "rank": "2"},
        {"lora_adapter_metadata": json.dumps({"unet.r": 2, "unet.lora_alpha": 3.0}), "unet.lora_alpha": "3"},
        {"lora_adapter_metadata": json.dumps({"r": 2, "lora_alpha": 3.0})},
    ],
)
@pytest.mark.parametrize("names", [DIFFUSERS, PEFT, BARE], ids=["diffusers", "peft", "bare"])
def test_a_header_states_alpha_as_json_or_as_plain_texts(base, tmp_path, header, names):
    path, meant = made(tmp_path, adapter(names, (lora, ONLY), header=header, **DROP))
    assert alpha_of(path) == {"unet": "header"}
    assert assert_exact(base, path, meant).notes == ()


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ({"unet.lora_alpha": "8", "lora_adapter_metadata": '{"unet.lora_alpha": 3}'}, "families.settings_disagree"),
        ({"lora_alpha": "none"}, "families.setting_invalid"),
        ({"lora_alpha": "nan"}, "families.setting_invalid"),
        ({"unet.lora_alpha": "3", "unet.r": "4"}, "families.rank_differs"),
        ({"lora_adapter_metadata": "{"}, "families.metadata_damaged"),
    ],
)
def test_a_header_that_contradicts_itself_or_the_tensors_is_refused(base, tmp_path, header, code):
    path, _ = made(tmp_path, adapter(DIFFUSERS, (lora, ONLY), header=header, **DROP))
    with refuses(code):
        load_pair(str(base), str(path), "a b")


def test_texts_that_are_no_numbers_under_common_words_say_nothing():
    assert header_settings("file", "unet", {"alpha": "channel", "rank": "first", "r": "2"}) == {}


@pytest.mark.parametrize("names", [PEFT, BARE], ids=["prefix", "no prefix"])
def test_a_file_of_peft_alone_is_refused_unless_the_user_states_its_alpha(base, tmp_path, names):
    path, meant = made(tmp_path, adapter(names, (lora, ONLY), **DROP))
    assert alpha_of(path) == {"unet": "unknown"}
    with refuses("families.alpha_unknown", component="unet") as error:
        load_pair(str(base), str(path), "a b")
    assert "adapter_config.json" in str(error.value) and "--adapter-alpha" in str(error.value)
    pair = assert_exact(base, path, meant, adapter_alpha=ALPHA)
    assert [n.code for n in pair.notes] == ["families.alpha_given"] and pair.notes[0].params["alpha"] == ALPHA


def test_the_configuration_beside_a_file_of_peft_counts_whatever_the_file_is_called(base, tmp_path):
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA}
    path, meant = made(tmp_path, adapter(PEFT, (lora, ONLY), config=config, **DROP))
    assert alpha_of(path) == {"unet": "configuration"}
    assert_exact(base, path, meant)
    assert_exact(base, tmp_path, meant)


def test_the_configuration_beside_a_file_of_kohya_is_another_file_s(base, tmp_path):
    path, meant = made(tmp_path, adapter(KOHYA, (lora, SD1), config={"peft_type": "IA3", "lora_alpha": 99}))
    assert_exact(base, path, meant)


@pytest.mark.parametrize(("names", "modules"), [(KOHYA, SD1), (DIFFUSERS, ONLY)], ids=["kohya", "diffusers"])
def test_a_file_without_alphas_is_read_by_its_writer_s_rule_and_that_is_said(base, tmp_path, names, modules):
    path, meant = made(tmp_path, adapter(names, (plain, modules)))
    assert set(alpha_of(path).values()) == {"writer's rule"}
    pair = assert_exact(base, path, meant)
    assert [n.code for n in pair.notes] == ["families.alpha_is_rank"]


def test_alphas_that_were_lost_are_said(base, tmp_path):
    path, meant = made(tmp_path, adapter(KOHYA, (plain, SD1), header=NOTES))
    (note,) = assert_exact(base, path, meant).notes
    params = {"name": str(path), "alpha": 0.25, "rank": 2.0, "share": 0.125}
    assert note == Note("families.alphas_lost", params)
    found = inspect_checkpoint(open_checkpoint(str(path)))
    assert found["adapter"]["lost_alpha"] == {"code": note.code, "params": params}
    assert any(line.startswith("warning ") and "0.125" in line for line in report_lines(found))


def test_notes_that_state_another_alpha_than_the_tensors_are_said(base, tmp_path):
    path, meant = made(tmp_path, adapter(KOHYA, (lora, SD1), header=NOTES))
    (note,) = assert_exact(base, path, meant).notes
    assert note.code == "families.alpha_differs_from_notes"
    assert (note.params["noted"], note.params["alphas"]) == (0.25, [ALPHA])
    path, meant = made(tmp_path, adapter(KOHYA, (lora, SD1), header={"ss_network_alpha": f"{ALPHA}"}))
    assert assert_exact(base, path, meant).notes == ()


def test_an_alpha_that_is_given_without_need_is_refused(base, tmp_path):
    path, _ = made(tmp_path, adapter(KOHYA, (lora, SD1)))
    with refuses("families.alpha_given_twice", given=4.0) as error:
        load_pair(str(base), str(path), "a b", adapter_alpha=4.0)
    assert "in its tensors" in str(error.value)
    with refuses("families.alpha_of_no_adapter", kind="pipeline"):
        load_pair(str(base), str(base), "a b", adapter_alpha=4.0)
    path, _ = made(tmp_path, adapter(PEFT, (whole_lokr, ONLY), **DROP))
    with refuses("families.alpha_without_rank"):
        load_pair(str(base), str(path), "a b", adapter_alpha=4.0)


def test_two_folders_of_peft_have_a_configuration_each(base, tmp_path):
    pipeline = tiny.stable_diffusion()
    for component, modules in SD1.items():
        config = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA}
        options = {"file": "adapter_model.safetensors", "folder": component, "config": config, **DROP}
        adapter(PEFT, (lora, {component: modules}), **options)(tmp_path, pipeline)
    assert alpha_of(tmp_path) == {"unet": "configuration", "text_encoder": "configuration"}
    assert_exact(base, tmp_path, pipeline)
    (tmp_path / "text_encoder" / "adapter_config.json").unlink()
    assert alpha_of(tmp_path) == {"unet": "configuration", "text_encoder": "unknown"}
    with refuses("families.alpha_unknown", component="text_encoder"):
        load_pair(str(base), str(tmp_path), "a b")
    (tmp_path / "text_encoder" / "adapter_model.safetensors").rename(tmp_path / "text_encoder" / "model.safetensors")
    with refuses("intake.adapter_beside_network", adapters=["unet"], others=["text_encoder"]):
        open_checkpoint(str(tmp_path))


def test_one_folder_of_peft_is_enough(base, tmp_path):
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA}
    options = {"file": "adapter_model.safetensors", "folder": "unet", "config": config, **DROP}
    _, meant = made(tmp_path, adapter(PEFT, (lora, ONLY), **options))
    assert_exact(base, tmp_path, meant)
    assert_exact(base, tmp_path / "unet", meant)


def test_a_bias_of_some_full_differences_and_a_bias_without_a_place_are_refused(base, tmp_path):
    def biased(layer, g):
        parts = {"diff": torch.ones_like(layer.weight)}
        return parts | ({"diff_b": torch.ones(len(layer.weight))} if len(layer.weight) == 4 else {})

    path, _ = made(tmp_path, adapter(KOHYA, (biased, {"unet": ("conv_out", "mid_block.resnets.0.conv1")})))
    with refuses("families.biases_missing", count=1, of=2):
        load_pair(str(base), str(path), "a b")

    def stray(layer, g):
        return {"diff": torch.ones_like(layer.weight), "diff_b": torch.ones(len(layer.weight))}

    path, _ = made(tmp_path, adapter(KOHYA, (stray, {"unet": UNET[:1]})))
    with refuses("families.no_bias", part="diff_b"):
        load_pair(str(base), str(path), "a b")


def test_a_weight_that_gets_another_shape_is_refused(base, tmp_path):
    def padded(layer, g):
        return lora(layer, g) | {"reshape_weight": torch.tensor([9, 9])}

    path, _ = made(tmp_path, adapter(KOHYA, (padded, {"unet": UNET[:1]})))
    with refuses("families.reshaped"):
        load_pair(str(base), str(path), "a b")


def test_a_bundled_word_must_be_in_the_prompt_or_the_prompt_blank(base, tmp_path):
    path, _ = made(tmp_path, adapter(KOHYA, (lora, ONLY)))
    state = load_file(path)
    for word in ("ema", "zed"):
        state[f"bundle_emb.{word}.clip_l"] = torch.randn(1, 8)
    save_file(state, path)
    with refuses("families.bundled_word_not_in_prompt", word="ema"):
        load_pair(str(base), str(path), "a b")
    load_pair(str(base), str(path), "")
    assert inspect_checkpoint(open_checkpoint(str(path)))["adapter"]["bundle"] == ["ema", "zed"]
    state["bundle_emb.ema.clip_l_out"] = torch.randn(1, 8)
    save_file(state, path)
    with pytest.raises(UserError, match="bundles a textual inversion"):
        load_pair(str(base), str(path), "")


def test_the_record_keeps_the_alpha_that_was_given_and_a_repeated_run_uses_it(base, tmp_path, few_draws):
    path, _ = made(tmp_path, adapter(PEFT, (lora, ONLY), **DROP))
    Image.effect_noise((64, 64), 90).convert("RGB").save(tmp_path / "a.png")
    models = ["--base", str(base), "--suspect", str(path), "--adapter-alpha", f"{ALPHA}"]
    out = ["--preset", "fast", "--steps", "1", "--prompt", "a b", "--out", str(tmp_path / "out")]
    assert main(["authenticate", str(tmp_path / "a.png"), *models, *out]) == 0
    models_record = json.loads((tmp_path / "out" / "result.json").read_text())["models"]
    assert models_record["adapter_alpha"] == ALPHA
    assert [n["code"] for n in models_record["notes"]] == ["families.alpha_given"]
    assert "Alpha of the adapter" in (tmp_path / "out" / "report.html").read_text()
    assert main(["verify", str(tmp_path / "out"), "--rerun"]) == 0


@pytest.mark.parametrize("config", [{}, {"peft_type": "LORA", "r": RANK}, {"r": RANK, "lora_alpha": None}])
def test_a_configuration_that_states_no_alpha_is_no_statement(base, tmp_path, config):
    path, _ = made(tmp_path, adapter(PEFT, (lora, {"unet": UNET}), drop=("alpha",), config=config))
    with refuses("families.alpha_unknown"):
        load_pair(str(base), str(path), "a b")


@pytest.mark.parametrize(
    ("more", "setting"),
    [
        ({"lora_alpha": True}, "lora_alpha"),
        ({"lora_alpha": 0}, "lora_alpha"),
        ({"lora_alpha": 8, "use_rslora": "false"}, "use_rslora"),
        ({"lora_alpha": 8, "alpha_pattern": {"([a-z_0-9.]+)+!": 8}}, "alpha_pattern"),  # takes for ever to match
        ({"lora_alpha": 8, "rank_pattern": {"(.+)+!": RANK}}, "rank_pattern"),
    ],
)
def test_settings_that_no_program_writes_are_refused_at_once(base, tmp_path, more, setting):
    config = {"peft_type": "LORA", "r": RANK, **more}
    path, _ = made(tmp_path, adapter(PEFT, (lora, {"unet": UNET}), drop=("alpha",), config=config))
    with refuses("families.setting_invalid", setting=setting):
        load_pair(str(base), str(path), "a b")


@pytest.mark.parametrize("given", [float("nan"), float("inf"), -4.0, 0.0])
def test_an_alpha_that_is_given_must_be_above_zero(base, tmp_path, given):
    path, _ = made(tmp_path, adapter(PEFT, (lora, {"unet": UNET}), drop=("alpha",)))
    with refuses("families.alpha_not_positive"):
        load_pair(str(base), str(path), "a b", adapter_alpha=given)
