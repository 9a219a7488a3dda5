"""The conductor: its order, and that a run put down at any event ends as one that was not."""

import dataclasses
import pickle
from contextlib import closing

import pytest
import torch

from cgidm.conductor import authenticate, authentication_steps
from cgidm.judging.banks.null_bank import open_bank
from cgidm.judging.mirror_test import pictures_reference
from cgidm.judging.result import Result
from cgidm.method.config import RecoveryConfig, RunConfig
from cgidm.method.mirror import MirrorScore
from cgidm.resources import find_example
from cgidm.run.events import RunProgress
from cgidm.run.plan import RunPlan, RunRequest, plan_run, read_plan
from tests.support.errors import refuses
from tests.support.pictures import pair_that_learnt, picture

CONFIG = RunConfig(recovery=RecoveryConfig(steps=4), lineup=3, mirror_draws=2, mirrored_recovery=True)
LEARNT = [picture(0), picture(1)]


@pytest.fixture(scope="module")
def pair():
    return pair_that_learnt([picture(i).image for i in (0, 1)])


def request(**changes) -> RunRequest:
    pictures = [picture(0), picture(5)]
    controls = [picture(100 + i) for i in range(20)]
    return dataclasses.replace(RunRequest(pictures=pictures, controls=controls, config=CONFIG), **changes)


def numbers(result: Result):
    """All that a result says in numbers and pictures."""
    rows = [(r.scores, r.contrast, r.distance_from_base, r.verdict, r.flags) for r in result.pictures]
    images = [i.tolist() for r in result.pictures for i in r.images.values()]
    shown = [i.tolist() for p in result.decoys for i in p.images]
    return rows, images, shown, result.control_scores, result.together, result.lineup, result.expected_power


def test_the_order_of_events(pair):
    phases = [e.phase for e in authentication_steps(pair, request(), controls_per_event=10)]
    steps = CONFIG.recovery.steps
    assert phases == [
        "planned",
        "mirror",
        *["controls"] * 2,
        "answered",
        *["step"] * steps,
        "judged",
        *["decoys"] * steps,
        "finished",
    ]


def test_authenticate_drains_the_same_events(pair):
    seen = []
    wish = request()
    result = authenticate(pair, wish.pictures, wish.controls, config=CONFIG, progress=seen.append)
    *_, last = authentication_steps(pair, wish)
    assert numbers(result) == numbers(last.result) and seen[-1].phase == "finished"
    assert {"name", "outcome", "p_value", "loss_contrast"} <= set(result.to_frame().columns)
    assert [p["outcome"] for p in result.to_dict()["pictures"]] == [r.verdict.outcome for r in result.pictures]


@pytest.mark.parametrize("steps", [None, 1, 3])
def test_a_run_put_down_anywhere_ends_as_if_it_had_not_been(pair, tmp_path, steps):
    """Each time it is taken up from what was pickled or saved by the last event that holds its progress."""
    *_, whole = authentication_steps(pair, request())
    progress, sittings = RunProgress(), 0
    while True:
        sittings += 1
        options = {"steps": steps, "preview_seconds": 0.0, "controls_per_event": 7}
        with closing(authentication_steps(pair, request(), progress, **options)) as events:
            for number, event in enumerate(events, 1):
                if event.progress is not None:
                    progress = pickle.loads(pickle.dumps(event.progress))
                if event.phase == "finished" or number == 5:
                    break
        if event.phase == "finished":
            break
        if sittings % 2:  # a crash: what was not saved is lost
            progress.save(tmp_path)
            progress = RunProgress.load(tmp_path)
    assert sittings > 2 and numbers(event.result) == numbers(whole.result)
    RunProgress.delete(tmp_path)
    assert list(tmp_path.iterdir()) == [] and RunProgress.load(tmp_path).plan is None


def test_damaged_progress_is_refused(pair, tmp_path):
    event = next(e for e in authentication_steps(pair, request()) if e.progress)
    event.progress.save(tmp_path)
    (tmp_path / "progress.json").write_text('{"plan": 3')
    with refuses("run.damaged_progress", file="progress.json"):
        RunProgress.load(tmp_path)


def test_known_scores_of_controls_hold_for_those_that_are_used(pair):
    """Scores that were known before the plan are those of all controls; the plan leaves out a copy of a picture."""
    wish = request(config=dataclasses.replace(CONFIG, lineup=None))
    *_, plain = authentication_steps(pair, wish)
    copied = dataclasses.replace(wish, controls=[wish.pictures[0], *wish.controls])
    known = RunProgress(control_scores=(9.0, *plain.result.control_scores))
    *_, last = authentication_steps(pair, copied, known)
    assert last.result.control_scores == plain.result.control_scores
    assert plan_run(copied).copies == ((0,), ()) and plan_run(copied).controls == tuple(range(1, 21))


def test_copies_of_one_control_count_once(pair):
    """A picture that is copied a hundred times says no more than it does."""
    wish = request(config=dataclasses.replace(CONFIG, lineup=None))
    copied = [dataclasses.replace(wish.controls[0], name=f"{i}.png", sha256=f"{i:064x}") for i in range(100)]
    assert plan_run(dataclasses.replace(wish, controls=copied)).controls == (0,)
    assert plan_run(dataclasses.replace(wish, controls=[*wish.controls, *copied])).controls == tuple(range(20))


def test_what_cannot_go_together_is_refused_before_anything_is_computed(pair):
    with refuses("run.no_pictures"):
        next(authentication_steps(pair, request(pictures=[])))
    bank = open_bank(find_example("rollandin-lora").bank)
    with refuses("run.bank_and_controls"):
        next(authentication_steps(pair, request(bank=bank)))
    with refuses("run.bank_and_unrelated"):
        next(authentication_steps(pair, request(bank=bank, controls=()), unrelated=lambda: pair))


def verdicts(result: Result):
    """What is said of each picture and of all together."""
    return [r.verdict.outcome for r in result.pictures], result.together and result.together.outcome


@pytest.mark.parametrize("controlled", [True, False])
def test_the_answer_is_there_before_the_recovery(pair, controlled):
    """It is the answer of the end, and nothing has been recovered for it."""
    changes = {} if controlled else {"controls": ()}
    wish = request(pictures=LEARNT, config=dataclasses.replace(CONFIG, lineup=None), **changes)
    events = list(authentication_steps(pair, wish))
    phases = [e.phase for e in events]
    assert phases.count("answered") == 1 and phases.index("answered") < phases.index("step")
    answered = events[phases.index("answered")].result
    assert verdicts(answered) == verdicts(events[-1].result)
    for early, late in zip(answered.pictures, events[-1].result.pictures, strict=True):
        assert torch.equal(early.recovered, early.partial) and early.contrast == ()
        assert early.scores.items() <= late.scores.items() and early.verdict.p_value == late.verdict.p_value


def test_the_recovery_can_take_an_answer_back(pair):
    """A suspect that cannot be told from its base: only the recovery's gradients show it."""
    wish = request(config=dataclasses.replace(CONFIG, lineup=None))
    events = {e.phase: e.result for e in authentication_steps(pair, wish) if e.result is not None}
    assert events["answered"].pictures[1].flags == ()
    assert [f.name for f in events["finished"].pictures[1].flags] == ["indistinguishable"]


def test_a_yes_of_the_mirror_test_waits_for_no_control(pair, monkeypatch):
    known = pictures_reference([i / 1000 for i in range(200)])
    monkeypatch.setattr("cgidm.run.sitting.mirror_reference", lambda *_: known)
    monkeypatch.setattr(
        "cgidm.run.sitting.score_mirror", lambda pair, pictures, *_: [MirrorScore(9.0, 0.1)] * len(pictures)
    )
    wish = request(pictures=LEARNT, config=dataclasses.replace(CONFIG, lineup=None))
    events = list(authentication_steps(pair, wish))
    phases = [e.phase for e in events]
    assert phases[:4] == ["planned", "mirror", "answered", "controls"]
    consistent = verdicts(events[2].result)
    assert consistent == verdicts(events[-1].result) and consistent[1].startswith("consistent")
    monkeypatch.setattr("cgidm.run.sitting.score_mirror", lambda *_: [MirrorScore(9.0, 0.1), MirrorScore(0.0, 0.1)])
    phases = [e.phase for e in authentication_steps(pair, wish)]
    assert phases.index("answered") > phases.index("controls")


def test_the_first_answer_takes_at_most_a_hundred_network_evaluations(pair):
    """Forward passes of one row, of both networks together; with as many draws as a run has by default."""
    rows, networks = [], (pair.base, pair.suspect)

    def counting(model):
        class Counting:
            def predict_eps(self, z_t, t):
                rows.append(len(z_t))
                assert not torch.is_grad_enabled() or not z_t.requires_grad
                return model.predict_eps(z_t, t)

        return Counting()

    base, suspect = map(counting, networks)
    config = RunConfig(recovery=RecoveryConfig(steps=1))
    wish = request(pictures=[picture(0)], controls=(), config=config)
    counted = dataclasses.replace(pair, base=base, suspect=suspect)
    for event in authentication_steps(counted, wish):
        assert event.phase != "step"
        if event.phase == "answered":
            break
    assert 0 < sum(rows) <= 100


def test_an_older_version_s_power_is_looked_up_anew():
    """It was a mean over suspects, and the controls' own share was not kept."""
    new = dataclasses.asdict(
        RunPlan(controls=(0, 2), copies=((1,),), expected_power=0.9, control_power=0.7, power_known=True)
    )
    assert read_plan(new) == RunPlan(**new)
    for older in ("control_power", "power_known"):
        left = {k: v for k, v in new.items() if k not in ("control_power", older)}
        assert read_plan(left) == RunPlan(controls=(0, 2), copies=((1,),)), "neither a share nor that one is known"
