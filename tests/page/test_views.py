"""What the page says and draws: the same in every language, harmless whatever a record holds, readable to everyone."""

import copy
import json
import re
import string

import numpy as np
import pytest

from cgidm import UserError
from cgidm.messages import english
from cgidm.method.config import find_preset
from cgidm.page.handlers.errors import refusal
from cgidm.page.html.answer import answer_html, reasons_html, stopped_html
from cgidm.page.html.i18n import LANGUAGES, choose_language, message_tables, tables, translate
from cgidm.page.html.lineup import lineup_html, round_html
from cgidm.page.html.markup import picture_source
from cgidm.page.html.portfolio import portfolio_html
from cgidm.page.html.progress import bar_html, cost_html, format_duration, status_html
from cgidm.page.html.what_now import what_now_html
from cgidm.page.runs.cost import Parts, cost_of, count_parts
from cgidm.page.ui import theme as looks
from tests.support.page_html import answer_page, portfolio_page
from tests.support.page_records import HOSTILE, THUMBNAIL, Reader, a_note, make_record, poison, raise_flag, typed

REFUSED = "proof guilty infring beweis schuldig preuve coupable prueba culpable 証拠"  # more than a p-value can claim


@pytest.fixture
def record():
    return make_record()


def pages(record, language, thumbnail=THUMBNAIL):
    stopped = copy.deepcopy(record) | {"stopped": {"step": 8, "of": 40}}
    yield answer_page(typed(record), language, precomputed=True)
    yield portfolio_page(typed(record), language, [thumbnail])
    yield stopped_html(typed(stopped), language)
    yield portfolio_page(typed(stopped), language, [])


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_says_the_same_things(language):
    master, words = tables()["en"], tables()[language]
    assert list(words) == list(master)
    for key, text in words.items():
        assert placeholders(text) == placeholders(master[key]), key
        assert text.strip() and not set("<>") & set(text), key


def placeholders(text):
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def test_every_language_has_the_same_messages_of_the_library():
    first, *others = message_tables().values()
    assert set(message_tables()) == set(LANGUAGES) - {"en"} and all(list(t) == list(first) for t in others)
    for table in message_tables().values():
        for code in table.keys() & english().keys():
            assert placeholders(table[code]) == placeholders(english()[code]), code
            assert table[code].strip() and not set("<>") & set(table[code]), code


@pytest.mark.parametrize("text", HOSTILE)
def test_a_refusal_is_said_in_the_visitor_s_language(text):
    error = UserError("judging.set.too_small", pictures=1, controls=0)
    assert "2 Kontrollbilder, angegeben sind 1 und 0" in refusal(error, "de").message
    assert "got 1 pictures and 0 controls" in refusal(error, "en").message
    quoted = refusal(UserError("judging.set.too_small", pictures=text, controls=0), "ja").message
    assert not set("<>\"'") & set(quoted) and not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x1f]", quoted)


def test_no_text_claims_more_than_there_is():
    for language, texts in tables().items():
        said = json.dumps([texts, message_tables().get(language)], ensure_ascii=False).lower()
        assert not [word for word in REFUSED.split() if word in said], language


def test_the_browser_s_wish_is_heard():
    wishes = {
        None: "en",
        "de-AT,de;q=0.9,en;q=0.8": "de",
        "pt-BR, ja;q=0.5, fr;q=0.7": "fr",
        "de;q=0, es;q=0.1": "es",
        "en;q=0.2, JA ; q=0.9": "ja",
        "*, de;q=0.5": "en",
        "de;q=nan, fr;q=7, es;q=x": "en",
        ",;=;,q=1" * 10_000: "en",
    }
    assert {header: choose_language(header) for header in wishes} == wishes


def test_an_unknown_language_is_answered_in_english(record):
    assert translate("tlh", "run") == "Run"
    assert answer_page(typed(record), '"><script>') == answer_page(typed(record), "en")


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_answer_says_what_it_rests_on(record, language):
    reader = Reader(answer_page(typed(record), language))
    assert ("div", {"class": "cg", "lang": language}) == reader.elements[0]
    assert translate(language, "outcome.consistent") in reader.text and "●" in reader.text
    rate = translate(language, "rate", level=5, strict=1, n=20, lowest="0.0476")
    for said in ("p\xa0=\xa00.0476", rate, "owner/lora", "a" * 40, "b" * 64, "c" * 64, "new_score"):
        assert said in reader.text
    for key in ("caveat.none", "scores.missing", "score.removed_cosine.about"):
        assert translate(language, key) in reader.text
    assert sum(tag == "svg" for tag, _ in reader.elements) == 2


def test_each_outcome_has_its_sentence(record):
    def said(**changes):
        changed = copy.deepcopy(record)
        changed["pictures"][0].update(changes)
        return Reader(answer_page(typed(changed), "en")).text

    assert "about 17 of 21 cases" in said(outcome="no evidence", p_value=17 / 21)
    assert "no better than its base" in said(outcome="no evidence", p_value=1 / 21)
    unclear = {"outcome": "cannot tell", "p_value": None}
    assert "could not be computed" in said(**unclear, scores={"loss_contrast": float("nan")})
    assert "A reason." in said(**unclear)
    assert "cannot tell" in said(outcome="guilty").lower()
    record["control_scores"] = [0.0]
    assert "at least 19" in said(**unclear)


def test_flags_are_explained(record):
    for page in (answer_page(typed(raise_flag(record, limit=0.001)), "de"), portfolio_page(typed(record), "de", [])):
        text = Reader(page).text
        assert "von seinem Basismodell nicht zu unterscheiden" in text and translate("de", "outcome.unclear") in text
    text = Reader(answer_page(typed(record), "de")).text
    assert "liegt unter dem 0.001-Fachen" in text and "indistinguishable" in text
    unknown = typed(raise_flag(record, "judging.flag.unheard_of", limit=7))
    assert "judging.flag.unheard_of.raised_if: limit = 7" in Reader(answer_page(unknown, "de")).text


def test_a_set_is_answered_first(record):
    record["set"].update(outcome="consistent with training on some of these images", p_value=0.0123)
    reader = Reader(portfolio_page(typed(record), "en", ["/gradio_api/file=/tmp/a b.png", "https://elsewhere/x.png"]))
    text = reader.text
    assert text.index("some of these images") < text.index("Picture by picture") and "0.0123" in text
    images = [attributes for tag, attributes in reader.elements if tag == "img"]
    assert {i["src"] for i in images} == {"/gradio_api/file=/tmp/a%20b.png"} and images[1]["alt"] == "mine.png"
    record["set"].update(outcome="no evidence")
    assert "knows none of them better than its base" in Reader(portfolio_page(typed(record), "en", [])).text
    record["set"].update(outcome="cannot tell", p_value=None)
    record["control_scores"] = [0.1]
    assert "With so few" in Reader(portfolio_page(typed(record), "en", [])).text
    record["set"] = None
    assert "Picture by picture" in Reader(portfolio_page(typed(record), "en", [])).text


def lineup_of(*letters, size=6, left_out=()):
    rounds, decoys = [], iter(range(1000))
    for picture, letter in enumerate(letters):
        around = [next(decoys) for _ in range(size - 1)]
        rounds.append({"picture": picture, "letter": letter, "decoys": around})
    return {"rounds": rounds, "left_out": [{"picture": n, "reason": a_note()} for n in left_out]}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_line_up_says_what_its_choices_come_to(record, language):
    def told(letters, picks, **other):
        return Reader(lineup_html(typed(record | {"lineup": lineup_of(*letters, **other)}), picks, language)).text

    assert lineup_html(typed(record), [], language) == ""
    right, unlucky = told("AB", ["AB"]), told("AB", ["A-"], left_out=(1,))
    for said in (right, unlucky):
        assert translate(language, "lineup.observer") in said and translate(language, "lineup.after") in said
    assert (
        translate(language, "lineup.chance", p="0.0278") in right and translate(language, "lineup.stands_out") in right
    )
    assert (
        translate(language, "lineup.chance", p="0.306") in unlucky
        and translate(language, "lineup.may_be_chance") in unlucky
    )
    assert translate(language, "lineup.left_out", n=1, of=2) in unlucky
    short = translate(language, "lineup.reach.short", n=1, size=6, lowest="0.167", level=5)
    assert told("C", ["C"]).count(short) == 2 and translate(language, "lineup.separate") not in right
    assert translate(language, "lineup.separate") in told("AB", ["AB", "CD"])
    twenty = told("T", ["T"], size=20)
    assert (
        translate(language, "lineup.stands_out") in twenty and translate(language, "lineup.chance", p="0.05") in twenty
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_round_is_shown_by_letters_alone(language):
    page = round_html([6, 20], 2, '/gradio_api/file=/tmp/a" onerror="b', language)
    reader = Reader(page)
    assert translate(language, "lineup.round", n=2, of=2) in reader.text
    images = [attributes for tag, attributes in reader.elements if tag == "img"]
    assert len(images) == 60 and images[-1]["src"].endswith("/lineup/2-T-recovered.png")
    assert images[-1]["alt"] == f"T: {translate(language, 'recovered')}"


def test_a_stopped_run_is_not_judged(record):
    record["stopped"] = {"step": 8, "of": 40}
    for page in (
        answer_page(typed(record), "en"),
        portfolio_page(typed(record), "en", []),
        stopped_html(typed(record), "en"),
    ):
        text = Reader(page).text
        assert "Stopped at step 8 of 40" in text and "Consistent" not in text


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("language", ["en", "ja"])
def test_nothing_from_outside_gets_out_of_its_place(record, text, language):
    for data in (record, raise_flag(copy.deepcopy(record)), raise_flag(copy.deepcopy(record), "judging.flag.other")):
        for keep in ((), ("outcome",), ("outcome", "code")):
            for page in pages(poison(data, text, keep), language, text):
                Reader(page)
                assert not re.search("[\u202a-\u202e\u2066-\u2069\u200e\u200f\x00-\x1f]", page)
    Reader(status_html(language, "status.finished", time=text))


def test_a_thumbnail_is_never_asked_of_another_host():
    refused = ("//x/y.png", "/\\x/y.png", "https://x/y.png", "javascript:alert(1)", "data:text/html;base64,AA", "")
    assert [picture_source(url) for url in refused] == [None] * len(refused)
    assert "\t" not in (picture_source("/\t/x") or "") and picture_source(THUMBNAIL) == THUMBNAIL
    assert '"' not in (picture_source('/a" onerror="x') or "")


@pytest.mark.parametrize("language", LANGUAGES)
def test_progress_and_cost_are_said_in_words(language):
    left = {"step": 3, "steps": 40, "remaining": format_duration(language, 75.2)}
    reader = Reader(bar_html(language, "status.step", share=0.415, **left))
    assert translate(language, "time.seconds", n=75) in reader.text
    assert any(tag == "progress" and a["value"] == "42" and a["max"] == "100" for tag, a in reader.elements)
    first = Reader(bar_html(language, "status.step.first", share=None, step=0, steps=40))
    assert not any(tag == "progress" for tag, _ in first.elements)
    times = {"seconds": (59.6, 600.0), "answer_seconds": (3.0, 30.0)}
    low, high = translate(language, "time.seconds", n=60), translate(language, "time.minutes", n=10)
    first, last = (translate(language, "time.seconds", n=n) for n in (3, 30))
    said = translate(language, "cost", low=low, high=high, first=first, last=last)
    for kind in ("cpu", "gpu"):
        text = Reader(cost_html(language, kind=kind, **times)).text
        assert said in text and (translate(language, "cost.cpu") in text) == (kind == "cpu")
    text = Reader(cost_html(language, kind="zero", gpu_seconds=89.6, **times)).text
    assert translate(language, "cost.zero", seconds=90) in text and said in text


def test_one_bar_goes_through_all_parts_of_a_run():
    parts = Parts(mirror=10, controls=30, recovery=50, decoys=10)
    moments = [
        ("mirror", 1, 2),
        ("controls", 0, 3),
        ("controls", 3, 3),
        ("step", 0, 5),
        ("preview", 5, 5),
        ("judged", 0, 0),
    ]
    moments += [("decoys", 1, 2), ("decoys", 2, 2)]
    assert [parts.share(*moment) for moment in moments] == [0.05, 0.1, 0.4, 0.4, 0.9, 0.9, 0.95, 1.0]
    assert parts.share("loading", 0, 0) is None
    assert Parts(mirror=0, controls=0, recovery=0, decoys=0).share("step", 1, 1) is None


def test_what_is_expected_is_a_range_of_the_run_s_own_parts():
    one, many = count_parts(1, 0, find_preset("fast")), count_parts(6, 20, find_preset("fast"))
    for parts in (one, many):
        cost = cost_of(parts)
        assert cost.seconds[0] < cost.seconds[1] and cost.answer_seconds[1] < cost.seconds[1]
    assert one.controls < many.controls and 6 * one.recovery == many.recovery
    assert 6 * one.mirror == pytest.approx(many.mirror, abs=3)
    assert cost_of(one).seconds[1] < cost_of(many).seconds[1]


def test_an_answer_names_picture_model_and_base_and_shows_the_picture(record):
    text = Reader(answer_html(typed(record), "en", url=THUMBNAIL))
    for name in ("mine.png", "owner/lora", "owner/base"):
        assert name in text.text
    assert [a["src"] for tag, a in text.elements if tag == "img"] == [THUMBNAIL]
    several = Reader(portfolio_html(typed(record), "en", [THUMBNAIL] * 2)).text
    assert "2 pictures" in several and "owner/lora" in several and "owner/base" in several


def test_the_score_that_decides_is_one(record):
    scores = {"loss_contrast": 0.2, "mirror": 1.5}
    record["pictures"][0].update(scores=scores)
    tag = translate("en", "scores.deciding")
    assert reasons_html(typed(record), "en").count(f">{tag}<") == 1
    tests = [{"name": name, "p_value": 0.01, "references": 40, "silent": None} for name in ("mirror", "controls")]
    record["pictures"][0].update(witnesses=tests)
    html = reasons_html(typed(record), "en")
    assert html.count(f">{tag}<") == 1 and html.index("<code>mirror</code>") < html.index(f">{tag}<")


def test_where_a_bank_decides_together_with_the_mirror_test_the_page_says_so(record):
    tests = [{"name": name, "p_value": 0.01, "references": 40, "silent": None} for name in ("mirror", "controls")]
    reason = {"code": "judging.both.know", "params": {"p": 0.001, "p_mirror": 0.01, "p_bank": 0.01}}
    likely = {"ratio": 123.0, "low": 45.0}
    scores = {"loss_contrast": 0.2, "mirror": 1.5}
    record["pictures"][0].update(scores=scores, witnesses=tests, reason=reason, p_value=0.001, likelihood=likely)
    html = reasons_html(typed(record), "en")
    assert html.count(f">{translate('en', 'scores.deciding')}<") == 2 and "about 120 times" in html
    assert "decide together" in answer_html(typed(record), "en") and "test decides;" not in answer_html(
        typed(record), "en"
    )


def test_no_rate_is_spoken_of_where_none_is_stated(record):
    with_rate, without = (translate("en", key) for key in ("caveat.chance", "caveat.chance.no_rate"))
    assert with_rate in Reader(reasons_html(typed(record), "en")).text
    record["pictures"][0].update(outcome="cannot tell", p_value=None)
    text = Reader(reasons_html(typed(record), "en")).text
    assert without in text and with_rate not in text


def test_options_of_the_command_line_are_not_shown(record):
    note = {"code": "pictures.weights_not_cached", "params": {"repo": "timm/x", "file": "y"}}
    record["pictures"][0]["not_computed"] = {"clip": note}
    text = Reader(reasons_html(typed(record), "en")).text
    assert "--" not in text and translate("en", "scores.missing") in text


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("outcome", ["consistent with training on this image", "weak evidence", "no evidence", "other"])
def test_the_next_steps_after_an_answer(record, language, outcome, monkeypatch):
    record["pictures"][0]["outcome"], record["set"] = outcome, None
    for name in ("SPACE_ID", "CGIDM_CONTACT"):
        monkeypatch.delenv(name, raising=False)
    assert translate(language, "now.wrong.operator") in Reader(what_now_html(typed(record), language)).text
    contacts = {"me@example.org": "mailto:me@example.org", "https://example.org/x": "https://example.org/x"}
    for stated, address in contacts.items():
        monkeypatch.setenv("CGIDM_CONTACT", stated)
        page = Reader(what_now_html(typed(record), language))
        assert [a["href"] for tag, a in page.elements if tag == "a"] == [address]
    for stated in ("javascript:alert(1)", 'a" onclick="x', "<b>"):
        monkeypatch.setenv("CGIDM_CONTACT", stated)
        assert not [a for tag, a in Reader(what_now_html(typed(record), language)).elements if tag == "a"]


def contrast_of(first, second):
    """The contrast of two colours (WCAG 2.2)."""

    def luminance(colour):
        channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return linear @ (0.2126, 0.7152, 0.0722)

    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("colours", [looks.LIGHT, looks.DARK], ids=["light", "dark"])
def test_text_is_readable_on_its_ground(colours):
    for ground in (name for name in colours if name.endswith("ground")):
        for ink in ("ink", "quiet", ground.removesuffix("-ground") if "-" in ground else "consistent"):
            assert contrast_of(colours[ink], colours[ground]) >= 4.5, (ink, ground)
    assert contrast_of(colours["dot"], colours["ground"]) >= 3  # WCAG 1.4.11: what is not text


def test_the_theme_is_readable_and_asks_no_other_host():
    theme = looks.theme()
    css = re.sub(r'url\("data:[^)]*\)', "", theme._get_theme_css() + looks.CSS)
    assert not re.search(r"https?:|//|@import|@font-face|url\(", css)
    assert theme._font_css == [] and getattr(theme, "_stylesheets", []) == []

    def colour(name):
        value = getattr(theme, name)
        return colour(value[1:]) if value.startswith("*") else {"white": "#ffffff"}.get(value, value)

    for ink, ground in (
        ("button_primary_text_color", "button_primary_background_fill"),
        ("button_secondary_text_color", "button_secondary_background_fill"),
        ("body_text_color", "body_background_fill"),
        ("body_text_color_subdued", "body_background_fill"),
        ("block_info_text_color", "block_background_fill"),
        ("block_label_text_color", "block_label_background_fill"),
        ("input_placeholder_color", "input_background_fill"),
        ("link_text_color", "body_background_fill"),
    ):
        for mode in ("", "_dark"):
            assert contrast_of(colour(ink + mode), colour(ground + mode)) >= 4.5, ink + mode


def test_phones_focus_and_rest_are_thought_of():
    for rule in ("max-width:640px", "prefers-reduced-motion", ":focus-visible", "overflow-x:auto", ".dark .cg"):
        assert rule in looks.CSS
    assert looks.CSS.count("{") == looks.CSS.count("}")
