"""LoHa, LoKr and DoRA in every layout: exactly the network with weights merged by the formulas, or refused."""

import copy
import json
import shutil

import pytest
import torch
from diffusers import StableDiffusionPipeline
from peft import LoHaConfig, LoKrConfig, LoraConfig, get_peft_model

from cgidm import UserError
from cgidm.families import load_pair
from cgidm.intake.adapters import parse_adapter
from tests.support import tiny
from tests.support.adapters import TEXT, UNET, assert_exact, infos, kohya, weights, written
from tests.support.errors import refuses

OBLONG = "down_blocks.1.attentions.0.transformer_blocks.0.ff.net.2"  # 8 outputs, 32 inputs
RANK, ALPHA = 3, 2.0
LORA = ("lora_down.weight", "lora_up.weight", "lora_mid.weight")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    tiny.stable_diffusion().save_pretrained(folder)
    tiny.stable_diffusion(width=8).save_pretrained(folder.parent / "wide")
    return folder


def draw(g, *shape):
    return 0.6 * torch.randn(shape, generator=g)


def wrap(core, a, b):
    """A core between two factors, as LyCORIS wraps it: core (i, j, ..), a (i, out), b (j, in)."""
    return torch.einsum("ij...,ip,jr->pr...", core, a, b)


def loha(weight, g, scale, core=False):
    out, into, *kernel = weight.shape
    core = core and len(kernel) == 2 and kernel != [1, 1]
    parts, product = {}, 1.0
    for i in (1, 2):
        if core:
            a, b, t = draw(g, RANK, out), draw(g, RANK, into), draw(g, RANK, RANK, *kernel)
            parts |= {f"hada_w{i}_a": a, f"hada_w{i}_b": b, f"hada_t{i}": t}
            product = product * wrap(t, a, b)
        else:
            a, b = draw(g, out, RANK), draw(g, RANK, weight[0].numel())
            parts |= {f"hada_w{i}_a": a, f"hada_w{i}_b": b}
            product = product * (a @ b).reshape(weight.shape)
    return parts, weight + scale * product


def lokr(weight, g, scale, first="whole", second="whole"):
    out, into, *kernel = weight.shape
    if first == "whole":
        parts = {"lokr_w1": draw(g, 2, 4)}
        w1 = parts["lokr_w1"]
    else:
        parts = {"lokr_w1_a": draw(g, 2, RANK), "lokr_w1_b": draw(g, RANK, 4)}
        w1 = parts["lokr_w1_a"] @ parts["lokr_w1_b"]
    shape = torch.Size((out // 2, into // 4, *kernel))
    if second == "core" and kernel == [3, 3]:
        parts |= {"lokr_w2_a": draw(g, RANK, shape[0]), "lokr_w2_b": draw(g, RANK, shape[1])}
        parts["lokr_t2"] = draw(g, RANK, RANK, *kernel)
        w2 = wrap(parts["lokr_t2"], parts["lokr_w2_a"], parts["lokr_w2_b"])
    elif second == "whole":
        w2 = parts["lokr_w2"] = draw(g, *shape)
    else:
        a, b = draw(g, shape[0], RANK), draw(g, RANK, shape[1:].numel())
        parts |= {"lokr_w2_a": a, "lokr_w2_b": b}
        w2 = (a @ b).reshape(shape)
    if first == second == "whole":
        scale = 1.0
    change = torch.einsum("ac,bd...->abcd...", w1, w2).reshape(weight.shape)  # the Kronecker product, written out
    return parts, weight + scale * change


def dora(weight, g, scale, core=False):
    out, into, *kernel = weight.shape
    up = draw(g, out, RANK, *[1] * len(kernel))
    if core and kernel == [3, 3]:
        down, mid = draw(g, RANK, into, 1, 1), draw(g, RANK, RANK, *kernel)
        parts, change = dict(zip(LORA, (down, up, mid), strict=True)), wrap(mid, up[..., 0, 0].T, down[..., 0, 0])
    else:
        down = draw(g, RANK, into, *kernel)
        parts, change = {LORA[0]: down, LORA[1]: up}, torch.einsum("or...,ri...->oi...", up, down)
    magnitude = weight.flatten(1).norm(dim=1) * (1 + 0.3 * torch.rand(out, generator=g))
    parts["dora_scale"] = magnitude.view(-1, *[1] * (weight.ndim - 1))
    new = (weight + scale * change).flatten(1)
    return parts, (magnitude[:, None] * new / new.norm(dim=1, keepdim=True)).view(weight.shape)


LAYOUTS = {
    "LoHa": (loha, {}),
    "LoHa with cores": (loha, {"core": True}),
    "LoKr of two whole factors": (lokr, {}),
    "LoKr with the second factorised": (lokr, {"second": "pair"}),
    "LoKr with the first factorised": (lokr, {"first": "pair"}),
    "LoKr with both factorised": (lokr, {"first": "pair", "second": "pair"}),
    "LoKr with a core": (lokr, {"second": "core"}),
    "DoRA": (dora, {}),
    "DoRA with a core": (dora, {"core": True}),
}


def made(base, layout, alpha=ALPHA):
    """A kohya file of that layout, and the pipeline with its weights merged."""
    make, options = LAYOUTS[layout]
    pipeline = StableDiffusionPipeline.from_pretrained(base, safety_checker=None, requires_safety_checker=False)
    g, state = torch.Generator().manual_seed(0), {}
    prefix = {"unet": "lora_unet_", "text_encoder": "lora_te_text_model_"}
    for component, names in (("unet", (*UNET, OBLONG)), ("text_encoder", (TEXT,))):
        for name in names:
            weight = getattr(pipeline, component).get_submodule(name).weight.data
            parts, merged = make(weight, g, 1.0 if alpha is None else alpha / RANK, **options)
            parts |= {} if alpha is None else {"alpha": torch.tensor(alpha)}
            state |= {f"{prefix[component]}{name.replace('.', '_')}.{part}": x for part, x in parts.items()}
            weight.copy_(merged)
    return state, pipeline


@pytest.fixture(scope="module")
def files(base):
    return {layout: made(base, layout)[0] for layout in LAYOUTS}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_the_network_with_merged_weights(base, tmp_path, layout):
    state, merged = made(base, layout)
    assert_exact(base, written(tmp_path, state), merged)


@pytest.mark.parametrize("layout", ["LoHa", "LoKr with a core", "DoRA"])
def test_without_alpha_the_scale_is_one(base, tmp_path, layout):
    state, merged = made(base, layout, alpha=None)
    assert_exact(base, written(tmp_path, state), merged)


@pytest.mark.parametrize("end", ["", ".default"])
def test_dotted_names_with_and_without_the_adapter_s(base, tmp_path, end):
    """The names of peft in one file without a configuration: its strength is unknown, unless the user states alpha."""
    state, merged = made(base, "LoHa", alpha=None)
    names = {f"lora_unet_{n.replace('.', '_')}": n for n in (*UNET, OBLONG)}
    dotted = {}
    for key, factor in state.items():
        module, part = key.split(".")
        if module in names:
            dotted[f"base_model.model.{names[module]}.{part}{end}"] = factor
    merged.text_encoder = tiny.stable_diffusion().text_encoder
    path = written(tmp_path, dotted)
    with refuses("families.alpha_unknown", component="unet"):
        load_pair(str(base), str(path), "a b")
    assert_exact(base, path, merged, adapter_alpha=float(RANK))


def test_a_linear_layer_takes_kernels_of_one(base, tmp_path):
    """A file made for a base whose projections are convolutions, or the other way round."""
    state, merged = made(base, "LoKr of two whole factors")
    linear, conv = OBLONG.replace(".", "_"), UNET[1].replace(".", "_")
    state[f"lora_unet_{linear}.lokr_w2"] = state[f"lora_unet_{linear}.lokr_w2"][..., None, None]
    state[f"lora_unet_{conv}.lokr_w2"] = state[f"lora_unet_{conv}.lokr_w2"][..., 0, 0]
    assert_exact(base, written(tmp_path, state), merged)


CONFIGS = {
    "LoHa": LoHaConfig(r=2, alpha=5, rank_pattern={"conv_out": 3}, alpha_pattern={UNET[0]: 7}),
    "LoHa with cores": LoHaConfig(r=2, alpha=5, use_effective_conv2d=True),
    "LoKr": LoKrConfig(r=1, alpha=3, rank_pattern={"conv_out": 8}, alpha_pattern={OBLONG: 7}),
    "LoKr of whole factors": LoKrConfig(r=16, alpha=40, decompose_factor=4),
    "LoKr with cores": LoKrConfig(r=1, alpha=2, use_effective_conv2d=True, decompose_both=True, decompose_factor=4),
    "DoRA": LoraConfig(r=2, lora_alpha=5, use_dora=True, rank_pattern={"conv_out": 3}, alpha_pattern={UNET[0]: 7}),
    "DoRA by the root": LoraConfig(r=4, lora_alpha=5, use_dora=True, use_rslora=True),
}


def saved(folder, config):
    """Let peft save an adapter into `folder`; the pipeline that peft merged."""
    config = copy.deepcopy(config)
    config.target_modules = {*UNET, OBLONG}
    torch.manual_seed(0)
    model = get_peft_model(tiny.stable_diffusion().unet, config)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if any(mark in name for mark in ("lora_A", "lora_B", "hada_", "lokr_")):
                p.copy_(0.5 * torch.randn(p.shape))
            elif "magnitude" in name:
                p.mul_(1 + 0.3 * torch.rand(p.shape))
    model.save_pretrained(folder)
    merged = tiny.stable_diffusion()
    merged.unet = model.merge_and_unload()
    return merged


@pytest.mark.parametrize("name", CONFIGS)
def test_a_folder_that_peft_saved_is_what_peft_merges(base, tmp_path, name):
    merged = saved(tmp_path / "adapter", CONFIGS[name])
    assert_exact(base, tmp_path / "adapter", merged)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    names = ("DoRA", "LoHa", "LoKr", "LoKr of whole factors")
    made = {name: tmp_path_factory.mktemp("adapter") for name in names}
    for name, folder in made.items():
        saved(folder, CONFIGS[name])
    return made


@pytest.mark.parametrize(
    ("name", "changed", "code"),
    [
        ("DoRA", {"use_dora": False}, "setting_contradicts"),
        ("LoHa", {"peft_type": "LOKR"}, "setting_contradicts"),
        ("LoKr", {"r": 2}, "rank_differs"),
        ("LoKr of whole factors", {"r": None}, "alpha_without_rank"),
        ("LoHa", {"r": 0}, "setting_invalid"),
        ("LoHa", {"alpha": "high"}, "setting_invalid"),
        ("LoHa", {"alpha_pattern": {"(": 1}}, "setting_invalid"),
        ("LoHa", {"modules_to_save": ["conv_in"]}, "setting_unsupported"),
        ("DoRA", {"init_lora_weights": "pissa"}, "setting_unsupported"),
    ],
)
def test_a_configuration_that_contradicts_the_tensors_is_refused(base, tmp_path, folders, name, changed, code):
    config = json.loads((folders[name] / "adapter_config.json").read_text())
    shutil.copy(folders[name] / "adapter_model.safetensors", tmp_path)
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | changed))
    with refuses(f"families.{code}"):
        load_pair(str(base), str(tmp_path), "")


def test_one_network_s_notes_in_the_header(base, tmp_path):
    """`unet.save_lora_adapter` of diffusers writes no network's name, neither before the modules nor in its notes."""
    unet = tiny.stable_diffusion().unet
    unet.add_adapter(LoraConfig(r=RANK, lora_alpha=7, target_modules=list(UNET), init_lora_weights=False))
    unet.save_lora_adapter(tmp_path / "lora")
    merged = tiny.stable_diffusion()
    merged.unet.load_lora_adapter(tmp_path / "lora", prefix=None, weight_name="pytorch_lora_weights.safetensors")
    merged.unet.fuse_lora()
    merged.unet.unload_lora()
    assert_exact(base, tmp_path / "lora", merged)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_lost_renamed_or_turned_tensor_is_refused(base, tmp_path, files, layout):
    state, start = files[layout], f"lora_unet_{OBLONG.replace('.', '_')}."
    for key in (k for k in state if k.startswith(start)):
        lost = {k: v for k, v in state.items() if k != key}
        with pytest.raises(UserError, match=r"incomplete|in all modules or in none|do not fit"):
            parse_adapter(infos(lost), "file")
        with pytest.raises(UserError, match=f"1 of {len(state)} tensor names are not understood"):
            parse_adapter(infos({**lost, f"{key}s": state[key]}), "file")
        if state[key].ndim:
            path = written(tmp_path, {**lost, key: state[key].transpose(0, 1)})
            with pytest.raises(UserError, match=r"do not fit one another|1 have another shape|intake|shape"):
                load_pair(str(base), str(path), "")


@pytest.mark.parametrize("layout", ["LoHa", "LoHa with cores", "LoKr of two whole factors", "LoKr with a core", "DoRA"])
def test_another_base_is_refused_with_counts(base, tmp_path, files, layout):
    path = written(tmp_path, files[layout])
    with refuses("families.adapter_does_not_fit", total=6) as error:
        load_pair(str(base.parent / "wide"), str(path), "")
    assert [(p.code, p.params["count"]) for p in error.value.params["problems"]] == [("families.modules_misshapen", 5)]
    stray = {k.replace("conv_out", "conv_xut"): v for k, v in files[layout].items()}
    with refuses("families.adapter_does_not_fit") as error:
        load_pair(str(base), str(written(tmp_path, stray)), "")
    (problem,) = error.value.params["problems"]
    assert (problem.code, problem.params["count"]) == ("families.modules_missing", 1)
    assert problem.params["first"].startswith("unet conv_xut")


@pytest.mark.parametrize(
    ("part", "to", "said"),
    [
        ("hada_w1_a", "lokr_w1", "more factors|lacks factors of"),
        ("hada_t2", "hada_t1", "lacks factors of"),
        ("lokr_w2_a", "lokr_w2", "more factors"),
    ],
)
def test_a_part_under_another_part_s_name_is_refused(files, part, to, said):
    for state in files.values():
        key = next((k for k in state if k.endswith(part)), None)
        if key is not None:
            with pytest.raises(UserError, match=said):
                parse_adapter(infos({k.replace(part, to) if k == key else k: v for k, v in state.items()}), "file")


def test_magnitudes_on_some_modules_and_two_methods_on_one_module_are_refused(base, files):
    first, *_ = (k for k in files["LoHa"] if k.endswith("hada_w1_a"))
    start = first.removesuffix("hada_w1_a")
    some = {**files["LoHa"], f"{start}dora_scale": torch.ones(8, 1)}
    with refuses("intake.adapter_mixed_methods", rarest="LoHa + DoRA"):
        parse_adapter(infos(some), "file")
    both = {**files["LoHa"], f"{start}lokr_w1": torch.ones(2, 2)}
    with pytest.raises(UserError, match=r"more factors of .* than one change"):
        parse_adapter(infos(both), "file")


def test_a_scale_that_cannot_be_known_is_refused(base, tmp_path, files):
    """With rs_lora LyCORIS scales two whole factors by the root of a rank that the file does not hold."""
    notes = {"ss_network_args": json.dumps({"algo": "lokr", "rs_lora": "True"})}
    with refuses("families.rs_lora_without_rank"):
        load_pair(str(base), str(written(tmp_path, files["LoKr of two whole factors"], notes)), "")
    load_pair(str(base), str(written(tmp_path, files["LoKr with a core"], notes)), "")


def test_numbers_that_are_not_finite_and_a_module_under_two_names_are_refused(base, tmp_path, files):
    state = {k: v.clone() for k, v in files["LoHa"].items()}
    next(iter(state.values()))[0] = float("nan")
    with refuses("families.not_finite", count=1, total=len(state)):
        load_pair(str(base), str(written(tmp_path, state)), "")
    state = kohya(weights(base)[0])
    state |= {
        k.replace("lora_unet_conv_out", "lora_unet_out_2"): v.clone() for k, v in state.items() if "conv_out" in k
    }
    with refuses("families.adapter_module_twice"):
        load_pair(str(base), str(written(tmp_path, state)), "")
