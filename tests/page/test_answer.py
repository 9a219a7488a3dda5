"""What the page says of powers, bounds, views and banks: in every language, of old records and of new ones."""

import copy
import re

import pytest

from cgidm.evidence.record import FORMAT, MEAN_POWER
from cgidm.judging.portfolio import Used
from cgidm.method.views import VIEWS
from cgidm.page.html.answer import stopped_html
from cgidm.page.html.i18n import LANGUAGES, tables, translate
from cgidm.page.html.progress import bar_html, status_html
from cgidm.page.html.sentences import power_sentence, warning_sentences
from tests.support.page_html import answer_page, portfolio_page
from tests.support.page_records import BANK, HOSTILE, Reader, make_full_record, make_record, poison, typed


@pytest.fixture
def record():
    return make_full_record()


def text_of(html):
    return Reader(html).text


def rows_of(html):
    """The cells of the table of pictures, as plain text."""
    table = html[html.index("<tbody>") : html.index("</tbody>")]
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in table.split("<tr>")[1:]]  # name, score, p ...
    return [[re.sub(r"<[^>]+>", " ", cell).strip() for cell in row] for row in cells]


def test_nothing_is_said_of_what_a_record_does_not_hold():
    bare = make_record()
    pages = (answer_page(typed(bare), "en"), False), (portfolio_page(typed(bare), "en", []), True)
    for text, found_nothing in ((text_of(page), nothing) for page, nothing in pages):
        for key in ("set.head.holm", "details.bank", "details.views", "details.unrelated", "details.embeddings"):
            assert translate("en", key) not in text
        assert (translate("en", "power.unknown") in text) == found_nothing
        assert "detect" not in text and "views" not in text and "Holm" not in text
    assert len(rows_of(portfolio_page(typed(bare), "en", []))[0]) == 4


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_set_says_how_many_of_it_were_used(record, language):
    text = text_of(portfolio_page(typed(record), language, []))
    assert translate(language, "used.least", low=1, n=2, sure=95) in text
    assert translate(language, "set.holm", left=0, n=2, p="0.05", level=5) in text
    assert translate(language, "set.bh", found=1, n=2, p="0.05", level=5) in text
    assert translate(language, "set.head.holm") in text
    assert [row[2:4] for row in rows_of(portfolio_page(typed(record), language, []))] == [
        ["0.0476", "0.0952"],
        ["0.8", "0.8"],
    ]


@pytest.mark.parametrize(
    ("used", "said"),
    [
        (Used(3, 7, True), "between 3 and 7 of 10"),
        (Used(4, 4, True), "How many were used: 4 of 10"),
        (Used(0, 6, True), "at most 6 of 10"),
        (Used(0, 0, True), "How many were used: 0 of 10"),
        (Used(2, 10, False), "at least 2 of 10"),
        (Used(2, 10, True), "at least 2 of 10"),
        (Used(10, 10, False), "How many were used: 10 of 10"),
        (Used(0, 10, True), "cannot be said: none may have been, or all"),
        (Used(0, 10, False), "cannot be said: none may have been, or all"),
    ],
    ids=str,
)
def test_no_bound_says_more_than_was_found(used, said):
    text = text_of(portfolio_page(typed(make_full_record(pictures=10, used=vars(used))), "en", []))
    assert said in text and ("right for at least 95% of sets" in text) == (used.low > 0 or used.high < 10)


def test_a_picture_without_a_p_value_takes_no_part_in_the_correction(record):
    record["pictures"][0].update(outcome="cannot tell", p_value=None)
    record["set"]["adjusted"] = [None, 0.8]
    assert [row[2:4] for row in rows_of(portfolio_page(typed(record), "en", []))] == [["—", "—"], ["0.8", "0.8"]]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_power_stands_where_nothing_was_found_and_nowhere_else(record, language):
    """It says what "no evidence" is worth. Of a weak suspect, or one of a base nobody measured, it warns before."""
    known = translate(language, "power", power=96, level=5)
    unknown, weak = translate(language, "power.unknown"), translate(language, "power.weak", power=38, level=5)
    outcomes = ("consistent with training on this image", "weak evidence", "no evidence", "cannot tell")
    record["format"] = FORMAT
    for power, said, where in ((0.9625, known, {2}), (None, unknown, {2, 3}), (0.375, weak, {2})):
        record["expected_power"] = record["control_power"] = power
        for number, outcome in enumerate(outcomes):
            p = None if outcome == "cannot tell" else 0.8
            for judged in (record["set"], *record["pictures"]):
                witness = {"name": "controls", "p_value": p, "references": 20, "silent": None, "framings": 1}
                judged.update(outcome=outcome.replace("this image", "some of these images"), p_value=p)
                judged["witnesses"] = [witness]
                if judged is not record["set"]:
                    judged["outcome"] = outcome
            for html in (answer_page(typed(record), language), portfolio_page(typed(record), language, [])):
                assert text_of(html).count(said) == (number in where), (power, outcome)
        stopped = record | {"stopped": {"step": 8, "of": 40}}
        assert text_of(stopped_html(typed(stopped), language)).count(said) == (power is not None)
        first = stopped_html(typed(stopped), language, first="<p>first</p>")
        told = translate(language, "stopped.first")
        assert first.endswith("<p>first</p>") and text_of(first).count(told) == 1
        assert told not in text_of(stopped_html(typed(stopped), language))
        warned = warning_sentences(power, language)
        assert warned == ([] if said == known else [power_sentence(power, language)])
        for html in (
            status_html(language, "status.loading", power=warned),
            bar_html(language, "status.step.first", share=0.5, step=1, steps=2, power=warned),
        ):
            assert text_of(html).count(said) == len(warned)
    assert "cg-power" not in status_html(language, "status.loading")
    assert "cg-power" not in bar_html(language, "status.step.first", share=None, step=1, steps=2)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_mirror_test_names_what_it_was_compared_with(record, language):
    witness = {"name": "mirror", "p_value": 0.004, "references": 1040, "silent": None, "framings": 1}
    record["pictures"] = record["pictures"][:1]
    record["pictures"][0].update(witnesses=[witness])
    sentences = {"table": "witness.mirror", "bank": "witness.mirror.bank"}
    for source, key in sentences.items():
        record["mirror"] = {"source": source, "references": 1040, "sha256": "d" * 64, "scores": []}
        text = text_of(answer_page(typed(record), language))
        for other in sentences.values():
            assert (translate(language, other, p="0.004", n=1040) in text) == (other == key)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_power_of_a_silent_mirror_test_stands_with_what_it_rests_on(record, language):
    record.update(format=FORMAT, expected_power=0.8089)
    witness = {"name": "mirror", "p_value": 0.4, "references": 20, "silent": None, "framings": 1}
    reason = {"code": "judging.mirror.silent", "params": {"p": 0.4}}
    record["pictures"] = record["pictures"][:1]
    record["pictures"][0].update(outcome="cannot tell", p_value=0.4, witnesses=[witness], reason=reason)
    said = translate(language, "power", power=81, level=5)
    unless = translate(language, "power.mirrored")
    record["mirror"] = {"source": "table", "references": 20, "sha256": "d" * 64, "scores": []}
    for mirrored, caveat in ((None, True), (False, False)):
        record["models"]["mirrored_training"] = mirrored
        text = text_of(answer_page(typed(record), language))
        assert said in text and (unless in text) == caveat
    reason["code"] = "judging.mirror.disagree"
    reason["params"] = {"n": 20, "p": 0.4, "p_controls": 0.01}
    assert said not in text_of(answer_page(typed(record), language))
    reason.update(code="judging.mirror.silent", params={"p": 0.4})
    record["format"] = MEAN_POWER[-1]
    assert said not in text_of(answer_page(typed(record), language)), "an older record holds a mean"


def witness(name, p_value):
    return {"name": name, "p_value": p_value, "references": 20, "silent": None, "framings": 1}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("tests", "bank", "shares", "said", "mirrored"),
    [
        (("controls",), None, (0.93, 0.74), ("power", 74), False),  # a symmetric picture
        (("controls",), BANK, (0.93, 0.74), ("power.bank", 74), False),
        (("mirror", "controls"), None, (0.93, 0.74), ("power", 93), True),
        (("mirror", "controls"), None, (0.74, 0.74), ("power", 74), False),
        (("mirror", "controls"), BANK, (0.81, 0.81), ("power.bank", 81), False),
    ],
)
def test_the_power_is_that_of_the_tests_that_spoke(record, language, tests, bank, shares, said, mirrored):
    record.update(format=FORMAT, expected_power=shares[0], control_power=shares[1], bank=bank)
    record["pictures"] = record["pictures"][:1]
    witnesses = [witness(name, 0.4 if name in tests else None) for name in ("mirror", "controls")]
    record["pictures"][0].update(outcome="no evidence", p_value=0.4, witnesses=witnesses)
    text = text_of(answer_page(typed(record), language))
    keys = ("power", "power.bank")
    counts = {(k, n): text.count(translate(language, k, power=n, level=5)) for k in keys for n in (74, 81, 93)}
    assert counts == {key: int(key == said) for key in counts}
    assert (translate(language, "power.mirrored") in text) == mirrored


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_silent_mirror_test_does_not_state_the_power_of_distrusted_controls(record, language):
    record.update(format=FORMAT, expected_power=0.81, control_power=0.81)
    record["pictures"] = record["pictures"][:1]
    reason = {"code": "judging.mirror.silent", "params": {"p": 0.4}}
    tests = [witness("mirror", 0.4), witness("controls", None)]
    record["pictures"][0].update(outcome="cannot tell", p_value=0.4, witnesses=tests, reason=reason)
    assert "81" not in text_of(answer_page(typed(record), language))


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_picture_that_no_measured_test_speaks_of_has_no_share(record, language):
    """A symmetric picture under an adapter that only the mirror test was measured on."""
    record.update(format=FORMAT, expected_power=0.81, control_power=None)
    record["pictures"] = record["pictures"][:1]
    reason = {"code": "judging.unknown_power", "params": {}}
    tests = [witness("mirror", None), witness("controls", 0.4)]
    record["pictures"][0].update(outcome="cannot tell", p_value=0.4, witnesses=tests, reason=reason)
    text = text_of(answer_page(typed(record), language))
    assert "81" not in text and translate(language, "power.unknown") in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_silence_of_a_weak_suspect_is_not_called_an_answer(record, language):
    record["expected_power"] = 0.375
    for judged in (record["set"], record["pictures"][0]):
        judged.update(outcome="cannot tell", p_value=0.5)
    said = translate(language, "sentence.weak", power=38, level=5, p="0.5")
    for html in (answer_page(typed(record), language), portfolio_page(typed(record), language, [])):
        text = text_of(html)
        assert said in text and translate(language, "outcome.unclear") in text
        assert translate(language, "power.weak", power=38, level=5) not in text  # it would be said twice


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_view_that_scored_highest_is_named(record, language):
    mirrored, given = (translate(language, f"view.name.{view}") for view in ("mirrored", "as given"))
    assert translate(language, "view.found", n=2, view=mirrored) in text_of(answer_page(typed(record), language))
    cells = [row[-1] for row in rows_of(portfolio_page(typed(record), language, []))]
    assert mirrored in cells[0] and given in cells[1]
    record["config"]["views"] = ["as given"]
    assert mirrored not in text_of(answer_page(typed(record), language))


def test_every_view_of_the_library_has_a_name():
    for texts in tables().values():
        assert {f"view.name.{view}" for view in VIEWS} <= set(texts)
    assert len(VIEWS) == 7 and "seven times" in translate("en", "search.info")


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_bank_is_never_called_control_pictures(record, language):
    record["bank"] = BANK
    controls = translate(language, "controls.label").lower()
    for outcome, p in (("consistent with training on this image", 1 / 21), ("no evidence", 0.8), ("no evidence", 0.01)):
        record["pictures"][0].update(outcome=outcome, p_value=p)
        record["set"].update(outcome=outcome.replace("this image", "some of these images"), p_value=p)
        for html in (answer_page(typed(record), language), portfolio_page(typed(record), language, [])):
            text = text_of(html)
            assert controls not in text.lower()
            assert (
                translate(language, "bank.about", models=8, pictures=10) in text
                and translate(language, "caveat.bank") in text
            )
            assert "d" * 64 in text and "bank.json" in text
    assert translate(language, "drawing.title.bank") in text_of(answer_page(typed(record), language))
    record["control_scores"] = [0.1]
    for judged in (record["set"], *record["pictures"]):
        judged.update(outcome="cannot tell", p_value=None)
    assert translate(language, "sentence.few.bank", n=1, need=19, level=5) in text_of(
        answer_page(typed(record), language)
    )
    said = translate(language, "sentence.set.few.bank", pictures=2, n=1, level=5)
    assert said in text_of(portfolio_page(typed(record), language, []))


def near_duplicates(copy, *group):
    return [
        {"code": "pictures.copy_of_control", "params": {"name": copy}},
        {"code": "pictures.counts_as_one_with", "params": {"names": list(group)}},
    ]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_of_a_bank_a_view_or_a_note_gets_out_of_its_place(record, text):
    record["bank"] = dict(BANK)
    record["pictures"][0]["notes"] = near_duplicates(text, text, "b")
    keeps = ((), ("outcome",), ("outcome", "code"))
    for data in (record, *(poison(copy.deepcopy(record), text, keep) for keep in keeps)):
        for html in (answer_page(typed(data), "ja"), portfolio_page(typed(data), "en", [text])):
            Reader(html)
            assert not re.search("[\u202a-\u202e\u2066-\u2069\u200e\u200f\x00-\x1f]", html)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e308, -1.0])
def test_no_number_of_a_record_breaks_its_page(record, value):
    for judged in (record["set"], *record["pictures"]):
        judged["p_value"] = value
    record["set"]["adjusted"] = [value, None]
    record["pictures"][0]["scores"] = {"loss_contrast": value}
    record["pictures"][0]["contrast"] = [value] * 5
    record.update(expected_power=value, seconds=value, control_scores=[value, 0.1])
    stopped = record | {"stopped": {"step": 8, "of": 40}}
    for data in (record, stopped):
        for html in (answer_page(typed(data), "en"), portfolio_page(typed(data), "en", [])):
            Reader(html)


def test_near_duplicates_are_named_in_the_visitor_s_language(record):
    record["models"]["warning"] = None
    record["pictures"][0].update(not_computed={}, scores={"loss_contrast": 0.1})
    record["pictures"][0]["notes"] = near_duplicates("c, d.png", "b.png")
    html = answer_page(typed(record), "de")
    assert "Fast dasselbe Bild wie das Kontrollbild c, d.png" in html and "wie b.png. In der Antwort" in html
    assert 'lang="en"' not in html
