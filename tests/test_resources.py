"""What ships is found in a checkout, in an installed package, and where CGIDM_ASSETS says."""

import pytest

from cgidm import resources
from cgidm.intake.layout import open_checkpoint
from tests.support.errors import refuses
from tests.support.paths import ASSETS


def test_the_root_is_the_checkout_s_the_wheel_s_or_the_environment_s(tmp_path, monkeypatch):
    monkeypatch.delenv("CGIDM_ASSETS", raising=False)
    assert resources.resource_root() == ASSETS
    (tmp_path / "cgidm" / "assets").mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr(resources, "__file__", str(tmp_path / "cgidm" / "resources.py"))
        assert resources.resource_root() == (tmp_path / "cgidm" / "assets").resolve()
    monkeypatch.setenv("CGIDM_ASSETS", str(tmp_path))
    assert resources.resource_root() == tmp_path and resources.example_names() == ()


@pytest.mark.parametrize("name", resources.example_names())
def test_an_example_is_whole(name):
    example = resources.find_example(name)
    assert example.prompt == "sks style" and example.mode in ("lora", "dreambooth")
    assert len(example.members) == len(example.holdouts) == 10 and len(example.control_pictures) == 40
    assert example.checkpoint.is_dir() and (example.bank / "bank.json").is_file()


def test_a_shipped_model_is_opened_by_its_name():
    base = open_checkpoint("shipped:mini", local=False)
    assert base.name == "shipped:mini" and base.kind == "pipeline"
    assert open_checkpoint("shipped:rollandin-lora").kind == "adapter"


def test_an_unknown_name_is_refused():
    with refuses("resources.unknown_model", given="shipped:../mini"):
        resources.find_shipped_model("shipped:../mini")
    with refuses("resources.unknown_example", given="mona-lisa"):
        resources.find_example("mona-lisa")


def test_a_model_that_ships_is_found_by_the_name_in_a_record():
    suspect = open_checkpoint("shipped:rollandin-lora")
    again = open_checkpoint(suspect.name)
    assert suspect.name == "shipped:rollandin-lora/pytorch_lora_weights.safetensors"
    assert again.adapter == suspect.adapter and again.headers == suspect.headers
    for given in ("shipped:rollandin-lora/../x", "shipped:rollandin-lora/other.safetensors", "shipped:mini/unet"):
        with refuses("resources.unknown_model", given=given):
            open_checkpoint(given)
