"""What pyproject.toml, requirements.txt and constraints.txt say of packages is the same."""

import re
import tomllib

from tests.support.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def lines_of(file):
    return [line for line in (ROOT / file).read_text().splitlines() if line and not line.startswith("#")]


def name_of(requirement):
    return re.match(r"[A-Za-z0-9_.-]+", requirement)[0].lower().replace("_", "-")


def test_a_space_installs_the_library_and_its_page():
    assert lines_of("requirements.txt") == [*PROJECT["dependencies"], *EXTRAS["page"]]


def test_every_direct_requirement_is_pinned_for_development():
    pinned = {name_of(line) for line in lines_of("constraints.txt")}
    wanted = {name_of(r) for r in [*PROJECT["dependencies"], *(r for extra in EXTRAS.values() for r in extra)]}
    assert wanted - {"cgidm"} <= pinned
    assert all(re.search(r"==\d", line) for line in lines_of("constraints.txt"))


def test_there_is_one_version():
    import cgidm

    assert PROJECT["dynamic"] == ["version"]
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert re.findall(r"^## (\d.*)", changelog, re.MULTILINE)[0] == cgidm.__version__
    assert f"version: {cgidm.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert [line for line in changelog.splitlines() if len(line) > 100] == []
