"""`python -m eval reality`: everything tried once on the paper's own models, in stages that resume, and one page.

What the machine lacks is said first, and the time of each stage before it starts. Killed at any time, the same command
goes on. Nothing leaves the machine but the requests of downloads.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from cgidm.doctor.machine import gather_machine
from cgidm.errors import UserError
from cgidm.messages import Note, note
from eval.reality import estimates
from eval.reality.downloads import fetch_everything
from eval.reality.embeddings import embed_shipped_pictures
from eval.reality.findings import list_claims
from eval.reality.machine import benchmark_requirements, describe, list_missing
from eval.reality.measurements import evaluation_seconds, measure_speed, score_experiments, train_suspects
from eval.reality.page import count_claims, write_page
from eval.reality.plan import RealityPlan, load_plan
from eval.reality.public_models import try_public_models
from eval.reality.stages import Need, Sitting, Stage, StageRecord, read_done, read_record, run_stage, stage_keys
from eval.reality.verdicts import judge_suspects, judge_with_bank

BLOCKED = {"reality.no_gpu": "gpu", "reality.no_hub": "hub"}  # lack -> what a stage needs
GPU, HUB = frozenset[Need](("gpu",)), frozenset[Need](("hub",))


def _experiments(plan: RealityPlan) -> list[dict]:
    return [e.model_dump(mode="json") for e in plan.find_experiments()]


def _device() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


STAGES = (
    Stage(
        name="machine",
        does="The doctor's checks: device, memory, the Hub and its cache, a gradient.",
        run=describe,
        settings=lambda plan: [plan.gpu_gb, plan.disk_gb],
        seconds=estimates.quick_seconds,
        repeats=True,
    ),
    Stage(
        name="fetch",
        does="Download the bases, the weights of CLIP and DINO, and DreamBooth; compare digests with those known.",
        run=fetch_everything,
        settings=lambda plan: [[d.location for d in plan.downloads], plan.embedders, plan.dreambooth_archive],
        seconds=estimates.fetch_seconds,
        needs=HUB,
    ),
    Stage(
        name="embeddings",
        does="Embed pictures that ship with every embedder; compare with values that are known.",
        run=embed_shipped_pictures,
        settings=lambda plan: [plan.embedders, _device()],
        seconds=estimates.quick_seconds,
        after=("fetch",),
    ),
    Stage(
        name="loading",
        does="Inspect public models of every kind; judge a shipped picture where the base fits.",
        run=try_public_models,
        settings=lambda plan: [
            [m.model_dump() for m in plan.public_models],
            plan.first_answer.model_dump(),
            plan.largest_download_gb,
            _device(),
        ],
        seconds=estimates.loading_seconds,
        needs=HUB | GPU,
    ),
    Stage(
        name="speed",
        does="Time the recovery beside the public code's.",
        run=measure_speed,
        settings=lambda plan: [plan.bench.model_dump(), _device()],
        seconds=estimates.speed_seconds,
        needs=GPU,
    ),
    Stage(
        name="training",
        does="Fine-tune the suspects by the paper's recipe.",
        run=train_suspects,
        settings=_experiments,
        seconds=estimates.training_seconds,
        after=("fetch",),
        needs=GPU,
    ),
    Stage(
        name="recovery",
        does="Recover every picture by the presets of the experiments; AUCs beside the paper's.",
        run=score_experiments,
        settings=_experiments,
        seconds=estimates.recovery_seconds,
        after=("fetch", "training"),
        needs=GPU,
    ),
    Stage(
        name="verdicts",
        does="Judge suspects by the mirror test; seal and verify the evidence.",
        run=judge_suspects,
        settings=lambda plan: plan.reference_pictures,
        seconds=estimates.verdicts_seconds,
        after=("training",),
        needs=GPU,
    ),
    Stage(
        name="bank",
        does="Train a small bank of null models; judge the LoRA with it.",
        run=judge_with_bank,
        settings=lambda plan: plan.bank_models,
        seconds=estimates.bank_seconds,
        after=("training",),
        needs=GPU,
    ),
)
NAMES = tuple(stage.name for stage in STAGES)


def run(options: argparse.Namespace) -> None:
    """Run the command; exit code 1 if something is missing, or a stage has no result."""
    plan = load_plan() if options.plan is None else load_plan(options.plan)
    missing = list_missing(gather_machine(), plan, benchmark_requirements(), options.out)
    for lack in missing:
        print(lack)
    if options.check:
        if not missing:
            print(note("reality.ready"))
        sys.exit(int(bool(missing)))
    chosen = choose_stages(options.stages)
    keys = stage_keys(STAGES, plan)
    done = read_done(STAGES, keys, options.out)
    ahead = [stage for stage in chosen if stage.repeats or stage.name not in done]
    tell_estimates(ahead, plan, done, options.price)
    if stops := stop_reasons(missing, ahead):
        sys.exit(str(note("reality.stopped", lacks=len(stops))))
    options.out.mkdir(parents=True, exist_ok=True)
    for stage in ahead:
        if waits := [name for name in stage.after if name not in done]:
            print(note("reality.waits", stage=stage.name, needed=waits), flush=True)
            continue
        record = _run(stage, keys[stage.name], options, plan, done)
        if record.failed is None:
            done[stage.name] = record
        write_results(options.out, plan, keys)
    print(write_results(options.out, plan, keys), flush=True)
    sys.exit(int(any(stage.name not in done for stage in chosen)))


def choose_stages(given: str | None) -> tuple[Stage, ...]:
    """Return the stages that are named, comma-separated, in the order in which they run; all if none is.

    Raises:
        UserError: if there is no such stage.
    """
    wanted = NAMES if given is None else tuple(given.split(","))
    if unknown := [name for name in wanted if name not in NAMES]:
        raise UserError("reality.unknown_stage", given=unknown[0], accepted=list(NAMES))
    return tuple(stage for stage in STAGES if stage.name in wanted)


def tell_estimates(
    ahead: Sequence[Stage], plan: RealityPlan, done: Mapping[str, StageRecord], price: float | None
) -> None:
    """Print how long each stage takes, and all together."""
    each = evaluation_seconds(plan, {name: record.found for name, record in done.items()})
    source = "measured" if "speed" in done else "assumed"
    seconds = {stage.name: stage.seconds(plan, each) for stage in ahead}
    print(f"an evaluation: {1000 * each:.1f} ms ({source})")
    for stage in STAGES:
        told = f"about {seconds[stage.name] / 60:.1f} minutes" if stage.name in seconds else "done, or not asked for"
        print(f"{stage.name:12s}{told:24s}{stage.does}")
    print(estimates.total_line(seconds, price), flush=True)


def stop_reasons(missing: Sequence[Note], ahead: Sequence[Stage]) -> list[Note]:
    """The lacks without which a stage that is ahead cannot run."""
    needed = {need for stage in ahead for need in stage.needs}
    computes = any(not stage.repeats for stage in ahead)
    stops = [lack for lack in missing if BLOCKED.get(lack.code) in needed]
    return stops + [lack for lack in missing if lack.code == "reality.no_packages" and computes]


def write_results(out: Path, plan: RealityPlan, keys: Mapping[str, str]) -> str:
    """Write the page of all stages that have a file with equal settings, and return how much holds."""
    found = {name: read_record(out, name) for name in NAMES}
    records = {name: r for name, r in found.items() if r is not None and r.key == keys[name]}
    rows = list_claims(STAGES, records, plan)
    first = records.get("machine")
    machine = "" if first is None or first.found is None else _machine_line(first)
    write_page(out, STAGES, records, rows, machine)
    return f"{count_claims(rows)} {out / 'reality.html'}"


def _machine_line(record: StageRecord) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in record.found["versions"].items())
    return f"{record.found['gpu'] or 'no GPU'}; {versions}; {record.finished}"


def _run(
    stage: Stage, key: str, options: argparse.Namespace, plan: RealityPlan, done: Mapping[str, StageRecord]
) -> StageRecord:
    found = {name: record.found for name, record in done.items()}
    minutes = stage.seconds(plan, evaluation_seconds(plan, found)) / 60
    print(f"{stage.name}: about {minutes:.1f} minutes. {stage.does}", flush=True)
    sitting = Sitting(
        plan=plan,
        out=options.out,
        workers=options.workers,
        engine=options.engine,
        address=options.address,
        found=found,
    )
    record = run_stage(stage, key, sitting)
    outcome = "done" if record.failed is None else f"FAILED: {record.failed}"
    print(f"{stage.name}: {outcome} ({record.seconds:.0f} s)", flush=True)
    return record
