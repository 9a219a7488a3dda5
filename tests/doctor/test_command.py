"""The doctor as a command, on this machine and on a bare one."""

import ast
import json
import subprocess
import sys

import pytest

from cgidm import cli
from cgidm.doctor import command
from cgidm.doctor.command import CHECKS, examine
from cgidm.doctor.finding import Finding
from cgidm.doctor.machine import ROOT
from cgidm.messages import Note, english, note
from tests.support.machines import NOWHERE, make_machine
from tests.support.paths import SUSPECTS


def test_the_command_line_prints_a_line_a_finding_and_its_fix(monkeypatch, capsys):
    fix = note("doctor.fix_command", command="mend b")
    findings = [Finding("a", "ok", note("doctor.asset")), Finding("b", "warning", note("doctor.no_space"), fix)]
    monkeypatch.setattr(command, "examine", lambda machine: findings)
    monkeypatch.setattr(command, "gather_machine", make_machine)
    assert cli.main(["doctor"]) == 0 and command.main([]) == 0
    lines = capsys.readouterr().out.splitlines()[:4]
    assert lines[:2] == ["ok       a: Complete.", "warning  b: This machine is not a Space."]
    assert lines[2:] == ["         fix: mend b", "0 errors, 1 warnings"]
    findings.append(Finding("d", "error", note("doctor.no_temporary"), fix))
    assert cli.main(["doctor", "--json"]) == 1 == command.main(["--json"])
    printed = capsys.readouterr().out
    plain = json.loads(printed[: len(printed) // 2])
    assert plain == [f.to_dict() for f in findings]
    keys = {"name": "b", "status": "warning", "code": "doctor.no_space", "params": {}}
    assert plain[1] == keys | {"message": "This machine is not a Space.", "fix": "mend b"}


def test_wrong_options_exit_with_2():
    with pytest.raises(SystemExit) as stop:
        cli.main(["doctor", "--fix"])
    assert stop.value.code == 2


def test_a_check_that_fails_is_a_finding_and_the_next_one_runs(monkeypatch, tmp_path):
    def damaged(machine):
        raise OSError(f"{tmp_path}/lib/libtorch.so: undefined symbol\nmore")

    def absent(machine):
        import a_package_that_is_not_there  # type: ignore[import-not-found]  # noqa: F401

    good = Finding("good", "ok", note("doctor.asset"))
    checks = {"one": damaged, "two": absent, "three": lambda machine: [good]}
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(command, "CHECKS", {name: ("", name) for name in checks})
    monkeypatch.setattr(command, "_find_check", lambda module, function: checks[function])
    one, two, three = examine(make_machine())
    params = {"kind": "OSError", "error": "~/lib/libtorch.so: undefined symbol"}
    assert (one.status, one.note) == ("error", Note("doctor.check_failed", params))
    assert two.note == Note("doctor.package_missing", {"package": "a_package_that_is_not_there"})
    assert "requirements.txt" in str(two.fix) and three == good


def test_nothing_is_wrong_here_and_nothing_heavy_is_imported(tmp_path):
    """As somebody runs it, without a Hub; no check fails."""
    code = (
        "import sys; from cgidm.doctor.command import main; code = main(['--json']); "
        "print([m for m in ('diffusers', 'transformers', 'peft', 'gradio', 'timm') if m in sys.modules], code)"
    )
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "HF_ENDPOINT": NOWHERE, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stderr == ""
    *printed, last = done.stdout.splitlines()
    assert last == "[] 0"
    findings = json.loads("\n".join(printed))
    assert not [f for f in findings if f["code"] in ("doctor.check_failed", "doctor.package_missing")]
    assert {f["code"] for f in findings} <= english().keys()
    shipped = {f"assets/{n}/{e}" for n in ("banks", "examples") for e in SUSPECTS}
    shipped |= {f"assets/{n}" for n in ("mini", "embedder", "controls", "fonts")}
    grouped = {"what ships", "CLIP and DINO"}
    assert {f["name"] for f in findings} == (CHECKS.keys() - grouped) | {"clip", "dino"} | shipped
    assert str(tmp_path) not in done.stdout and not list(tmp_path.iterdir())


def test_a_bare_machine_is_told_what_to_install():
    run = [sys.executable, "-S", "-m", "cgidm", "doctor", "--json"]  # -S: no installed package is found
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr == ""
    found = {f["name"]: f for f in json.loads(done.stdout)}
    for name, package in (("packages", "packaging"), ("device", "torch"), ("the Hub's cache", "huggingface_hub")):
        assert found[name]["fix"] == "python -m pip install -r requirements.txt"
        assert (found[name]["code"], found[name]["params"]) == ("doctor.package_missing", {"package": package})
    assert found["device"]["message"] == "Not checked: torch is not installed."
    assert found["temporary files"]["status"] == found["Python"]["status"] == "ok"


def test_the_doctor_can_be_read_by_the_python_that_it_warns_of():
    """As the grammar of Python 3.10, and with imports of the standard library alone at the top."""
    package = ROOT / "cgidm"
    names = ("__init__", "__main__", "errors", "messages/__init__", "messages/text", "resources", "doctor/__init__")
    modules = ("command", "finding", "machine", "environment", "models", "deployment", "front_matter", "requirements")
    for name in (*names, *(f"doctor/{m}" for m in modules)):
        tree = ast.parse((package / f"{name}.py").read_text(), feature_version=(3, 10))
        for node in tree.body:
            imported = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            imported += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert {n.split(".")[0] for n in imported} <= sys.stdlib_module_names, name


def test_the_library_s_names_are_those_that_type_checkers_see():
    import cgidm

    tree = ast.parse((ROOT / "cgidm" / "__init__.py").read_text())
    stated = {a.name: n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level for a in n.names}
    assert {name: module for module, names in cgidm.NAMES.items() for name in names} == stated
    assert all(getattr(cgidm, name) is not None for name in stated)
    with pytest.raises(AttributeError, match="has no attribute nothing"):
        _ = cgidm.nothing
