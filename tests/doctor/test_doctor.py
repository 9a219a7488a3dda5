"""The doctor on packages, Spaces and what ships, as a command, and on a bare machine."""

import ast
import dataclasses
import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
from huggingface_hub.utils import close_session

from cgidm import cli
from cgidm.doctor import assets
from cgidm.doctor import environment as doctor
from cgidm.doctor.environment import ROOT, Finding, examine, report_lines
from cgidm.pictures import embedders as similarity
from cgidm.resources import embedder_file
from tests.support.hub_server import SHA
from tests.support.machines import NOWHERE, make_plain, only_finding


@pytest.fixture(autouse=True)
def plain_machine(monkeypatch, tmp_path):
    make_plain(monkeypatch, tmp_path)
    yield
    close_session()


def broken(findings):
    return {f.name: (f.said, f.fix) for f in findings if f.status == "broken"}


def distribution(folder, name, version):
    """An installed package, as far as its version is asked for."""
    place = folder / f"{name}-{version or 0}.dist-info"
    place.mkdir(parents=True)
    stated = f"Version: {version}\n" if version else ""
    (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\n{stated}")


@pytest.mark.parametrize(
    ("running", "status"),
    [((3, 10), "broken"), ((3, 11), "ok"), ((3, 12), "ok"), ((3, 13), "ok"), ((3, 14), "careful"), ((2, 7), "broken")],
)
def test_python_must_be_one_that_is_tested(running, status):
    found = only_finding(doctor.check_python(ROOT, running))
    assert found.status == status and found.said.startswith(".".join(map(str, running)))
    assert ('python_version: "3.12"' in found.fix) == (status == "broken")


def test_the_packages_of_this_environment_are_there():
    found = only_finding(doctor.check_packages(ROOT))
    count = sum(line[0].isalpha() for line in (ROOT / "requirements.txt").read_text().splitlines() if line)
    assert found.status == "ok" and f"all {count} of" in found.said and count >= 20


def test_each_package_that_is_missing_or_too_old_has_its_command(tmp_path, monkeypatch):
    site = tmp_path / "site"
    for name, version in (("oldish", "1.9.1"), ("newish", "2.0+cu128"), ("early", "2.1.0rc1"), ("half", None)):
        distribution(site, name, version)
    distribution(site, "unreadable", "from-git")
    monkeypatch.syspath_prepend(site)
    lines = [
        "# a comment",
        "",
        "-c constraints.txt",
        "oldish>=2.0  # why",
        "newish>=2.0",
        "early>=2.0",
        "half>=1",
        "unreadable>=1",
        "absent_package[extra]>=3",
        'absent_elsewhere>=1; python_version < "3"',
        "what is this",
    ]
    (tmp_path / "requirements.txt").write_text("\n".join(lines))
    found = doctor.check_packages(tmp_path)
    assert broken(found) == {
        "package oldish": ("1.9.1 is there, >=2.0 is needed", 'python -m pip install -U "oldish>=2.0"'),
        "package half": ("installed in part", 'python -m pip install -U "half>=1"'),
        "package unreadable": ("installed in part", 'python -m pip install -U "unreadable>=1"'),
        "package absent_package": ("not installed", 'python -m pip install -U "absent_package[extra]>=3"'),
        "packages": ("requirements.txt has 'what is this', which names no package", "a line such as torch>=2.6"),
    }
    assert len(found) == 5


def test_open_clip_must_know_quick_gelu_by_name_whatever_the_requirements_say(tmp_path, monkeypatch):
    distribution(tmp_path / "site", "open_clip_torch", "2.28.0")
    monkeypatch.syspath_prepend(tmp_path / "site")
    (tmp_path / "requirements.txt").write_text("open_clip_torch\n")
    assert list(broken(doctor.check_packages(tmp_path))) == ["package open_clip_torch"]


def test_without_requirements_nothing_is_claimed(tmp_path):
    assert only_finding(doctor.check_packages(tmp_path)).status == "careful"


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ([], "are there"),
        (["mcp"], "mcp missing: no tools for agents"),
        (["authlib", "itsdangerous"], "authlib, itsdangerous missing: no logging in"),
    ],
)
def test_extras_of_gradio(monkeypatch, missing, said):
    for name in ("mcp", "authlib", "itsdangerous"):
        monkeypatch.setitem(sys.modules, name, None if name in missing else SimpleNamespace(__spec__=object()))
    found = only_finding(doctor.check_gradio(ROOT))
    assert found.said.endswith(said) and found.status == ("careful" if missing else "ok")
    assert not missing or found.fix == 'python -m pip install "gradio[mcp,oauth]"'


def test_a_machine_that_is_no_space_is_asked_nothing_of_one(monkeypatch):
    monkeypatch.setitem(sys.modules, "spaces", None)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert only_finding(doctor.check_space(ROOT)) == Finding("Space", "ok", "this is no Space")


def test_a_space_with_zerogpu_needs_the_package_that_lends_it(monkeypatch):
    monkeypatch.setenv("SPACE_ID", "owner/space")
    monkeypatch.setenv("OAUTH_CLIENT_ID", "x")
    monkeypatch.setitem(sys.modules, "spaces", None)
    assert only_finding(doctor.check_space(ROOT)).status == "ok"  # on other hardware it is not needed
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    found = only_finding(doctor.check_space(ROOT))
    assert found.name == "spaces" and found.status == "broken" and "pip install spaces" in found.fix
    monkeypatch.setitem(sys.modules, "spaces", SimpleNamespace(__spec__=object()))
    assert only_finding(doctor.check_space(ROOT)) == Finding("Space", "ok", "on ZeroGPU")


def test_a_space_s_token_and_login(monkeypatch):
    monkeypatch.setenv("SPACE_ID", "owner/space")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    token, login = doctor.check_space(ROOT)
    assert (token.name, token.status) == ("HF_TOKEN", "careful") and "the page never uses it for visitors" in token.said
    assert login.status == "careful" and login.fix == "hf_oauth: true in README.md"
    assert "hf_secret" not in "\n".join(report_lines([token, login]))


EXAMPLES = ("gerald-g-dreambooth", "rollandin-lora")


@pytest.fixture
def copy(tmp_path):
    """The repository's assets, to be damaged."""
    shutil.copytree(ROOT / "assets", tmp_path / "assets", ignore=shutil.ignore_patterns("training"))
    return tmp_path


def test_what_ships_is_whole(copy):
    for root in (ROOT, copy):
        found = doctor.check_assets(root)
        banks, examples = ([f"{n}/{e}" for e in EXAMPLES] for n in ("banks", "examples"))
        names = [*banks, "controls", "embedder", *examples, "mini"]
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
def test_a_file_that_is_missing_cut_off_or_a_pointer_is_broken(copy, file):
    path = copy / "assets" / file
    name = "assets/" + "/".join(file.split("/")[: 2 if file.startswith(("banks", "examples")) else 1])
    data = path.read_bytes()
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    assert broken(doctor.check_assets(copy)) == {
        name: (f"Git LFS left a pointer instead of {path.relative_to(copy / name)}", "git lfs install && git lfs pull")
    }
    path.write_bytes(data[: len(data) // 2])
    (found,) = broken(doctor.check_assets(copy)).items()
    assert found[0] == name and found[1][1] == f"git checkout -- {name}; or clone the repository anew"
    path.unlink()
    ((broken_name, (said, _)),) = broken(doctor.check_assets(copy)).items()
    assert broken_name == name and str(copy) not in said and "\n" not in said


@pytest.mark.parametrize("folder", ["scheduler", "tokenizer"])
def test_the_model_needs_the_configurations_of_what_has_no_weights(copy, folder):
    shutil.rmtree(copy / "assets" / "mini" / folder)
    said, _ = broken(doctor.check_assets(copy))["assets/mini"]
    assert said == f"assets/mini lacks the configuration of its {folder}"


def test_pictures_that_are_pointers_are_named_and_counted(copy):
    for path in sorted((copy / "assets" / "controls" / "rollandin-lora").iterdir())[:5]:
        path.write_bytes(assets.POINTER + b"\n")
    said, _ = broken(doctor.check_assets(copy))["assets/controls"]
    assert said.count("rollandin-lora/") == 3 and said.endswith(" and 2 more")


def test_without_assets_all_of_them_are_missing(tmp_path):
    assert set(broken(doctor.check_assets(tmp_path))) == {"assets/mini", "assets/embedder", "assets/controls"}


def test_clip_and_dino_are_looked_for_in_the_cache(tmp_path):
    found = doctor.check_embedders(ROOT)
    assert [f.name for f in found] == ["clip", "dino"] and {f.status for f in found} == {"careful"}
    assert all("is not in the Hub's local cache" in f.said and "--download" in f.fix for f in found)
    place = tmp_path / "cache" / "models--timm--vit_small_patch16_224.dino"
    (place / "snapshots" / SHA).mkdir(parents=True)
    (place / "snapshots" / SHA / "model.safetensors").touch()
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(SHA)
    assert [f.status for f in doctor.check_embedders(ROOT)] == ["careful", "ok"]


def test_the_embedder_that_ships_is_the_library_s():
    assert embedder_file() == ROOT / "assets" / "embedder" / assets.EMBEDDER
    assert embedder_file().stem in similarity.SOURCES


def test_the_command_line_prints_a_line_a_finding_and_its_fix(monkeypatch, capsys):
    findings = [Finding("a", "ok", "well"), Finding("b", "careful", "so so", "mend b"), Finding("c", "ok", "well")]
    monkeypatch.setattr(doctor, "examine", lambda: findings)
    assert cli.main(["doctor"]) == 0 and doctor.main([]) == 0
    lines = capsys.readouterr().out.splitlines()[:5]
    assert lines[0] == "ok       a: well" and lines[1:3] == ["careful  b: so so", "         fix: mend b"]
    assert lines[4] == "nothing broken, 1 to be careful with"
    findings.append(Finding("d", "broken", "bad", "mend d"))
    assert cli.main(["doctor", "--json"]) == 1 == doctor.main(["--json"])
    printed = capsys.readouterr().out
    assert json.loads(printed[: len(printed) // 2]) == [dataclasses.asdict(f) for f in findings]


def test_wrong_options_exit_with_2():
    with pytest.raises(SystemExit) as stop:
        cli.main(["doctor", "--fix"])
    assert stop.value.code == 2


def test_what_cannot_be_looked_at_is_a_finding_and_the_rest_goes_on(monkeypatch, tmp_path):
    def damaged(root):
        raise OSError(f"{tmp_path}/lib/libtorch.so: undefined symbol\nmore")

    def absent(root):
        import a_package_that_is_not_there  # type: ignore[import-not-found]  # noqa: F401

    good = Finding("good", "ok", "well")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(doctor, "CHECKS", {"one": damaged, "two": absent, "three": lambda root: [good]})
    one, two, three = examine()
    assert (one.status, one.said) == ("broken", "not looked at: OSError: ~/lib/libtorch.so: undefined symbol")
    assert two.said == "not looked at: a_package_that_is_not_there is not installed" and "requirements.txt" in two.fix
    assert three == good


def test_nothing_is_broken_here_and_nothing_heavy_is_imported(tmp_path):
    """As somebody runs it, without a Hub; in no finding a check itself failed."""
    code = (
        "import sys; from cgidm.doctor import main; code = main(['--json']); "
        "print([m for m in ('diffusers', 'transformers', 'peft', 'gradio', 'timm') if m in sys.modules], code)"
    )
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "HF_ENDPOINT": NOWHERE, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stderr == ""
    *printed, last = done.stdout.splitlines()
    assert last == "[] 0"
    findings = [Finding(**f) for f in json.loads("\n".join(printed))]
    assert not [f for f in findings if "not looked at" in f.said]
    shipped = {f"assets/{n}/{e}" for n in ("banks", "examples") for e in EXAMPLES}
    shipped |= {f"assets/{n}" for n in ("mini", "embedder", "controls")}
    looked_at = {
        "Python",
        "packages",
        "gradio's extras",
        "Space",
        "front matter",
        "device",
        "memory",
        "temporary files",
    }
    looked_at |= {"the Hub's cache", "Hub", "clip", "dino", "computing", "bfloat16"} | shipped
    assert looked_at == {f.name for f in findings}
    assert str(tmp_path) not in done.stdout and not list(tmp_path.iterdir())


def test_a_bare_machine_is_told_what_to_install():
    run = [sys.executable, "-S", "-m", "cgidm", "doctor", "--json"]  # -S: no installed package is found
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr == ""
    found = {f["name"]: Finding(**f) for f in json.loads(done.stdout)}
    assert found["packages"].fix == found["device"].fix == "python -m pip install -r requirements.txt"
    assert found["device"].said == "not looked at: torch is not installed"
    assert found["temporary files"].status == found["Python"].status == "ok"


def test_the_doctor_can_be_read_by_the_python_that_it_warns_of():
    for name in ("__init__", "__main__", "doctor", "front_matter", "requirements"):
        tree = ast.parse((ROOT / "cgidm" / f"{name}.py").read_text(), feature_version=(3, 10))
        for node in tree.body:
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            assert {n.split(".")[0] for n in names} <= sys.stdlib_module_names, name


def test_the_library_s_names_are_those_that_type_checkers_see():
    import cgidm

    tree = ast.parse((ROOT / "cgidm" / "__init__.py").read_text())
    stated = {a.name: n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level for a in n.names}
    assert {name: module for module, names in cgidm.NAMES.items() for name in names} == stated
    assert all(getattr(cgidm, name) is not None for name in stated)
    with pytest.raises(AttributeError, match="has no attribute nothing"):
        _ = cgidm.nothing
