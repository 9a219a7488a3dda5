"""The house stays easy to see: arrows point one way, files stay short, README knows every option."""

import ast
import subprocess
import sys

import pytest

from tests.support.options import option_names
from tests.support.paths import ROOT

FORBIDDEN = {"app", "eval", "gradio"}  # the library knows neither its page nor its benchmark
# of the page's modules
WITH_GRADIO = {"api", "lineup", "runs", "layout", "theme", "lineup_panel", "model_panel", "errors", "views", "run_tab"}
HEAVY = ("diffusers", "transformers", "peft", "gradio")


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


@pytest.mark.parametrize(
    "path", [p for p in sorted((ROOT / "cgidm").rglob("*.py")) if p.parts[-3] != "page"], ids=lambda p: p.stem
)
def test_library_arrows(path):
    names = {name.split(".")[0] for name in imports(path) if not name.startswith(".")}
    assert not names & FORBIDDEN
    if path.parent.name != "families":
        assert not names & {"diffusers", "transformers", "peft"}


def test_the_page_knows_the_library_alone():
    for path in (ROOT / "cgidm" / "page").rglob("*.py"):
        names = {name.split(".")[0] for name in imports(path) if not name.startswith(".")}
        assert not names & {"app", "eval", "diffusers", "transformers", "peft"}, path.name
        assert "gradio" not in names or path.stem in WITH_GRADIO, path.name
    assert {name.split(".")[0] for name in imports(ROOT / "app.py")} <= {"cgidm", "importlib"}


def test_intake_opens_no_weights():
    for path in (ROOT / "cgidm" / "intake").glob("*.py"):
        assert not {name.split(".")[0] for name in imports(path)} & {"torch", "numpy", "safetensors", "pickle"}


def test_what_is_made_of_scores_sees_no_tensor():
    paths = [
        *(ROOT / "eval" / "analysis").glob("*.py"),
        *(ROOT / "eval" / "benchmark" / f"{n}.py" for n in ("report", "ledger")),
    ]
    for path in paths:
        names = {n.split(".")[0] for n in imports(path)}
        assert not names & {"torch", "cgidm", "diffusers"}, path.name


def test_the_stated_arrows_hold():
    """ARCHITECTURE.md states `a -> b, c`: module a imports these modules of the library and no other."""
    stated = {}
    for line in (ROOT / "ARCHITECTURE.md").read_text().splitlines():
        if " -> " in line and line.startswith("    "):
            name, targets = line.strip().split(" -> ")
            stated[name.strip()] = {t.strip() for t in targets.split(",")}
    found = {}
    for path in (ROOT / "cgidm").glob("*.py"):
        targets = {n[1:].split(".")[0] for n in imports(path) if n.startswith(".")} - {""}
        if path.stem not in ("__init__", "__main__") and targets - {"errors"}:
            found[path.stem] = targets - {"errors"}
    assert stated == found


def test_importing_the_library_is_light():
    code = f"import sys, cgidm, cgidm.authenticate, cgidm.cli; print([m for m in {HEAVY} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_readme_mentions_every_option():
    readme = (ROOT / "README.md").read_text()
    assert [o for o in option_names() if o != "--help" and o not in readme] == []


def test_no_file_is_long():
    files = [p for d in ("cgidm", "eval", "tests") for p in (ROOT / d).rglob("*.py")]
    assert {p.name: n for p in files if (n := len(p.read_text().splitlines())) > 400} == {}
