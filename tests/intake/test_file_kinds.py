"""What is saved or renamed as .safetensors by mistake is named as what it is; what is half of a model is refused."""

import gzip
import io
import json
import pickle
import struct
import zipfile

import pytest
import torch
from PIL import Image

from cgidm.intake.header import read_header
from cgidm.intake.layout import open_checkpoint
from cgidm.intake.listing import LocalListing
from tests.support import tiny, tiny_families
from tests.support.adapter_files import save
from tests.support.errors import refuses
from tests.support.formats import whole
from tests.support.single_files import single_file

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 25\n"


def zipped(name):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, b"x" * 200)
    return buffer.getvalue()


def picture(kind):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, kind)
    return buffer.getvalue()


OTHERS = {
    "empty": [b""],
    "git_lfs": [POINTER],
    "web_page": [b"<!DOCTYPE html><title>Log in</title>", b"\n <html>", b"<?xml version='1.0'?><Error/>"],
    "json": [b'{"error":{"message":"not found"}}', b'{"data":{"x":1}}', b"[ ]" + b" " * 9],
    "text": [b"Entry not found", "Zugriff verweigert: Modell ist beschränkt".encode()],
    "pickle": [zipped("archive/data.pkl"), pickle.dumps({"a": 1}, protocol=2), pickle.dumps({"a": 1}, protocol=4)],
    "archive": [zipped("model.safetensors"), gzip.compress(b"x" * 99), b"7z\xbc\xaf\x27\x1c" + bytes(9)],
    "gguf": [b"GGUF" + struct.pack("<IQQ", 3, 1, 1)],
    "picture": [picture("PNG"), picture("JPEG"), picture("WEBP"), picture("GIF"), picture("BMP"), picture("TIFF")],
    "hdf5": [b"\x89HDF\r\n\x1a\n" + bytes(9)],
    "zeros": [bytes(4096)],
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_file_that_is_something_else_is_named_as_what_it_is(tmp_path, kind):
    for data in OTHERS[kind]:
        (tmp_path / "model.safetensors").write_bytes(data)
        with refuses(f"intake.file_is_{kind}") as error:
            read_header(LocalListing(tmp_path), "model.safetensors")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["model.gguf", "model.safetensors.part", "notes.txt"])
def test_a_file_under_another_name_is_named_as_well(tmp_path, name):
    (tmp_path / name).write_bytes(OTHERS["gguf"][0])
    with refuses("intake.file_is_gguf"):
        open_checkpoint(str(tmp_path / name))
    (tmp_path / name).write_bytes(b"\1\2\3\4" * 9)
    with refuses("intake.not_safetensors"):
        open_checkpoint(str(tmp_path / name))


@pytest.mark.parametrize("length", [0x8B1F, 0x4B50, 0x0A8D, 0xD8FF, 0x4D42, 0x2020, 0x0280])
def test_no_sound_header_is_taken_for_something_else(tmp_path, length):
    """The length of a header may begin with the bytes of any signature: gzip's, zip's, a picture's, a pickle's."""
    text = b'{"__metadata__":{"x":"' + b"y" * (length - 25) + b'"}}'
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    assert read_header(LocalListing(tmp_path), "model.safetensors").tensors == {} and len(text) == length


@pytest.fixture
def folder(tmp_path):
    whole(tmp_path / "tuned", tiny.stable_diffusion())
    return tmp_path / "tuned"


def edit_index(folder, **entries):
    file = folder / "model_index.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | entries))


@pytest.mark.parametrize(
    ("entries", "code"),
    [
        ({"_class_name": ["pipeline", "MyPipeline"]}, "own_pipeline"),
        *(({name: ["my_code", "Mine"]}, "own_component") for name in ("unet", "vae", "text_encoder", "tokenizer")),
        ({"scheduler": ["my_code", "Mine"]}, "own_component"),
        *(
            ({"unet": entry}, "component_entry")
            for entry in (
                [],
                ["diffusers"],
                [None, "UNet2DConditionModel"],
                ["diffusers", 3],
                ["a", "b", "c"],
                [[], {}],
            )
        ),
    ],
)
def test_code_of_its_own_and_broken_entries_are_refused_by_name(folder, entries, code):
    edit_index(folder, **entries)
    with refuses(f"intake.{code}") as error:
        open_checkpoint(str(folder))
    assert error.value.params.get("component") in (None, *entries)


def test_an_index_that_names_a_component_twice_is_refused(folder):
    text = (folder / "model_index.json").read_text()
    (folder / "model_index.json").write_text(text.replace("{", '{"unet": ["diffusers", "UNet2DModel"],', 1))
    with refuses("intake.config_damaged"):
        open_checkpoint(str(folder))


@pytest.mark.parametrize("name", ["tokenizer", "tokenizer_2"])
def test_a_tokenizer_without_the_file_of_its_words_is_refused(tmp_path, name):
    whole(tmp_path, tiny_families.stable_diffusion_xl())
    (tmp_path / name / "tokenizer.json").unlink()
    with refuses("intake.vocabulary_missing", component=name):
        open_checkpoint(str(tmp_path))
    (tmp_path / name / "vocab.json").write_text("{}")
    with refuses("intake.vocabulary_missing", component=name):
        open_checkpoint(str(tmp_path))
    (tmp_path / name / "merges.txt").write_text("")
    assert open_checkpoint(str(tmp_path)).kind == "pipeline"


@pytest.mark.parametrize("variant", [None, "fp16"])
@pytest.mark.parametrize("rest", ["parts and index", "parts", "index", "other parts"])
def test_weights_that_were_saved_twice_are_refused(tmp_path, variant, rest):
    """Libraries take the parts if there is an index, whichever is newer."""
    pipeline = tiny.stable_diffusion()
    pipeline.save_pretrained(tmp_path, variant=variant)
    whole_file = next((tmp_path / "unet").glob("*.safetensors"))
    kept = whole_file.read_bytes()
    whole_file.unlink()
    pipeline.unet.save_pretrained(tmp_path / "unet", variant=variant, max_shard_size="20KB")
    assert open_checkpoint(str(tmp_path)).variant == variant  # in parts alone
    parts = sorted((tmp_path / "unet").glob("*-of-*.safetensors"))
    index = next((tmp_path / "unet").glob("*index*"))
    assert len(parts) > 1
    if rest != "other parts":
        whole_file.write_bytes(kept)
    else:
        parts[0].with_name(parts[0].name.replace("-of-0", "-of-1")).write_bytes(kept)
    if rest == "parts":
        index.unlink()
    if rest == "index":
        for part in parts:
            part.unlink()
    with refuses("intake.saved_twice") as error:
        open_checkpoint(str(tmp_path))
    assert whole_file.name in error.value.params["files"] or rest == "other parts"


@pytest.mark.parametrize(
    ("part", "weights"),
    [
        ("vae", lambda p: p.vae.state_dict()),
        ("text_encoder", lambda p: p.text_encoder.state_dict()),
        (
            "controlnet",
            lambda p: {**p.unet.state_dict(), "controlnet_cond_embedding.x": torch.zeros(1)},
        ),
    ],
)
def test_a_part_that_no_training_of_pictures_leaves_alone_is_refused_by_name(tmp_path, part, weights):
    save(tmp_path / "model.safetensors", weights(tiny.stable_diffusion()))
    with refuses(f"intake.{part}_alone"):
        open_checkpoint(str(tmp_path / "model.safetensors"))


def test_a_damaged_header_keeps_its_own_words(tmp_path):
    save(tmp_path / "model.safetensors", single_file(tiny.stable_diffusion()))
    data = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(data[:500])
    with refuses("intake.header_cut_off"):
        open_checkpoint(str(tmp_path / "model.safetensors"))
