"""The command line: a verdict on tiny models, and every wrong input answered in one line with exit code 2."""

import json
import shutil
import sys
from functools import partial

import jsonschema
import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

from cgidm.cli import main
from cgidm.evidence.standalone.record_schema import record_schema
from cgidm.method.views import VIEWS
from cgidm.run import progress_bar
from tests.support import tiny
from tests.support.adapters import kohya, weights

pytestmark = pytest.mark.usefixtures("few_draws")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    tiny.stable_diffusion().save_pretrained(folder / "base")
    tuned = tiny.stable_diffusion()
    tiny.perturbed(tuned.unet)
    tuned.save_pretrained(folder / "tuned")
    (folder / "controls").mkdir()
    rng = np.random.default_rng(0)
    for i in range(20):  # large shapes, so that none is a near-duplicate of another
        Image.fromarray(rng.integers(0, 256, (4, 4), np.uint8)).resize((64, 64)).save(folder / "controls" / f"{i}.png")
    Image.effect_noise((64, 64), 80).convert("RGB").save(folder / "a.png")
    (folder / "not-a-picture.png").write_text("hello")
    (folder / "empty").mkdir()
    return folder


def arguments(folder, *more, picture="a.png", base="base", tuned="tuned"):
    given = [str(folder / picture), "--base", str(folder / base), "--suspect", str(folder / tuned)]
    return ["authenticate", *given, "--steps", "2", *more]


def test_a_run_writes_the_whole_record(folder, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(folder / "controls", tmp_path / "controls")
    (tmp_path / "controls" / "controls.csv").write_text("name,made_by\n3.png,Anna\n")
    controls = ["--controls", str(tmp_path / "controls"), "--controls-statement", "drawn in 2024"]
    assert main(arguments(folder, *controls, "--out", str(out), "--prompt", "", "--preset", "fast")) == 0
    record = json.loads((out / "result.json").read_text())
    (picture,) = record["pictures"]
    assert 1 / 21 <= picture["p_value"] <= 1 and len(record["control_scores"]) == 20
    assert all(picture["scores"][k] is not None for k in ("removed_cosine", "removed_alignment", "loss_contrast"))
    assert all(picture["scores"][k] is None and picture["not_computed"][k] for k in ("clip", "dino"))
    assert -1 <= picture["scores"]["efficientnet_lite0"] <= 1 and "efficientnet_lite0" not in picture["not_computed"]
    assert len(picture["sha256"]) == 64 and record["models"]["sha256"] and record["config"]["recovery"]["steps"] == 2
    for role in ("original", "partial", "recovered"):
        with Image.open(out / f"00-{role}.png") as image:
            assert image.size == (64, 64)
    stated, models = record["statements"], record["models"]
    assert stated["controls"] == "drawn in 2024" and stated["attempt"] is None
    named = [c["name"] == "3.png" for c in record["controls"]]
    assert [s["made_by"] == "Anna" for s in stated["of_controls"]] == named and sum(named) == 1
    assert set(models["base_files"]) < set(models["sha256"]) and models["known_base"] is None
    assert len(picture["contrast"]) == 2 and record["set"] is None and record["stopped"] is None
    assert picture["outcome"] in capsys.readouterr().out and "data:image/png" in (out / "report.html").read_text()


def test_the_record_is_all_that_stdout_has_for_programs(folder, tmp_path, capsys):
    out = tmp_path / "out"
    wanted = ("--json", "--language", "fr", "--controls", str(folder / "controls"), "--out", str(out))
    assert main(arguments(folder, *wanted)) == 0
    said, told = capsys.readouterr()
    record = json.loads(said)
    assert said.encode() == (out / "result.json").read_bytes() and record["language"] == "fr"
    assert record["pictures"][0]["name"] == "a.png" and str(folder) not in json.dumps(record["pictures"])
    assert record["controls"][0]["name"] == "0.png" and "seal: " in told and record["pictures"][0]["outcome"] in told
    jsonschema.validate(record, record_schema())


def test_a_line_up_is_shown_and_what_was_chosen_is_counted(folder, tmp_path, capsys):
    run = arguments(folder, "--controls", str(folder / "controls"), "--out", str(tmp_path / "out"), "--lineup", "4")
    assert main([*run, "--bundle", str(tmp_path / "out.zip")]) == 0
    record = json.loads((tmp_path / "out" / "result.json").read_text())
    (shown,) = record["lineup"]["rounds"]
    assert record["config"]["lineup"] == 4 and len(set(shown["decoys"])) == 3 and shown["letter"] in "ABCD"
    assert "One round of 4 cannot go below p = 1/4" in capsys.readouterr().out
    assert main(["lineup", str(tmp_path / "out.zip"), f"--picks={shown['letter']}"]) == 0
    assert "1 of 1 right, p = 0.25" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(("more", "steps"), [([], 2), (["--lineup", "3"], 4)])
def test_a_terminal_sees_every_step_and_a_file_none(folder, tmp_path, capsys, monkeypatch, more, steps):
    run = arguments(folder, "--controls", str(folder / "controls"), "--out", str(tmp_path / "out"), *more)
    assert main(run) == 0 and capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    often = partial(progress_bar.tqdm, mininterval=0)  # else it draws ten times a second
    monkeypatch.setattr(progress_bar, "tqdm", often)
    assert main(run) == 0
    assert f" {steps}/{steps} " in capsys.readouterr().err


def test_an_innocent_suspect_gives_cannot_tell(folder, tmp_path):
    run = arguments(folder, "--controls", str(folder / "controls"), "--out", str(tmp_path), tuned="base")
    assert main(run) == 0
    (picture,) = json.loads((tmp_path / "result.json").read_text())["pictures"]
    assert picture["outcome"] == "cannot tell"
    assert [f["name"] for f in picture["flags"]] == ["indistinguishable", "unknown_base"]


@pytest.mark.slow
def test_a_search_is_recorded_with_the_view_that_scored_highest(folder, tmp_path):
    run = arguments(folder, "--controls", str(folder / "controls"), "--out", str(tmp_path), "--search")
    assert main(run) == 0
    record = json.loads((tmp_path / "result.json").read_text())
    assert record["config"]["views"] == list(VIEWS) and record["pictures"][0]["view"] in VIEWS


def test_a_blank_prompt_is_answered_with_what_the_suspect_s_notes_suggest(folder, tmp_path, capsys):
    pairs, _ = weights(folder / "base")
    notes = {"ss_tag_frequency": '{"10_sks $(style)": {}}'}
    save_file(kohya(pairs), folder / "lora.safetensors", notes)
    assert main(arguments(folder, "--out", str(tmp_path), "--preset", "fast", tuned="lora.safetensors")) == 0
    assert "suggest: --prompt 'sks $(style)'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"picture": "not-a-picture.png"}, "not-a-picture.png"),
        ({"picture": "empty"}, "is a folder"),
        ({"picture": "missing.png"}, "does not exist"),
        ({"base": "missing"}, "base model"),
        ({"tuned": "missing"}, "fine-tuned model"),
        (["--steps", "0"], "steps: expected a whole number of at least 1, got 0"),
        (["--radius", "-1"], "radius: expected a number above 0"),
        (["--controls", "nowhere"], "got nowhere"),
        (["--lineup", "1"], "expected 2 to 20 panels per round, or none, got 1"),
        (["--lineup", "6"], "different control pictures for a line-up of 6, got 0"),
    ],
)
def test_wrong_input_is_one_line_exit_code_2_and_nothing_written(folder, tmp_path, capsys, wrong, said):
    out = tmp_path / "out"
    extra, named = (wrong, {}) if isinstance(wrong, list) else ([], wrong)
    assert main(arguments(folder, "--out", str(out), *extra, **named)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and said in error and ("accepted" in error or "xpected" in error) and not out.exists()


def test_an_unknown_preset_exits_with_2(folder):
    with pytest.raises(SystemExit) as stop:
        main(arguments(folder, "--preset", "slow"))
    assert stop.value.code == 2
