"""What a judge reads: the answer and its limits first, the same on paper, and no word that says more than it may."""

import dataclasses
import re
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from cgidm.evidence.bundle_writer import write_evidence
from cgidm.evidence.record import ModelsRecord
from cgidm.evidence.reports.blocks import Heading, NewPage, Pictures, ScoreStrip
from cgidm.evidence.reports.report import report_blocks
from cgidm.evidence.typesetting.pdf import report_pdf
from cgidm.judging.verdict import judge
from cgidm.messages import english
from tests.support.bundles import record_of
from tests.support.paths import ROOT
from tests.support.results import HOSTILE, block_texts, result_of

NEVER = re.compile(r"\b(proof|guilty|infringes)\b", re.IGNORECASE)
MODELS = ModelsRecord(base=HOSTILE, suspect="作品\u202e/\x1b[31mb", prompt="p" * 500, commits={"base": "c0ffee"})


@pytest.fixture(scope="module", params=[1, 2, 9])
def made(request, tmp_path_factory):
    """A bundle of so many pictures."""
    out = tmp_path_factory.mktemp("report")
    write_evidence(result_of([i - 0.5 for i in range(request.param)]), out, MODELS)
    return out


def blocks_of(out):
    return report_blocks(record_of(out), "f" * 64)


def test_the_first_page_answers(made):
    blocks = blocks_of(made)
    first = blocks[: blocks.index(NewPage())]
    said = " ".join(w for b in first for w in block_texts(b))
    record = record_of(made)
    for judged in [record.set or record.pictures[0], *record.pictures]:
        assert judged.outcome.lower() in said.lower()
    assert (
        "false-positive rate of 1%" in said
        and "between that rate and 5%" in said
        and "40 control pictures" in said
        and "p = " in said
    )
    assert "p = 0.000)" not in said  # which no p-value is
    assert "does not mean that the picture was never used" in said and "statistical evidence" in said
    assert "are like the picture in every way except that they were certainly not used" in said
    assert "SHA-256" in said and MODELS.base in said and "c0ffee" in said and "f" * 64 in said
    titles = [b.text for b in blocks if isinstance(b, Heading) and b.level < 3]
    assert titles[0] == "Was this picture used to train that model?"
    assert titles.index("Answer") < titles.index("What was compared") < titles.index("The method in plain words")
    assert "How to check this" in titles


def test_it_has_blanks_for_who_and_from_where_and_a_line_for_every_control_picture(made):
    said = [w for b in blocks_of(made) for w in block_texts(b)]
    blanks = ("case", "wanted_by", "run_by", "picture_from", "suspect_from", "signed")
    assert {english()[f"report.form.{name}"] for name in blanks} <= set(said)
    for control in record_of(made).controls:
        assert {control.name, control.image, control.sha256} <= set(said)
    assert "Neither that rate nor the p-value is the chance" in " ".join(said)


def test_it_says_not_to_go_by_the_recovery_and_names_control_pictures_only_where_there_are_some(made):
    record = record_of(made)
    alone, compared = english()["report.limit.image.alone"], english()["report.limit.image"]
    for scores, there, absent in ((record.control_scores, compared, alone), ((), alone, compared)):
        blocks = report_blocks(dataclasses.replace(record, control_scores=scores), "f" * 64)
        said = [w for b in blocks for w in block_texts(b)]
        assert there in said and absent not in said


def test_a_set_is_told_how_many_and_what_correction_leaves(made):
    said = " ".join(w for b in blocks_of(made) for w in block_texts(b))
    together = record_of(made).set
    if together is None:
        assert "Holm" not in said
        return
    assert f"at least {together.used.low} were used" in said and not together.used.bounded_above
    left = sum(p <= 0.05 for p in together.adjusted)
    assert f"(Holm), {left} pictures" in said
    found = sum(p <= 0.05 for p in together.adjusted_bh)
    assert found >= left and f"Benjamini and Hochberg's procedure, {found} stay there" in said


def test_each_picture_has_its_images_its_scores_and_its_place_among_the_controls(made):
    blocks, record = blocks_of(made), record_of(made)
    strips = [b for b in blocks if isinstance(b, ScoreStrip)]
    assert [s.score for s in strips] == [p.scores["loss_contrast"] for p in record.pictures]
    for strip in strips:
        assert all(0 < strip.position(s) < 1 for s in (*strip.controls, strip.score, 0.0))
    shown = [file for b in blocks if isinstance(b, Pictures) for _, file in b.files]
    assert len(shown) == 3 * len(strips) and all((made / name).is_file() for name in shown)
    page = (made / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") == len(strips) and page.count("this picture: ") == len(strips)


def test_texts_from_outside_are_on_one_line_and_cannot_command_a_terminal(made):
    every = "".join(w for b in blocks_of(made) for w in block_texts(b))
    assert every.isprintable() and "作品" in every and "\u202e" not in every


@pytest.mark.parametrize("made", [9], indirect=True)  # it has all that the others have
def test_a_pdf_is_the_same_from_the_same_record_whenever_and_wherever_it_is_made(made, tmp_path):
    date = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    (tmp_path / "a.pdf").write_bytes(report_pdf(blocks_of(made), lambda name: (made / name).read_bytes(), date))
    code = (
        "import sys, json; from pathlib import Path; from datetime import datetime, UTC\n"
        "from cgidm.evidence.typesetting.pdf import report_pdf\n"
        "from cgidm.evidence.reports.report import report_blocks\n"
        "from cgidm.evidence.record import read_record\n"
        "made, out = map(Path, sys.argv[1:])\n"
        "blocks = report_blocks(read_record((made / 'result.json').read_bytes(), 'x'), 'f' * 64)\n"
        "date = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)\n"
        "out.write_bytes(report_pdf(blocks, lambda name: (made / name).read_bytes(), date))"
    )
    run = [sys.executable, "-c", code, str(made), str(tmp_path / "b.pdf")]
    subprocess.run(run, check=True, cwd=ROOT, env={"PYTHONHASHSEED": "7", "PATH": "/usr/bin:/bin"})
    assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()
    assert b"D:20260102030405" in (tmp_path / "a.pdf").read_bytes()


def test_without_controls_it_says_so(tmp_path):
    result = result_of([1.0])
    silent = judge(1.0, [], [])
    picture = type(result.pictures[0])(**{**vars(result.pictures[0]), "verdict": silent})
    bare = type(result)(**{**vars(result), "pictures": (picture,), "controls": (), "control_scores": ()})
    write_evidence(bare, tmp_path, MODELS)
    said = " ".join(w for b in blocks_of(tmp_path) for w in block_texts(b))
    assert "Cannot tell" in said and "no p-value" in said and "none were given" in said
    assert "--controls FOLDER" in said


def test_no_report_page_or_readme_says_more_than_it_may(made):
    texts = {
        "report.html": re.sub(r"base64,[^']*", "", (made / "report.html").read_text(encoding="utf-8")),
        "report.pdf": " ".join(w for b in blocks_of(made) for w in block_texts(b)),
        "README.md": (ROOT / "README.md").read_text(),
    }
    sources = [
        *(ROOT / "cgidm" / "page").rglob("*.py"),
        *(ROOT / "cgidm" / "page" / "html" / "languages").glob("*.json"),
        ROOT / "app.py",
    ]
    sources += [
        *(ROOT / "cgidm" / "judging").glob("*.py"),
        *(ROOT / "cgidm" / "evidence").glob("*.py"),
        *(ROOT / "cgidm" / "messages" / "en").glob("*.json"),
    ]
    texts |= {path.name: path.read_text(encoding="utf-8") for path in sources}
    assert len(texts) > 30
    assert {name: found for name, text in texts.items() if (found := NEVER.findall(text))} == {}
