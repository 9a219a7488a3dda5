"""The head of README.md: each line that would keep a Space from starting is named, and our own is as it should be."""

import re

import pytest
from huggingface_hub import SpaceHardware

from cgidm.doctor import environment as doctor
from cgidm.doctor.environment import ROOT
from cgidm.doctor.front_matter import LONGEST, read_front_matter
from tests.support.machines import only_finding

GOOD = {
    "sdk": "gradio",
    "python_version": '"3.12"',
    "short_description": "Short",
    "colorFrom": "red",
    "app_file": "app.py",
}


def write_front_matter(root, **changes):
    told = {k: v for k, v in {**GOOD, **changes}.items() if v is not None}
    (root / "app.py").touch()
    block = "".join(f"{key}: {value}\n" for key, value in told.items())
    (root / "README.md").write_text(f"---\n{block}---\n\n# Title\n\n---\n")


@pytest.mark.parametrize(
    ("changes", "said", "fix"),
    [
        ({"sdk": "static"}, "sdk is 'static'", "sdk: gradio"),
        ({"sdk": None}, "sdk is None", "sdk: gradio"),
        ({"python_version": None}, "python_version is not set: a Space has 3.10", 'python_version: "3.12", in quotes'),
        ({"python_version": "3.10"}, "python_version is 3.1, which is too old", 'python_version: "3.12", in quotes'),
        ({"python_version": '"3.10.13"'}, "3.10.13, which is too old", 'python_version: "3.12", in quotes'),
        ({"short_description": "x" * 61}, "short_description has 61 characters", "at most 60 characters"),
        (
            {"colorFrom": "orange"},
            "colorFrom is 'orange'",
            "colorFrom: one of red, yellow, green, blue, indigo, purple",
        ),
        ({"colorTo": "Red"}, "colorTo is 'Red'", "colorTo: one of red"),
        ({"app_file": "page.py"}, "app_file is 'page.py', and there is no such file", "app_file: app.py"),
    ],
)
def test_each_line_that_keeps_a_space_from_starting_is_named(tmp_path, changes, said, fix):
    write_front_matter(tmp_path, **changes)
    found = only_finding(doctor.check_front_matter(tmp_path))
    assert found.status == "broken" and said in found.said and found.fix.startswith(fix)


@pytest.mark.parametrize(
    "changes", [{}, {"python_version": "3.11"}, {"short_description": "x" * 60}, {"colorTo": "gray"}]
)
def test_a_good_head_passes(tmp_path, changes):
    write_front_matter(tmp_path, **changes)
    assert only_finding(doctor.check_front_matter(tmp_path)).status == "ok"


def test_several_mistakes_are_several_findings_and_a_missing_app_is_one(tmp_path):
    write_front_matter(tmp_path, sdk="docker", app_file=None)
    (tmp_path / "app.py").unlink()
    said = [f.said for f in doctor.check_front_matter(tmp_path)]
    assert said == ["sdk is 'docker'", "app_file is 'app.py', and there is no such file"]


@pytest.mark.parametrize(
    "text", ["# Title\n", "---\nsdk: [\n---\n", "---\n- a list\n---\n", "---\nd: 2024-99-99\n---\n", ""]
)
def test_a_readme_that_the_hub_cannot_read_is_one_finding(tmp_path, text):
    (tmp_path / "README.md").write_text(text)
    found = only_finding(doctor.check_front_matter(tmp_path))
    assert found.status == "broken" and "nothing that the Hub can read" in found.said


def test_without_a_readme_there_is_nothing_to_say(tmp_path):
    assert doctor.check_front_matter(tmp_path) == []


def test_our_own_head_is_what_a_space_wants():
    assert only_finding(doctor.check_front_matter(ROOT)).status == "ok"
    told = read_front_matter(ROOT / "README.md")
    assert told["python_version"] == "3.12" and len(told["short_description"]) <= LONGEST
    assert told["hf_oauth"] is True and told["hf_oauth_scopes"] == ["gated-repos"]
    assert told["suggested_hardware"] in [h.value for h in SpaceHardware]
    assert told["startup_duration_timeout"] == "1h"
    assert told["models"] and all(re.fullmatch(r"[\w.-]+/[\w.-]+", m) for m in told["models"])
    assert told["models"][0].startswith("stable-diffusion-v1-5/") and told["license"] == "apache-2.0"
