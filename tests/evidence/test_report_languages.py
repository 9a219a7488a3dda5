"""Reports in five languages: the same codes, the same values, no English sentence in another language."""

import ast
import dataclasses
import re
import string
from typing import get_args

import pytest

from cgidm.cli import main
from cgidm.evidence.bundle_reader import open_bundle
from cgidm.evidence.bundle_writer import write_evidence
from cgidm.evidence.recompute import recompute
from cgidm.evidence.reports.blocks import Command
from cgidm.evidence.reports.report import report_blocks
from cgidm.evidence.seal import bundle_record
from cgidm.messages import Language, english, translations
from cgidm.resources import japanese_font
from tests.support.bundles import MODELS, record_of, reseal
from tests.support.paths import ROOT
from tests.support.pdf_text import pdf_text
from tests.support.results import block_texts, result_of

OTHERS = [language for language in get_args(Language) if language != "en"]
SENTENCE = re.compile(r"\b(the|of|is|are|that|with|which|not|requested)\b")  # no words of the others
CODES = [code for code in english() if code.startswith("report.")]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The same run in each language, with a line-up's worth of sentences."""
    made = {}
    for language in get_args(Language):
        folder = tmp_path_factory.mktemp(language)
        write_evidence(result_of([2.0, 0.1]), folder, MODELS, language=language)
        made[language] = folder
    return made


def fields(sentence):
    return {(name, spec) for _, name, spec, _ in string.Formatter().parse(sentence) if name is not None}


@pytest.mark.parametrize("language", OTHERS)
def test_every_sentence_is_in_every_language_with_the_same_values(language):
    table = translations(language)
    assert [code for code in CODES if code not in table] == []
    assert [code for code in CODES if fields(table[code]) != fields(english()[code])] == []
    assert not [code for code in table if code.startswith("report.") and code not in english()]


@pytest.mark.parametrize("language", OTHERS)
def test_a_report_has_no_sentence_in_english(folders, language):
    record = dataclasses.replace(record_of(folders[language]), versions={}, models=MODELS)
    for block in report_blocks(record, "f" * 64):
        for text in () if isinstance(block, Command) else block_texts(block):
            assert len(SENTENCE.findall(text)) < 2, text


def test_the_reports_say_the_same_numbers(folders):
    """No language leaves out a rate or a score."""
    numbers = {}
    for language, folder in folders.items():
        texts = [t for b in report_blocks(record_of(folder), "f" * 64) for t in block_texts(b)]
        numbers[language] = {n for t in texts for n in re.findall(r"\d+\.\d{2,}", t)}
    assert len(numbers["en"]) > 10 and all(found == numbers["en"] for found in numbers.values())


@pytest.mark.parametrize("language", OTHERS)
def test_verify_makes_the_same_report_again(folders, language):
    with open_bundle(folders[language]) as bundle:
        assert recompute(bundle, bundle_record(bundle)).agrees
    html = (folders[language] / "report.html").read_text(encoding="utf-8")
    assert f"<html lang='{language}'>" in html and translations(language)["report.title"] in html


def test_paper_is_set_with_japanese_letters_and_lacks_none(folders):
    said = re.sub(r"[\u200b ]", "", pdf_text((folders["ja"] / "report.pdf").read_bytes()))
    assert "[U+" not in said and translations("ja")["report.method"] in said
    assert japanese_font().is_file() and (japanese_font().parent / "OFL.txt").is_file()


def test_a_letter_that_no_font_has_is_written_as_its_code(tmp_path, caplog):
    result = result_of([2.0])
    named = dataclasses.replace(result.pictures[0].picture, name="花と鳥\U0002000b.png")
    renamed = dataclasses.replace(result.pictures[0], picture=named)
    write_evidence(dataclasses.replace(result, pictures=(renamed,)), tmp_path, MODELS)
    said = pdf_text((tmp_path / "report.pdf").read_bytes()).replace("\u200b", "")
    assert "花と鳥[U+2000B].png" in said.replace(" ", "")
    assert [r for r in caplog.records if r.name.startswith("fpdf") and "glyphs" in r.getMessage()] == []


def test_a_language_that_nobody_speaks_is_refused(folders, tmp_path, capsys):
    import shutil

    folder = shutil.copytree(folders["de"], tmp_path / "folder")
    reseal(folder, lambda record: record.update(language="xx"))
    assert main(["verify", str(folder)]) == 1
    assert "record.language: expected one of" in capsys.readouterr().out


def test_what_a_report_languages_is_a_code():
    """No sentence stands in the code that writes a report: every text with a space and a small letter is a code's."""
    for name in ("reports/report", "reports/sources", "lineup_sheet"):
        tree = ast.parse((ROOT / "cgidm" / "evidence" / f"{name}.py").read_text())
        docs = {
            ast.get_docstring(n, clean=False) for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.Module)
        }
        texts = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
        sentences = {t for t in texts - docs if re.search(r"[a-z]{3,} [a-z]{2,}", t) and not t.startswith("python -m")}
        assert sentences == set(), name
