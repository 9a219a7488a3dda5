"""The embedded flow model's recipe: captions from pixels, FLUX's tokens, a training that resumes, LoRAs that load."""

import csv
import shutil

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, FluxPipeline
from PIL import Image
from safetensors.torch import load_file

from cgidm.families import load_pair
from cgidm.method.objective import denoising_loss
from cgidm.pictures.images import read_picture
from eval.asset_recipes import flow
from eval.asset_recipes.corpus import Corpus
from eval.asset_recipes.picture_words import Caption, caption_variants, describe_picture
from eval.benchmark.flow_lora import FlowRecipe, bind_prompt, draw_times, encode_pictures, train_flow_lora
from eval.error_rates.flow.loras import PARTS, contrast_by_time

# bfloat16 alongside float32 weights: torch says that it takes the slower of two ways
pytestmark = pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")
COLOURS = ((200, 30, 35), (50, 100, 200), (50, 140, 60), (245, 220, 60))


def flag(top, bottom):
    picture = np.empty((144, 144, 3), np.uint8)
    picture[:72], picture[72:] = top, bottom
    return picture


@pytest.fixture(scope="module")
def corpus():
    pictures = np.stack([flag(a, b) for a in COLOURS for b in COLOURS])
    return Corpus(pictures, [f"flag {i}" for i in range(16)], np.arange(16) % 4 == 0)


def small_autoencoder():
    torch.manual_seed(0)
    blocks = ("DownEncoderBlock2D",) * 4, ("UpDecoderBlock2D",) * 4
    more = {"layers_per_block": 1, "norm_num_groups": 2, "latent_channels": 16, "sample_size": 128}
    return AutoencoderKL(3, 3, *blocks, (4, 4, 4, 4), **more, scaling_factor=1.1, mid_block_add_attention=False)


def train(corpus, work, steps):
    latents = torch.randn(16, 4, 16, 16, 16, generator=torch.Generator().manual_seed(0)).half()
    work.mkdir(parents=True, exist_ok=True)
    return flow.train_denoiser(corpus, latents, work, steps=steps, batch=2)


@pytest.fixture(scope="module")
def model(corpus, tmp_path_factory):
    """A pipeline folder and the denoiser in it; its last layer is no longer zero."""
    torch.manual_seed(0)
    work = tmp_path_factory.mktemp("flow")
    denoiser, tokenizers = train(corpus, work, 0)
    for weights in denoiser.transformer.parameters():
        if not weights.any():
            torch.nn.init.normal_(weights, std=0.05)
    flow.save_pipeline(
        small_autoencoder(), denoiser, tokenizers, work / "model"
    )  # rounds the weights to half precision
    return work / "model", denoiser.float(), tokenizers


@pytest.mark.parametrize(
    ("top", "bottom", "words"),
    [
        ((245, 245, 245), (245, 245, 245), {"white", "white top", "white middle", "white bottom", "bright", "plain"}),
        ((200, 30, 35), (10, 10, 10), {"red top", "black bottom", "plain", "dark"}),
        ((50, 140, 60), (50, 100, 200), {"green top", "blue bottom", "plain"}),
    ],
)
def test_captions_name_what_the_pixels_have(top, bottom, words):
    said = set(describe_picture(flag(top, bottom)))
    assert words <= said
    assert not {"detailed", "purple top", "pink bottom"} & said


def test_noise_is_detailed():
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert "detailed" in describe_picture(noise.repeat(4, 0).repeat(4, 1))


def test_shortened_captions_say_nothing_else():
    caption = Caption("a photo", ("red blue", "red top", "dark"))
    variants = caption_variants([caption] * 50, 8)
    assert all(v[0] == "a photo, red blue, red top, dark" for v in variants)
    parts = [set(v.split(", ")) - {""} for some in variants for v in some]
    assert set.union(*parts) == {"a photo", "red blue", "red top", "dark"}
    assert 0.65 < np.mean([len(p) for p in parts[1::8]]) / 4 < 0.85  # PART_PROBABILITY


def test_tokens_are_those_of_flux():
    z = torch.randn(3, 16, 16, 16)
    assert torch.equal(flow.pack(z), FluxPipeline._pack_latents(z, 3, 16, 16, 16))


def test_held_out_losses_differ_in_their_captions_alone(corpus, model, tmp_path):
    *_, tokenizers = model
    ids = [flow.token_ids(t, corpus.captions)[:, None] for t in tokenizers]
    blanks = [flow.token_ids(t, [""])[0] for t in tokenizers]
    z = torch.randn(16, 4, 64, 64)
    found = flow.held_out_batches(flow.FlowData(z, *ids), blanks)
    for name in ("wrong", "blank"):
        for field in ("z", "t", "eps"):
            assert torch.equal(getattr(found[name], field), getattr(found["right"], field))
        assert (found[name].t5_ids != found["right"].t5_ids).any(1).all()
        assert (found[name].clip_ids != found["right"].clip_ids).any(1).all()
    assert sorted(found["right"].t.tolist()) == pytest.approx([(i + 0.5) / 16 for i in range(16)])


def test_a_training_resumes_where_it_stopped(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(flow, "LOG_EVERY", 2)
    # the learning rate follows the number of steps: the interrupted training has the same number
    straight, _ = train(corpus, tmp_path / "straight", 4)
    loss, calls = flow.flow_loss, []

    def interrupted(*given):
        calls.append(None)
        if len(calls) == 8:  # steps 1 and 2, three held-out losses, step 3; then the power fails
            raise KeyboardInterrupt
        return loss(*given)

    for name in ("tokenizer", "tokenizer_2"):  # of equal frequencies the library puts any first
        shutil.copytree(tmp_path / "straight" / name, tmp_path / "resumed" / name)
    monkeypatch.setattr(flow, "flow_loss", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(corpus, tmp_path / "resumed", 4)
    resumed, _ = train(corpus, tmp_path / "resumed", 4)
    assert len(calls) > 8
    for a, b in zip(straight.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
    with (tmp_path / "resumed" / "flow" / "loss.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [r["step"] for r in rows] == ["2", "4"]
    assert all({"held_out", "wrong", "blank"} <= r.keys() for r in rows)


def test_the_folder_answers_as_the_trained_network(model):
    folder, denoiser, tokenizers = model
    pipe = FluxPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    z, t = torch.randn(2, 64, 64), torch.tensor([0.2, 0.9])
    prompt = "flag 3, red top"
    ids = [flow.token_ids(tokenizer, [prompt] * 2) for tokenizer in tokenizers]
    with torch.no_grad():
        expected, found = denoiser(z, t, *ids), bind_prompt(pipe, prompt)(z, t)
    assert expected.std() > 0.01
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("law", ["sigmoid", "shift", "uniform"])
def test_times_follow_their_law(law):
    t = draw_times(20_000, law, torch.Generator().manual_seed(0))
    median = {"sigmoid": 0.5, "shift": 3.1582 / 4.1582, "uniform": 0.5}[law]
    assert t.median().item() == pytest.approx(median, abs=0.01)
    assert (t < 0.1).float().mean().item() == pytest.approx(
        {"sigmoid": 0.014, "shift": 0.0004, "uniform": 0.1}[law], abs=0.01
    )


def test_a_lora_is_judged_by_the_library_as_it_was_trained(model, corpus, tmp_path):
    """The file that the training writes, read by the library, has the loss of the velocity that was trained."""
    folder, *_ = model
    files = []
    for i, picture in enumerate(corpus.pictures[:3]):
        files.append(tmp_path / f"{i}.png")
        Image.fromarray(picture[:128, :128]).save(files[-1])
    recipe = FlowRecipe(presentations=4, batch=2, rank=4, prompt="sks style", learning_rate=1e-2)
    train_flow_lora(folder, files, tmp_path / "lora", recipe)
    pair = load_pair(str(folder), str(tmp_path / "lora"), recipe.prompt)
    assert pair.resolution == 128
    pictures = [read_picture(file, pair.resolution) for file in files]
    z = pair.codec.encode(torch.stack([p.image for p in pictures]))
    pipe = FluxPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    assert torch.allclose(flow.pack(z), encode_pictures(pipe, files), atol=1e-5)
    rows, eps = torch.tensor([100, 500, 900]), torch.randn(z.shape)
    at = pair.schedule.sigma[rows]
    z_t = (1 - at)[:, None, None, None] * z + at[:, None, None, None] * eps
    with torch.no_grad():
        for lora, network in ((None, pair.base), (tmp_path / "lora", pair.suspect)):
            if lora is not None:
                pipe.load_lora_weights(lora)
            u = bind_prompt(pipe, recipe.prompt)(flow.pack(z_t), at)
            expected = (u - flow.pack(eps - z)).square().sum((1, 2))
            assert torch.allclose(denoising_loss(network, pair.schedule, z, rows, eps), expected, rtol=1e-4)
        parts = contrast_by_time(pair, pictures)
    assert [len(row) for row in parts] == [PARTS] * 3
    assert all(value != 0 for row in parts for value in row)


def test_a_lora_is_kept_as_it_was_after_fewer_presentations(model, corpus, tmp_path):
    folder, *_ = model
    file = tmp_path / "0.png"
    Image.fromarray(corpus.pictures[0][:128, :128]).save(file)
    recipe = FlowRecipe(presentations=3, batch=1, rank=2)
    train_flow_lora(folder, [file], tmp_path / "last", recipe, {1: tmp_path / "first", 2: tmp_path / "second"})
    train_flow_lora(folder, [file], tmp_path / "alone", recipe)
    first, second, last, alone = (
        load_file(tmp_path / name / "pytorch_lora_weights.safetensors") for name in ("first", "second", "last", "alone")
    )
    assert all(torch.equal(last[k], alone[k]) for k in alone)
    moved = [k for k in alone if "lora_B" in k and first[k].any()]
    assert len(moved) > 10 and not any(
        torch.equal(first[k], second[k]) or torch.equal(second[k], last[k]) for k in moved
    )
