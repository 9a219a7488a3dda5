"""The Python of README, docs and notebook is run, word for word."""

import re
import subprocess
import sys

import pytest

from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

NOTEBOOK = ROOT / "docs" / "examples" / "judge_a_picture.ipynb"


def example_of(page):
    return re.search(r"```python\n(from cgidm import .*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)[1]


def test_the_page_of_docs_has_the_readme_s_example():
    assert example_of("README.md") == example_of("docs/usage/python.md")
    assert len([line for line in example_of("README.md").splitlines() if line]) <= 8


def test_the_readme_s_example_judges_a_picture(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{example_of('README.md')}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"consistent with training on this image +0\.0\d", done.stdout)
    assert re.search(r"no evidence +0\.\d", done.stdout)


def test_the_notebook_runs(tmp_path, monkeypatch):
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    few = "from tests.support.quick_presets import use_few_draws\nuse_few_draws()"
    notebook.cells.insert(0, nbformat.v4.new_code_cell(few))  # the README's example is run as it stands
    NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = "".join(o.get("text", "") for cell in notebook.cells for o in cell.get("outputs", []))
    assert "weak evidence" in printed  # with few draws the mirror test is not asked, and 40 controls show no more
