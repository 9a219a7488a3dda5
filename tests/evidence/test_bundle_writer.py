"""Evidence on disk: lossless, hashed, self-contained, and nothing in it that a stranger wrote is markup."""

import dataclasses
import json
import zipfile
from hashlib import sha256

import numpy as np
import pytest
import torch
from PIL import Image

from cgidm.evidence.bundle_writer import pack_evidence, write_evidence
from cgidm.evidence.record import ModelsRecord, Record, StoppedRecord
from cgidm.judging.flags import NOT_FINITE
from cgidm.judging.portfolio import judge_set
from cgidm.judging.result import Result
from cgidm.pictures.images import from_uint8, read_picture, to_uint8
from tests.support.bundles import MODELS
from tests.support.paths import EXAMPLES
from tests.support.results import CONTROL_SCORES, HOSTILE, result_of

MEMBERS = EXAMPLES / "rollandin-lora" / "member"


@pytest.mark.parametrize(("power", "said"), [(0.3, "cannot tell"), (0.9, "no evidence")])
def test_a_set_under_a_weak_suspect_cannot_be_told_like_its_pictures(power, said):
    result = result_of([0.2, 0.3, 0.4], power=power)
    assert result.together is not None
    assert {result.together.outcome, *(r.verdict.outcome for r in result.pictures)} == {said}
    assert result_of([2.0, 3.0, 4.0], power=power).together.outcome.startswith("consistent")


@pytest.fixture
def evidence(tmp_path) -> tuple[Result, Record]:
    result = result_of([2.0, 3.0])
    return result, write_evidence(result, tmp_path / "out", ModelsRecord(base=HOSTILE, suspect="b", prompt=HOSTILE))


def test_pictures_are_written_without_loss(evidence, tmp_path):
    result, _ = evidence
    for number, r in enumerate(result.pictures):
        for role, image in (("original", r.picture.image), ("partial", r.partial), ("recovered", r.recovered)):
            with Image.open(tmp_path / "out" / f"{number:02d}-{role}.png") as written:
                np.testing.assert_array_equal(np.asarray(written), to_uint8(image))


def test_what_the_method_saw_is_read_back_exactly(tmp_path):
    every = torch.arange(256).float().reshape(1, 16, 16).expand(3, 16, 16) / 255  # each value of 8 bits
    seen = [every, *(read_picture(p, 128).image for p in sorted(MEMBERS.iterdir())[:3])]
    for image in seen:
        Image.fromarray(to_uint8(image)).save(tmp_path / "original.png")
        with Image.open(tmp_path / "original.png") as written:
            assert torch.equal(from_uint8(np.array(written)), image)


def test_control_pictures_are_in_the_bundle_with_the_digest_of_the_given_file(evidence, tmp_path):
    result, record = evidence
    for control, stated in zip(result.controls, record.controls, strict=True):
        assert (stated.name, stated.sha256) == (control.name, control.sha256)
        with Image.open(tmp_path / "out" / stated.image) as written:
            np.testing.assert_array_equal(np.asarray(written), to_uint8(control.image))


@pytest.mark.usefixtures("evidence")
def test_a_second_run_leaves_nothing_of_the_first_behind(tmp_path):
    (tmp_path / "out" / "manifest.sig").write_bytes(b"of the first run")
    (tmp_path / "out" / "mine.png").write_bytes(b"not ours")
    fewer = dataclasses.replace(result_of([2.0]), controls=(), control_scores=())
    write_evidence(fewer, tmp_path / "out", MODELS)
    left = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert left - {"mine.png"} == {
        *("result.json", "report.html", "report.pdf", "manifest.json", "seal.txt", "HOW-TO-CHECK.txt", "verify.py"),
        *("00-original.png", "00-partial.png", "00-recovered.png"),
    }


def test_a_zip_holds_what_its_manifest_states_and_is_the_same_twice(evidence, tmp_path):
    (tmp_path / "out" / "left-over.png").write_bytes(b"of an earlier run")
    first = pack_evidence(tmp_path / "out", tmp_path / "a.zip")
    second = pack_evidence(tmp_path / "out", tmp_path / "b.zip")
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as bundle:
        stated = json.loads(bundle.read("manifest.json"))["sha256"]
        assert set(bundle.namelist()) == {*stated, "manifest.json", "seal.txt"} and len(stated) == 5 + 6 + 40
        assert all(sha256(bundle.read(name)).hexdigest() == digest for name, digest in stated.items())


def test_a_report_needs_nothing_else_and_holds_no_markup_from_outside(evidence, tmp_path):
    report = (tmp_path / "out" / "report.html").read_text()
    assert "<script" not in report and "&lt;script&gt;" in report
    assert report.count("data:image/png;base64,") == 6 and "http" not in report


def test_the_record_gives_one_answer_for_several_pictures(evidence):
    _, record = evidence
    assert record.set.outcome == "consistent with training on some of these images"
    assert record.set.p_value <= 0.05 and record.stopped is None
    assert result_of([2.0]).together is None


def test_a_run_that_was_stopped_is_kept_and_not_judged(tmp_path):
    record = write_evidence(result_of([9.0, 9.0], steps=12), tmp_path, MODELS)
    assert record.stopped == StoppedRecord(step=12, of=1000) and record.set.outcome == "cannot tell"
    for picture in record.pictures:
        assert picture.outcome == "cannot tell" and "step 12 of 1000" in str(picture.reason)
        assert picture.p_value is None and [f.name for f in picture.flags] == ["stopped"]


@pytest.mark.parametrize(
    ("scores", "controls", "said"),
    [
        ([5.0] * 5, CONTROL_SCORES, "consistent with training on some of these images"),
        ([0.5] * 5, CONTROL_SCORES, "no evidence"),
        ([-0.1] * 5, [c - 9 for c in CONTROL_SCORES], "no evidence"),  # above the controls, but not above the base
        ([5.0], [0.1], "cannot tell"),
        ([5.0, None], CONTROL_SCORES, "cannot tell"),
        ([5.0, float("nan")], CONTROL_SCORES, "cannot tell"),
    ],
)
def test_one_answer_for_a_set(scores, controls, said):
    verdict = judge_set(scores, controls, [], power=0.9)
    assert verdict.outcome == said and (verdict.p_value is None) == (said == "cannot tell")
    assert judge_set(scores, controls, [NOT_FINITE.note]).reason == NOT_FINITE.note
