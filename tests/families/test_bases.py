"""Every public base that is known, as a whole pipeline on disk, and a fine-tune of it."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import XLMRobertaTokenizer

from cgidm import NetworkEpsModel, UserError
from cgidm.families import load_pair
from cgidm.families.conditioning import condition_on_prompt
from cgidm.families.kinds import alt_diffusion
from cgidm.families.kinds.alt_diffusion import load_alt_diffusion
from cgidm.families.pipelines import load_pipeline
from cgidm.intake.layout import open_checkpoint
from tests.support import tiny, tiny_families
from tests.support.errors import refuses

BASES = {
    "sd2": lambda: tiny_families.stable_diffusion_2("epsilon"),
    "sd2-v": lambda: tiny_families.stable_diffusion_2("v_prediction"),
    "sdxl": tiny_families.stable_diffusion_xl,
    "sd3": tiny_families.stable_diffusion_3,
    "alt": tiny_families.alt_diffusion,
    "alt-m18": lambda: tiny_families.alt_diffusion(pre_transformation=True),
}
NETWORKS = ("unet", "transformer", "text_encoder", "text_encoder_2")
UNET = "unet/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"


def tuned(pipeline):
    for name in NETWORKS:
        if isinstance(part := pipeline.components.get(name), torch.nn.Module):
            tiny.perturbed(part)
    return pipeline


def aligned(pipeline):
    """Weights in memory of their own: where a mapped file's tensors begin shows in the last bits of a product."""
    for part in pipeline.components.values():
        for p in part.eval().parameters() if isinstance(part, torch.nn.Module) else ():
            p.requires_grad_(False).set_(p.clone())
    return pipeline


def answer(model):
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        return model.predict_eps(x, torch.tensor([100, 700]))


def model_of(pipeline):
    bound = condition_on_prompt(pipeline, "a b")
    return NetworkEpsModel(bound.predict, bound.schedule, bound.prediction)


@pytest.mark.parametrize("family", BASES)
def test_a_base_and_its_fine_tune_answer_as_in_memory(tmp_path, family):
    base, suspect = BASES[family](), tuned(BASES[family]())
    base.save_pretrained(tmp_path / "base")
    suspect.save_pretrained(tmp_path / "tuned")
    pair = load_pair(str(tmp_path / "base"), str(tmp_path / "tuned"), "a b")
    assert (pair.base.prediction, pair.resolution) == (condition_on_prompt(base, "").prediction, 64)
    for model, pipeline in ((pair.base, base), (pair.suspect, suspect)):
        torch.testing.assert_close(answer(model), answer(model_of(aligned(pipeline))), rtol=0, atol=5e-6)
    assert (answer(pair.base) - answer(pair.suspect)).abs().max() > 1e-3


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    for family in ("alt", "alt-m18"):
        BASES[family]().save_pretrained(folder / family)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved / "alt", tmp_path / "alt")


def load(folder, dtype=torch.float32):
    return load_pipeline(open_checkpoint(str(folder)), "base", dtype)


def edit_index(folder, **entries):
    file = folder / "model_index.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | entries))


def edit(file, change):
    state = load_file(file)
    change(state)
    save_file(state, file, {"format": "pt"})


@pytest.mark.parametrize(("family", "library"), [("alt", "alt_diffusion"), ("alt-m18", "diffusers")])
def test_alt_diffusion_answers_as_in_memory_and_passes_gradients(tmp_path, family, library):
    pipeline = aligned(BASES[family]())
    pipeline.save_pretrained(tmp_path)
    edit_index(tmp_path, text_encoder=[library, "RobertaSeriesModelWithTransformation"])
    loaded = aligned(load(tmp_path))
    assert type(loaded.scheduler) is type(pipeline.scheduler) and loaded.safety_checker is None
    assert torch.equal(answer(model_of(loaded)), answer(model_of(pipeline)))
    x = torch.randn(1, 4, 8, 8, requires_grad=True)
    model_of(loaded).predict_eps(x, torch.tensor([500])).square().sum().backward()
    assert x.grad.isfinite().all() and x.grad.abs().min() > 0
    assert all(p.grad is None for p in loaded.unet.parameters())


def test_what_is_given_is_not_loaded(folder):
    first = load(folder)
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    (folder / TEXT).unlink()
    second = load_alt_diffusion(folder, torch.float32, vae=first.vae, text_encoder=first.text_encoder)
    assert second.vae is first.vae and second.text_encoder is first.text_encoder and second.unet is not first.unet


def test_a_variant_is_taken_where_there_is_one(tmp_path):
    pipeline = BASES["alt"]()
    pipeline.save_pretrained(tmp_path, variant="fp16")
    pipeline.vae.save_pretrained(tmp_path / "vae")
    (tmp_path / "vae" / "diffusion_pytorch_model.fp16.safetensors").unlink()
    loaded = load(tmp_path, torch.float16)
    assert {loaded.unet.dtype, loaded.vae.dtype, loaded.text_encoder.dtype} == {torch.float16}
    (tmp_path / "unet" / "diffusion_pytorch_model.fp16.safetensors").unlink()
    with pytest.raises(UserError, match=r"lacks the weights of its unet"):
        load(tmp_path, torch.float16)


def test_what_old_files_hold_is_no_mistake(folder):
    """A table of positions, attention of the autoencoder under its first names; of a head nobody uses, nothing."""
    before = load(folder)
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def rename(state):
        for key in [k for k in state if ".attentions.0.to_" in k]:
            today = next(name for name in old if f".{name}." in key)
            state[key.replace(today, old[today])] = state.pop(key)

    def head(state):
        state["roberta.embeddings.position_ids"] = torch.arange(10)[None]
        for key in [k for k in state if k.startswith("roberta.pooler.")]:
            del state[key]

    edit(folder / "vae" / "diffusion_pytorch_model.safetensors", rename)
    edit(folder / TEXT, head)
    after = load(folder)
    assert all(torch.equal(v, after.vae.state_dict()[k]) for k, v in before.vae.state_dict().items())
    assert torch.equal(answer(model_of(aligned(before))), answer(model_of(aligned(after))))


WEIGHTS = {
    UNET: "mid_block.resnets.0.conv1.weight",
    TEXT: "roberta.encoder.layer.0.output.dense.weight",
    "vae/diffusion_pytorch_model.safetensors": "decoder.conv_in.weight",
}


@pytest.mark.parametrize("file", WEIGHTS)
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s, k: s.pop(k), "families.weights_missing"),
        (lambda s, k: s.update({f"{k}_stray": s[k].clone()}), "families.weights_unknown"),
        (lambda s, k: s.update({k: s[k][:-1].clone()}), "families.cannot_be_loaded"),
    ],
    ids=["lost", "stray", "cut"],
)
def test_alt_diffusion_that_is_not_whole_is_refused(folder, file, change, said):
    edit(folder / file, lambda state: change(state, WEIGHTS[file]))
    with pytest.raises(UserError) as error:
        load(folder)
    problems = [problem.code for problem in error.value.params.get("problems", ())]
    assert said in (error.value.code, *problems) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("text_encoder", ["transformers", "CLIPTextModel"]),
        ("tokenizer", ["transformers", "CLIPTokenizer"]),
        ("scheduler", ["stranger", "AnyScheduler"]),
        ("unet", None),
    ],
)
def test_another_class_is_refused(folder, name, given):
    edit_index(folder, **{name: given})
    with refuses("families.component_class", component=name):
        load(folder)


@pytest.mark.parametrize(("family", "used"), [("alt", "transformation"), ("alt-m18", "transformation_pre")])
def test_only_the_layer_that_makes_the_features_is_needed(saved, tmp_path, family, used):
    """m18's text encoder has room for both and passes through one."""
    folder = shutil.copytree(saved / family, tmp_path / "alt")
    if family == "alt-m18":
        edit(folder / TEXT, lambda state: (state.pop("transformation.weight"), state.pop("transformation.bias")))
        load(folder)
    edit(folder / TEXT, lambda state: state.pop(f"{used}.weight"))
    with refuses("families.weights_do_not_match") as error:
        load(folder)
    assert error.value.params["problems"][0].params["first"] == f"{used}.weight"


def test_a_tokenizer_without_words_is_refused(folder, monkeypatch):
    """transformers builds one that knows five marks and no word, and says nothing."""
    (folder / "tokenizer" / "tokenizer.json").unlink()
    with refuses("intake.vocabulary_missing", component="tokenizer"):
        load(folder)
    XLMRobertaTokenizer().save_pretrained(folder / "tokenizer")
    with refuses("families.vocabulary_size", given=5, expected=32):
        load(folder)
    (folder / "tokenizer" / "tokenizer.json").unlink()
    (folder / "tokenizer" / alt_diffusion.SENTENCEPIECE).write_bytes(b"")
    monkeypatch.setattr(alt_diffusion, "_installed", lambda name: name == "sentencepiece")
    with refuses("families.sentencepiece_missing"):
        load(folder)


def test_a_folder_that_is_none_is_refused(tmp_path):
    for text in (None, "[]", "no json"):
        if text is not None:
            (tmp_path / "model_index.json").write_text(text)
        with pytest.raises(UserError, match=r"xpected a "):
            load(tmp_path)
