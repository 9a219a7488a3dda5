"""A small LoRA, and the stand-in of Civitai in place of the site."""

from functools import partial

import pytest
from huggingface_hub import constants
from safetensors.torch import save

from cgidm.intake.civitai import client
from tests.support import tiny
from tests.support.adapters import kohya, weights
from tests.support.civitai_server import in_place_of_civitai


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    """The folder of a tiny pipeline."""
    folder = tmp_path_factory.mktemp("base")
    tiny.stable_diffusion().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def lora(base):
    """The bytes of a LoRA of `base`."""
    return save(kohya(weights(base)[0]))


@pytest.fixture
def civitai(tmp_path, monkeypatch):
    """Call it with versions: a context in which every address of https leads to the stand-in, which it yields."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv(client.KEY_VARIABLE, raising=False)

    return partial(in_place_of_civitai, monkeypatch)
