"""The job that trains a bank on rented hardware: run here, with a stand-in for the Hub."""

import json
import os
import re
import tempfile
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cgidm.judging.banks.null_bank import read_bank
from cgidm.page.handlers.request import read_sent_bank
from cgidm.training.trainer import FinetuneConfig, finetune
from scripts.jobs import bank_job
from tests.support import tiny
from tests.support.paths import ROOT
from tests.support.private_hub import PrivateHub

OWN = ["--pictures=my-works", "--result=my-bank"]
RECIPE = ["--models=4", "--steps-per-picture=1", "--batch=2", "--learning-rate=1e-2", "--rank=2", "--prompt=abc"]


@pytest.fixture
def hub(tmp_path):
    """An account with a private repository of ten works and a suspect's file."""
    works = tmp_path / "repository"
    works.mkdir()
    rng = np.random.default_rng(0)
    for i in range(10):
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(works / f"{i}.png")
    (works / "README.md").write_text("my works")
    return PrivateHub(private={"artist/my-works": True}, folders={"artist/my-works": works})


def run(hub, *more, own=OWN):
    waited = []
    code = bank_job.main([*own, "--base=nowhere", *RECIPE, *more], hub, waited.append)
    return code, waited


@pytest.fixture
def trained(monkeypatch):
    """What would be trained: the arguments and the folder, and a file in place of the bank."""
    seen = []

    def command(arguments):
        out = next(a.removeprefix("--out=") for a in arguments if a.startswith("--out="))
        seen.append((arguments, sorted(p.name for p in Path.cwd().iterdir() if p.suffix == ".png")))
        Path(out).mkdir(parents=True)
        (Path(out) / "bank.json").write_text("{}")
        (Path(out) / "models").mkdir()
        return 0

    monkeypatch.setattr(bank_job, "run_command", command)
    return seen


@pytest.mark.slow
def test_the_job_trains_a_bank_that_the_page_takes(hub, tmp_path, monkeypatch, few_draws):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    base = tmp_path / "base"
    tiny.stable_diffusion().save_pretrained(base)
    works = hub.folders["artist/my-works"]
    config = FinetuneConfig(mode="lora", prompt="abc", steps=3, batch=2, learning_rate=1e-2, rank=2)
    finetune(base, sorted(works.glob("*.png"))[::2], tmp_path / "suspect", config)
    (tmp_path / "suspect" / "pytorch_lora_weights.safetensors").rename(works / "mine.safetensors")
    before = Path.cwd()
    arguments = [*OWN, f"--base={base}", "--suspect=./mine.safetensors", *RECIPE]
    assert bank_job.main(arguments, hub, lambda seconds: None) == 0
    ((repository, name, data),) = hub.uploaded
    assert (repository, name) == ("artist/my-bank", "bank.json") and hub.private[repository]
    bank = read_bank(data, name).content
    assert (
        len(bank.models) == 4
        and bank.prompt == "abc"
        and {p.name for p in bank.pictures} == {f"{i}.png" for i in range(10)}
    )
    (tmp_path / "bank.json").write_bytes(data)
    assert read_sent_bank(tmp_path / "bank.json").content == bank, "the page's field takes it"
    assert str(tmp_path) not in json.dumps(bank.model_dump()), "no path of the rented machine goes out"
    assert Path.cwd() == before and not list((tmp_path / "scratch").iterdir()), "nothing stays there"


def test_only_the_bank_is_uploaded_and_names_without_owner_are_one_s_own(hub, trained):
    assert run(hub) == (0, [0.0])
    assert hub.uploaded == [("artist/my-bank", "bank.json", b"{}")]
    ((arguments, pictures),) = trained
    assert arguments[:2] == ["bank", "."] and len(pictures) == 10
    assert set(RECIPE) <= set(arguments)
    assert set(hub.asked) == {"whoami", "repo_info", "create_repo", "snapshot_download", "upload_file"}


def test_folders_of_works_and_a_mounted_folder_can_be_named(hub, trained, tmp_path):
    assert run(hub, "--works=a", "--works=b", f"--out={tmp_path / 'kept'}")[0] == 0
    ((arguments, _),) = trained
    assert arguments[:3] == ["bank", "a", "b"] and f"--out={tmp_path / 'kept'}" in arguments
    assert (tmp_path / "kept" / "models").is_dir(), "the same job goes on with what is there"


def test_public_repositories_are_refused_before_anything_is_downloaded(hub, trained, capsys):
    hub.private["artist/my-works"] = False
    assert run(hub)[0] == 1 and "artist/my-works is public" in capsys.readouterr().err
    hub.private |= {"artist/my-works": True, "artist/my-bank": False}
    assert run(hub)[0] == 1 and "artist/my-bank is public" in capsys.readouterr().err
    del hub.private["artist/my-bank"]
    hub.makes_public = True
    assert run(hub)[0] == 1 and "artist/my-bank is public" in capsys.readouterr().err
    assert "snapshot_download" not in hub.asked and not hub.uploaded and not trained


def test_what_cgidm_does_not_know_is_refused_before_anything_is_asked(hub, trained, capsys):
    with pytest.raises(SystemExit):
        run(hub, "--modles=4")
    assert "--modles" in capsys.readouterr().err and not hub.asked


def test_a_bank_that_could_not_be_made_is_not_uploaded(hub, monkeypatch):
    monkeypatch.setattr(bank_job, "run_command", lambda arguments: 2)
    assert run(hub)[0] == 2 and "upload_file" not in hub.asked


def test_an_upload_that_fails_is_tried_again(hub, trained):
    hub.failures = 2
    assert run(hub) == (0, list(bank_job.WAITS[:3])) and len(hub.uploaded) == 1


def test_an_upload_that_never_gets_through_is_an_error(hub, trained):
    hub.failures = len(bank_job.WAITS)
    with pytest.raises(ConnectionError):
        run(hub)
    assert not hub.uploaded


def test_its_dependencies_stand_in_the_file_as_pep_723_has_them():
    text = (ROOT / "scripts" / "jobs" / "bank_job.py").read_text()
    block = re.match(r"# /// script\n((?:#(?: .*)?\n)+?)# ///\n", text)
    assert block is not None
    stated = tomllib.loads(re.sub(r"^# ?", "", block[1], flags=re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert stated["requires-python"] == project["requires-python"]
    assert stated["dependencies"][0] == "cgidm[training]" and stated["dependencies"][1] in project["dependencies"]
    assert os.access(ROOT / "scripts" / "jobs" / "bank_job.py", os.R_OK)
