"""Changes of layers that diffusers splits or joins: exact in every method, checked when loaded, refused if doubled."""

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import T5Config, T5EncoderModel

from cgidm.families.adapters import adapted_layers, apply_adapter, merge, share_weights
from cgidm.families.changes import regions
from cgidm.families.changes.kronecker_layer import Block, KroneckerLayer, cut_rows, multiply_out
from cgidm.families.changes.methods import ADAPTED, Change, inject
from cgidm.families.changes.regions import FileChange, check_regions, join_changes, overlaps
from cgidm.families.changes.targets import Region, find_networks, find_targets
from cgidm.intake.adapters import kind_of
from cgidm.intake.layout import open_checkpoint
from tests.support import tiny
from tests.support.adapter_files import LORA
from tests.support.adapter_methods import decomposed, dora, draw, full, loha, lokr, lora
from tests.support.errors import refuses
from tests.support.flow_formats import FLOW_FORMATS
from tests.support.flow_networks import answer, tiny_transformer
from tests.support.flow_outcomes import CODES, EXACT, measure

QUICK = {  # one row for each rule of `join_changes`; all rows are in test_flow_formats.py
    ("kohya, LoRA", "FLUX"),
    ("LyCORIS under kohya, LoHa", "FLUX"),
    ("LyCORIS under kohya, DoRA per input", "FLUX"),
    ("musubi-tuner, LoKr", "FLUX.2"),
    ("LyCORIS, LoKr of parts of a fused layer", "FLUX.2"),
    ("LyCORIS, DoRA of parts of a fused layer", "FLUX.2"),
    ("kohya, LoRA", "Lumina 2"),
    ("OneTrainer, COMFY", "Krea 2"),
    ("kohya, LoRA", "SD 3"),
}


@pytest.mark.parametrize(
    "form", [f for f in FLOW_FORMATS if (f.name, f.family) in QUICK], ids=lambda form: f"{form.name}, {form.family}"
)
def test_an_adapter_equals_the_merged_weights_and_is_refused_when_damaged(form, tmp_path):
    outcome = measure(form, tmp_path)
    assert max(outcome.error, outcome.merged, outcome.together) <= EXACT < outcome.effect / 100 and outcome.base_kept
    assert outcome.counted == outcome.tensors
    assert all(error is not None and error.code in CODES[d] for d, error in outcome.refusals.items())


def test_the_quick_rows_are_rows():
    assert {(form.name, form.family) for form in FLOW_FORMATS} >= QUICK


@pytest.mark.parametrize("rank", [None, 1])
def test_all_rows_of_a_kronecker_product_are_at_most_three_products(rank):
    g = torch.Generator().manual_seed(0)
    first = draw(g, 3, 2)
    second = (draw(g, 4, 5),) if rank is None else (draw(g, 4, rank), draw(g, rank, 5))
    block = Block(0, first, second)
    whole = multiply_out(torch.zeros(12, 10), [block])
    x = draw(g, 6, 2, 10)
    for start in range(12):
        for end in range(start + 1, 13):
            cut = list(cut_rows(Block(2, first, second), start, end))
            assert len(cut) <= 3 and sum(b.rows for b in cut) == end - start
            layer = KroneckerLayer(torch.nn.Linear(10, 15), cut)
            change, bias = layer.differences()
            wanted = torch.zeros(15, 10)
            wanted[2 : 2 + end - start] = whole[start:end]
            assert bias is None and torch.allclose(change, wanted, atol=1e-6)
            assert torch.allclose(layer(x) - layer.base_layer(x), x @ wanted.T, atol=1e-5)


def test_a_merged_kronecker_layer_computes_the_same():
    g = torch.Generator().manual_seed(1)
    layer = KroneckerLayer(torch.nn.Linear(4, 6), [Block(2, draw(g, 2, 2), (draw(g, 2, 2),))])
    own, x = layer.base_layer.weight.detach().clone(), draw(g, 3, 4)
    before = layer(x)
    network = torch.nn.Sequential(layer)
    assert adapted_layers(network) == [layer]
    merge(network)
    assert layer.merged and torch.allclose(layer(x), before, atol=1e-6)
    assert not torch.equal(layer.base_layer.weight, own)


def test_two_changes_of_the_same_rows_are_refused(tmp_path):
    network, g = tiny_transformer("FLUX"), torch.Generator().manual_seed(0)
    tensors = {}
    for name, rows in (("double_blocks_0_img_attn_qkv", 48), ("transformer_blocks_0_attn_to_k", 16)):
        tensors |= {f"lora_unet_{name}.{k}": v for k, v in lora(torch.nn.Linear(16, rows), g).items()}
    save_file(tensors, tmp_path / LORA)
    with refuses("families.adapter_module_twice", module="transformer_blocks.0.attn.to_k"):
        apply_adapter(SimpleNamespace(transformer=network), open_checkpoint(str(tmp_path / LORA)))


def test_rows_overlap_only_where_they_meet():
    change = Change("LoRA", {})
    parts = [FileChange(change, (Region("a", (0, 4), span),)) for span in ((0, 4), (4, 8))]
    assert overlaps(parts) is None
    assert overlaps([*parts, FileChange(change, (Region("a", (0, 2), (7, 9)),))]) == "a"
    assert overlaps([*parts, FileChange(change, (Region("a"),))]) == "a"


def test_ranks_of_several_changes_of_one_layer_add_up_and_scales_stay_their_own():
    g, layer = torch.Generator().manual_seed(2), torch.nn.Linear(3, 6, bias=False)
    network = torch.nn.ModuleDict({"a": layer})
    files, wanted = [], torch.zeros(6, 3)
    for rows, rank, scale in (((0, 2), 1, 0.5), ((3, 6), 2, 3.0)):
        down, up = draw(g, rank, 3), draw(g, rows[1] - rows[0], rank)
        wanted[slice(*rows)] = scale * up @ down
        region = Region("a", (0, rows[1] - rows[0]), rows)
        files.append(FileChange(Change("LoRA", {"down": down, "up": up}, scale, rank), (region,)))
    joined = join_changes(network, files)["a"]
    assert (joined.rank, joined.scale) == (3, 1.0)
    assert torch.allclose(joined.parts["up"] @ joined.parts["down"], wanted, atol=1e-6)


@pytest.mark.parametrize(
    "method",
    [lora, loha, lokr, dora, decomposed(lora, 1), full],
    ids=["LoRA", "LoHa", "LoKr", "DoRA", "DoRA per input", "full"],
)
def test_a_file_used_at_half_strength_makes_half_of_the_change(method):
    network = tiny_transformer("FLUX.2")
    names = ("double_blocks.0.img_attn.qkv", "single_transformer_blocks.1.attn.to_k")
    changes = {}
    for strength in (1.0, 0.5):
        g, files = torch.manual_seed(0), []  # the layer's magnitudes, too
        for name in names:
            places = find_targets(network, "transformer")[name]
            rows = sum(end - start for start, end in (p.theirs for p in places))
            layer = torch.nn.Linear(16, rows, bias=False)
            parts = method(layer.requires_grad_(False), g)
            parts = {k.replace("lora_", "").replace(".weight", ""): v for k, v in parts.items()}
            parts.pop("alpha", None)
            files.append(FileChange(Change(kind_of(parts.keys()), parts, 1.5, 2, strength), places))
        adapted = share_weights(network)
        inject(adapted, join_changes(adapted, files))
        check_regions(adapted, files)
        merge(adapted)
        own = dict(network.named_modules())
        layers = {n: m for n, m in adapted.named_modules() if isinstance(m, ADAPTED)}
        changes[strength] = {n: m.get_base_layer().weight - own[n].weight for n, m in layers.items()}
    assert len(changes[1.0]) == 4
    for name, whole in changes[1.0].items():
        assert torch.allclose(changes[0.5][name], whole / 2, atol=1e-6) and whole.abs().max() > 1e-2


def test_a_bias_of_peft_s_second_factor_is_split_and_scaled(tmp_path):
    base, g = tiny_transformer("FLUX"), torch.Generator().manual_seed(0)
    meant, fused, rank = tiny_transformer("FLUX"), torch.zeros(48, 16), 2
    down, up, bias = draw(g, rank, 16), draw(g, 48, rank), draw(g, 48)
    fused = up @ down
    for i, name in enumerate(("to_q", "to_k", "to_v")):
        layer = meant.get_submodule(f"transformer_blocks.0.attn.{name}")
        layer.weight.data += fused[16 * i : 16 * i + 16]
        layer.bias.data += bias[16 * i : 16 * i + 16]
    key = "diffusion_model.double_blocks.0.img_attn.qkv"
    tensors = {f"{key}.lora_A.weight": down, f"{key}.lora_B.weight": up, f"{key}.lora_B.bias": bias}
    save_file(tensors, tmp_path / LORA)
    pipeline = SimpleNamespace(transformer=share_weights(base))
    apply_adapter(pipeline, open_checkpoint(str(tmp_path / LORA)))
    assert torch.allclose(answer("FLUX", pipeline.transformer), answer("FLUX", meant), atol=EXACT)


@pytest.mark.parametrize("rule", ["_join_lora", "_cut_lokr", "_multiply_out"])
def test_a_wrong_split_is_noticed_when_it_is_loaded(rule, tmp_path, monkeypatch):
    """Were a rule to take the first rows for all, the check of a whole layer of the file would fail."""
    names = {"_join_lora": "kohya, LoRA", "_cut_lokr": "musubi-tuner, LoKr", "_multiply_out": "OneTrainer, COMFY, DoRA"}
    form = next(f for f in FLOW_FORMATS if f.name.startswith(names[rule]) and f.family in ("FLUX", "FLUX.2"))
    file = form.write(tmp_path, tiny_transformer(form.family))
    own = getattr(regions, rule)

    def turned(layer, parts):
        for part in parts:
            object.__setattr__(part, "spans", tuple(((0, b - a), ours) for (a, b), ours in part.spans))
        return own(layer, parts)

    monkeypatch.setattr(f"cgidm.families.changes.regions.{rule}", turned)
    with pytest.raises(AssertionError, match="another change"):
        apply_adapter(SimpleNamespace(transformer=tiny_transformer(form.family)), open_checkpoint(str(file)))


def t5():
    return T5EncoderModel(
        T5Config(vocab_size=8, d_model=12, d_kv=4, d_ff=16, num_layers=1, num_heads=2, feed_forward_proj="gated-gelu")
    )


def text_file(folder, prefixes):
    """A LoRA of CLIP and T5 under these prefixes."""
    g, tensors = torch.Generator().manual_seed(0), {}
    clip, wide = "text_model_encoder_layers_0_mlp_fc1", "encoder_block_0_layer_1_DenseReluDense_wi_1"
    for prefix, name, layer in zip(
        prefixes, (clip, wide), (torch.nn.Linear(8, 8), torch.nn.Linear(12, 16)), strict=True
    ):
        tensors |= {f"{prefix}{name}.{k}": v for k, v in lora(layer, g).items()}
    save_file(tensors, folder / LORA)
    return open_checkpoint(str(folder / LORA))


@pytest.mark.parametrize(
    "prefixes", [("lora_te1_", "lora_te3_"), ("lora_te1_", "lora_te2_")], ids=["kohya", "OneTrainer"]
)
def test_t5_is_found_under_the_number_of_every_trainer(tmp_path, prefixes):
    clip, wide = tiny.text_encoder(tiny.tokenizer()), t5()
    pipeline = SimpleNamespace(text_encoder=clip, text_encoder_2=wide)
    apply_adapter(pipeline, text_file(tmp_path, prefixes))
    assert len(adapted_layers(clip)) == len(adapted_layers(wide)) == 1


def test_a_text_encoder_that_the_base_lacks_is_refused_by_name(tmp_path):
    pipeline = SimpleNamespace(text_encoder=tiny.text_encoder(tiny.tokenizer()), text_encoder_2=None)
    with refuses("families.adapter_does_not_fit") as error:
        apply_adapter(pipeline, text_file(tmp_path, ("lora_te1_", "lora_te3_")))
    (problem,) = error.value.params["problems"]
    assert problem.params["first"].startswith("text_encoder_3 encoder_block") and problem.params["count"] == 1
    assert not adapted_layers(pipeline.text_encoder)


def test_clip_is_never_taken_for_another_clip():
    clip = tiny.text_encoder(tiny.tokenizer())
    found = find_networks(
        SimpleNamespace(text_encoder=clip), {"text_encoder_2": ["text_model_encoder_layers_0_mlp_fc1"]}
    )
    assert found == {"text_encoder_2": "text_encoder_2"}


def test_a_language_model_is_found_under_the_name_that_comfyui_gives_it(tmp_path):
    layer = torch.nn.Linear(8, 8)
    encoder = torch.nn.ModuleDict({"model": torch.nn.ModuleDict({"language_model": torch.nn.ModuleDict({"q": layer})})})
    parts = lora(layer, torch.Generator().manual_seed(0))
    save_file({f"text_encoders.qwen3_4b.transformer.model.q.{k}": v for k, v in parts.items()}, tmp_path / LORA)
    apply_adapter(SimpleNamespace(text_encoder=encoder), open_checkpoint(str(tmp_path / LORA)))
    assert len(adapted_layers(encoder)) == 1


def test_names_with_underscores_mean_what_names_with_dots_mean():
    for family in ("FLUX", "Krea 2", "SD 3"):
        targets = find_targets(tiny_transformer(family), "transformer")
        assert all(targets[name.replace(".", "_")] == meant for name, meant in targets.items())


def test_a_lost_part_of_the_file_is_not_loaded_as_less(tmp_path):
    form = next(f for f in FLOW_FORMATS if (f.name, f.family) == ("musubi-tuner, LoKr", "FLUX.2"))
    file = form.write(tmp_path, tiny_transformer("FLUX.2"))
    state = load_file(file)
    key = next(key for key in state if key.endswith("lokr_w1"))
    del state[key]
    save_file(state, file)
    with refuses("intake.adapter_factors_missing"):
        open_checkpoint(str(file))
