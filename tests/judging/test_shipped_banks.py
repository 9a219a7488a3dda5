"""The banks that ship: they open, fit base and suspect, and tell their own recipe from half of it."""

import json

import pytest

from cgidm.families import load_pair
from cgidm.judging.banks.null_bank import FILE, OTHER_RECIPE, bank_flags, check_bank, open_bank
from cgidm.judging.banks.residuals import bank_residual, null_residuals
from cgidm.judging.tables.power import PowerTable, find_power_table
from cgidm.judging.verdict import is_positive, judge
from cgidm.method.config import RunConfig
from cgidm.training.scoring import score_pictures
from eval.studies.banks import FEW, count_taken, moved_by_half
from tests.support.paths import ASSETS, ROOT
from tests.support.results import power_row

BANKS = sorted(p.parent for p in (ASSETS / "banks").glob(f"*/{FILE}"))
OF_EACH = 4  # members and holdouts that are scored, of ten
COUNTED = json.loads((ROOT / "eval" / "results" / "banks.json").read_text())["banks"]


def test_banks_ship_without_weights():
    assert [b.name for b in BANKS] == sorted(COUNTED)
    assert all([p.name for p in b.iterdir()] == [FILE] and (b / FILE).stat().st_size < 50_000 for b in BANKS)


@pytest.mark.slow
@pytest.mark.parametrize("folder", BANKS, ids=lambda b: b.name)
def test_a_shipped_bank_judges_the_shipped_suspect_as_was_counted(folder):
    bank, example = open_bank(folder), ASSETS / "examples" / folder.name
    prompt = json.loads((example / "example.json").read_text())["prompt"]
    pair = load_pair(str(ASSETS / "mini"), str(example / "checkpoint"), prompt)
    check_bank(bank, pair.fingerprints, pair.is_full_network, RunConfig(), [prompt])
    parts = {part: sorted((example / part).iterdir()) for part in ("member", "holdout")}
    paths = [path for part in parts.values() for path in part]
    assert sorted(p.name for p in paths) == sorted(p.name for p in bank.content.pictures)

    paths = [path for part in parts.values() for path in part[:OF_EACH]]
    scored = score_pictures(str(ASSETS / "mini"), str(example / "checkpoint"), prompt, paths, RunConfig())
    digests = {p.name: p.sha256 for p in bank.content.pictures}
    shifts = {digests[path.name]: shift for path, shift in zip(paths, scored.prediction_distances, strict=True)}
    assert bank_flags(bank.content, shifts, scored.weight_distance) == ()
    for half in (dict(list(shifts.items())[:OF_EACH]), dict(list(shifts.items())[OF_EACH:])):
        assert bank_flags(bank.content, half, scored.weight_distance) == ()
    shares = ({k: v / 2 for k, v in shifts.items()}, scored.weight_distance and 0.7 * scored.weight_distance)
    assert bank_flags(bank.content, *shares) == (OTHER_RECIPE,)

    residuals = [
        bank_residual(bank.content, digests[path.name], score) for path, score in zip(paths, scored.scores, strict=True)
    ]
    outcomes = [judge(r, null_residuals(bank.content), []).outcome for r in residuals]
    for part, said in (("member", outcomes[:OF_EACH]), ("holdout", outcomes[OF_EACH:])):
        counted = sum(n for outcome, n in COUNTED[folder.name][part].items() if is_positive(outcome))
        assert counted in (0, len(parts[part])), "all or none, so a few of them tell the same"
        assert sum(map(is_positive, said)) == (OF_EACH if counted else 0)


@pytest.mark.parametrize("folder", BANKS, ids=lambda b: b.name)
def test_a_bank_takes_its_own_recipe_and_refuses_half_of_it(folder):
    bank = open_bank(folder).content
    table = find_power_table(bank.base)
    assert table is not None
    taken = count_taken(bank, moved_by_half(table, bank))
    assert taken == COUNTED[folder.name]["taken"] and list(taken) == [str(few) for few in FEW]
    assert min(t["same"] for t in taken.values()) > 0.9 and taken["10"]["half"] < 0.1


def test_half_of_the_presentations_is_the_worst_pair_of_the_table():
    rows = [power_row(0.5, 1.0, steps_per_picture=15), power_row(0.8, 1.0, steps_per_picture=30), power_row(1.0, 1.0)]
    whole = [
        power_row(9.0, 1.0, kind="dreambooth", rank=None, steps_per_picture=s, weight_distance=s**0.5) for s in (15, 30)
    ]
    table = PowerTable(base=(), level=0.05, rows=(*rows, power_row(0.9, 1.0, rank=4, steps_per_picture=30), *whole))
    adapters = open_bank(ASSETS / "banks" / "rollandin-lora").content
    assert moved_by_half(table, adapters) == 0.8
    models = tuple(m.model_copy(update={"weight_distance": 1.0}) for m in adapters.models)
    assert moved_by_half(table, adapters.model_copy(update={"models": models})) == pytest.approx(0.5**0.5)
