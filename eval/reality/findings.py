"""What holds and what does not: a row for each claim, computed from the stages' files by rules that stand here."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import sqrt
from pathlib import PurePosixPath
from typing import Any

from cgidm.judging.verdict import is_positive
from eval.analysis.tables import load_paper
from eval.reality.downloads import ANOTHER, NOT_KNOWN
from eval.reality.embeddings import TOLERANCE
from eval.reality.plan import RealityPlan
from eval.reality.stages import Stage, StageRecord

YES, NO, UNKNOWN, NOT_RUN = "yes", "NO", "no known value", "not run"
NORMAL = 1.96  # standard errors of a 95 % interval
PAPER_MEASURES = ("clip", "dino")
OWN_MEASURES = ("removed_alignment", "contrast")  # calibrated: at chance under suspects that know nothing
TOLD_GROUPS = "_group_max"  # the public code's score of a picture: its best match with any recovery of its half
NO_NUMBER = "-"
CHANCE = 0.5


@dataclass(frozen=True)
class ClaimRow:
    """One line of the page."""

    part: str  # the stage
    claim: str
    ours: str
    known: str  # of the paper, or by other sources
    holds: str
    command: str  # that shows it again


def list_claims(stages: tuple[Stage, ...], records: Mapping[str, StageRecord], plan: RealityPlan) -> list[ClaimRow]:
    """List every claim in the order of the stages; a stage without a result is one line that says so."""
    rows: list[ClaimRow] = []
    for stage in stages:
        record, again = records.get(stage.name), f"python -m eval reality --stages {stage.name} --out OUT"
        if record is None or record.failed is not None:
            reason = NO_NUMBER if record is None else record.failed or NO_NUMBER
            rows.append(ClaimRow(stage.name, stage.does, reason, NO_NUMBER, NOT_RUN if record is None else NO, again))
        else:
            rows += CLAIMS[stage.name](record.found, plan)
    return rows


def auc_error(auc: float, members: int, holdouts: int) -> float:
    """The standard error of an AUC (Hanley and McNeil, Radiology 143, 1982, Eq. 1)."""
    both_members, both_holdouts = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = auc * (1 - auc)
    spread += (members - 1) * (both_members - auc**2) + (holdouts - 1) * (both_holdouts - auc**2)
    return sqrt(max(spread, 0.0) / (members * holdouts))


def compare_auc(auc: float, paper: float, members: int, holdouts: int) -> str:
    """Yes where an AUC is at least the paper's, or the paper's is within the 95 % interval of ours; no otherwise."""
    return YES if auc + NORMAL * auc_error(auc, members, holdouts) >= paper else NO


def _machine(found: Any, _: RealityPlan) -> Iterator[ClaimRow]:
    command = "cgidm doctor"
    for check in found["checks"]:
        yield ClaimRow("machine", check["name"], check["found"], NO_NUMBER, YES if check["ok"] else NO, command)
    for lack in found["missing"]:
        yield ClaimRow("machine", "nothing is missing", lack, NO_NUMBER, NOT_RUN, "python -m eval reality --check")


def _fetch(found: Any, _: RealityPlan) -> Iterator[ClaimRow]:
    for base in found["bases"]:
        for file, digest in base["files"].items():
            claim = f"{_repository(base['location'])}: {file}"
            yield _digest_row("fetch", claim, digest, "python -m scripts.known_bases")
    for name, digest in found["embedders"].items():
        yield _digest_row("fetch", f"weights of {name}", digest, "python -m eval reality --stages fetch --out OUT")
    subjects = len(found["dreambooth"]["subjects"])
    command = "python -m eval fetch dreambooth --data OUT/data"
    yield ClaimRow("fetch", "DreamBooth has 30 subjects", str(subjects), "30", YES if subjects == 30 else NO, command)


def _digest_row(part: str, claim: str, digest: Mapping[str, str], command: str) -> ClaimRow:
    known = digest["known"]
    holds = UNKNOWN if known == NOT_KNOWN else NO if known == ANOTHER else YES
    return ClaimRow(part, claim, digest["sha256"][:16], known, holds, command)


def _embeddings(found: Any, _: RealityPlan) -> Iterator[ClaimRow]:
    command = "python -m eval reality --stages embeddings --out OUT"
    for name, values in found["embedders"].items():
        off, cosines = values["difference"], ", ".join(f"{x:.4f}" for x in values["cosines"][1:])
        if off is None:
            ours, holds = f"{values['length']} numbers; cosines {cosines}", UNKNOWN
        else:
            ours, holds = f"largest difference {off:.1e}", YES if off <= TOLERANCE else NO
        claim, beside = f"{name} sees shipped pictures as known", f"at most {TOLERANCE:g}"
        yield ClaimRow("embeddings", claim, ours, beside, holds, command)


def _loading(found: Any, plan: RealityPlan) -> Iterator[ClaimRow]:
    for row, model in zip(found, plan.public_models, strict=True):
        command, claim = f"cgidm inspect {row['location']}", _repository(row["location"])
        expected = ", ".join(x for x in (model.family, model.kind, model.dialect, model.trainer) if x)
        if "read" not in row:
            holds = NOT_RUN if row.get("skipped") else NO
            yield ClaimRow("loading", claim, row["refused"], expected, holds, command)
            continue
        parts = (row["family"], row["kind"], row["dialect"], row["trainer"])
        ours = ", ".join(str(x) for x in parts if x) or "nothing that is known"
        differs = [*row["differs"], *(["digest"] if row["digest"] == ANOTHER else [])]
        holds = f"{NO}: {', '.join(differs)}" if differs else YES
        yield ClaimRow("loading", claim, ours, expected, holds, command)
        if model.answer:
            yield _answer_row(row, model.base or "")


def _answer_row(row: Mapping[str, Any], base: str) -> ClaimRow:
    """A picture that ships was in no such training set, by all that is known: the right answer is no."""
    command = f"cgidm authenticate PICTURE --base {base} --suspect {row['location']}"
    claim, beside = f"{_repository(row['location'])}: a shipped picture was not used", "not called"
    if row["answer"] is None:
        return ClaimRow("loading", claim, row["refused"] or NO_NUMBER, beside, NO, command)
    outcome = row["answer"]["outcome"]
    if outcome is None:
        return ClaimRow("loading", claim, row["answer"]["reason"], beside, NOT_RUN, command)
    return ClaimRow("loading", claim, outcome, beside, NO if is_positive(outcome) else YES, command)


def _speed(found: Any, _: RealityPlan) -> Iterator[ClaimRow]:
    arms: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for row in found["rows"]:
        arms.setdefault((row["model"], row["pair"], row["arm"]), []).append(row)
    for (model, pair, arm), rows in arms.items():
        claim, command = f"{model}, {pair}, {arm}", f"python -m eval bench --models {model} --pairs {pair}"
        measured = [row for row in rows if row["seconds_per_evaluation"] is not None]
        if not measured:
            yield ClaimRow("speed", claim, rows[0]["not_measured"], NO_NUMBER, NOT_RUN, command)
            continue
        best = min(measured, key=lambda row: row["seconds_per_evaluation"])
        ours = f"{1000 * best['seconds_per_evaluation']:.2f} ms an evaluation"
        if best["times_reference"]:
            ours += f", {best['times_reference']:.2f} times the public code's pictures"
        yield ClaimRow("speed", claim, ours, NO_NUMBER, UNKNOWN, command)


def _training(found: Any, plan: RealityPlan) -> Iterator[ClaimRow]:
    command = f"python -m eval finetune {plan.experiments[0]} --data OUT/data --work OUT/work"
    for suspect in found:
        ours = f"{len(suspect['pictures'])} pictures, {len(suspect['files'])} files"
        yield ClaimRow("training", f"{suspect['name']} is trained and whole", ours, NO_NUMBER, YES, command)


def _recovery(found: Any, plan: RealityPlan) -> Iterator[ClaimRow]:
    """The AUCs that the paper prints, and those of the calibrated scores; the others stand in the tables."""
    paper = load_paper()["table1"]
    for experiment, name in zip(found, plan.experiments, strict=True):
        places = f"--data OUT/data --work OUT/work --out OUT/tables/{experiment['experiment']}"
        command = f"python -m eval run {name} {places}"
        for row in experiment["rows"]:
            seen = row["measure"].removesuffix(TOLD_GROUPS) if row["method"] == "reference" else row["measure"]
            trained = row["role"] is None
            if row["measure"] not in OWN_MEASURES and not (trained and seen in PAPER_MEASURES):
                continue
            compared = paper if row["method"] in ("cgidm", "reference") else {}
            theirs = compared.get(row["dataset"], {}).get(row["training"], {}).get("cgidm", {}).get(seen)
            yield _auc_row(experiment["experiment"], row, theirs, command)


def _auc_row(experiment: str, row: Mapping[str, Any], theirs: Mapping[str, float] | None, command: str) -> ClaimRow:
    members, holdouts, auc = row["members"], row["holdouts"], row["auc"]
    who = row["training"] if row["role"] is None else f"{row['role']} suspect"
    claim = f"{experiment}, {who}: AUC of {row['method']} by {row['measure']}"
    reach = NORMAL * auc_error(auc, members, holdouts)
    ours = f"{auc:.3f} of {members} used and {holdouts} unused pictures"
    if row["role"] is not None:
        holds = YES if auc - reach <= CHANCE <= auc + reach else NO
        return ClaimRow("recovery", claim, ours, f"chance: {CHANCE}", holds, command)
    if theirs is None:
        return ClaimRow("recovery", claim, ours, NO_NUMBER, UNKNOWN, command)
    holds = compare_auc(auc, theirs["auc"], members, holdouts)
    return ClaimRow("recovery", claim, ours, f"{theirs['auc']:.2f}", holds, command)


def _verdicts(found: Any, plan: RealityPlan) -> Iterator[ClaimRow]:
    for answer in found:
        yield from _judged("verdicts", answer, plan, "")


def _bank(found: Any, plan: RealityPlan) -> Iterator[ClaimRow]:
    yield ClaimRow("bank", "null models were trained", f"{plan.bank_models} models", NO_NUMBER, YES, found["command"])
    yield from _judged("bank", found, plan, " --bank OUT/bank")


def _judged(part: str, answer: Mapping[str, Any], plan: RealityPlan, more: str) -> Iterator[ClaimRow]:
    base = plan.find_experiments()[0].base
    name = f"{answer['name']}, with a bank" if more else answer["name"]
    pictures = " ".join(sorted({f"OUT/data/{PurePosixPath(p['picture']).parent}/*" for p in answer["pictures"]}))
    models = f"--base {base} --suspect {answer['suspect']} --prompt '{answer['prompt']}'"
    command = f"cgidm authenticate {pictures} {models}{more}"
    for truth, right in (("used", True), ("not used", False)):
        outcomes = [p["outcome"] for p in answer["pictures"] if p["truth"] == truth]
        if not outcomes:
            continue
        called = sum(map(is_positive, outcomes))
        claim = f"{name}: pictures that were {truth} are {'called' if right else 'not called'}"
        holds = YES if (called > 0 if right else called == 0) else NO
        beside = "some are" if right else "none is"
        ours = f"{called} of {len(outcomes)} called ({', '.join(sorted(set(outcomes)))})"
        yield ClaimRow(part, claim, ours, beside, holds, command)
    verified = YES if answer["verified"] else NO
    command = f"cgidm verify OUT/{answer['bundle']}"
    yield ClaimRow(part, f"{name}: its evidence verifies", answer["bundle"], NO_NUMBER, verified, command)


def _repository(location: str) -> str:
    """A location without the commit that it is pinned to."""
    return location.partition("@")[0]


CLAIMS = {
    "machine": _machine,
    "fetch": _fetch,
    "embeddings": _embeddings,
    "loading": _loading,
    "speed": _speed,
    "training": _training,
    "recovery": _recovery,
    "verdicts": _verdicts,
    "bank": _bank,
}
