"""A plan that is stated beforehand: pictures, models and settings of a run, in a file that can be time-stamped.

Whoever may choose pictures, controls, seeds, prompts and settings until an answer pleases can nearly always have it. A
plan fixes them. It is a JSON file, known by the SHA-256 of its bytes. `authenticate --plan` does what it says, refuses
what contradicts it, and adds a line to a file beside it, which counts the attempts. That count is the word of whoever
keeps the file.
"""

import hashlib
import json
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from ..errors import UserError
from ..messages.text import single_line
from .options import OptionKind

FORMAT = 1
MOST_BYTES = 10_000_000
ATTEMPTS = ".attempts"  # added to the name of a plan
# options that name a place: what lies there is known by its digests, so another place may be named
PLACES = ("pictures", "base", "suspect", "embedding", "unrelated", "controls", "bank", "null_table")


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PlannedPicture(_Strict):
    """A picture that is to be judged, or compared with."""

    name: str
    sha256: str  # of the file's bytes
    pixels: str  # SHA-256 of the decoded picture: its size as "96x64 ", then 8-bit RGB, row by row


class PlannedModel(_Strict):
    """A model that is to be opened."""

    role: str  # "base", "suspect", "embedding", "unrelated"
    name: str
    sha256: tuple[str, ...]  # of its weight files, in their order


class PlannedTable(_Strict):
    """Null scores of the mirror test that do not ship."""

    sha256: str  # of the file's bytes
    groups: str  # `judging.mirror_test.digest_of_groups` of those for the base: a record holds them, not the file


class PlanContent(_Strict):
    """The content of a plan's file."""

    format: Literal[1] = FORMAT
    written: str  # ISO 8601, UTC, by the clock of whoever wrote it
    options: Mapping[str, Any]  # of `cgidm authenticate`, by their names
    config: Mapping[str, Any]  # all settings that follow: the preset's, and what replaces them
    pictures: tuple[PlannedPicture, ...]
    controls: tuple[PlannedPicture, ...]
    bank: str | None  # SHA-256 of its bank.json
    models: tuple[PlannedModel, ...]
    null_table: PlannedTable | None = None

    @model_validator(mode="after")
    def _check_table(self) -> "PlanContent":
        if (self.options.get("null_table") is None) != (self.null_table is None):
            raise ValueError("expected the digests of the null table that its options name")
        return self


@dataclass(frozen=True)
class RunningPlan:
    """A plan that was read.

    Attributes:
        content: what it says.
        data: the bytes of its file.
        label: how a sentence calls it: its path.
    """

    content: PlanContent
    data: bytes
    label: str

    @property
    def sha256(self) -> str:
        """Of its file."""
        return hashlib.sha256(self.data).hexdigest()

    def merge_options(self, given: Namespace, kinds: Mapping[str, OptionKind]) -> Namespace:
        """Merge the plan's options with those that somebody gives beside it.

        Args:
            given: options that were given; a place among them wins, since its digests are compared later.
            kinds: of the options that a plan has.

        Raises:
            UserError: if a given option contradicts the plan, or the plan has one that is not known.
        """
        if unknown := sorted(self.content.options.keys() - kinds.keys()):
            raise UserError("run.plan.damaged", path=self.label, problem=single_line(f"options.{unknown[0]}"))
        planned = {name: kind.default for name, kind in kinds.items()}
        planned |= {name: _typed(value, kinds[name].make) for name, value in self.content.options.items()}
        for name, value in vars(given).items():
            if name in planned and name not in PLACES and value != planned[name]:
                texts = {"given": _listed(value), "planned": _listed(planned[name])}
                raise UserError("run.plan.contradiction", plan=self.label, option=name.replace("_", "-"), **texts)
        return Namespace(**{**planned, **vars(given)})

    def check_config(self, config: Mapping[str, Any]) -> None:
        """Refuse settings that are not the planned ones, as those of another version's preset.

        Raises:
            UserError: if a value differs.
        """
        planned, now = (json.loads(json.dumps(table)) for table in (dict(self.content.config), dict(config)))
        for name in sorted(planned.keys() | now.keys()):
            if planned.get(name) != now.get(name):
                texts = {"given": _listed(now.get(name)), "planned": _listed(planned.get(name))}
                raise UserError("run.plan.contradiction", plan=self.label, option=name.replace("_", "-"), **texts)

    def check_pictures(self, role: Literal["pictures", "controls"], found: Sequence[PlannedPicture]) -> None:
        """Refuse other pictures than the planned ones, or another order.

        Raises:
            UserError: if one differs.
        """
        planned: tuple[PlannedPicture, ...] = getattr(self.content, role)
        if len(planned) != len(found):
            raise UserError("run.plan.count", plan=self.label, role=role, expected=len(planned), given=len(found))
        for a, b in zip(planned, found, strict=True):
            if a.sha256 != b.sha256:
                raise UserError(
                    "run.plan.other_picture", plan=self.label, name=b.name, expected=a.sha256, given=b.sha256
                )
            if a.pixels != b.pixels:
                raise UserError("run.plan.other_pixels", plan=self.label, name=b.name)

    def check_bank(self, sha256: str | None) -> None:
        """Refuse another bank than the planned one.

        Raises:
            UserError: if it differs.
        """
        if self.content.bank != sha256:
            digests = {"expected": self.content.bank or "none", "given": sha256 or "none"}
            raise UserError("run.plan.other_bank", plan=self.label, **digests)

    def check_null_table(self, sha256: str | None) -> None:
        """Refuse another table of null scores than the planned one.

        Raises:
            UserError: if it differs.
        """
        planned = None if self.content.null_table is None else self.content.null_table.sha256
        if planned != sha256:
            digests = {"expected": planned or "none", "given": sha256 or "none"}
            raise UserError("run.plan.other_table", plan=self.label, **digests)

    def check_models(self, found: Sequence[PlannedModel]) -> None:
        """Refuse models with other weights than the planned ones.

        Raises:
            UserError: if one differs.
        """
        planned = self.content.models
        for role in dict.fromkeys(m.role for m in (*planned, *found)):
            expected, given = (
                [sha for m in models if m.role == role for sha in m.sha256] for models in (planned, found)
            )
            if expected != given:
                digests = {"expected": expected or "none", "given": given or "none"}
                raise UserError("run.plan.other_model", plan=self.label, role=role, **digests)


def write_plan(path: Path, content: PlanContent) -> RunningPlan:
    """Write a plan to a new file.

    Raises:
        UserError: if there is a file already, or it cannot be written.
    """
    data = (json.dumps(content.model_dump(), indent=2) + "\n").encode()
    try:
        with path.open("xb") as file:
            file.write(data)
    except FileExistsError:
        raise UserError("run.plan.exists", path=str(path)) from None
    except OSError as error:
        raise UserError("run.plan.not_written", path=str(path), problem=error.strerror) from error
    return RunningPlan(content, data, str(path))


def open_plan(path: Path) -> RunningPlan:
    """Read a plan.

    Raises:
        UserError: if there is none.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UserError("run.plan.unreadable", path=str(path), problem=error.strerror) from error
    return read_plan_bytes(data, str(path))


def read_plan_bytes(data: bytes, label: str) -> RunningPlan:
    """Read the bytes of a plan; `label` is how an error calls it.

    Raises:
        UserError: if they are no plan.
    """
    try:
        return RunningPlan(PlanContent.model_validate_json(data[: MOST_BYTES + 1]), data, label)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        problem = single_line(f"{where}: {first['msg']}")
        raise UserError("run.plan.damaged", path=label, problem=problem) from None


def begin_attempt(path: Path, plan: RunningPlan) -> tuple[str, ...]:
    """Add a line to the file beside a plan, and return when each attempt began, this one last.

    Raises:
        UserError: if the file cannot be read or written.
    """
    beside = path.with_name(path.name + ATTEMPTS)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        with beside.open("a+", encoding="utf-8") as file:
            file.seek(0)
            earlier = [line.split() for line in file.read(MOST_BYTES).splitlines()]
            file.write(f"{plan.sha256}  {now}\n")
    except (OSError, ValueError) as error:
        raise UserError("run.plan.not_counted", path=str(beside), problem=single_line(str(error))) from error
    return (*(words[1] for words in earlier if len(words) == 2 and words[0] == plan.sha256), now)


def digest_pixels(width: int, height: int, pixels: bytes) -> str:
    """Compute the digest of a decoded picture: its size, then 8-bit RGB, row by row."""
    return hashlib.sha256(f"{width}x{height} ".encode() + pixels).hexdigest()


def _typed(value: Any, kind: Any) -> Any:
    """A value of JSON as the option has it; "~" stands for the home folder."""
    if isinstance(value, list):
        return [_typed(v, kind) for v in value]
    if isinstance(value, str):
        home = str(Path(value).expanduser()) if value.startswith("~/") else value
        return home if kind is None else kind(home)
    return value


def _listed(value: Any) -> str:
    return " | ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
