"""The head of README.md: each line that would keep a Space from starting is named, and our own is as it should be."""

import re

import pytest
from huggingface_hub import SpaceHardware

from cgidm.doctor.deployment import check_front_matter
from cgidm.doctor.front_matter import LONGEST, read_front_matter
from cgidm.doctor.machine import ROOT
from tests.support.machines import make_machine, only_finding

GOOD = {
    "sdk": "gradio",
    "python_version": '"3.12"',
    "short_description": "Short",
    "colorFrom": "red",
    "app_file": "app.py",
}


def check(root):
    return check_front_matter(make_machine(root=root))


def write_front_matter(root, **changes):
    told = {k: v for k, v in {**GOOD, **changes}.items() if v is not None}
    (root / "app.py").touch()
    block = "".join(f"{key}: {value}\n" for key, value in told.items())
    (root / "README.md").write_text(f"---\n{block}---\n\n# Title\n\n---\n")


@pytest.mark.parametrize(
    ("changes", "code", "given", "fix"),
    [
        ({"sdk": "static"}, "sdk", "static", "Write sdk: gradio"),
        ({"sdk": None}, "sdk", "None", "Write sdk: gradio"),
        ({"python_version": None}, "no_python", None, 'Write python_version: "3.12", in quotes.'),
        ({"python_version": "3.10"}, "python", "3.1", 'Write python_version: "3.12", in quotes.'),
        ({"python_version": '"3.10.13"'}, "python", "3.10.13", 'Write python_version: "3.12", in quotes.'),
        ({"short_description": "x" * 61}, "description", None, "Shorten it."),
        ({"colorFrom": "orange"}, "colour", "orange", "Write colorFrom: red"),
        ({"colorTo": "Red"}, "colour", "Red", "Write colorTo: red"),
        ({"app_file": "page.py"}, "app", "page.py", "Write app_file: app.py"),
    ],
)
def test_each_line_that_keeps_a_space_from_starting_is_named(tmp_path, changes, code, given, fix):
    write_front_matter(tmp_path, **changes)
    found = only_finding(check(tmp_path), f"front_matter_{code}")
    assert found.status == "error" and found.note.params.get("value") == given and str(found.fix) == fix


@pytest.mark.parametrize(
    "changes", [{}, {"python_version": "3.11"}, {"short_description": "x" * 60}, {"colorTo": "gray"}]
)
def test_a_good_head_passes(tmp_path, changes):
    write_front_matter(tmp_path, **changes)
    assert only_finding(check(tmp_path)).status == "ok"


def test_several_mistakes_are_several_findings_and_a_missing_app_is_one(tmp_path):
    write_front_matter(tmp_path, sdk="docker", app_file=None)
    (tmp_path / "app.py").unlink()
    assert [f.note.code for f in check(tmp_path)] == ["doctor.front_matter_sdk", "doctor.front_matter_app"]


@pytest.mark.parametrize(
    "text", ["# Title\n", "---\nsdk: [\n---\n", "---\n- a list\n---\n", "---\nd: 2024-99-99\n---\n", ""]
)
def test_a_readme_that_the_hub_cannot_read_is_one_finding(tmp_path, text):
    (tmp_path / "README.md").write_text(text)
    assert only_finding(check(tmp_path), "no_front_matter").status == "error"


def test_without_a_readme_there_is_nothing_to_say(tmp_path):
    assert check(tmp_path) == []


def test_our_own_head_is_what_a_space_wants():
    assert only_finding(check(ROOT)).status == "ok"
    told = read_front_matter(ROOT / "README.md")
    assert told["python_version"] == "3.12" and len(told["short_description"]) <= LONGEST
    assert told["hf_oauth"] is True and told["hf_oauth_scopes"] == ["gated-repos"]
    assert told["suggested_hardware"] in [h.value for h in SpaceHardware]
    assert told["startup_duration_timeout"] == "1h"
    assert told["models"] and all(re.fullmatch(r"[\w.-]+/[\w.-]+", m) for m in told["models"])
    assert told["models"][0].startswith("stable-diffusion-v1-5/") and told["license"] == "apache-2.0"
