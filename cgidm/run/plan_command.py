"""`cgidm plan`: state beforehand what `cgidm authenticate --plan` will do, as the same options say it."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import hash_file
from ..intake.layout import Checkpoint
from ..judging.banks.null_bank import Bank
from ..judging.mirror_test import own_table_reference, read_own_table
from ..method.config import RunConfig
from ..pictures.decoding import decode_pixels
from ..pictures.images import read_picture
from .plan_file import (
    PlanContent,
    PlannedModel,
    PlannedPicture,
    PlannedTable,
    RunningPlan,
    digest_pixels,
    write_plan,
)

ROLES = ("base", "suspect", "also", "embedding", "unrelated")  # options that name a model


def describe_picture(path: Path) -> PlannedPicture:
    """Describe a picture file by its digests.

    Raises:
        UserError: if it is not a picture that can be used.
    """
    sha256 = read_picture(path, 64).sha256
    decoded = decode_pixels(path.read_bytes(), str(path))[0]
    return PlannedPicture(name=path.name, sha256=sha256, pixels=digest_pixels(*decoded.size, decoded.tobytes()))


def describe_models(opened: Sequence[tuple[str, Checkpoint]]) -> list[PlannedModel]:
    """Describe models by the digests of their weights: those that the Hub or Civitai states, where there are any."""
    return [
        PlannedModel(
            role=role,
            name=_without_home(c.name),
            sha256=tuple(c.listing.stated_sha256(f) or c.listing.sha256(f) for f in c.weights),
        )
        for role, c in opened
    ]


def describe_table(path: Path, models: Sequence[PlannedModel], config: RunConfig) -> PlannedTable:
    """Describe a table of null scores by its digests.

    Args:
        path: its file.
        models: of the plan; the base is among them.
        config: the settings of the run.

    Raises:
        UserError: if it cannot be used, or has too few scores for the mirror test to answer by them.
    """
    weights = {sha: sha for m in models if m.role == "base" for sha in m.sha256}
    reference = own_table_reference(read_own_table(path, weights, config.mirror_draws))
    if reference.silent is not None:  # then a run asks the reference pictures, if it has any
        raise UserError("run.plan.small_table", path=str(path), problem=reference.silent)
    return PlannedTable(sha256=hash_file(path), groups=reference.digest)


def check_inputs(
    plan: RunningPlan,
    config: RunConfig,
    pictures: Sequence[Path],
    controls: Sequence[Path],
    bank: Bank | None,
    null_table: Path | None = None,
) -> None:
    """Refuse what is not as a plan states it; no model is needed.

    Raises:
        UserError: if a setting, a picture, a control picture, the bank or the table of null scores is another one.
    """
    plan.check_config(asdict(config))
    plan.check_pictures("pictures", [describe_picture(p) for p in pictures])
    plan.check_pictures("controls", [describe_picture(p) for p in controls])
    plan.check_bank(None if bank is None else bank.sha256)
    try:
        plan.check_null_table(None if null_table is None else hash_file(null_table))
    except OSError as error:
        raise UserError("judging.no_mirror_table", path=null_table) from error


def state_plan(
    options: argparse.Namespace,
    names: Sequence[str],
    config: RunConfig,
    controls: Sequence[Path],
    bank: Bank | None,
    open_model: Callable[[str, str], Checkpoint],
) -> RunningPlan:
    """Write the plan of a run.

    Args:
        options: of `cgidm authenticate`; `out` is the plan's file.
        names: the options that are planned.
        config: the settings that follow from them.
        controls: the control pictures.
        bank: the bank, if there is one.
        open_model: opens a model by its place and its role.

    Raises:
        UserError: if a picture or a model cannot be used, or there is a file already.
    """
    models, table = tuple(describe_models(open_models(options, open_model))), options.null_table
    content = PlanContent(
        written=datetime.now(UTC).isoformat(timespec="seconds"),
        options={name: _plain(getattr(options, name)) for name in names},
        config=asdict(config),
        pictures=tuple(describe_picture(p) for p in options.pictures),
        controls=tuple(describe_picture(p) for p in controls),
        bank=None if bank is None else bank.sha256,
        models=models,
        null_table=None if table is None else describe_table(table, models, config),
    )
    return write_plan(options.out, content)


def open_models(
    options: argparse.Namespace, open_model: Callable[[str, str], Checkpoint]
) -> list[tuple[str, Checkpoint]]:
    """Open the models that the options of a run name, each with its role."""
    found = []
    for role in ROLES:
        given = getattr(options, role)
        places = given if isinstance(given, list) else [given] if given is not None else []
        found += [(role, open_model(place, role)) for place in places]
    return found


def _plain(value: Any) -> Any:
    """A value of an option as JSON has it, without the home folder, which names a person."""
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return _without_home(str(value)) if isinstance(value, Path | str) else value


def _without_home(place: str) -> str:
    home = str(Path.home())
    return f"~{place[len(home) :]}" if len(home) > 1 and place.startswith(f"{home}/") else place
