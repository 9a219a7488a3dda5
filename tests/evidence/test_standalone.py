"""`verify.py` of a bundle, run by Python alone: it is made of the library's own modules and says what these say."""

import ast
import json
import shutil
import subprocess
import sys
import zipfile
from typing import get_args

import pytest

from cgidm.cli import main
from cgidm.evidence import record
from cgidm.evidence.bundle_reader import EPOCH
from cgidm.evidence.bundle_writer import pack_evidence, write_evidence
from cgidm.evidence.seal import SEAL
from cgidm.evidence.standalone.build import GUIDE, SCRIPT, check_script, module_names, module_text
from cgidm.messages import Language, translations
from tests.support.bundles import MODELS, reseal
from tests.support.results import result_of


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    place = tmp_path_factory.mktemp("standalone")
    write_evidence(result_of([2.0, 0.1]), place / "folder", MODELS, language="de")
    pack_evidence(place / "folder", place / "evidence.zip")
    return place


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made / "folder", tmp_path / "folder")


def script_says(script, *given):
    """What the script says where no package can be imported and the folder of the script is not on the path."""
    done = subprocess.run([sys.executable, "-I", "-S", str(script), *map(str, given)], capture_output=True, text=True)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


def test_its_modules_are_those_of_the_library_word_for_word():
    tree = ast.parse(check_script())
    held = {
        node.targets[0].slice.value: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript)
    }
    assert list(held) == module_names() and "cgidm.evidence.seal" in held
    assert all(text == module_text(name) for name, text in held.items())


def test_it_needs_no_newer_python_than_it_says():
    """Its grammar is that of 3.9, annotations are not evaluated, and what came later is not used at the top."""
    ast.parse(check_script(), feature_version=(3, 9))
    later = []
    for name in module_names():
        tree = ast.parse(module_text(name), feature_version=(3, 9))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom | ast.Import) and not getattr(node, "level", 0):
                modules = [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
                assert {m.split(".")[0] for m in modules} <= sys.stdlib_module_names, name
            words = {k.arg for k in node.keywords} if isinstance(node, ast.Call) else set()
            later += [f"{name}: {word}" for word in words & {"kw_only", "slots", "strict"}]
            is_check = isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance"
            if is_check and isinstance(node.args[1], ast.BinOp) and name != "cgidm.evidence.record_json":
                later.append(f"{name}: isinstance of a union")
    assert later == []


def test_it_says_whole_suspect_picture_answer_date_and_seal(made):
    code, said = script_says(made / "folder" / SCRIPT)
    assert code == 0 and "whole; " in said and (made / "folder" / SEAL).read_text().split()[0] in said
    for part in ("suspect: b", "base: a", "picture ", "date: 20", "not checked here: whether answers"):
        assert part in said
    plain = json.loads((made / "folder" / "result.json").read_text())
    assert all(p["outcome"] in said and p["sha256"] in said for p in plain["pictures"])
    again, of_zip = script_says(made / "folder" / SCRIPT, made / "evidence.zip")
    assert again == 0 and of_zip.splitlines()[1:-3] == said.splitlines()[1:-3]


@pytest.mark.parametrize("name", ["result.json", "report.pdf", "manifest.json", "seal.txt", SCRIPT, GUIDE, "more.txt"])
def test_it_names_what_the_library_names(made, folder, capsys, name):
    (folder / name).write_bytes(b"mine")
    code, said = script_says(made / "folder" / SCRIPT, folder)
    assert main(["verify", str(folder)]) == code == 1
    named = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert [line for line in said.splitlines() if line.startswith("  ")] == named and name in "".join(named)


def test_hostile_zips_get_one_sentence(made, tmp_path):
    with zipfile.ZipFile(tmp_path / "out.zip", "w") as out:
        out.writestr("../outside.txt", b"x")
    (tmp_path / "none.zip").write_bytes(b"PK nothing")
    with zipfile.ZipFile(tmp_path / "odd.zip", "w") as out:
        for name in zipfile.ZipFile(made / "evidence.zip").namelist():
            data = zipfile.ZipFile(made / "evidence.zip").read(name)
            data = b'{"format": 5, "pictures": {"a": []}}' if name == "result.json" else data
            out.writestr(zipfile.ZipInfo(name, EPOCH), data, zipfile.ZIP_DEFLATED)
    assert script_says(made / "folder" / SCRIPT, tmp_path / "out.zip")[0] == 1
    code, said = script_says(made / "folder" / SCRIPT, tmp_path / "none.zip")
    assert code == 2 and said.startswith("error: ") and len(said.splitlines()) == 1
    code, said = script_says(made / "folder" / SCRIPT, tmp_path / "odd.zip")
    assert code == 1 and "result.json: " in said
    assert script_says(made / "folder" / SCRIPT, "--help")[0] == 2


def test_a_record_of_a_later_version_is_not_called_altered(made, folder):
    def age(table):
        table["format"] = record.FORMAT + 1

    reseal(folder, age)
    code, said = script_says(made / "folder" / SCRIPT, folder)
    assert code == 2 and f"format {record.FORMAT + 1}" in said


def test_a_forged_script_that_was_sealed_anew_is_named(folder, capsys):
    (folder / SCRIPT).write_text("print('whole')")
    table = json.loads((folder / "result.json").read_text())
    from cgidm.evidence.seal import seal_folder

    seal_folder(folder, table, list(json.loads((folder / "manifest.json").read_text())["sha256"]))
    assert main(["verify", str(folder)]) == 1
    said = capsys.readouterr().out
    assert "whole; " in said and f"  {SCRIPT}: is not what this version makes" in said


def test_the_guide_is_in_the_language_of_the_reports(made):
    said = (made / "folder" / GUIDE).read_text(encoding="utf-8")
    assert translations("de")["report.guide.title"] in said and "{" not in said
    for language in get_args(Language):
        table = translations(language)
        assert language == "en" or {k for k in translations("de") if k.startswith("report.")} <= table.keys()
