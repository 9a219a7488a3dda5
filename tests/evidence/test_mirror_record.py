"""A run with the mirror test, from its result to record, report and page: each says what was found, and no more."""

import json
from dataclasses import replace

import pytest

from cgidm.evidence.record import LikelihoodRecord, ModelsRecord, read_record, record_bytes
from cgidm.evidence.record_of_result import make_record
from cgidm.evidence.reports.report import report_blocks
from cgidm.judging.flags import NOT_FINITE
from cgidm.judging.judge_pictures import judge_pictures
from cgidm.judging.mirror_test import likelihood_note, pictures_reference
from cgidm.judging.result import MeasuredPicture
from cgidm.judging.tables.likelihood_ratio import LikelihoodRatio
from cgidm.messages import note
from cgidm.page.html.answer import answer_html, reasons_html
from cgidm.page.html.i18n import LANGUAGES
from cgidm.page.html.portfolio import portfolio_html, portfolio_reasons_html
from tests.support.errors import refuses
from tests.support.results import block_texts, result_of

REFERENCE = pictures_reference([i / 100 - 0.8 for i in range(160)], [f"{i:064x}" for i in range(160)])
FLIPS = note("judging.mirror.flips")
MODELS = ModelsRecord(base="a/base", suspect="a/suspect", prompt="sks")
HIGH, LOW = 3.0, 0.0  # scores of the mirror test
ABOVE, AMONG = 2.0, 0.5  # of the controls' test


def recorded(scores, mirror=REFERENCE, mirror_scores=(), controlled=True, power=0.9):
    result = result_of(scores, mirror=mirror, mirror_scores=mirror_scores, controlled=controlled, power=power)
    record = make_record(result, MODELS)
    assert read_record(record_bytes(record), "mine") == record
    return record


STATES = {  # of one picture: its scores, what is compared with -> outcome and reason
    "knows": ((ABOVE, HIGH, True), "consistent with training on this image", "judging.mirror.knows"),
    "knows, controls see nothing": (
        (AMONG, HIGH, True),
        "consistent with training on this image",
        "judging.mirror.knows",
    ),
    "knows, no controls": ((AMONG, HIGH, False), "consistent with training on this image", "judging.mirror.knows"),
    "silent, no controls": ((AMONG, LOW, False), "cannot tell", "judging.mirror.silent"),
    "disagree": ((ABOVE, LOW, True), "cannot tell", "judging.mirror.disagree"),
    "neither": ((AMONG, LOW, True), "no evidence", "judging.mirror.neither"),
}


@pytest.mark.parametrize("state", STATES)
def test_each_state_is_told_alike_by_record_report_and_page(state):
    (score, mirror_score, controlled), outcome, code = STATES[state]
    record = recorded([score], mirror_scores=[mirror_score], controlled=controlled)
    [picture] = record.pictures
    assert picture.outcome == outcome and picture.reason.code == code
    assert picture.witnesses[0].name == "mirror" and picture.p_value == picture.witnesses[0].p_value
    text = " ".join(t for block in report_blocks(record, "0" * 64) for t in block_texts(block))
    assert str(picture.reason) in text and "Mirror test" in text and "under the very suspect" in text
    assert ("Among the control pictures" in text) == controlled
    assert "of the pictures that such a suspect was trained on" not in text  # the power is the other test's
    for language in LANGUAGES:
        page = answer_html(record, language) + reasons_html(record, language)
        assert f"{picture.witnesses[0].p_value:.3g}" in page


def test_a_test_that_was_not_asked_says_why():
    record = recorded([ABOVE], mirror=FLIPS, mirror_scores=[HIGH])
    [picture] = record.pictures
    assert picture.outcome == "weak evidence" and picture.reason.code == "judging.above_few_controls"
    assert record.mirror is None and picture.witnesses[0].silent == FLIPS
    text = " ".join(t for block in report_blocks(record, "0" * 64) for t in block_texts(block))
    assert str(FLIPS) in text
    assert "anybody can edit" in answer_html(record, "en") + reasons_html(record, "en")


def test_a_flag_takes_every_p_value_back():
    result = result_of([ABOVE], mirror=REFERENCE, mirror_scores=[HIGH])
    [picture] = result.pictures
    flagged = type(picture)(**{**vars(picture), "flags": (NOT_FINITE,)})
    fields = {k: v for k, v in vars(flagged).items() if k not in ("verdict", "likelihood")}

    (judged,), _ = judge_pictures([MeasuredPicture(**fields)], result.control_scores, mirror=REFERENCE)
    assert judged.verdict.outcome == "cannot tell" and {w.p_value for w in judged.verdict.witnesses} == {None}


def test_a_likelihood_ratio_is_recorded_and_told():
    result = result_of([ABOVE], mirror=REFERENCE, mirror_scores=[HIGH])
    [picture] = result.pictures
    told = replace(result, pictures=(replace(picture, likelihood=LikelihoodRatio(123.4, 45.6)),))
    record, without = (make_record(r, MODELS) for r in (told, result))
    assert read_record(record_bytes(record), "mine").pictures[0].likelihood == LikelihoodRecord(ratio=123.4, low=45.6)
    text, silent = (" ".join(t for b in report_blocks(r, "0" * 64) for t in block_texts(b)) for r in (record, without))
    assert str(likelihood_note(123.4, 45.6)) in text and "120 times" in text and "46 in 19 of 20" in text
    assert "times as likely" not in silent


def test_an_older_record_cannot_have_a_likelihood_ratio():
    result = result_of([ABOVE], mirror=REFERENCE, mirror_scores=[HIGH])
    [picture] = result.pictures
    told = replace(result, pictures=(replace(picture, likelihood=LikelihoodRatio(123.4, 45.6)),))
    older = json.loads(record_bytes(make_record(told, MODELS))) | {"format": 4}
    with refuses("evidence.damaged_record"):
        read_record(json.dumps(older).encode(), "mine")


@pytest.mark.parametrize(
    "scores, mirror_score, code",
    [
        ([ABOVE] * 4, HIGH, "judging.mirror.set.knows"),
        ([AMONG] * 4, HIGH, "judging.mirror.set.knows"),
        ([ABOVE] * 4, LOW, "judging.mirror.set.disagree"),
        ([AMONG] * 4, LOW, "judging.mirror.set.neither"),
    ],
)
def test_a_set_is_told_alike(scores, mirror_score, code):
    record = recorded(scores, mirror_scores=[mirror_score] * 4)
    together = record.set
    assert together is not None and together.reason.code == code
    assert together.p_value == together.witnesses[0].p_value
    assert (together.used is not None) == (code.endswith("knows") and scores[0] == ABOVE)
    text = " ".join(t for block in report_blocks(record, "0" * 64) for t in block_texts(block))
    assert str(together.reason) in text
    assert ("By the control test, of 4 pictures" in text) == (together.used is not None)
    for language in LANGUAGES:
        page = portfolio_html(record, language, []) + portfolio_reasons_html(record, language)
        assert f"{together.witnesses[0].p_value:.3g}" in page


def test_what_was_compared_with_is_identified():
    record = recorded([ABOVE], mirror_scores=[HIGH])
    assert record.mirror is not None
    assert (record.mirror.source, record.mirror.references) == ("pictures", 160)
    assert record.mirror.sha256 == REFERENCE.digest != pictures_reference([0.1], ["f"]).digest
    assert record.mirror.scores == REFERENCE.scores
