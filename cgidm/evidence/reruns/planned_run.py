"""Is a record that of the plan that it says it followed? What both state is compared."""

import json
from collections.abc import Iterator
from typing import Any

from ...method.views import CENTRE_SQUARE
from ...run.plan_file import RunningPlan, read_plan_bytes
from ..record import Record
from ..record_json import to_json


def plan_differences(record: Record, plan: RunningPlan) -> Iterator[tuple[str, Any, Any]]:
    """Yield each value of a record that the plan has otherwise: where it stands, what is recorded, what is planned.

    Args:
        record: of a run that says that it followed the plan.
        plan: the plan, as the bundle holds it.
    """
    stated, planned = record.plan, plan.content
    if stated is None:
        return
    if stated.sha256 != plan.sha256:
        yield "plan.sha256", stated.sha256, plan.sha256
    if not stated.attempts:
        yield "plan.attempts", [], "one attempt at least"
    digests = [p.sha256 for p in planned.pictures]
    if [p.sha256 for p in record.pictures] != digests:
        yield "pictures[*].sha256", [p.sha256 for p in record.pictures], digests
    yield from _controls(record, [p.sha256 for p in planned.controls])
    if (bank := None if record.bank is None else record.bank.sha256) != planned.bank:
        yield "bank.sha256", bank, planned.bank
    yield from _null_table(record, plan)
    yield from _models(record, plan)
    yield from _settings(record, json.loads(json.dumps(dict(planned.config))))
    if planned.options.get("framing") == "square" and record.framing is not None:
        if record.framing.rule.get("rule") != "centre_square":
            yield "framing.rule", record.framing.rule, "square"


def count_missing_controls(record: Record, data: bytes) -> int:
    """Count the planned control pictures that a bundle does not hold; a run leaves copies out, and nothing else.

    Args:
        record: of the bundle.
        data: the bytes of the plan that it holds.
    """
    return len(read_plan_bytes(data, "").content.controls) - len(record.controls)


def _controls(record: Record, planned: list[str]) -> Iterator[tuple[str, Any, Any]]:
    """Controls are the planned ones in their order, some of them perhaps left out."""
    rest = iter(planned)
    for i, control in enumerate(record.controls):
        if control.sha256 not in rest:  # a search in an iterator goes on from where the last one ended
            yield f"controls[{i}].sha256", control.sha256, "a planned control picture, in its place"
            return
    if record.bank is None and bool(record.control_scores) != bool(planned):
        yield "control_scores", len(record.control_scores), f"{len(planned)} planned control pictures"


def _null_table(record: Record, plan: RunningPlan) -> Iterator[tuple[str, Any, Any]]:
    """The null scores of a table that does not ship. One that ships comes first; a bank takes its shape alone."""
    planned = None if plan.content.null_table is None else plan.content.null_table.groups
    mirror = record.mirror
    if mirror is not None and mirror.source == "own table":
        if mirror.sha256 != planned:
            yield "mirror.sha256", mirror.sha256, planned
    elif mirror is not None and mirror.source == "pictures" and planned is not None:
        yield "mirror.source", mirror.source, f"the planned table of null scores {planned}"


def _models(record: Record, plan: RunningPlan) -> Iterator[tuple[str, Any, Any]]:
    models, planned = record.models, plan.content.models
    weights = [sha for m in planned if m.role != "unrelated" for sha in m.sha256]
    found = list(dict.fromkeys(models.sha256.values()))
    if found != list(dict.fromkeys(weights)):
        yield "models.sha256", found, weights
    unrelated = next((" ".join(m.sha256) for m in planned if m.role == "unrelated"), None)
    if models.unrelated_sha256 != unrelated:
        yield "models.unrelated_sha256", models.unrelated_sha256, unrelated
    prompts = list(dict.fromkeys(plan.content.options.get("prompt") or [""]))
    if [models.prompt, *models.other_prompts] != prompts:
        yield "models.prompt", [models.prompt, *models.other_prompts], prompts
    alpha = plan.content.options.get("adapter_alpha")
    if models.adapter_alpha != alpha:
        yield "models.adapter_alpha", models.adapter_alpha, alpha


def _settings(record: Record, planned: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    found = to_json(record.config)
    if record.framing is not None and record.framing.guessed and CENTRE_SQUARE not in planned.get("views", ()):
        found["views"] = [v for v in found["views"] if v != CENTRE_SQUARE]  # the run itself has put it there
    for name in dict.fromkeys((*found, *planned)):
        if name == "score_noise" and record.bank is not None:
            continue  # a bank's scores have noise of their own
        if found.get(name) != planned.get(name):
            yield f"config.{name}", found.get(name), planned.get(name)
