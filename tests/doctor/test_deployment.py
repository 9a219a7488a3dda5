"""The doctor on Spaces, and on what ships in assets/."""

import shutil

import pytest

from cgidm.doctor import assets
from cgidm.doctor.deployment import check_assets, check_space
from cgidm.doctor.finding import finding_lines
from cgidm.doctor.machine import ROOT
from cgidm.pictures import embedders
from cgidm.resources import embedder_file, resource_root
from tests.support.machines import make_machine, only_finding
from tests.support.paths import SUSPECTS


def test_a_machine_that_is_no_space_needs_nothing_of_one():
    assert only_finding(check_space(make_machine(has_token=True)), "no_space").status == "ok"


def test_a_space_with_zerogpu_needs_the_package_that_lends_it():
    space = {"on_space": True, "has_login": True}
    only_finding(check_space(make_machine(**space)), "space")  # on other hardware it is not needed
    found = only_finding(check_space(make_machine(**space, on_zerogpu=True)), "spaces_missing")
    assert found.status == "error" and "pip install spaces" in str(found.fix)
    only_finding(check_space(make_machine(**space, on_zerogpu=True, packages={"spaces"})), "space_zerogpu")


def test_a_space_s_token_and_login(monkeypatch):
    token, login = check_space(make_machine(on_space=True, has_token=True))
    assert (token.name, token.status, token.note.code) == ("HF_TOKEN", "warning", "doctor.token_set")
    assert login.status == "warning" and "hf_oauth: true" in str(login.fix)
    assert finding_lines([token, login])[-1] == "0 errors, 2 warnings"


@pytest.fixture
def copy(tmp_path):
    """A machine with a copy of the repository's assets, to be damaged."""
    shutil.copytree(ROOT / "assets", tmp_path / "assets", ignore=shutil.ignore_patterns("training"))
    return make_machine(assets=tmp_path / "assets")


def errors(machine):
    return {f.name: (f.note, str(f.fix)) for f in check_assets(machine) if f.status == "error"}


def test_what_ships_is_complete(copy):
    for machine in (make_machine(), copy):
        found = check_assets(machine)
        banks, examples = ([f"{n}/{e}" for e in SUSPECTS] for n in ("banks", "examples"))
        names = [*banks, "controls", "embedder", *examples, "fonts", "mini"]
        assert [f.name for f in found] == [f"assets/{n}" for n in names] and {f.status for f in found} == {"ok"}


@pytest.mark.parametrize(
    "file",
    [
        "mini/vae/diffusion_pytorch_model.safetensors",
        "mini/unet/diffusion_pytorch_model-00002-of-00002.safetensors",
        "mini/text_encoder/model.safetensors",
        "mini/model_index.json",
        "embedder/efficientnet_lite0.safetensors",
        "banks/rollandin-lora/bank.json",
        "examples/rollandin-lora/checkpoint/pytorch_lora_weights.safetensors",
        "examples/gerald-g-dreambooth/checkpoint/unet/diffusion_pytorch_model-00001-of-00002.safetensors",
    ],
)
def test_a_file_that_is_missing_cut_off_or_a_pointer_is_an_error(copy, file):
    path = copy.assets / file
    name = "assets/" + "/".join(file.split("/")[: 2 if file.startswith(("banks", "examples")) else 1])
    data = path.read_bytes()
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    ((broken, (problem, fix)),) = errors(copy).items()
    assert broken == name and fix == "git lfs install && git lfs pull"
    assert problem.params == {"files": [path.relative_to(copy.assets.parent / name).as_posix()], "count": 1}
    path.write_bytes(data[: len(data) // 2])
    ((broken, (problem, fix)),) = errors(copy).items()
    assert broken == name and fix.startswith(f"git checkout -- {name};")
    path.unlink()
    ((broken, (problem, _)),) = errors(copy).items()
    assert broken == name and str(copy.assets.parent) not in str(problem) and "\n" not in str(problem)


@pytest.mark.parametrize(
    ("folder", "code", "params"),
    [
        ("scheduler", "doctor.asset_no_configuration", {"folder": "assets/mini", "components": ["scheduler"]}),
        ("tokenizer", "intake.vocabulary_missing", {"name": "assets/mini", "component": "tokenizer"}),
    ],
)
def test_the_model_needs_the_configurations_of_what_has_no_weights(copy, folder, code, params):
    shutil.rmtree(copy.assets / "mini" / folder)
    problem, _ = errors(copy)["assets/mini"]
    assert problem.code == code and params.items() <= problem.params.items()


def test_pictures_that_are_pointers_are_named_and_counted(copy):
    for path in sorted((copy.assets / "controls" / "rollandin-lora").iterdir())[:5]:
        path.write_bytes(assets.POINTER + b"\n")
    problem, _ = errors(copy)["assets/controls"]
    assert len(problem.params["files"]) == 3 and problem.params["count"] == 5


def test_without_assets_all_of_them_are_missing(tmp_path):
    assert set(errors(make_machine(assets=tmp_path / "assets"))) == {
        "assets/mini",
        "assets/embedder",
        "assets/controls",
        "assets/fonts",
    }


def test_the_embedder_that_ships_is_the_library_s():
    assert embedder_file() == resource_root() / "embedder" / assets.EMBEDDER
    assert embedder_file().stem == embedders.SHIPPED_NAME and embedders.SHIPPED_NAME in embedders.SOURCES
