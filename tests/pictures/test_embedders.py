"""CLIP, DINO and the shipped embedder: exact architectures with random weights, since the real ones need a download."""

import numpy as np
import open_clip
import pytest
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file

import cgidm.pictures.embedders as similarity_module
from cgidm.pictures.embedders import (
    Embedder,
    clip_embedder,
    dino_embedder,
    efficientnet_embedder,
    load_embedders,
    similarity,
)
from cgidm.resources import embedder_file

CPU = torch.device("cpu")
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    grey = [Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).resize((128, 128)) for _ in range(3)]
    return torch.stack([torch.from_numpy(np.array(p)).movedim(-1, 0).float() / 255 for p in grey])


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("clip") / "weights.safetensors"
    model = open_clip.create_model("ViT-B-32-quickgelu")
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, path)
    return model.eval(), clip_embedder(path, CPU)


@pytest.fixture(scope="module")
def dino(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("dino") / "weights.safetensors"
    model = timm.create_model("vit_small_patch16_224.dino", num_classes=0)
    save_file(model.state_dict(), path)
    return model.eval(), dino_embedder(path, CPU)


def prepared(images, resize, mean, std):
    """The preprocessing written out: bicubic with Pillow to `resize` a side, centre 224, normalised."""
    rows = []
    for image in images:
        picture = Image.fromarray((image * 255).round().byte().movedim(0, -1).numpy())
        picture = picture.resize((resize, resize), Image.Resampling.BICUBIC)
        edge = (resize - 224) // 2
        values = np.asarray(picture.crop((edge, edge, edge + 224, edge + 224)), dtype=np.float64) / 255
        rows.append(torch.from_numpy((values - mean) / std).movedim(-1, 0))
    return torch.stack(rows)


def as_prepared_by(embedder, images):
    seen = []
    spy = similarity_module.NetworkEmbedder(lambda x: seen.append(x) or x.flatten(1), embedder.preprocess)
    spy(images)
    return seen[0].double()


def test_clip_is_vit_b_32_with_quick_gelu(clip, pictures):
    model, embedder = clip
    assert isinstance(embedder, Embedder)
    activations = [block.mlp.gelu for block in embedder.network.transformer.resblocks]
    assert len(activations) == 12 and all(isinstance(a, open_clip.transformer.QuickGELU) for a in activations)
    expected = prepared(pictures, 224, CLIP_MEAN, CLIP_STD)
    torch.testing.assert_close(as_prepared_by(embedder, pictures), expected, atol=1e-6, rtol=0)
    with torch.no_grad():
        wanted = F.normalize(model.encode_image(expected.float()), dim=1)
    vectors = embedder(pictures)
    assert vectors.shape == (3, 512)
    torch.testing.assert_close(vectors, wanted, atol=1e-5, rtol=0)


def test_dino_joins_the_cls_tokens_of_the_last_four_blocks(dino, pictures):
    model, embedder = dino
    expected = prepared(pictures, 248, IMAGENET_MEAN, IMAGENET_STD)
    torch.testing.assert_close(as_prepared_by(embedder, pictures), expected, atol=1e-6, rtol=0)
    outputs = []
    hooks = [b.register_forward_hook(lambda _m, _i, out: outputs.append(out)) for b in model.blocks[-4:]]
    with torch.no_grad():
        model(expected.float())
        wanted = F.normalize(torch.cat([model.norm(o)[:, 0] for o in outputs], dim=1), dim=1)
    for hook in hooks:
        hook.remove()
    vectors = embedder(pictures)
    assert vectors.shape == (3, 4 * 384)
    torch.testing.assert_close(vectors, wanted, atol=1e-5, rtol=0)


def test_the_shipped_embedder_sees_the_whole_square(pictures):
    embedder = efficientnet_embedder(embedder_file(), CPU)
    expected = prepared(pictures, 224, (0.5,) * 3, (0.5,) * 3)
    torch.testing.assert_close(as_prepared_by(embedder, pictures), expected, atol=1e-6, rtol=0)
    vectors = embedder(pictures)
    assert vectors.shape == (3, 1280)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))


def test_similarity_is_one_for_the_same_and_falls_with_noise(pictures):
    embedder = efficientnet_embedder(embedder_file(), CPU)
    noise = torch.rand(pictures.shape, generator=torch.Generator().manual_seed(0))
    same, near, far = (similarity(embedder, pictures, pictures.lerp(noise, w)) for w in (0.0, 0.2, 1.0))
    torch.testing.assert_close(same, torch.ones(3))
    assert (near < same).all() and (far < near).all()


def test_absent_weights_are_a_reason_and_never_another_network(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for download in (False, True):
        found = load_embedders(download=download)
        assert list(found.ready) == ["efficientnet_lite0"] and set(found.missing) == {"clip", "dino"}
        code = "pictures.weights_not_fetched" if download else "pictures.weights_not_cached"
        assert {reason.code for reason in found.missing.values()} == {code}
        assert all(str(reason).startswith("timm/vit_") for reason in found.missing.values())


def test_weights_of_another_architecture_are_refused(dino, tmp_path):
    model, _ = dino
    path = tmp_path / "wrong.safetensors"
    save_file(model.state_dict(), path)
    with pytest.raises(RuntimeError, match="Missing key"):
        efficientnet_embedder(path, CPU)
