"""A pickle that would write a file, offered wherever a model or a picture can be: refused in a sentence, never run."""

import pickle
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.utils import close_session

from cgidm import UserError
from cgidm.cli import main
from cgidm.families import load_pair
from cgidm.page.handlers.request import make_request
from cgidm.page.handlers.suspect import look_up
from tests.support import tiny
from tests.support.hub_server import Repository, serve
from tests.support.paths import ASSETS


class Trap:
    """Unpickled, it writes the file `path`."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.write_text, (self.path, "run")


@pytest.fixture
def trap(tmp_path):
    """The bytes of the pickle, plain and as torch writes them, and the file that must not appear."""
    sprung = tmp_path / "sprung"
    torch.save({"weight": Trap(sprung)}, tmp_path / "zipped")
    yield pickle.dumps(Trap(sprung)), (tmp_path / "zipped").read_bytes()
    assert not sprung.exists(), "a pickle was run"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    tiny.stable_diffusion().save_pretrained(folder)
    return folder


LAYOUTS = {  # what holds the pickle -> what is given
    "lora.pt": "lora.pt",
    "lora.safetensors": "lora.safetensors",
    "a.bin": "",
    "pytorch_lora_weights.bin": "",
    "adapter_model.bin": "",
    "learned_embeds.bin": "learned_embeds.bin",
    "sks.pkl": "sks.pkl",
    "model.ckpt": "model.ckpt",
    "pytorch_lora_weights.safetensors": "",
    "unet/diffusion_pytorch_model.bin": "",
    "unet/diffusion_pytorch_model.safetensors": "",
    "checkpoint-5/optimizer.bin": "checkpoint-5",
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "zipped"])
def test_no_path_of_the_command_line_runs_it(trap, base, tmp_path, capsys, layout, zipped):
    folder = tmp_path / "given"
    (folder / layout).parent.mkdir(parents=True)
    (folder / layout).write_bytes(trap[zipped])
    (folder / "unet" / "config.json").write_text("{}") if layout.startswith("unet") else None
    given = str(folder / LAYOUTS[layout]).rstrip("/")
    picture = str(next((ASSETS / "examples").rglob("*.jpg")))
    judge = ["authenticate", picture, "--base", str(base), "--out", str(tmp_path / "out"), "--steps", "1"]
    for arguments in (
        ["inspect", given],
        [*judge, "--suspect", given],
        [*judge, "--suspect", str(base), "--embedding", given],
        ["authenticate", picture, "--base", given, "--suspect", str(base)],
        ["authenticate", str(folder / layout), "--base", str(base), "--suspect", str(base)],
    ):
        assert main(arguments) == 2, arguments
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and "xpected" in error


@pytest.mark.parametrize("name", ["pytorch_lora_weights.bin", "model.safetensors", "unet/diffusion_pytorch_model.bin"])
def test_no_path_of_the_hub_runs_it(trap, tmp_path, monkeypatch, name):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with serve({"owner/trap": Repository({name: trap[0], "unet/config.json": b"{}"})}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        for given in ("owner/trap", f"owner/trap/{name}", f"{server.url}/owner/trap/resolve/main/{name}"):
            with pytest.raises(UserError):
                load_pair(given, given, "")
            assert "cg-error" in look_up(given, None, None, "en", None)["card"]
        close_session()


@pytest.mark.parametrize("name", ["a.bin", "a.pt", "a.safetensors", "a"])
def test_no_path_of_the_page_runs_it(trap, tmp_path, name):
    (tmp_path / name).write_bytes(trap[0])
    assert "cg-error" in look_up("", str(tmp_path / name), None, "en", None)["card"]
    picture = [str(next((ASSETS / "examples").rglob("*.jpg")))]
    for given in (
        {"picture": str(tmp_path / name), "suspect": "shipped:rollandin-lora"},
        {"picture": picture, "controls": [str(tmp_path / name)], "suspect": "shipped:rollandin-lora"},
        {"picture": picture, "upload": str(tmp_path / name)},
    ):
        with pytest.raises(UserError):
            make_request({"base": "shipped:mini", "preset": "fast", "seed": 0, **given}).check()


def test_pickles_beside_sound_weights_are_left_alone(trap, base, tmp_path):
    tuned = tiny.stable_diffusion()
    tiny.perturbed(tuned.unet)
    tuned.save_pretrained(tmp_path / "tuned")
    for name in ("unet/diffusion_pytorch_model.bin", "unet/model.pkl", "text_encoder/pytorch_model.bin", "sks.ckpt"):
        (tmp_path / "tuned" / name).write_bytes(trap[0])
    assert load_pair(str(base), str(tmp_path / "tuned"), "").fingerprints


def test_the_trap_works(tmp_path):
    pickle.loads(pickle.dumps(Trap(tmp_path / "sprung")))
    assert (tmp_path / "sprung").exists()
