"""What null models are not trained for is refused by name, before anything is fetched."""

import pytest
import torch
from safetensors.torch import save_file

from cgidm.cli import main
from cgidm.intake.adapters import parse_adapter
from cgidm.intake.family import JUDGED
from cgidm.intake.header import Header
from cgidm.intake.layout import Checkpoint, open_checkpoint
from cgidm.intake.listing import LocalListing
from cgidm.training.null_models import BankPlan, build_bank
from cgidm.training.recipe_reader import read_recipe
from cgidm.training.trainable import check_trainable
from tests.support import tiny, tiny_families
from tests.support.errors import refuses
from tests.support.tiny_flow import FLOW
from tests.support.trainer_keys import trainer_keys

BASES = {
    "SDXL": tiny_families.stable_diffusion_xl,
    "SD 3": tiny_families.stable_diffusion_3,
    "AltDiffusion": tiny_families.alt_diffusion,
    **{name: make for name, (make, _) in FLOW.items()},
}
SMALL = "shipped:mini"


@pytest.fixture(autouse=True)
def no_download(monkeypatch):
    def fetch(*_):
        raise AssertionError("a refusal needs no weights")

    monkeypatch.setattr(LocalListing, "fetch", fetch)


@pytest.mark.parametrize("name", BASES)
def test_a_base_of_every_family_that_reads_a_text_is_accepted(tmp_path, name):
    BASES[name]().save_pretrained(tmp_path / "base")
    base = open_checkpoint(tmp_path / "base")
    check_trainable(base, base)


def test_a_word_is_taught_to_one_kind_of_base(tmp_path):
    save_file({"emb_params": torch.zeros(2, 768)}, tmp_path / "word.safetensors")
    suspect = open_checkpoint(tmp_path / "word.safetensors")
    assert suspect.kind == "textual inversion"
    tiny_families.alt_diffusion().save_pretrained(tmp_path / "base")
    with refuses("training.embedding_family", given="AltDiffusion"):
        check_trainable(open_checkpoint(tmp_path / "base"), suspect)
    check_trainable(open_checkpoint(SMALL), suspect)


def test_a_base_without_text_is_refused_by_its_name(tmp_path):
    tiny.pixel_ddpm().save_pretrained(tmp_path / "base")
    with refuses("training.base_family", given="pixel DDPM", accepted=list(JUDGED)):
        check_trainable(open_checkpoint(tmp_path / "base"))
    with refuses("training.base_family"):  # from Python, too
        build_bank(BankPlan(base=str(tmp_path / "base"), folders=(tmp_path,), out=tmp_path), read_recipe(None, {}))


@pytest.mark.parametrize("row", {row.model: row for row in trainer_keys()}.values(), ids=lambda row: row.model)
def test_an_adapter_of_another_family_is_refused_by_its_names(tmp_path, row):
    header = Header(tensors=row.header(), metadata={})
    adapter = parse_adapter(header.tensors, "file")
    listing = LocalListing(tmp_path, ())
    suspect = Checkpoint(kind="adapter", listing=listing, root="file", headers={"file": header}, adapter=adapter)
    with refuses("training.suspect_of_other", base=open_checkpoint(SMALL).name) as caught:
        check_trainable(open_checkpoint(SMALL), suspect)
    assert caught.value.params["given"] == adapter.architecture


def file(path, tensors):
    save_file({key: torch.zeros(shape, dtype=torch.float16) for key, shape in tensors.items()}, path)
    return open_checkpoint(path)


ATTENTION = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"


@pytest.mark.parametrize("kind", ["LoRA", "whole network"])
@pytest.mark.parametrize(("width", "code"), [(768, None), (1024, "suspect_of_other"), (2048, "suspect_of_other")])
def test_a_suspect_of_another_width_is_not_compared(tmp_path, monkeypatch, kind, width, code):
    """The stand-in for SD 1.x has its class and cross-attention; those of SD 2.x and SDXL are wider."""
    tiny.stable_diffusion(width=4).save_pretrained(tmp_path / "base")
    save_file({f"{ATTENTION}.weight": torch.zeros(8, 768)}, tmp_path / "base/unet/diffusion_pytorch_model.safetensors")
    lora = {f"unet.{ATTENTION}.lora_A.weight": (2, width), f"unet.{ATTENTION}.lora_B.weight": (8, 2)}
    whole = {
        "conv_in.weight": (4, 4, 3, 3),
        "time_embedding.linear_1.weight": (4, 4),
        f"{ATTENTION}.weight": (8, width),
    }
    suspect = file(tmp_path / "suspect.safetensors", lora if kind == "LoRA" else whole)
    base = open_checkpoint(tmp_path / "base")
    if code is None:
        return check_trainable(base, suspect)
    with refuses(f"training.{code}"):
        check_trainable(base, suspect)


def test_a_base_in_one_file_must_be_a_folder(tmp_path):
    key = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
    with refuses("training.base_kind", kind="single file"):
        check_trainable(file(tmp_path / "sd15.safetensors", {key: (8, 768)}))
    with refuses("training.base_kind", kind="single file"):
        check_trainable(file(tmp_path / "sdxl.safetensors", {key: (8, 2048)}))


def test_an_adapter_is_no_base(tmp_path):
    with refuses("training.base_kind", kind="adapter"):
        check_trainable(open_checkpoint("shipped:mini-flow-lora"))


def test_an_adapter_of_every_flow_base_is_accepted_for_it():
    check_trainable(open_checkpoint("shipped:mini-flow"), open_checkpoint("shipped:mini-flow-lora"))


def test_the_command_refuses_a_suspect_of_another_family(tmp_path, capsys):
    given = ["bank", str(tmp_path), "--base", "shipped:mini", "--suspect", "shipped:mini-flow-lora"]
    assert main([*given, "--out", str(tmp_path / "bank")]) == 2
    said = capsys.readouterr()
    assert "FLUX" in said.err and said.out == "" and not (tmp_path / "bank").exists()
