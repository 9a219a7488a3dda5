"""A bundle of the shipped model run again: the same scores on this machine, and words where it cannot be."""

import dataclasses
import io
import json
import re
import shutil
from contextlib import redirect_stdout

import pytest
import torch

from cgidm import families
from cgidm.cli import main
from cgidm.evidence.reruns import rerun
from cgidm.evidence.reruns import rerun_diff as comparison
from tests.support.bundles import reseal
from tests.support.paths import ASSETS

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("few_draws", "without_pages")]

LORA, OTHER = (ASSETS / "examples" / name for name in ("rollandin-lora", "gerald-g-dreambooth"))
BASE, SUSPECT = ("--base", str(ASSETS / "mini")), ("--suspect", str(LORA / "checkpoint"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The bundle of a short run, as folder and zip, and the control pictures as they were given."""
    place = tmp_path_factory.mktemp("rerun")
    (place / "controls").mkdir()
    for path in sorted((ASSETS / "controls" / "rollandin-lora").iterdir())[:19]:
        shutil.copy(path, place / "controls" / path.name)
    pictures = [str(sorted((LORA / part).iterdir())[0]) for part in ("member", "holdout")]
    run = ["authenticate", *pictures, *BASE, *SUSPECT, "--prompt", "sks style", "--preset", "fast", "--steps", "3"]
    run += ["--lineup", "3"]
    files = ["--controls", str(place / "controls"), "--out", str(place / "out"), "--bundle", str(place / "out.zip")]
    assert main([*run, *files]) == 0
    return place


@pytest.fixture(scope="module")
def once(made):
    """The pair and the result of a run that was repeated in earnest, and what that printed."""
    kept = {}

    def keep(name, function):
        def call(*given, **more):
            kept[name] = function(*given, **more)
            return kept[name]

        return call

    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as said:
        patch.setattr(rerun, "authenticate", keep("result", rerun.authenticate))
        patch.setattr(families, "load_pair", keep("pair", families.load_pair))
        kept["code"] = main(["verify", str(made / "out.zip"), "--rerun", *BASE, *SUSPECT])
    return kept | {"said": said.getvalue()}


@pytest.fixture
def out(made, tmp_path):
    shutil.copytree(made / "out", tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture
def quick(once, monkeypatch):
    """The run gives what it gave once, if it is asked about the same pictures."""

    def authenticate(pair, pictures, controls, *, config, embedders, **more):
        result = once["result"]
        known = [r.picture for r in result.pictures], result.controls
        for old, new in zip((p for part in known for p in part), (*pictures, *controls), strict=True):
            assert old.sha256 == new.sha256 and torch.equal(old.image, new.image)
        assert config == result.config and not any(more.values())
        return result

    monkeypatch.setattr(families, "load_pair", lambda *given, **more: once["pair"])
    monkeypatch.setattr(rerun, "load_embedders", lambda *given, **more: None)
    monkeypatch.setattr(rerun, "authenticate", authenticate)


def again(capsys, path, *more):
    code = main(["verify", str(path), "--rerun", *map(str, more)])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_the_same_machine_gives_every_score_to_1e_6(made, once):
    out = once["said"]
    assert once["code"] == 0 and "DIFFERS" not in out and "tolerance 1e-06: the recorded machine" in out
    record = json.loads((made / "out" / "result.json").read_text())
    rows = re.findall(r"^(.{32})  (\S+(?: picture)?) +(-?[\d.]+) +(-?[\d.]+) +(\S+)  ok$", out, re.MULTILINE)
    scores = [v for p in record["pictures"] for v in p["scores"].values() if v is not None]
    beside = ("distance_from_base", "round_trip", "gradient_ratio", "base_vs_itself", "unused_tensors")
    assert [row[1] for row in rows if row[1] in beside] == [*beside[:3], *beside[:3], *beside[3:]]
    rows = [row for row in rows if row[1] not in beside]
    assert len(rows) == len(scores) + 2 * len(record["pictures"]) + len(record["control_scores"]) == 14 + 4 + 19
    assert max(float(row[4]) for row in rows) <= 1e-6
    shown = re.findall(r"^line-up, round [12], [ABC] +its pictures +0.0000000 +(\S+) .*ok$", out, re.MULTILINE)
    assert len(shown) == 6 and max(map(float, shown)) <= 1e-6
    assert out.count("answer: ") == 4 and "the same: largest difference" in out
    assert out.splitlines()[-1] == "shown: whole, consistent in itself, run again; undated, not signed"


@pytest.mark.usefixtures("quick")
def test_models_are_found_where_the_bundle_says(made, capsys):
    assert again(capsys, made / "out")[0] == 0


def test_other_threads_stay_within_the_tolerance_of_another_machine(made, capsys):
    threads = json.loads((made / "out" / "result.json").read_text())["machine"]["threads"] + 1
    code, out, _ = again(capsys, made / "out", "--threads", threads)
    assert (
        code == 0
        and f"machine threads: {threads} instead of" in out
        and f"tolerance {comparison.OTHER_MACHINE:g}" in out
    )


@pytest.mark.usefixtures("quick")
def test_a_bundle_without_its_controls_needs_them_and_finds_them_by_their_bytes(made, out, tmp_path, capsys):
    for n, path in enumerate(sorted((made / "controls").iterdir(), reverse=True)):
        (tmp_path / "renamed").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "renamed" / f"{n}{path.suffix}")
    code, _, _ = again(capsys, out, "--controls", tmp_path / "renamed")
    assert code == 0
    (tmp_path / "renamed" / "0.jpg").unlink()
    code, _, err = again(capsys, out, "--controls", tmp_path / "renamed")
    assert code == 2 and "expected the 19 recorded control pictures. Missing in " in err and ": 1, first" in err
    shutil.rmtree(out / "controls")
    reseal(out, lambda record: record.update(controls=[]))
    code, _, err = again(capsys, out)
    assert code == 2 and "--controls" in err
    code, text, _ = again(capsys, out, "--controls", made / "controls")
    assert code == 0 and "control 19" in text


def change_score(record):
    record["pictures"][0]["scores"]["loss_contrast"] += 2e-6


def change_contrast(record):
    record["pictures"][1]["contrast"][2] += 2e-6


def change_distance(record):
    record["pictures"][0]["distance_from_base"] *= 1.0001


def change_check(record):
    record["pictures"][0]["checks"]["round_trip"] += 2e-6


def change_control(record):
    record["control_scores"][3] -= 0.5


def change_answer(record):
    record["pictures"][1]["outcome"] = "consistent with training on this image"


def change_key(record):
    (first, _) = record["lineup"]["rounds"]
    first["letter"] = "A" if first["letter"] == "B" else "B"


def change_decoy(record):
    first, second = record["lineup"]["rounds"]
    first["decoys"][0], second["decoys"][0] = second["decoys"][0], first["decoys"][0]


def drop_lineup(record):
    record["lineup"] = None


def add_score(record):
    record["pictures"][0]["scores"]["dino"] = 0.9


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("change", [change_score, change_contrast, change_distance, change_check])
def test_what_was_measured_otherwise_does_not_come_out_again(out, capsys, change):
    reseal(out, change)
    assert main(["verify", str(out)]) == 0  # it is whole, and consistent in itself
    code, text, _ = again(capsys, out)
    assert code == 1 and text.count("DIFFERS") == 1 and "NOT the same" in text
    assert text.splitlines()[-1].startswith("shown: whole, consistent in itself; undated, not signed, NOT the same")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (change_control, "set.p_value"),
        (change_answer, "pictures[1].outcome"),
        (change_key, "lineup.rounds[0].letter"),
        (change_decoy, "lineup.rounds[0].decoys[0]"),
        (drop_lineup, "lineup"),
        (add_score, "pictures[0].not_computed.dino"),
    ],
)
def test_what_does_not_follow_from_the_scores_is_named_and_not_run(out, capsys, monkeypatch, change, named):
    monkeypatch.setattr(rerun, "repeat", None)
    reseal(out, change)
    code, text, _ = again(capsys, out)
    assert code == 1 and f"  {named}: recorded " in text, text
    assert text.splitlines()[-1].startswith("shown: whole; NOT consistent in itself")


@pytest.mark.usefixtures("quick")
def test_a_recovered_picture_that_was_exchanged_does_not_come_out_again(out, capsys):
    letter = json.loads((out / "result.json").read_text())["lineup"]["rounds"][0]["letter"]
    for name in ("00-recovered.png", f"lineup/1-{letter}-recovered.png"):
        shutil.copy(out / "00-original.png", out / name)
    reseal(out, lambda record: None)
    code, text, _ = again(capsys, out)
    assert code == 1 and [line for line in text.splitlines() if "DIFFERS" in line and "recovered picture" in line]


@pytest.mark.parametrize("role", ["original", "partial", "recovered"])
def test_a_picture_of_the_line_up_that_was_exchanged_is_named(out, capsys, role):
    record = json.loads((out / "result.json").read_text())
    letter = record["lineup"]["rounds"][0]["letter"]
    shutil.copy(out / f"lineup/2-B-{role}.png", out / f"lineup/1-{letter}-{role}.png")
    reseal(out, lambda record: None)
    code, text, _ = again(capsys, out)
    assert code == 1 and f"lineup/1-{letter}-{role}.png: is not 00-{role}.png" in text


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("role", ["partial", "recovered"])
def test_a_decoy_that_was_exchanged_does_not_come_out_again(out, capsys, role):
    first, second = json.loads((out / "result.json").read_text())["lineup"]["rounds"]
    wrong = next(a for a in "ABC" if a not in (second["letter"]))
    shutil.copy(out / f"lineup/1-{first['letter']}-{role}.png", out / f"lineup/2-{wrong}-{role}.png")
    reseal(out, lambda record: None)
    code, text, _ = again(capsys, out)
    (line,) = [line for line in text.splitlines() if "DIFFERS" in line]
    assert code == 1 and line.startswith(f"line-up, round 2, {wrong}")


def test_other_weights_are_refused_before_anything_is_computed(out, made, capsys, monkeypatch):
    monkeypatch.setattr(rerun, "authenticate", None)
    code, _, err = again(capsys, out, *BASE, "--suspect", OTHER / "checkpoint")
    assert (
        code == 2 and "expected the weights of the bundle" in err and "pytorch_lora_weights.safetensors (SHA-256" in err
    )
    code, _, err = again(capsys, out, "--base", LORA / "checkpoint", "--suspect", ASSETS / "mini")
    assert code == 2 and "another order" in err


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: r["config"].update(encoding="sample"), "without a seed"),
        (lambda r: r["models"].update(base="no-such-model"), "--base"),
        (lambda r: r["machine"].update(threads=10**9), "expected 1 to 1024 threads"),
    ],
)
def test_a_record_that_cannot_be_followed_is_refused_in_words(out, capsys, change, said):
    reseal(out, change)
    code, _, err = again(capsys, out)
    assert code == 2 and said in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: r.update(stopped={"step": 1, "of": 3}), "contrast"),
        (lambda r: r["config"]["recovery"].update(steps=0), "steps: expected a whole number of at least 1, got 0"),
        (lambda r: r["controls"][0].update(image="../../etc/passwd"), "missing in the bundle"),
        (lambda r: r["controls"][0].update(image="report.html"), "expected an RGB PNG"),
        (lambda r: r["config"].update(lineup=40), "expected 2 to 20 panels per round"),
        (lambda r: r["lineup"]["rounds"][0].update(letter="Z"), "lineup.rounds[0].letter"),
        (lambda r: r["controls"].pop(), "controls/018.png: was added"),
    ],
)
def test_a_record_that_no_run_writes_is_not_consistent(out, capsys, monkeypatch, change, said):
    monkeypatch.setattr(rerun, "repeat", None)
    reseal(out, change)
    code, text, _ = again(capsys, out)
    assert code == 1 and said in text and "NOT consistent in itself" in text


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "change",
    [
        lambda r: r["config"].update(unheard=1),
        lambda r: r["config"].update(recovery=3),
        lambda r: r["machine"].update(threads="many"),
    ],
)
def test_a_record_with_other_values_than_its_format_has_is_no_whole_bundle(out, capsys, change):
    reseal(out, change)
    code, text, _ = again(capsys, out)
    assert code == 1 and "result.json" in text and "cannot be read" in text


def test_an_altered_bundle_is_not_run(out, capsys, monkeypatch):
    monkeypatch.setattr(rerun, "repeat", None)
    (out / "00-original.png").write_bytes((out / "00-partial.png").read_bytes())
    code, text, _ = again(capsys, out)
    assert code == 1 and "00-original.png: was changed" in text


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("score", "by", "precision", "code"),
    [
        ("removed_gain", 4e-3, "bfloat16", 0),
        ("removed_gain", 6e-3, "bfloat16", 1),
        ("efficientnet_lite0", 2e-2, "bfloat16", 0),
        ("efficientnet_lite0", 4e-2, "bfloat16", 1),
        ("removed_gain", 4e-3, "float32", 1),
        ("efficientnet_lite0", 2e-2, "float32", 1),
    ],
)
def test_half_precision_has_a_tolerance_of_its_own_elsewhere(
    score, by, precision, code, out, once, monkeypatch, capsys
):
    machine = once["result"].machine | {"precision": precision}
    monkeypatch.setattr(
        rerun, "authenticate", lambda *given, **more: dataclasses.replace(once["result"], machine=machine)
    )

    def elsewhere(record):
        record["machine"] |= {"precision": precision, "device_name": "another processor"}
        record["pictures"][0]["scores"][score] += by

    reseal(out, elsewhere)
    found, text, _ = again(capsys, out)
    assert found == code and ("(0.03 of an embedder)" in text) == (precision == "bfloat16")


def test_a_run_is_repeated_in_its_own_precision(out, once, monkeypatch):
    asked = []

    def load(*given, **more):
        asked.append((more["device"], more["dtype"]))
        raise KeyboardInterrupt

    monkeypatch.setattr(families, "load_pair", load)
    for precision in ("float32", "bfloat16"):
        reseal(out, lambda record, now=precision: record["machine"].update(precision=now))
        with pytest.raises(KeyboardInterrupt):
            main(["verify", str(out), "--rerun", *BASE, *SUSPECT])
    assert asked == [("cpu", torch.float32), ("cpu", torch.bfloat16)]
