"""How Sphinx builds these pages: `make docs`, warnings are errors."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

project = "cgidm"
author = "The contributors"
copyright = author
release = version = re.search(r'__version__ = "(.*)"', (ROOT / "cgidm" / "__init__.py").read_text())[1]  # type: ignore

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinxcontrib.mermaid"]
exclude_patterns = ["_build"]
html_theme = "pydata_sphinx_theme"
html_title = "cgidm"
html_theme_options = {"show_prev_next": False, "secondary_sidebar_items": ["page-toc"]}
html_show_sourcelink = False

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # tests/docs/test_examples.py executes the notebook

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
