"""The first paragraph of both reports says where things come from; a test reads it off the PDF, too."""

import dataclasses
import html
import re
from datetime import datetime

import pytest

from cgidm.evidence.bundle_writer import write_evidence
from cgidm.evidence.record import BankRecord, StatementsRecord
from cgidm.evidence.record_of_result import make_record, without_homes
from cgidm.evidence.reports.blocks import Heading, Text
from cgidm.evidence.reports.report import report_blocks
from cgidm.evidence.reports.sources import origin_sentences, setting_sentences
from cgidm.evidence.typesetting.html import report_html
from cgidm.evidence.typesetting.pdf import report_pdf
from cgidm.intake.known_bases.table import known_bases
from cgidm.method.config import PRESETS
from tests.support.bundles import MODELS
from tests.support.pdf_text import pdf_text
from tests.support.results import result_of

LOCAL = dataclasses.replace(MODELS, base="/home/anna/models/sd", suspect="/home/anna/x.safetensors", commits={})
PUBLIC = dataclasses.replace(
    MODELS, base="org/base@c0ffee", suspect="org/lora@f00d", commits={"base": "c0ffee", "suspect": "f00d"}
)
HANDED_OVER = "The suspect is a file that was handed over. Nothing here shows who published it."


def said_of(models, **changes):
    record = make_record(result_of([2.0]), models)
    return " ".join(origin_sentences(dataclasses.replace(record, **changes)))


def test_what_was_handed_over_is_called_so():
    said = said_of(LOCAL)
    assert HANDED_OVER in said and "The base is a file that was handed over, too" in said
    assert "Who made the control pictures is not known here" in said


def test_what_was_read_from_the_hub_is_anchored():
    said = said_of(PUBLIC)
    assert "handed over" not in said
    assert "“org/lora@f00d”, commit f00d" in said and "“org/base@c0ffee”, commit c0ffee" in said


def test_a_bank_is_as_handed_over():
    bank = BankRecord(name="b", sha256="0" * 64, models=8, pictures=20, nulls=80, decoys=False, recipe={})
    said = said_of(PUBLIC, bank=bank)
    assert "a table of numbers, as handed over" in said and "control pictures" not in said


def test_another_seed_and_other_settings_are_told():
    plain = make_record(dataclasses.replace(result_of([2.0]), config=PRESETS["fast"]), MODELS)
    assert list(setting_sentences(plain)) == []
    config = dataclasses.replace(PRESETS["fast"], loss_draws=4, seed=7)
    changed = make_record(dataclasses.replace(result_of([2.0]), config=config), MODELS)
    assert "loss draws 4 instead of 20" in " ".join(setting_sentences(changed))
    assert "The seed is 7" in " ".join(origin_sentences(changed))
    unknown = dataclasses.replace(plain, config=dataclasses.replace(plain.config, preset="best"))
    assert "“best” is no preset of this tool" in " ".join(setting_sentences(unknown))


def test_both_reports_say_it_in_their_first_paragraph(tmp_path):
    record = write_evidence(result_of([2.0]), tmp_path, LOCAL)
    first = next(b.text for b in report_blocks(record, "0" * 64) if isinstance(b, Text))
    assert HANDED_OVER in first
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert html.unescape(re.findall(r"<p>(.*?)</p>", page)[0]) == first
    text = pdf_text((tmp_path / "report.pdf").read_bytes())
    words, start = re.sub(r"\s+", "", text), re.sub(r"\s+", "", first)
    assert start in words and words.index(start) < words.index("Answer")
    assert "Nothinginthebundleconfirmsthedate" in words


BANK = BankRecord(name="b", sha256="0" * 64, models=8, pictures=20, nulls=80, decoys=False, recipe={})
KNOWN = {f"m/{i}.safetensors": d for i, d in enumerate(sorted(known_bases()[0].networks)[:1])}
FIRST_PARAGRAPH = {  # what must stand there -> how a record comes by it, and its words
    "a typed bank": ({"bank": BANK}, "The bank of null models is a table of numbers, as handed over."),
    "an uploaded suspect": ({}, HANDED_OVER),
    "controls of strangers": ({}, "Who made the control pictures is not known here."),
    "controls as stated": (
        {"statements": StatementsRecord(controls="by Anna, 2023")},
        "Whoever ran this states of the control pictures: “by Anna, 2023”. Nothing here confirms it",
    ),
    "an unknown base": ({}, "The base is unknown: its files are none of the public models that this tool knows"),
    "a changed seed": ({"seed": 7}, "The seed is 7. It is 0 unless somebody changes it."),
    "a second attempt": (
        {"statements": StatementsRecord(attempt=2)},
        "It is run number 2 on this suspect in one visit to a page. What the runs before it found is not here.",
    ),
}


@pytest.mark.parametrize("what", FIRST_PARAGRAPH)
def test_the_first_paragraph_of_page_and_paper_says(what):
    changes, words = FIRST_PARAGRAPH[what]
    result = result_of([2.0])
    if seed := changes.get("seed"):
        result = dataclasses.replace(result, config=dataclasses.replace(result.config, seed=seed))
    record = make_record(result, LOCAL, result.controls)
    record = dataclasses.replace(record, **{k: v for k, v in changes.items() if k != "seed"})
    blocks = report_blocks(record, "0" * 64)
    cut = blocks[: next(i for i, b in enumerate(blocks) if isinstance(b, Heading) and b.text == "Answer") + 1]
    page = html.unescape(re.findall(r"<p>(.*?)</p>", report_html(cut, lambda _: b""))[0])
    assert words in page
    paper = re.sub(r"\s+", "", pdf_text(report_pdf(cut, lambda _: b"", datetime.fromisoformat(record.date))))
    start = re.sub(r"\s+", "", page)
    assert start in paper and paper.index(start) < paper.index("Answer")


def test_a_base_that_is_known_is_named():
    record = make_record(dataclasses.replace(result_of([2.0]), fingerprints=KNOWN, base_files=tuple(KNOWN)), LOCAL)
    said = " ".join(origin_sentences(record))
    assert f"By the SHA-256 of its files it is a public model: {known_bases()[0].name}." in said
    assert "The base is unknown" not in said and "Nothing here shows that it is the public model" not in said


@pytest.mark.parametrize(
    ("path", "written"),
    [
        ("/home/anna/models/sd", "~/models/sd"),
        ("/Users/anna/x.png", "~/x.png"),
        ("C:\\Users\\anna\\x.png", "~\\x.png"),
        ("/mnt/data/home/anna/x.png", "~/x.png"),
        ("/root/x.png", "~/x.png"),
        ("/srv/models/sd", "/srv/models/sd"),
        ("org/home/anna", "org/home/anna"),
    ],
)
def test_home_folders_are_left_out_of_every_path(path, written):
    models = dataclasses.replace(MODELS, base=path, sha256={})
    result = dataclasses.replace(result_of([2.0]), fingerprints={f"{path}/unet.safetensors": "0" * 64})
    record = without_homes(make_record(result, models))
    assert record.models.base == written and [*record.models.sha256] == [f"{written}/unet.safetensors"]
