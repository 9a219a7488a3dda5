"""A plan that is stated beforehand: the run does it, refuses what contradicts it, and says which attempt it is."""

import hashlib
import json
import re
import shutil

import numpy as np
import pytest

from cgidm.cli import main
from cgidm.evidence.bundle_reader import open_bundle, read_small
from cgidm.evidence.recompute import recompute
from cgidm.evidence.reruns.planned_run import plan_differences
from cgidm.evidence.seal import PLAN, RECORD, bundle_record
from cgidm.judging.mirror_test import NullGroup, digest_of_groups
from cgidm.run.plan_file import read_plan_bytes
from tests.support.bundles import raw_record, reseal
from tests.support.errors import refuses
from tests.support.forgeries import PICTURES, AlteredBundle, make_models
from tests.support.pdf_text import pdf_text

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("few_draws")]


def options_of(place):
    pictures = [str(place / name) for name in PICTURES]
    models = ["--base", str(place / "base"), "--suspect", str(place / "suspect.safetensors"), "--prompt", "a b"]
    return [*pictures, *models, "--controls", str(place / "controls"), "--preset", "fast", "--steps", "2"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Models, pictures, a plan, and two runs of it."""
    place = tmp_path_factory.mktemp("planned")
    make_models(place)
    assert main(["plan", *options_of(place), "--out", str(place / "plan.json")]) == 0
    for number in (1, 2):
        assert follow(place, "--out", str(place / f"out-{number}")) == 0
    return place


def follow(place, *more):
    return main(["authenticate", "--plan", str(place / "plan.json"), *more])


def first_paragraph(html):
    return re.findall(r"<p>(.*?)</p>", html, re.DOTALL)[0]


def test_the_plan_states_every_input_by_its_digests(place):
    plan = json.loads((place / "plan.json").read_text())
    for name, planned in zip(PICTURES, plan["pictures"], strict=True):
        assert planned["name"] == name and len(planned["pixels"]) == 64
        assert planned["sha256"] == hashlib.sha256((place / name).read_bytes()).hexdigest()
    assert len(plan["controls"]) == 22 and plan["options"]["steps"] == plan["config"]["recovery"]["steps"] == 2
    assert [m["role"] for m in plan["models"]] == ["base", "suspect"] and all(m["sha256"] for m in plan["models"])


@pytest.mark.parametrize("number", [1, 2])
def test_the_first_paragraph_of_both_reports_says_the_plan_and_the_attempt(place, number):
    digest = hashlib.sha256((place / "plan.json").read_bytes()).hexdigest()
    out = place / f"out-{number}"
    assert (out / PLAN).read_bytes() == (place / "plan.json").read_bytes()
    stated = raw_record(out)["plan"]
    assert stated["sha256"] == digest and len(stated["attempts"]) == number
    said = first_paragraph((out / "report.html").read_text())
    on_paper = "".join(pdf_text((out / "report.pdf").read_bytes()).split())
    for sentence in (digest, f"attempt {number} of this plan"):
        assert sentence in said and "".join(sentence.split()) in on_paper
    assert ("Earlier attempts" in said) == (number == 2)


def test_a_bundle_of_a_plan_is_consistent_and_compared_with_the_given_one(place, capsys):
    capsys.readouterr()
    assert main(["verify", str(place / "out-1"), "--plan", str(place / "plan.json")]) == 0
    said = capsys.readouterr().out
    assert "consistent in itself, of the given plan" in said.splitlines()[-1] and "attempt 1, as it states" in said
    (place / "other.json").write_text((place / "plan.json").read_text() + " ")
    assert main(["verify", str(place / "out-1"), "--plan", str(place / "other.json")]) == 1
    assert "NOT of the given plan" in capsys.readouterr().out.splitlines()[-1]
    assert main(["verify", str(place / "out-1"), "--plan", str(place / "nowhere.json")]) == 2


CONTRADICTIONS = [
    (["--seed", "3"], "0 for seed, got 3"),
    (["--preset", "paper"], "fast for preset"),
    (["--search"], "False for search"),
    (["--no-mirror"], "True for mirror"),
    (["--prompt", "other"], "a b for prompt"),
    (["--lineup", "3"], "None for lineup"),
]


@pytest.mark.parametrize(("more", "said"), CONTRADICTIONS)
def test_an_option_that_contradicts_the_plan_is_refused_and_no_attempt(place, more, said, capsys):
    before = (place / "plan.json.attempts").read_text()
    assert follow(place, *more, "--out", str(place / "never")) == 2
    assert said in capsys.readouterr().err
    assert (place / "plan.json.attempts").read_text() == before and not (place / "never").exists()


def test_an_option_that_repeats_the_plan_is_accepted_and_others_still_need_their_own(place, capsys):
    with pytest.raises(SystemExit):
        main(["authenticate", "--seed", "0"])
    capsys.readouterr()
    assert follow(place, "--seed", "1") == 2 and "for seed" in capsys.readouterr().err
    assert follow(place, "--seed", "0", "--search") == 2 and "for search" in capsys.readouterr().err


def test_other_files_than_the_planned_ones_are_refused(place, tmp_path, capsys):
    shutil.copytree(place / "controls", tmp_path / "controls")
    first, *_, last = sorted((tmp_path / "controls").iterdir())
    last.unlink()
    assert follow(place, "--controls", str(tmp_path / "controls")) == 2
    assert "has 22 controls, got 21" in capsys.readouterr().err
    shutil.copy(first, last)
    assert follow(place, "--controls", str(tmp_path / "controls")) == 2
    assert f"another file in the place of {last.name}" in capsys.readouterr().err
    pictures = [str(place / name) for name in reversed(PICTURES)]
    assert main(["authenticate", *pictures, "--plan", str(place / "plan.json")]) == 2
    assert "another file in the place of" in capsys.readouterr().err
    assert follow(place, "--suspect", str(place / "base")) == 2
    assert "another suspect" in capsys.readouterr().err


def test_the_planned_files_may_lie_elsewhere(place, tmp_path):
    shutil.copytree(place / "controls", tmp_path / "controls")
    shutil.copy(place / "suspect.safetensors", tmp_path / "renamed.safetensors")
    shutil.copy(place / "plan.json", tmp_path / "plan.json")
    out = tmp_path / "out"
    places = ["--controls", str(tmp_path / "controls"), "--suspect", str(tmp_path / "renamed.safetensors")]
    assert main(["authenticate", "--plan", str(tmp_path / "plan.json"), *places, "--out", str(out)]) == 0
    assert len(raw_record(out)["plan"]["attempts"]) == 1  # a plan that was moved is counted anew, as the report says
    with open_bundle(out) as bundle:
        assert recompute(bundle, bundle_record(bundle)).agrees


def test_a_plan_is_never_overwritten_and_a_damaged_one_refused(place, tmp_path, capsys):
    assert main(["plan", *options_of(place), "--out", str(place / "plan.json")]) == 2
    assert "never overwritten" in capsys.readouterr().err
    table = json.loads((place / "plan.json").read_text())
    for damaged in ("", "[]", json.dumps(table | {"format": 9}), json.dumps(table | {"options": {"magic": 1}})):
        (tmp_path / "plan.json").write_text(damaged)
        assert main(["authenticate", "--plan", str(tmp_path / "plan.json")]) == 2
        assert "is no plan" in capsys.readouterr().err
    assert main(["authenticate", "--plan", str(tmp_path / "nowhere.json")]) == 2


def altered_plan(place, change):
    """The bundle of the first run with another plan, and a record that states its digest."""
    table = json.loads((place / "out-1" / PLAN).read_text())
    change(table)
    data = (json.dumps(table, indent=2) + "\n").encode()
    record = raw_record(place / "out-1")
    record["plan"]["sha256"] = hashlib.sha256(data).hexdigest()
    return {PLAN: data, RECORD: (json.dumps(record, indent=2) + "\n").encode()}


FORGED_PLANS = {
    "another seed": (lambda t: t["config"].update(seed=7), "config.seed"),
    "another preset": (lambda t: t["config"].update(preset="paper"), "config.preset"),
    "another prompt": (lambda t: t["options"].update(prompt=["b"]), "models.prompt"),
    "an alpha": (lambda t: t["options"].update(adapter_alpha=3.0), "models.adapter_alpha"),
    "other pictures": (lambda t: t["pictures"].reverse(), "pictures[*].sha256"),
    "other controls": (lambda t: t["controls"].reverse(), "controls[1].sha256"),
    "no controls": (lambda t: t["controls"].clear(), "controls[0].sha256"),
    "a bank": (lambda t: t.update(bank="0" * 64), "bank.sha256"),
    "another suspect": (lambda t: t["models"][1].update(sha256=["0" * 64]), "models.sha256"),
    "an unrelated model": (
        lambda t: t["models"].append({"role": "unrelated", "name": "x", "sha256": ["0" * 64]}),
        "models.unrelated_sha256",
    ),
    "squares": (lambda t: t["options"].update(framing="square"), "framing.rule"),
}


@pytest.mark.parametrize("name", FORGED_PLANS)
def test_a_plan_that_was_made_up_afterwards_must_be_that_of_the_run(place, name):
    change, path = FORGED_PLANS[name]
    with open_bundle(place / "out-1") as bundle:
        forged = AlteredBundle(bundle, altered_plan(place, change))
        found = recompute(forged, bundle_record(forged))
    assert path in {d.path for d in found.differences}


@pytest.mark.parametrize("change", [lambda r: r["plan"].update(sha256="0" * 64), lambda r: r.update(plan=None)])
def test_a_record_that_hides_its_plan_or_names_another_is_found(place, tmp_path, change):
    shutil.copytree(place / "out-1", tmp_path / "out")
    reseal(tmp_path / "out", change)
    assert main(["verify", str(tmp_path / "out")]) == 1


def write_table(place, name, artists):
    """A table of null scores for the base: of each artist as many as a level needs."""
    plan = json.loads((place / "plan.json").read_text())
    rng = np.random.default_rng(0)
    groups = [{"artist": a, "training": "t", "scores": rng.normal(0, 0.02, 20).tolist()} for a in artists]
    table = {"base": sorted(plan["models"][0]["sha256"]), "draws": plan["config"]["mirror_draws"], "groups": groups}
    (place / name).write_text(json.dumps([table]))
    return str(place / name)


@pytest.fixture(scope="module")
def with_table(place):
    """A run of a plan with a table of null scores; another table, which says that two artists are one."""
    table = write_table(place, "nulls.json", "abcdef")
    write_table(place, "other.json", "abcdee")
    assert main(["plan", *options_of(place), "--null-table", table, "--out", str(place / "tabled.json")]) == 0
    options = ["--plan", str(place / "tabled.json"), "--out", str(place / "tabled")]
    assert main(["authenticate", *options]) == 0
    return place


def test_a_plan_binds_the_null_table_by_its_file_and_by_what_the_record_holds_of_it(with_table, capsys):
    planned = json.loads((with_table / "tabled.json").read_text())["null_table"]
    assert planned["sha256"] == hashlib.sha256((with_table / "nulls.json").read_bytes()).hexdigest()
    mirror = raw_record(with_table / "tabled")["mirror"]
    assert mirror["source"] == "own table" and mirror["sha256"] == planned["groups"]
    capsys.readouterr()
    assert main(["verify", str(with_table / "tabled"), "--plan", str(with_table / "tabled.json")]) == 0
    again = ["authenticate", "--plan", str(with_table / "tabled.json"), "--out", str(with_table / "never")]
    assert main([*again, "--null-table", str(with_table / "other.json")]) == 2
    assert f"the SHA-256 {planned['sha256']}, got " in capsys.readouterr().err
    assert main([*again, "--null-table", str(with_table / "nowhere.json")]) == 2
    assert not (with_table / "never").exists()


def test_a_table_that_would_not_answer_is_not_planned(place, capsys):
    few = write_table(place, "few.json", "ab")
    assert main(["plan", *options_of(place), "--null-table", few, "--out", str(place / "few-plan.json")]) == 2
    assert "would not be answered by the table" in capsys.readouterr().err and not (place / "few-plan.json").exists()


def merge_artists(record):
    """Say that two artists of the table are one, and what follows from that alone."""
    record["mirror"]["groups"][5]["artist"] = "e"
    groups = [NullGroup(**g) for g in record["mirror"]["groups"]]
    record["mirror"]["sha256"] = digest_of_groups(groups)


TABLES = {
    "the artists of another table": (lambda r, p: merge_artists(r), "mirror.sha256"),
    "reference pictures": (lambda r, p: r["mirror"].update(source="pictures", groups=[]), "mirror.source"),
    "no table in the plan": (lambda r, p: (p.update(null_table=None), p["options"].update(null_table=None)), "mirror"),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_that_is_not_the_planned_one_is_named(with_table, name):
    change, path = TABLES[name]
    with open_bundle(with_table / "tabled") as bundle:
        record, plan = (json.loads(read_small(bundle, file) or b"") for file in (RECORD, PLAN))
        change(record, plan)
        data = (json.dumps(plan, indent=2) + "\n").encode()
        record["plan"]["sha256"] = hashlib.sha256(data).hexdigest()
        forged = AlteredBundle(bundle, {PLAN: data, RECORD: (json.dumps(record, indent=2) + "\n").encode()})
        found = plan_differences(bundle_record(forged), read_plan_bytes(data, ""))
        assert [where.startswith(path) for where, _, _ in found] == [True]


def test_options_that_name_a_table_need_its_digests(place):
    table = json.loads((place / "plan.json").read_text())
    table["options"]["null_table"] = "nulls.json"
    with refuses("run.plan.damaged"):
        read_plan_bytes(json.dumps(table).encode(), "")
