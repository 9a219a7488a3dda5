"""What a machine lacks, the stages that resume, and what the page says of what they found."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cgidm.doctor.finding import Finding
from cgidm.doctor.machine import Folder, Gpu, HubFacts, TorchFacts, gather_machine
from cgidm.errors import UserError
from cgidm.intake.source import HubSource, parse_source
from cgidm.messages import note
from eval.__main__ import main
from eval.reality import command, machine
from eval.reality.command import NAMES, STAGES, choose_stages, stop_reasons
from eval.reality.embeddings import TOLERANCE, compare
from eval.reality.findings import NO, NOT_RUN, UNKNOWN, YES, auc_error, compare_auc, list_claims
from eval.reality.page import blocks_as_markdown, count_claims, page_blocks
from eval.reality.plan import PLAN, load_plan
from eval.reality.stages import Parts, Sitting, Stage, StageRecord, read_done, read_record, run_stage, stage_keys
from tests.support.errors import refuses

GPU = Gpu(name="card", capability=(9, 0), free=24 * 10**9, total=24 * 10**9)
HUB = HubFacts("https://hub.invalid", False, Folder(Path("cache"), free=10**12))
CODES = ("reality.no_gpu", "reality.no_hub", "reality.no_packages", "reality.no_token", "reality.little_disk")


@pytest.fixture
def lacks(monkeypatch, tmp_path):
    """A function from what a machine has to the codes of what it is said to lack."""

    def listed(gpu=GPU, hub=True, packages=True, token=True, disk=10**12):
        status = "ok" if hub else "warning"
        monkeypatch.setattr(machine, "check_hub", lambda _: [Finding("Hub", status, note("doctor.hub", host="hub"))])
        monkeypatch.setattr(machine, "get_token", lambda: "hf_x" if token else None)
        monkeypatch.setattr(machine, "look_at_folder", lambda path: Folder(path, free=disk))
        torch = TorchFacts(version="2.6", cuda="12.8", gpu=gpu)
        found = replace(gather_machine(), torch=torch, hub=HUB)
        requirements = ["numpy>=1", *([] if packages else ["no-such-package-here>=9"])]
        return [lack.code for lack in machine.list_missing(found, load_plan(), requirements, tmp_path)]

    return listed


@pytest.mark.parametrize(
    ("has", "codes"),
    [
        ({}, []),
        ({"gpu": None}, CODES[:1]),
        ({"gpu": replace(GPU, total=8 * 10**9)}, ["reality.small_gpu"]),
        ({"hub": False}, CODES[1:2]),
        ({"gpu": None, "hub": False, "packages": False, "token": False, "disk": 10**9}, CODES),
    ],
)
def test_each_lack_is_named_once_and_in_order(lacks, has, codes):
    assert lacks(**has) == list(codes)


def test_a_library_that_cannot_be_imported_is_no_gpu(lacks, monkeypatch):
    lacks()
    broken = replace(gather_machine(), torch=note("doctor.package_missing", package="torch"), hub=HUB)
    assert [lack.code for lack in machine.list_missing(broken, load_plan(), [], Path())] == [CODES[0]]


def test_the_requirements_are_those_of_the_extra():
    names = [requirement.split(">")[0] for requirement in machine.benchmark_requirements()]
    assert {"torch", "diffusers", "pyarrow", "imagehash"} <= set(names) and "gradio" not in names


@pytest.mark.parametrize("options", [["--check"], []])
def test_what_is_missing_is_said_first_and_nothing_starts(monkeypatch, capsys, tmp_path, options):
    monkeypatch.setattr(command, "list_missing", lambda *_: [note(c) for c in CODES[:2]])
    monkeypatch.setattr(command, "run_stage", lambda *_: pytest.fail("a stage has started"))
    with pytest.raises(SystemExit) as end:
        main(["reality", "--out", str(tmp_path / "out"), *options])
    told = capsys.readouterr().out.splitlines()
    assert end.value.code not in (0, None) and told[:2] == [str(note(c)) for c in CODES[:2]]
    assert len(told) == (2 if options else 2 + 2 + len(STAGES)) and not (tmp_path / "out").exists()


def test_a_lack_stops_only_the_stages_that_need_it():
    no_gpu, no_hub, no_packages = (note(code) for code in CODES[:3])
    by = {stage.name: [stage] for stage in STAGES}
    assert stop_reasons([no_gpu, no_hub], by["speed"]) == [no_gpu]
    assert stop_reasons([no_gpu, no_hub], by["fetch"]) == [no_hub]
    assert stop_reasons([no_gpu, no_hub, no_packages], by["machine"]) == []
    assert stop_reasons([note(CODES[3]), no_packages], by["embeddings"]) == [no_packages]


def test_stages_run_in_their_own_order_and_after_what_they_need():
    assert [stage.name for stage in choose_stages("recovery,fetch")] == ["fetch", "recovery"]
    assert all(NAMES.index(needed) < NAMES.index(stage.name) for stage in STAGES for needed in stage.after)
    with refuses("reality.unknown_stage", given="nothing", accepted=list(NAMES)):
        choose_stages("fetch,nothing")


def test_the_committed_plan_pins_what_it_downloads():
    plan = load_plan()
    locations = [d.location for d in plan.downloads] + [m.base for m in plan.public_models if m.base]
    for location in (*locations, *(e.base for e in plan.find_experiments())):
        source = parse_source(location)
        assert isinstance(source, HubSource) and len(source.revision or "") == 40, location
    assert {e.base for e in plan.find_experiments()} <= {d.location for d in plan.downloads}
    assert len({m.family for m in plan.public_models}) >= 7 and len(plan.public_models) >= 10
    assert all(m.base is not None for m in plan.public_models if m.answer)


def test_a_damaged_plan_is_refused(tmp_path):
    path = tmp_path / "plan.json"
    path.write_text(PLAN.read_text().replace('"gpu_gb"', '"gpus"'))
    with refuses("reality.not_a_plan", path=str(path)):
        load_plan(path)


# --- stages ---


def stage(name, run, after=(), settings=lambda plan: plan.gpu_gb):
    return Stage(name=name, does="it", run=run, settings=settings, seconds=lambda *_: 1.0, after=after)


def sitting(out):
    return Sitting(plan=load_plan(), out=out)


def test_a_stage_is_done_only_under_equal_settings(tmp_path):
    stages = (stage("a", lambda s: 1), stage("b", lambda s: 2, after=("a",)))
    plan = load_plan()
    keys = stage_keys(stages, plan)
    for each in stages:
        run_stage(each, keys[each.name], sitting(tmp_path))
    assert {n: r.found for n, r in read_done(stages, keys, tmp_path).items()} == {"a": 1, "b": 2}
    changed = stage_keys(stages, plan.model_copy(update={"gpu_gb": 1}))
    assert changed["a"] != keys["a"] and changed["b"] != keys["b"]
    assert read_done(stages, changed, tmp_path) == {}
    others = (stages[0], stage("b", lambda s: 2, after=("a",), settings=lambda plan: "other"))
    assert list(read_done(others, stage_keys(others, plan), tmp_path)) == ["a"]


def test_a_stage_that_breaks_is_recorded_and_tried_again(tmp_path):
    def breaks(_):
        raise ZeroDivisionError("in the middle")

    def refused(_):
        raise UserError("reality.unknown_stage", given="x", accepted=["y"])

    for run, traced in ((breaks, True), (refused, False)):
        record = run_stage(stage("a", run), "key", sitting(tmp_path))
        assert record.failed and (record.trace is not None) == traced and record == read_record(tmp_path, "a")
        assert read_done([stage("a", run)], {"a": "key"}, tmp_path) == {}


def test_a_torn_file_is_no_record(tmp_path):
    (tmp_path / "a.json").write_text('{"stage": "a", "key"')
    assert read_record(tmp_path, "a") is None
    (tmp_path / "a.json").write_text('{"other": 1}')
    assert read_record(tmp_path, "a") is None


def test_parts_are_made_once(tmp_path):
    made, parts = [], Parts(tmp_path / "parts")
    for _ in range(2):
        assert parts.remember("one", lambda: made.append(1) or {"x": [1.5, None]}) == {"x": [1.5, None]}
    assert made == [1]
    with pytest.raises(ZeroDivisionError):
        parts.remember("two", lambda: 1 / 0)
    assert parts.remember("two", lambda: 2) == 2


# --- what holds ---


def test_an_auc_below_the_papers_holds_within_its_interval():
    assert auc_error(0.5, 10, 10) == pytest.approx(0.1323, abs=1e-4)  # sqrt(21 / 1200), without ties
    assert auc_error(1.0, 5, 5) == 0
    assert compare_auc(0.9, 0.8, 5, 5) == YES and compare_auc(0.8, 0.9, 5, 5) == YES
    assert compare_auc(0.8, 0.9, 500, 500) == NO and compare_auc(0.0, 0.9, 5, 5) == NO


def test_an_embedding_is_compared_with_values_of_the_same_weights():
    values = {"cosines": [1.0, 0.5], "first": [[0.1, 0.2], [0.3, 0.4]]}
    known = {"weights": "w", "cosines": [1.0, 0.5], "first": [[0.1, 0.2], [0.3, 0.41]]}
    assert compare(values, known, "w") == pytest.approx(0.01) and compare(values, known, "w") > TOLERANCE
    assert compare(values, known, "other weights") is None and compare(values, None, "w") is None


def test_the_shipped_embedder_sees_what_is_known(tmp_path):
    from eval.reality.embeddings import embed_shipped_pictures

    found = embed_shipped_pictures(sitting(tmp_path))["embedders"]["efficientnet_lite0"]
    assert found["difference"] is not None and found["difference"] <= TOLERANCE


USED = {"picture": "dreambooth/dog/1.jpg", "truth": "used"}
UNUSED = {"picture": "dreambooth/dog/2.jpg", "truth": "not used"}
ANSWER = {
    "name": "lora",
    "suspect": "OUT/work/lora",
    "prompt": "sks dog",
    "bundle": "evidence/lora",
    "verified": True,
    "together": None,
    "pictures": [
        {**USED, "outcome": "weak evidence"},
        {**USED, "outcome": "no evidence"},
        {**UNUSED, "outcome": "no evidence"},
    ],
}
ROW = {"role": None, "dataset": "dreambooth", "training": "lora", "method": "cgidm", "members": 5, "holdouts": 6}


def claims(**found):
    """The claims of stages that found this; the others have not run."""
    records = {name: StageRecord(stage=name, key="", found=what) for name, what in found.items()}
    return [row for row in list_claims(STAGES, records, load_plan()) if row.part in found], records


@pytest.mark.parametrize(
    ("change", "holds"),
    [
        ({}, [YES, YES, YES]),
        ({"verified": False}, [YES, YES, NO]),
        ({"pictures": [{"picture": "d/dog/1.jpg", "truth": "used", "outcome": "cannot tell"}]}, [NO, YES]),
        (
            {
                "pictures": [
                    {"picture": "d/dog/2.jpg", "truth": "not used", "outcome": "consistent with training on this image"}
                ]
            },
            [NO, YES],
        ),
    ],
)
def test_verdicts_hold_where_no_unused_picture_is_called_and_a_used_one_is(change, holds):
    rows, _ = claims(verdicts=[ANSWER | change])
    assert [row.holds for row in rows] == holds


def test_aucs_stand_beside_the_papers():
    measured = [("clip", 0.9), ("dino", 0.1), ("removed_alignment", 0.99)]
    rows = [{**ROW, "measure": measure, "auc": auc} for measure, auc in measured]
    chance = {**ROW, "training": None, "role": "innocent", "measure": "contrast", "auc": 0.55}
    found = [{"experiment": "reality", "rows": [*rows, chance]}, {"experiment": "reality-reference", "rows": []}]
    listed, _ = claims(recovery=found)
    assert [(row.known, row.holds) for row in listed] == [
        ("0.82", YES),
        ("0.86", NO),
        ("-", UNKNOWN),
        ("chance: 0.5", YES),
    ]
    assert all(row.command.startswith("python -m eval run reality") for row in listed)


def test_a_model_that_is_taken_for_another_does_not_hold():
    plan = load_plan()
    good = {
        "read": "it",
        "refused": None,
        "kind": "adapter",
        "dialect": "kohya",
        "trainer": None,
        "differs": [],
        "digest": "",
    }
    rows = [{**good, "location": m.location, "family": m.family, "answer": None} for m in plan.public_models]
    rows[0] |= {"answer": {"outcome": "weak evidence", "reason": "x"}}
    rows[1] |= {"differs": ["family"], "answer": {"outcome": None, "reason": "too large"}}
    rows[2] |= {"digest": "another digest", "answer": {"outcome": "no evidence", "reason": "x"}}
    rows[4] = {"location": "x", "family": None, "refused": "gone"}
    rows[-1] = {"location": "y", "family": None, "refused": "gated", "skipped": True}
    listed, _ = claims(loading=rows)
    holds = [row.holds for row in listed]
    assert holds[:8] == [YES, NO, f"{NO}: family", NOT_RUN, f"{NO}: digest", YES, YES, NO]
    assert listed[8].holds == NO and listed[-1].holds == NOT_RUN and set(holds[9:-1]) == {YES}
    assert listed[7].ours == "-"  # no answer, and nobody knows why


def test_the_page_says_what_holds_and_what_was_not_run():
    _, records = claims(verdicts=[ANSWER | {"verified": False}])
    every = list_claims(STAGES, records, load_plan())
    assert {row.part for row in every if row.holds == NOT_RUN} == set(NAMES) - {"verdicts"}
    counted = "2 hold, 1 do not hold, 0 have no known value, 8 were not run."
    assert count_claims(every) == f"Of {len(every)} claims {counted}"
    text = blocks_as_markdown(page_blocks(STAGES, records, every, "a card"))
    assert "## What does not hold" in text and all(f"`{row.command}`" in text for row in every)
    failed = {"speed": StageRecord(stage="speed", key="", failed="out of memory")}
    (row,) = (r for r in list_claims(STAGES, failed, load_plan()) if r.part == "speed")
    assert (row.holds, row.ours) == (NO, "out of memory")


def test_a_run_goes_on_after_a_stage_that_failed(monkeypatch, tmp_path, capsys):
    ran = []

    def run(name, fails=False):
        def carry(_):
            ran.append(name)
            if fails:
                raise UserError("reality.unknown_stage", given=name, accepted=[])
            return []

        return carry

    few = (stage("speed", run("speed", True)), stage("training", run("training"), after=("speed",)))
    few = (*few, stage("verdicts", run("verdicts")))
    monkeypatch.setattr(command, "STAGES", few)
    monkeypatch.setattr(command, "NAMES", tuple(s.name for s in few))
    monkeypatch.setattr(command, "list_missing", lambda *_: [])
    given = ["reality", "--out", str(tmp_path), "--price", "6"]
    for expected in (["speed", "verdicts"], ["speed"]):
        ran.clear()
        with pytest.raises(SystemExit) as end:
            main(given)
        assert end.value.code == 1 and ran == expected
    told = capsys.readouterr().out
    assert "at 6 an hour" in told and str(note("reality.waits", stage="training", needed=["speed"])) in told
    assert (tmp_path / "reality.html").exists() and json.loads((tmp_path / "speed.json").read_text())["failed"]
