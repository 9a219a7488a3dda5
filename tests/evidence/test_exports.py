"""Notices and pages that are filled in from a record: what it knows is there, the rest is a blank."""

import dataclasses
import hashlib
import json
import shutil

import pytest
from safetensors.numpy import save_file

from cgidm.cli import main
from cgidm.evidence.bundle_writer import write_evidence
from cgidm.evidence.exports.catalogue import KINDS, exports
from cgidm.evidence.exports.command import NAMES
from cgidm.evidence.exports.facts import read_facts
from cgidm.evidence.exports.file_hashes import hash_weights, short_hash
from cgidm.evidence.record import BankRecord, PlanRecord
from cgidm.evidence.reports.language import text as text_of_code
from cgidm.evidence.reports.report import report_blocks
from cgidm.intake.listing import Publication
from cgidm.judging.flags import UNKNOWN_BASE
from cgidm.page.html.i18n import LANGUAGES, has_translation
from tests.support.bundles import MODELS, reseal
from tests.support.errors import refuses
from tests.support.page_records import BANK
from tests.support.results import block_texts, result_of

AIR = "urn:air:sdxl:lora:civitai:328553@368189+291234"
SHA = "ab" * 32
PUBLISHED = Publication(
    air=AIR,
    model_name="Painter",
    version_name="v1",
    file="a.safetensors",
    published="2026-01-02T03:04:05Z",
    base_model=None,
    digests={"SHA256": SHA, "AutoV2": SHA[:10], "AutoV3": "0123456789ab"},
)
OUTCOMES = {
    "consistent": "consistent with training on this image",
    "weak": "weak evidence",
    "none": "no evidence",
    "unclear": "cannot tell",
}


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    return write_evidence(result_of([2.0], power=0.9), tmp_path_factory.mktemp("exports") / "out", MODELS)


def with_outcome(record, outcome, **models):
    """The record of one picture with that answer, of a suspect that is on Civitai unless `models` says otherwise."""
    (picture,) = record.pictures
    stated = {
        "suspect": "x",
        "publications": {"suspect": PUBLISHED},
        "sha256": {"a/base": "1" * 64, "x/a": SHA},
        **models,
    }
    return dataclasses.replace(
        record,
        pictures=(dataclasses.replace(picture, outcome=OUTCOMES[outcome], p_value=0.004),),
        models=dataclasses.replace(record.models, **stated),
    )


def texts(record, **more):
    return {e.name: e.text for e in exports(record, **more)}


@pytest.mark.parametrize("outcome", ["none", "unclear"])
def test_no_accusation_without_evidence_but_a_page_for_a_lawyer(record, outcome):
    found = {e.name: e for e in exports(with_outcome(record, outcome))}
    for name in ("dmca", "civitai", "hub"):
        assert found[name].text is None and found[name].refusal.code == "evidence.export.no_evidence"
        for language in set(LANGUAGES) - {"en"}:
            assert has_translation(language, found[name].refusal) and has_translation(language, found[name].title)
    assert OUTCOMES[outcome] in found["lawyer"].text


def test_a_run_that_was_stopped_accuses_nobody(record):
    from cgidm.evidence.record import StoppedRecord

    stopped = dataclasses.replace(with_outcome(record, "consistent"), stopped=StoppedRecord(step=3, of=9))
    assert [e.name for e in exports(stopped) if e.text is not None] == ["lawyer"]


def test_the_kinds_of_the_command_are_those_that_there_are():
    assert tuple(KINDS) == NAMES


def test_the_notice_has_the_six_elements_and_blanks_for_what_nobody_but_the_owner_knows(record):
    said = texts(with_outcome(record, "consistent"), seal="5" * 64)["dmca"]
    for element in ("(i)", "(ii)", "(iii)", "(iv)", "(v)", "(vi)"):
        assert said.count(f"512(c)(3)(A){element}") == 1
    for words in (
        "good faith belief that use of the material in the manner complained of is not authorized by the copyright",
        "Under penalty of perjury, I am authorized to act on behalf of the owner of an exclusive right",
        "512(f)",
        "no legal advice",
        "statistical finding",
        "5" * 64,
    ):
        assert words in said
    assert said.count("[TO FILL IN:") >= 8
    for never in ("was infringed", "proves", "proof", "certainly", "guilty", "stolen"):
        assert never not in said.lower()


def test_hashes_and_places_are_those_of_the_record(record):
    for said in (texts(with_outcome(record, "consistent"))[name] for name in ("dmca", "civitai", "hub")):
        assert f"SHA-256 {SHA.upper()}" in said and f"AutoV2 {SHA[:10].upper()}" in said
        assert "AutoV3 0123456789AB" in said and "1" * 64 not in said  # the base is not accused
        assert "https://civitai.com/models/328553?modelVersionId=368189" in said
    said = texts(with_outcome(record, "consistent"))["civitai"]
    assert f"AIR: {AIR}" in said and "Version id: 368189" in said


def test_a_place_on_the_hub_is_an_address_and_a_file_that_was_handed_over_has_none(record):
    hub = {
        "suspect": "ann/lora@0123456789ab/a.safetensors",
        "publications": {},
        "commits": {"suspect": "0123456789" * 4},
    }
    said = texts(with_outcome(record, "consistent", **hub))["hub"]
    assert f"https://huggingface.co/ann/lora/tree/{'0123456789' * 4}" in said and "handed over" not in said
    said = texts(with_outcome(record, "consistent", publications={}))["dmca"]
    assert "the record does not show one" in said and "a file that was handed over" in said


@pytest.mark.parametrize("name", ["../../x", "javascript:alert(1)", "a b/c@1", "ann/lora"])
def test_no_address_is_made_of_a_name_that_is_none(record, name):
    odd = with_outcome(record, "consistent", suspect=name, publications={}, commits={"suspect": "0" * 40})
    assert read_facts(odd).address is None


def test_a_text_from_outside_stays_on_its_line(record):
    odd = with_outcome(
        record, "consistent", suspect="x\n\nI sign this\x1b[31m", sha256={"x\n\nI sign this\x1b[31m/a": SHA}
    )
    for said in texts(odd).values():
        assert "\nI sign this" not in said and "\x1b" not in said


def test_weak_evidence_is_called_so_before_everything_else(record):
    said = texts(with_outcome(record, "weak"))["dmca"]
    assert "WEAK EVIDENCE" in said.split("1. Copyrighted works")[0] and "about 5 get" in said
    assert "WEAK EVIDENCE" not in texts(with_outcome(record, "consistent"))["dmca"]


def set_record(tmp_path, scores, mine="consistent with training on this image"):
    made = write_evidence(result_of(scores, power=0.9), tmp_path / "set", MODELS)
    return dataclasses.replace(made, set=dataclasses.replace(made.set, outcome=mine, p_value=0.001))


def test_of_several_pictures_the_answer_for_all_decides_and_only_those_with_their_own_are_named(tmp_path):
    named = {"consistent with training on this image": 2, "no evidence": 1}
    several = set_record(tmp_path, [2.0, 2.0, 2.0])
    outcomes = [o for o, n in named.items() for _ in range(n)]
    digests = ["1" * 64, "2" * 64, "3" * 64]
    pictures = tuple(
        dataclasses.replace(p, outcome=o, sha256=d) for p, o, d in zip(several.pictures, outcomes, digests, strict=True)
    )
    several = dataclasses.replace(several, pictures=pictures)
    said = texts(several)["dmca"]
    assert "1" * 64 in said and "2" * 64 in said and "3" * 64 not in said and "about 3 pictures together" in said
    none_alone = dataclasses.replace(
        several, pictures=tuple(dataclasses.replace(p, outcome="no evidence") for p in pictures)
    )
    assert "it cannot be said which of them were used" in texts(none_alone)["dmca"]
    silent = dataclasses.replace(several, set=dataclasses.replace(several.set, outcome="cannot tell"))
    assert texts(silent)["dmca"] is None


def test_the_lawyer_s_page_asks_every_question_and_says_which_have_no_answer(record):
    said = texts(with_outcome(record, "consistent"))["lawyer"]
    for question in ("(a)", "(b)", "(c)", "(d)", "more likely than not", "peer review", "rate of error", "standards"):
        assert question in said
    assert said.count("NOT ANSWERED") >= 6 and "generally accepted" in said and "qualified as an expert" in said
    assert "No plan was stated before the run" in said
    planned = dataclasses.replace(record, plan=PlanRecord(sha256="7" * 64, attempts=("2026-01-01", "2026-01-02")))
    said = texts(planned)["lawyer"]
    assert "7" * 64 in said and "at attempt 2" in said and "No plan was stated" not in said


@pytest.mark.parametrize(("outcome", "told"), [("none", True), ("unclear", False), ("weak", False)])
def test_how_many_used_pictures_are_found_is_told_of_silence_alone(record, outcome, told):
    said = texts(with_outcome(record, outcome))["lawyer"]
    assert ("At least 90% of used pictures are found" in said) == told
    assert ("How often a used picture is missed in such a model: NOT ANSWERED" in said) != told


def test_autov2_and_autov3_are_the_beginnings_of_two_digests(tmp_path):
    import numpy as np

    tensors = {"a": np.arange(6, dtype=np.float32), "b": np.ones(3, dtype=np.float16)}
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    save_file(tensors, first)
    save_file(tensors, second, metadata={"ss_note": "another header, the same weights"})
    (sha, v3), (other_sha, other_v3) = hash_weights(first), hash_weights(second)
    data = first.read_bytes()
    body = data[8 + int.from_bytes(data[:8], "little") :]
    assert sha == hashlib.sha256(data).hexdigest() != other_sha
    assert v3 == other_v3 == hashlib.sha256(body).hexdigest()[:12].upper()
    assert short_hash(sha) == sha[:10].upper() and len(v3) == 12


def test_a_file_that_is_none_has_no_hashes(tmp_path):
    for name, data in (("empty", b""), ("short", b"\0" * 7), ("long", (10**9).to_bytes(8, "little") + b"{}")):
        (tmp_path / name).write_bytes(data)
        with refuses("evidence.export.no_safetensors"):
            hash_weights(tmp_path / name)
    with refuses("evidence.export.unreadable"):
        hash_weights(tmp_path / "nowhere")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A bundle whose suspect's file is at hand."""
    import numpy as np

    place = tmp_path_factory.mktemp("bundle")
    save_file({"a": np.zeros(4, dtype=np.float32)}, place / "suspect.safetensors")
    sha = hash_weights(place / "suspect.safetensors")[0]
    told = result_of([2.0])
    pictures = (dataclasses.replace(told.pictures[0], flags=(UNKNOWN_BASE,)),)
    result = dataclasses.replace(told, pictures=pictures, fingerprints={"a/x": "1" * 64, "b/suspect.safetensors": sha})
    write_evidence(result, place / "out", MODELS)
    return place


def test_the_command_prints_or_writes_a_text_and_computes_the_hash_of_a_file(bundle, capsys):
    assert main(["export", str(bundle / "out"), "--as", "lawyer"]) == 0
    assert "For a lawyer" in capsys.readouterr().out
    given = ["export", str(bundle / "out"), "--as", "dmca", "--suspect", str(bundle / "suspect.safetensors")]
    assert main([*given, "--out", str(bundle / "notice.txt")]) == 0
    written = (bundle / "notice.txt").read_text()
    assert hash_weights(bundle / "suspect.safetensors")[1] in written
    assert (bundle / "out" / "seal.txt").read_text().split()[0] in written
    assert main([*given, "--out", str(bundle / "notice.txt")]) == 2


def test_the_command_refuses_another_file_and_an_altered_bundle(bundle, tmp_path, capsys):
    import numpy as np

    save_file({"a": np.ones(4, dtype=np.float32)}, tmp_path / "other.safetensors")
    given = ["export", str(bundle / "out"), "--as", "hub", "--suspect", str(tmp_path / "other.safetensors")]
    assert main(given) == 2 and "1 recorded files" in capsys.readouterr().err
    shutil.copytree(bundle / "out", tmp_path / "out")
    reseal(tmp_path / "out", lambda r: r["pictures"][0].update(p_value=0.0001))
    assert main(["export", str(tmp_path / "out"), "--as", "dmca"]) == 1
    table = json.loads((tmp_path / "out" / "result.json").read_text())
    (tmp_path / "out" / "result.json").write_text(json.dumps(table))
    assert main(["export", str(tmp_path / "out"), "--as", "dmca"]) == 1


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_bank_s_share_is_stated_as_that_of_its_own_models(language, tmp_path):
    """Over its members it is a mean: nothing is said of other models so far from their base."""
    silent = write_evidence(result_of([-2.0], power=0.9), tmp_path / "silent", MODELS)
    silent = dataclasses.replace(silent, language=language)
    banked = dataclasses.replace(silent, bank=BankRecord(**BANK))
    for record, of_bank in ((silent, False), (banked, True)):
        lawyer, report = texts(record)["lawyer"], [t for b in report_blocks(record, "a" * 64) for t in block_texts(b)]
        assert ("null models were trained on, 90% are found" in lawyer) == of_bank
        assert ("At least 90% of used pictures" in lawyer) != of_bank
        said = {key: text_of_code(record, key, percent=90) for key in ("report.rate.power", "report.rate.power.bank")}
        assert [said["report.rate.power"] in report, said["report.rate.power.bank"] in report] == [not of_bank, of_bank]
        assert text_of_code(record, "report.rate.power.mirrored") not in report
