"""What a negative answer is worth: how many used pictures would be found in a suspect so far from its base.

The power was counted for each base, under suspects of many trainings and artists, at 5 % false positives. How a suspect
was trained is seldom known, so it is looked up by its distance: an adapter by its predictions, a full network by its
weights (`distance`). At one distance suspects differ: looked up is what nearly all of them reach. `python -m eval
silence` makes these curves, and compares them with suspects whose artist and training they do not know. A bank of null
models says it of the suspect itself.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, FiniteFloat, PositiveFloat

from ...messages import Note
from ..banks.null_bank import Bank
from ..banks.residuals import bank_power, combined_power
from ..mirror_test import MirrorReference
from ..verdict import LEVEL, SILENT_MIRROR
from .files import read_tables

TABLE = "detectability.json"
DISTANCE_KEYS = AliasChoices("prediction_distance", "shift")
WEIGHT_KEYS = AliasChoices("weight_distance", "weight_shift")
TestName = Literal["mirror", "controls"]
LEAST_CONTROLS = round(1 / LEVEL) - 1
Kind = Literal["lora", "dreambooth"]  # an adapter on the base's network; a full network


class PowerRow(BaseModel):
    """One training, measured."""

    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)

    kind: Kind
    images: int
    steps_per_picture: int
    rank: int | None
    # means over its suspects, by the older keys of the file; the second is None of adapters
    prediction_distance: float = Field(validation_alias=DISTANCE_KEYS, serialization_alias="shift")
    weight_distance: float | None = Field(None, validation_alias=WEIGHT_KEYS, serialization_alias="weight_shift")
    power: float  # share of used pictures found at `level`
    false_positives: float  # share of pictures not used that were found, too
    members: int  # decisions behind `power`

    @property
    def distance_from_base(self) -> float:
        """The distance by which suspects of its kind are looked up."""
        return self.prediction_distance if self.weight_distance is None else self.weight_distance


class PowerCurve(BaseModel):
    """The share of used pictures that a test finds in nearly all suspects so far from their base."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    test: TestName
    kind: Kind
    distances: tuple[PositiveFloat, ...]  # ascending; the first one is that of the weakest suspect that was measured
    shares: tuple[FiniteFloat, ...]  # at these distances, non-decreasing

    def share(self, distance: float) -> float | None:
        """Look a suspect up: the share at the next smaller distance; None if it is weaker than any measured."""
        weaker = [share for at, share in zip(self.distances, self.shares, strict=True) if at <= distance]
        return weaker[-1] if weaker else None


class PowerTable(BaseModel):
    """The table of one base."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: tuple[str, ...]  # SHA-256 of its weight files, sorted
    level: float
    rows: tuple[PowerRow, ...]  # means, by training
    curves: tuple[PowerCurve, ...] = ()  # what verdicts look up

    def share(self, test: TestName, kind: Kind, distance: float) -> float | None:
        """Look a suspect up in the curve of a test; None where it was never measured."""
        curve = next((c for c in self.curves if (c.test, c.kind) == (test, kind)), None)
        return None if curve is None else curve.share(distance)


def find_power_table(weights: Sequence[str], folder: Path | None = None) -> PowerTable | None:
    """Find the table of the base that these weight files (SHA-256) hold; None if it was never measured.

    Args:
        weights: SHA-256 of the base's weight files.
        folder: where the table lies; by default, where everything that ships lies.

    Raises:
        UserError: if the file is damaged.
    """
    tables = read_tables(PowerTable, TABLE, "judging.damaged_power_table", folder)
    return next((t for t in tables if set(t.base) <= set(weights)), None)


@dataclass(frozen=True)
class ExpectedPower:
    """Shares of used pictures that are found in a suspect like this one; None: never measured, or not asked.

    Attributes:
        mirror: by the mirror test, in nearly all such suspects whose training did not mirror the pictures.
        controls: by the controls, in nearly all such suspects; or by a bank in their place, among its own members.
        together: by a bank and a mirror test that is compared with it, among its own members.
    """

    mirror: float | None = None
    controls: float | None = None
    together: float | None = None

    @property
    def either(self) -> float | None:
        """By the tests together: what a bank says of both, else the larger of the shares."""
        if self.together is not None:
            return self.together
        return max((p for p in (self.mirror, self.controls) if p is not None), default=None)


def expect_power(
    weights: Sequence[str],
    distances: Sequence[float],
    weight_distance: float | None = None,
    bank: Bank | None = None,
    *,
    mirror: MirrorReference | Note | None,
    controls: int = 0,
    looked_at_twice: bool = False,
    prompts: int = 1,
    others: int = 0,
    unused: int = 0,
) -> ExpectedPower:
    """Return the shares of used pictures that are found in a suspect so far from its base.

    Of a bank it is the share of the members of its own models. Of other tests the base's curves are looked up.

    Args:
        weights: SHA-256 of the weight files of base and suspect.
        distances: of the suspect's predictions from its base's, for each picture. An adapter is looked up by their
            mean, a full network by its weights. Without any, nothing is looked up.
        weight_distance: of a full network from its base; None of an adapter.
        bank: null models of this suspect, if there are any.
        mirror: what the mirror test compares with. Its power is known against the base's own table, and against a bank.
        controls: how many controls there are.
        looked_at_twice: some picture is also looked at as its centre square. The power was measured with one look.
        prompts: how many the run has. The power was measured with one.
        others: adapters that are on both sides. The power was measured without any.
        unused: tensors of the suspect that are not in use. The power was measured with all.
    """
    if looked_at_twice or prompts > 1 or others or unused:
        return ExpectedPower()
    of_bank = None if bank is None else bank_power(bank.content)
    source = mirror.source if isinstance(mirror, MirrorReference) else None
    if bank is not None and isinstance(mirror, MirrorReference) and source == "bank":
        return ExpectedPower(controls=of_bank, together=combined_power(bank.content, mirror))
    table = find_power_table(weights)
    if table is None or not distances:
        return ExpectedPower(controls=of_bank)
    kind: Kind = "lora" if weight_distance is None else "dreambooth"
    distance = sum(distances) / len(distances) if weight_distance is None else weight_distance
    of_controls = table.share("controls", kind, distance) if bank is None and controls >= LEAST_CONTROLS else of_bank
    return ExpectedPower(table.share("mirror", kind, distance) if source == "table" else None, of_controls)


@runtime_checkable
class Answered(Protocol):
    """One test of an answer; a `verdict.Witness`, or what a record holds of it."""

    @property
    def name(self) -> str:
        """Which test it is."""
        ...

    @property
    def p_value(self) -> float | None:
        """None where the test says nothing."""
        ...


@runtime_checkable
class Judged(Protocol):
    """An answer for a picture or a set; a verdict, or what a record holds of it."""

    @property
    def outcome(self) -> str:
        """Which answer it is."""
        ...

    @property
    def reason(self) -> Note:
        """Why it is so."""
        ...

    @property
    def witnesses(self) -> Sequence[Answered]:
        """The tests that it rests on."""
        ...


@dataclass(frozen=True)
class StatedPower:
    """What an answer that finds nothing states of how many used pictures would be found.

    Attributes:
        share: of used pictures. By a bank it is that of its own models' members, else what nearly all suspects reach.
        test: whose share it is.
        unless_mirrored: whether it holds only if the training did not mirror the pictures, which nobody noted.
    """

    share: float
    test: Literal["mirror", "controls", "bank"]
    unless_mirrored: bool = False


def is_silence(judged: Judged) -> bool:
    """Tell whether an answer is that nothing was found: of any other the power says nothing."""
    return judged.outcome == "no evidence" or judged.reason.code in SILENT_MIRROR


@dataclass(frozen=True)
class RunPower:
    """What a run knows of how many used pictures would be found.

    Attributes:
        expected: the larger share of the tests that the run asks; see `ExpectedPower.either`.
        controls: that of the controls or the bank alone.
        bank: whether a bank takes the place of controls.
        mirrored_training: whether the training mirrored pictures, by the suspect's notes; None: they do not say.
        mirror_by_bank: whether the mirror test, too, is compared with the bank.
    """

    expected: float | None
    controls: float | None
    bank: bool
    mirrored_training: bool | None
    mirror_by_bank: bool = False

    def behind(self, tests: Iterable[Answered]) -> StatedPower | None:
        """Choose the share of the test that speaks of a picture, or the larger of two; None where it is not known.

        A test without a p-value says nothing, and its share does not count. The mirror test's is not known where it is
        the smaller one.
        """
        return self._of({t.name for t in tests if t.p_value is not None})

    def behind_all(self, judged: Iterable[Judged]) -> StatedPower | None:
        """Choose the share that holds of every answer that finds nothing; None if there is none, or one is unknown."""
        found = [self.behind(j.witnesses) for j in judged if is_silence(j)]
        known = [f for f in found if f is not None]
        return min(known, key=lambda f: f.share) if known and len(known) == len(found) else None

    @property
    def largest(self) -> StatedPower | None:
        """The share where all tests speak."""
        return self._of({"mirror", "controls"})

    def _of(self, spoke: set[str]) -> StatedPower | None:
        if self.mirror_by_bank and "mirror" in spoke:  # its share is known together with the bank's alone
            unless = self.mirrored_training is None
            both = self.expected is not None and "controls" in spoke
            return StatedPower(self.expected, "bank", unless) if both and self.expected is not None else None
        by_mirror = self.controls is None or (self.expected is not None and self.expected > self.controls)
        if "mirror" in spoke and by_mirror and self.expected is not None:
            return StatedPower(self.expected, "mirror", self.mirrored_training is None)
        if "controls" in spoke and self.controls is not None:
            return StatedPower(self.controls, "bank" if self.bank else "controls")
        return None
