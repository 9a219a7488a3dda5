"""Make the files that every bundle holds for whoever checks it without this tool.

`verify.py` is generated from the modules that `cgidm verify` itself runs: their text stands in it unchanged, so there
is no second copy of a rule. Equal versions make equal bytes; `verify` names a bundle whose script is another one.
"""

import ast
import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from ... import __version__
from ...messages import english, render, translations
from ..record import FORMAT, Record

SCRIPT, GUIDE = "verify.py", "HOW-TO-CHECK.txt"
# SHA-256 of the scripts of released versions, which a bundle may hold instead of this version's
RELEASED: frozenset[str] = frozenset()
PACKAGE = "cgidm"
MAIN = f"{PACKAGE}.evidence.standalone.script"
SOURCE = Path(__file__).parents[2]
QUOTES = "'''"
HEAD = '''#!/usr/bin/env python3
"""Check a bundle of evidence with Python alone (3.9 or newer): seal, SHA-256 and names of its files.

    python3 -I verify.py                 the bundle in whose folder this file lies
    python3 -I verify.py evidence.zip    a zip, which is not unpacked

It is made of modules of cgidm {version}, whose text follows unchanged. Whoever made a bundle could have changed this
file, too: take it from somebody whom you trust, or compare its SHA-256 with theirs.
"""

import __future__

import importlib.abc
import importlib.util
import sys
from pathlib import Path

SENTENCES = {sentences}
SOURCES = {{}}
'''
TAIL = '''

class Sources(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the modules above, and no others."""

    def find_spec(self, name, path=None, target=None):
        if name not in SOURCES:
            return None
        is_package = any(other.startswith(name + ".") for other in SOURCES)
        return importlib.util.spec_from_loader(name, self, is_package=is_package)

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        name, lazy = module.__name__, __future__.annotations.compiler_flag
        module.__file__ = __file__
        exec(compile(SOURCES[name], name, "exec", flags=lazy, dont_inherit=True), module.__dict__)


if __name__ == "__main__":
    sys.meta_path.insert(0, Sources())
    messages = importlib.import_module("{package}.messages")
    messages.english = lambda: SENTENCES
    script = importlib.import_module("{main}")
    sys.exit(script.main(sys.argv[1:], Path(__file__), {newest}, "{version}"))
'''


def check_files(record: Record) -> dict[str, bytes]:
    """The files for a check without this tool, by their names. Bundles of older formats have none."""
    return {GUIDE: check_guide(record), SCRIPT: check_script()} if record.format >= 5 else {}


@lru_cache(maxsize=1)
def check_script() -> bytes:
    """The bytes of `verify.py`."""
    sentences = {code: sentence for code, sentence in english().items() if code.startswith("evidence.")}
    table = json.dumps(sentences, indent=4, ensure_ascii=False, sort_keys=True)
    parts = [HEAD.format(version=__version__, sentences=table)]
    for name in module_names():
        text = module_text(name)
        assert QUOTES not in text, f"{name} holds {QUOTES}, which ends its text in {SCRIPT}"
        parts.append(f"SOURCES[{name!r}] = r{QUOTES}{text}{QUOTES}\n")
    values = {"{package}": PACKAGE, "{main}": MAIN, "{newest}": str(FORMAT), "{version}": __version__}
    tail = TAIL
    for name, value in values.items():
        tail = tail.replace(name, value)
    return ("".join(parts) + tail).encode()


def check_guide(record: Record) -> bytes:
    """The bytes of `HOW-TO-CHECK.txt`, in the language of the record's reports."""
    table = translations(record.language)
    steps = ("title", "seal", "page", "python", "trust", "full", "rerun", "limits")
    paragraphs = [render(f"report.guide.{step}", {"script": SCRIPT, "version": __version__}, table) for step in steps]
    return ("\n\n".join(paragraphs) + "\n").encode()


def module_names() -> list[str]:
    """Name the modules of the script and their packages, each after what it needs is named, or before."""
    found, waiting = set(), [MAIN]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        waiting += _imports(name)
    packages = {name.rpartition(".")[0] for name in found}
    while longer := {name.rpartition(".")[0] for name in packages} - packages - {""}:
        packages |= longer
    return sorted(found | packages)


def module_text(name: str) -> str:
    """The text of a module; none of the package at the top, whose names are those of the whole library."""
    return "" if name == PACKAGE else _path(name).read_text(encoding="utf-8")


def _path(name: str) -> Path:
    place = SOURCE.joinpath(*name.split(".")[1:])
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


def _imports(name: str) -> Iterator[str]:
    """The modules of this package that a module imports when it is itself imported."""
    is_package = _path(name).name == "__init__.py"
    for node in ast.parse(module_text(name)).body:
        if isinstance(node, ast.ImportFrom) and node.level:
            parts = name.split(".")
            base = parts[: len(parts) - node.level + is_package]
            module = ".".join([*base, *(node.module or "").split(".")]).rstrip(".")
            inner = [f"{module}.{alias.name}" for alias in node.names]
            yield from [each for each in inner if _path(each).is_file()] or [module]
