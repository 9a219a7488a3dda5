"""The Python of README, docs and notebook is run, word for word."""

import ast
import builtins
import re

import pytest

from cgidm.method.config import PRESETS
from tests.support.paths import ROOT
from tests.support.quick_presets import use_few_draws

pytestmark = pytest.mark.slow

NOTEBOOK = ROOT / "docs" / "examples" / "judge_a_picture.ipynb"


def example_of(page):
    return re.search(r"```python\n(from cgidm import .*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)[1]


def test_the_page_of_docs_has_the_readme_s_example():
    assert example_of("README.md") == example_of("docs/usage/python.md")
    assert len([line for line in example_of("README.md").splitlines() if line]) <= 8


def test_the_page_of_docs_imports_all_that_it_uses():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "usage" / "python.md").read_text(), re.DOTALL)
    assert len(blocks) == 2
    tree = ast.parse("\n".join(blocks))
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    exec(compile(ast.Module(imports, []), "python.md", "exec"), known := {})
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    made = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    assert {node.id for node in names} <= made | known.keys() | vars(builtins).keys()


def test_the_readme_s_example_judges_a_picture(tmp_path, monkeypatch, capsys):
    """With few draws and steps; the mirror test has all of its draws, since it is what tells the used picture."""
    monkeypatch.chdir(tmp_path)
    use_few_draws(monkeypatch.setitem, mirror_draws=PRESETS["fast"].mirror_draws, steps=2)
    exec(example_of("README.md"), {"__name__": "__main__"})
    printed = capsys.readouterr().out
    assert re.search(r"consistent with training on this image +0\.0\d", printed)
    assert re.search(r"no evidence +0\.\d", printed)


def test_the_notebook_runs(tmp_path, monkeypatch):
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    few = "from tests.support.quick_presets import use_few_draws\nuse_few_draws(steps=2)"
    notebook.cells.insert(0, nbformat.v4.new_code_cell(few))
    NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = "".join(o.get("text", "") for cell in notebook.cells for o in cell.get("outputs", []))
    assert "weak evidence" in printed  # with few draws the mirror test is not asked, and 40 controls show no more
