"""The house stays easy to see: files stay short, folders small, imports light, names plain, messages whole.

Which module may import which is stated in pyproject.toml and checked by `lint-imports`.
"""

import ast
import re
import string
import subprocess
import sys

from cgidm.messages import english
from tests.support.paths import ROOT

HEAVY = ("diffusers", "transformers", "peft", "gradio")
PACKAGES = ("cgidm", "eval")
SOURCES = sorted(p for package in PACKAGES for p in (ROOT / package).rglob("*.py"))
# Words with a private meaning: none stands in a public name. docs/glossary.md has the words that took their place.
PRIVATE_WORDS = {
    *("foreseen", "foresee", "carry_out", "moment", "diary", "turns", "hand_over", "held_by", "twin_of", "halved"),
    *("halve", "in_turn", "at_once", "innocent", "look_further", "put_down", "strangers", "beforehand", "find_lack"),
    *("faults", "complaints", "first_alike", "surroundings", "elsewhere"),
}
PRIVATE_NAMES = {  # as a whole name
    *("asked", "shown", "said", "kept", "keep", "settle", "moved", "shift", "whole", "careful", "stay", "seat", "bind"),
    *("bound", "job", "update", "place", "terms", "term", "way", "negatives", "strange", "say", "words", "outside"),
    *("beside", "maker", "clean", "sheet", "ends", "side", "alike", "looks", "account", "tuned", "finetuned"),
}


def test_importing_the_library_is_light():
    code = f"import sys, cgidm, cgidm.conductor, cgidm.cli; print([m for m in {HEAVY} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
    run = subprocess.run(
        [sys.executable, "-c", "import sys, cgidm; print('torch' in sys.modules or 'numpy' in sys.modules)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "False"


def test_no_file_is_long():
    files = [*SOURCES, *(ROOT / "tests").rglob("*.py")]
    assert {p.name: n for p in files if (n := len(p.read_text().splitlines())) > 400} == {}


def test_no_folder_is_crowded():
    """At most 20 entries, `__init__.py` and what Python writes not counted."""
    folders = [p for package in PACKAGES for p in (ROOT / package).rglob("*") if (p / "__init__.py").is_file()]
    crowded = {}
    for folder in [*(ROOT / package for package in PACKAGES), *folders]:
        entries = [p for p in folder.iterdir() if p.name not in ("__init__.py", "__pycache__", "py.typed")]
        if len(entries) > 20:
            crowded[str(folder.relative_to(ROOT))] = len(entries)
    assert crowded == {}


def test_every_folder_of_code_is_a_package():
    assert [p for p in SOURCES if not (p.parent / "__init__.py").is_file()] == []


def test_public_names_hold_no_private_word():
    found = []
    for path in SOURCES:
        for name in public_names(ast.parse(path.read_text()).body):
            plain = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.rpartition(".")[2]).lower()
            words = re.compile(rf"(?:^|_)(?:{'|'.join(sorted(PRIVATE_WORDS))})(?:_|$)")
            if plain in PRIVATE_NAMES or words.search(plain):
                found.append(f"{path.relative_to(ROOT)}: {name}")
    assert found == []


def public_names(body, prefix=""):
    """Classes, functions, constants, methods and fields whose name has no leading underscore."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.AnnAssign):
            names = [node.target.id] if isinstance(node.target, ast.Name) else []
        elif isinstance(node, ast.Assign):
            names = [t.id for t in node.targets if isinstance(t, ast.Name)]
        else:
            names = []
        for name in names:
            if not name.startswith("_"):
                yield prefix + name
                if isinstance(node, ast.ClassDef):
                    yield from public_names(node.body, f"{name}.")


def calls_with_codes(path):
    """Every `UserError(...)` and `note(...)` of a file: line, the codes that it may have, names of the parameters.

    A code that is chosen by a condition is each of its two; one that is put together or held in a name is left to
    `test_no_sentence_is_unused`.
    """
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        if node.func.id in ("UserError", "note") and node.args:
            code = node.args[0]
            choices = [code.body, code.orelse] if isinstance(code, ast.IfExp) else [code]
            codes = [c.value for c in choices if isinstance(c, ast.Constant)]
            made = isinstance(code, ast.JoinedStr) and re.fullmatch(r"[a-z_]+\.[a-z_.]*", code.values[0].value)
            assert codes or isinstance(code, ast.Name | ast.Call | ast.Subscript) or made, (
                f"{path}:{node.lineno}: a sentence, not a code"
            )
            yield node.lineno, codes, {k.arg for k in node.keywords}


def fields_of(sentence):
    """The parameters that a sentence names."""
    parts = {field for _, field, _, _ in string.Formatter().parse(sentence) if field is not None}
    return {re.split(r"[.\[]", part)[0] for part in parts}


def test_every_message_has_its_sentence():
    """Each code is in a table, and comes with all parameters that its sentence names."""
    import eval as benchmark  # registers its own sentences

    assert benchmark.__doc__
    table, wrong = english(), []
    for path in SOURCES:
        for line, codes, names in calls_with_codes(path):
            for code in codes:
                where = f"{path.relative_to(ROOT)}:{line}"
                if code not in table:
                    wrong.append(f"{where}: no sentence for {code!r}")
                elif None not in names and (lacking := fields_of(table[code]) - names):
                    wrong.append(f"{where}: {code} lacks {sorted(lacking)}")
    assert wrong == []


def test_no_sentence_is_unused():
    """Every code of a table stands in the code as a text, as a whole or as the beginning of an f-string."""
    texts, starts = set(), set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.add(node.value)
            if isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
                starts.add(str(node.values[0].value))
    starts = {s for s in starts if re.fullmatch(r"[a-z_]+\.[a-z0-9_.]*", s)}
    used = {code for code in english() if code in texts or any(code.startswith(s) for s in starts)}
    conditions = {f"{code}.raised_if" for code in used}  # `Flag.condition` and `FlagRecord.condition` make these
    assert english().keys() - used - conditions == set()
