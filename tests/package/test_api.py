"""The public names stay what they are, whatever was imported before."""

import subprocess
import sys

import cgidm
from tests.support.paths import ROOT


def test_no_module_hides_a_name():
    """`cgidm.authenticate` stays the function after everything was imported."""
    code = "import cgidm.cli, cgidm.page.runs.gpu_worker; from cgidm import authenticate; assert callable(authenticate)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    names = {name for names in cgidm.NAMES.values() for name in names}
    assert not names & {p.stem for p in (ROOT / "cgidm").iterdir()}
