"""What is this checkpoint? Every dialect understood whole, everything else refused in a sentence of its own."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from cgidm.families.adapters import check_family
from cgidm.intake.adapters import find_i2l_model, parse_adapter
from cgidm.intake.family import compare_bases, guess_base
from cgidm.intake.inspect import inspect_checkpoint, report_lines
from cgidm.intake.layout import open_checkpoint
from cgidm.intake.listing import About
from cgidm.intake.notes import read_notes
from cgidm.messages import Note
from cgidm.messages.text import LONGEST
from tests.support import tiny
from tests.support.adapters import infos
from tests.support.errors import refuses

RANK, WIDTH, CONTEXT = 4, 8, 768
ATTENTION = "down_blocks.0.attentions.0.transformer_blocks.0.attn2"
CONVOLUTION = "down_blocks.0.resnets.0.conv1"
TEXT = "text_model.encoder.layers.0.self_attn.q_proj"
# module -> (output, input, kernel); two of the UNet, one of the text encoder
MODULES = {
    ("unet", f"{ATTENTION}.to_k"): (WIDTH, CONTEXT, ()),
    ("unet", CONVOLUTION): (WIDTH, WIDTH, (3, 3)),
    ("text_encoder", TEXT): (WIDTH, WIDTH, ()),
}


def pair(out, into, kernel):
    return torch.zeros(RANK, into, *kernel), torch.zeros(out, RANK, *(1 for _ in kernel))


def kohya(parts):
    """`parts(out, into, kernel)` -> part -> tensor, under kohya's names."""
    prefix = {"unet": "lora_unet_", "text_encoder": "lora_te_"}
    return {
        f"{prefix[c]}{m.replace('.', '_')}.{part}": tensor
        for (c, m), shape in MODULES.items()
        for part, tensor in {**parts(*shape), "alpha": torch.tensor(2.0)}.items()
    }


def dotted(down, up, prefix=lambda component: f"{component}.", only=("unet", "text_encoder")):
    tensors = {}
    for (component, module), shape in MODULES.items():
        if component in only:
            a, b = pair(*shape)
            tensors |= {f"{prefix(component)}{module}.{down}": a, f"{prefix(component)}{module}.{up}": b}
    return tensors


def lora_parts(out, into, kernel):
    down, up = pair(out, into, kernel)
    return {"lora_down.weight": down, "lora_up.weight": up}


def tucker_parts(out, into, kernel):
    if not kernel:
        return lora_parts(out, into, kernel)
    ones = (1, 1)
    down, up = torch.zeros(RANK, into, *ones), torch.zeros(out, RANK, *ones)
    return {"lora_down.weight": down, "lora_up.weight": up, "lora_mid.weight": torch.zeros(RANK, RANK, *kernel)}


def loha_parts(out, into, kernel):
    sides = {"a": (out, RANK), "b": (RANK, into)}
    return {f"hada_w{i}_{side}": torch.zeros(shape) for i in (1, 2) for side, shape in sides.items()}


def dora_parts(out, into, kernel):
    return {**lora_parts(out, into, kernel), "dora_scale": torch.zeros(1, into)}


def lokr_parts(out, into, kernel):
    return {"lokr_w1": torch.zeros(2, 2), "lokr_w2_a": torch.zeros(4, 2), "lokr_w2_b": torch.zeros(2, 4)}


def bare(component):
    return "base_model.model."


FORMATS = {
    "kohya": (kohya(lora_parts), "kohya", "LoCon"),
    "kohya with a Tucker core": (kohya(tucker_parts), "kohya", "LoCon"),
    "kohya DoRA": (kohya(dora_parts), "kohya", "DoRA"),
    "LoHa": (kohya(loha_parts), "kohya", "LoHa"),
    "LoKr": (kohya(lokr_parts), "kohya", "LoKr"),
    "diffusers": (dotted("lora_A.weight", "lora_B.weight"), "diffusers", "LoCon"),
    "diffusers, older": (dotted("lora.down.weight", "lora.up.weight"), "diffusers", "LoCon"),
    "older text encoder": (
        dotted("lora_linear_layer.down.weight", "lora_linear_layer.up.weight"),
        "diffusers",
        "LoCon",
    ),
    "peft": (dotted("lora_A.weight", "lora_B.weight", bare), "peft", "LoCon"),
    "peft, adapter named": (dotted("lora_A.default.weight", "lora_B.default.weight", bare), "peft", "LoCon"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_dialect_is_understood_whole(name):
    tensors, dialect, method = FORMATS[name]
    adapter = parse_adapter(infos(tensors), "file")
    assert (adapter.dialect, adapter.method) == (dialect, method)
    assert adapter.count() == {"unet": 2, "text_encoder": 1}
    assert adapter.ranks == ((2,) if method == "LoKr" else (RANK,))
    assert sorted(k for parts in adapter.modules.values() for k in parts.values()) == sorted(tensors)


@pytest.mark.parametrize("name", FORMATS)
def test_a_lost_renamed_or_turned_tensor_is_refused(name):
    tensors = {k: v for k, v in FORMATS[name][0].items() if not k.endswith((".alpha", ".dora_scale"))}
    for key, tensor in tensors.items():
        with refuses("intake.adapter_unknown_names", count=1, of=len(tensors)):
            parse_adapter(infos({(f"{k}s" if k == key else k): v for k, v in tensors.items()}), "file")
        if "lora_mid" in key:  # without its core it is a sound file of 1x1 kernels: the network's shapes must tell
            continue
        code = "factors_missing" if "hada_" in key or "lokr_" in key else "weights_missing"
        with refuses(f"intake.adapter_{code}"):
            parse_adapter(infos({k: v for k, v in tensors.items() if k != key}), "file")
        if FORMATS[name][2] != "LoKr":  # its factor here is square
            with refuses("intake.adapter_shapes"):
                parse_adapter(infos({**tensors, key: tensor.transpose(0, 1)}), "file")


def test_the_attention_processors_of_old_diffusers():
    names = {f"{ATTENTION}.processor.{p}_lora": p for p in ("to_q", "to_k", "to_v", "to_out")}
    tensors = {f"{n}.{side}.weight": torch.zeros(4, 4) for n in names for side in ("down", "up")}
    adapter = parse_adapter(infos(tensors), "file")
    modules = {m.removeprefix(f"{ATTENTION}.") for _, m in adapter.modules}
    assert modules == {"to_q", "to_k", "to_v", "to_out.0"} and adapter.count() == {"unet": 4}


@pytest.mark.parametrize(
    ("part", "method"),
    [
        *(("oft_blocks", "OFT"), ("rescale", "OFT"), ("oft_R.weight", "OFT"), ("boft_R", "BOFT"), ("on_input", "IA3")),
        *(("a1.weight", "GLoRA"), ("b2.weight", "GLoRA"), ("ia3_l", "IA3"), ("vera_lambda_b", "VeRA")),
        *(("hra_u", "HRA"), ("lora_embedding_A.default", "LoRA of an embedding table")),
    ],
)
def test_other_methods_are_refused_by_name(part, method):
    with refuses("intake.adapter_other_method", method=method):
        parse_adapter(infos({f"lora_unet_conv_in.{part}": torch.zeros(4, 4)}), "file")


def test_the_same_part_twice_and_a_wrong_alpha_are_refused():
    twice = dotted("lora_A.weight", "lora_B.weight", bare)
    twice |= dotted("lora_A.default.weight", "lora_B.default.weight", bare)
    with refuses("intake.adapter_part_twice", part="down"):
        parse_adapter(infos(twice), "file")
    with refuses("intake.adapter_alpha_shape", shape=[3]):
        parse_adapter(infos({**kohya(lora_parts), "lora_unet_x.alpha": torch.zeros(3)}), "file")


def written(tmp_path, tensors, metadata=None, name="suspect.safetensors"):
    path = tmp_path / name
    save_file({k: v.contiguous() for k, v in tensors.items()}, path, metadata)
    return path


def test_shapes_outvote_what_was_written(tmp_path):
    path = written(tmp_path, kohya(lora_parts), {"ss_base_model_version": "sdxl_base_v1-0"})
    guess = guess_base(open_checkpoint(str(path)))
    assert guess.family == "SD 1.x" and guess.base == "stable-diffusion-v1-5/stable-diffusion-v1-5"
    hints = {"family": "SD 1.x", "hints": ["ss_base_model_version: SDXL"]}
    assert guess.disagreement == Note("intake.hints_disagree", hints)
    assert guess.votes[0].reason == Note("intake.vote_attention_width", {"width": 768})


@pytest.mark.parametrize(
    ("shapes", "family"),
    [([(2, 768)], "SD 1.x"), ([(1024,)], "SD 2.x"), ([(3, 768), (3, 1280)], "SDXL"), ([(2, 99)], None)],
)
def test_an_embedding_is_known_by_its_width(tmp_path, shapes, family):
    names = ["clip_l", "clip_g"] if len(shapes) == 2 else ["<sks>"]
    checkpoint = open_checkpoint(str(written(tmp_path, dict(zip(names, map(torch.zeros, shapes), strict=True)))))
    assert checkpoint.kind == "textual inversion" and guess_base(checkpoint).family == family


def test_a_suspect_whose_writer_names_another_base_is_warned_of(tmp_path):
    tiny.stable_diffusion().save_pretrained(tmp_path / "base")
    config = json.loads((tmp_path / "base" / "model_index.json").read_text())
    base = open_checkpoint(str(tmp_path / "base"))
    alt = replace(base, config={**config, "_class_name": "AltDiffusionPipeline"})
    suspect = open_checkpoint(str(written(tmp_path, kohya(lora_parts), {"ss_base_model_version": "sd_v1"})))
    params = {"source": "ss_base_model_version", "family": "SD 1.x", "text": "sd_v1", "base_family": "AltDiffusion"}
    assert compare_bases(alt, suspect) == Note("intake.made_for_other_family", params)
    repo, today = "CompVis/stable-diffusion-v1-4", "stable-diffusion-v1-5/stable-diffusion-v1-5"
    about = About(repo=repo, sha="0" * 40, requested_id=repo)
    known = replace(base, listing=replace(base.listing, about=about))
    suspects = [
        replace(suspect, config={"base_model_name_or_path": n}) for n in (repo, "runwayml/stable-diffusion-v1-5")
    ]
    assert compare_bases(known, suspects[0]) is None
    warning = compare_bases(known, suspects[1])
    assert warning == Note("intake.made_for_other_base", {"named": today, "base": repo})
    assert str(warning).startswith(f"The suspect names {today} as its base, not {repo}.")


def test_a_peft_folder_brings_its_configuration(tmp_path):
    tensors = dotted("lora_A.weight", "lora_B.weight", bare, only=("unet",))
    written(tmp_path, tensors, name="adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(
        '{"base_model_name_or_path": "CompVis/stable-diffusion-v1-4", "r": 4}'
    )
    checkpoint = open_checkpoint(str(tmp_path))
    assert checkpoint.config and checkpoint.config["r"] == 4
    assert [v.source for v in guess_base(checkpoint).votes] == ["shapes", "adapter_config.json"]
    (tmp_path / "adapter_config.json").write_text("[1]")
    with refuses("intake.config_no_object"):
        open_checkpoint(str(tmp_path))


def test_folders_that_do_not_say_which_model_are_refused_with_the_choice(tmp_path):
    lora = dotted("lora_A.weight", "lora_B.weight")
    for case, names, found in (
        ("several_models", ("a.safetensors", "b.safetensors"), ["a.safetensors", "b.safetensors"]),
        ("several_steps", ("checkpoint-500/x.txt", "checkpoint-1000/x.txt"), ["checkpoint-1000", "checkpoint-500"]),
        ("only_pickles", ("pytorch_lora_weights.bin",), ["pytorch_lora_weights.bin"]),
        ("only_gguf", ("flux-Q8_0.gguf", "flux-Q4_0.gguf", "readme.md"), ["flux-Q4_0.gguf", "flux-Q8_0.gguf"]),
        ("no_known_model", ("readme.txt",), ["readme.txt"]),
        ("empty_folder", (), None),
    ):
        folder = tmp_path / case
        folder.mkdir()
        for name in names:
            (folder / name).parent.mkdir(exist_ok=True)
            written(folder, lora, name=name) if name.endswith(".safetensors") else (folder / name).write_text("x")
        with refuses(f"intake.{case}", files=found):
            open_checkpoint(str(folder))


@pytest.mark.parametrize("suffix", [".bin", ".ckpt", ".pt", ".pth", ".pkl", ".PT"])
def test_a_pickle_is_refused_by_its_name_whether_it_exists_or_not(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    for exists in (False, True):
        if exists:
            path.write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
        with refuses("intake.pickle"):
            open_checkpoint(str(path))


def test_notes_are_read_cleaned_and_give_a_prompt():
    tags = {"10_sks style": {"van gogh": 40, "tree": 3, "broken": "x", "\x1b[31mred": 1}}
    notes = read_notes(
        {
            "ss_network_dim": "16",
            "ss_output_name": "\x1b[2Jmine\n" + "y" * 500,
            "ss_tag_frequency": json.dumps(tags),
            "ss_num_train_images": "None",
        }
    )
    assert notes.fields["rank"] == "16" and "pictures with repeats" not in notes.fields
    assert notes.fields["title"].startswith("[2Jmine yyy") and len(notes.fields["title"]) == LONGEST
    assert notes.tags == (("van gogh", 40), ("tree", 3), ("[31mred", 1)) and notes.prompt == "van gogh"
    assert read_notes({"ss_tag_frequency": '{"10_sks style": {}}'}).prompt == "sks style"
    for broken in ("{", "[1]", "9" * 9999, '{"a": [1]}'):
        assert read_notes({"ss_tag_frequency": broken}).prompt is None


@pytest.mark.parametrize(
    "metadata, mirrored",
    [
        ({}, None),
        ({"ss_flip_aug": "True"}, True),
        ({"ss_flip_aug": "False"}, False),
        ({"ss_datasets": json.dumps([{"flip_aug": False, "subsets": [{"flip_aug": True}]}])}, True),
        ({"ss_datasets": json.dumps([{"subsets": [{"flip_aug": False}]}])}, False),
        ({"ot_config": json.dumps({"concepts": [{"image": {"enable_random_flip": True}}]})}, True),
        ({"ot_config": json.dumps({"concepts": [{"image": {"enable_random_flip": False}}]})}, False),
        ({"ss_datasets": "[3", "ot_config": "{"}, None),
        ({"ss_datasets": '[1, {"subsets": 3}]', "ot_config": '{"concepts": {"image": 1}}'}, None),
    ],
)
def test_notes_say_whether_pictures_were_mirrored(metadata, mirrored):
    assert read_notes(metadata).mirrored is mirrored


def test_inspect_says_it_all_as_data_and_in_lines(tmp_path):
    path = written(tmp_path, kohya(lora_parts), {"ss_sd_model_name": "v1-5-pruned.safetensors", "ss_network_dim": "4"})
    found = inspect_checkpoint(open_checkpoint(str(path)))
    assert found["adapter"] == {
        "dialect": "kohya",
        "method": "LoCon",
        "methods": ["LoCon"],
        "ranks": [4],
        "modules": {"unet": 2, "text_encoder": 1},
        "replaced_rank": None,
        "i2l": None,
        "alpha": {"unet": "tensors", "text_encoder": "tensors"},
        "lost_alpha": None,
        "bundle": [],
    }
    assert found["tensors"] == 9 and found["bytes"] == path.stat().st_size and len(found["sha256"][path.name]) == 64
    text = "\n".join(report_lines(json.loads(json.dumps(found))))
    for said in ("LoCon", "all 9 tensors", "SD 1.x", found["sha256"][path.name], "rank", "v1-5-pruned", "editable"):
        assert said in text


def i2l(stacks, modules, ending="weight"):
    """The tensors of a file as i2L writes it, one number each way."""
    names = [f"{stack}.{i}.{module}" for stack, count in stacks.items() for i in range(count) for module in modules]
    return {f"{n}.lora_{side}.{ending}": torch.zeros(1, 1) for n in names for side in "AB"}


ATTENTIONS = [f"attention.to_{part}" for part in ("q", "k", "v", "out.0")]
Z_IMAGE = (
    {"layers": 30, "context_refiner": 2, "noise_refiner": 2},
    [*ATTENTIONS, *(f"feed_forward.w{i}" for i in "123")],
)
QWEN = "to_q to_k to_v to_out.0 to_add_out add_q_proj add_k_proj add_v_proj".split()
QWEN = [*(f"attn.{m}" for m in QWEN), "img_mlp.net.2", "img_mod.1", "txt_mlp.net.2", "txt_mod.1"]


def test_a_file_that_was_made_from_pictures_without_training_is_called_so(tmp_path):
    for model, stacks, modules in (("Z-Image", *Z_IMAGE), ("Qwen-Image", {"transformer_blocks": 60}, QWEN)):
        checkpoint = open_checkpoint(str(written(tmp_path, i2l(stacks, modules))))
        found = inspect_checkpoint(checkpoint)
        assert found["adapter"]["i2l"] == model and len(found["adapter"]["modules"]) == 1
        assert f"named as i2L for {model} writes files: perhaps never trained" in "\n".join(report_lines(found))
        with refuses("families.adapter_i2l", model=model):
            check_family(checkpoint)


def test_other_names_are_not_taken_for_those_of_i2l(tmp_path):
    state = i2l(*Z_IMAGE)
    fewer = dict(list(state.items())[2:])
    trained = i2l(*Z_IMAGE, ending="default.weight")
    for other in (fewer, trained, state | {"layers.0.attention.to_q.alpha": torch.zeros(())}, {}):
        assert find_i2l_model(infos(other)) is None
