"""What a check of a bundle has shown, grade by grade, and what is missing: last line and exit code of `verify`."""

from dataclasses import dataclass
from typing import Literal

Published = Literal["same", "other", "contradicted"]  # what is published of models now, beside what was recorded
# exit codes: something is wrong; `--strict` misses a grade; nothing is wrong, but the given key did not sign it
ALTERED, INCOMPLETE, OTHER_SIGNER = 1, 3, 4


@dataclass(frozen=True, kw_only=True)
class Grades:
    """What a check has shown. None: it could not be shown, or nobody asked for it."""

    intact: bool
    consistent: bool | None = None
    derivable: bool = True  # whether there is a run whose values could follow from its scores
    dated: str | None = None  # by whom and when, as a time stamp shows that was checked
    stamped: str | None = None  # the same of a time stamp that was not checked
    signed: str | None = None  # the key, by its fingerprint
    signer_named: bool = False  # it is the key that was given
    signer_missing: bool = False  # a key was given, and the bundle is not signed by it
    repeated: bool | None = None
    originals: bool | None = None  # the original files are the recorded ones
    published: Published | None = None
    retrained: bool | None = None  # models of its bank
    retrained_share: str = ""  # "1 of 8 models; scores of all 8 computed again"
    plan_found: bool | None = None  # it is the run of the plan that was given

    @property
    def reached(self) -> list[str]:
        """The grades that were reached, in words."""
        names = {
            "whole": self.intact,
            "consistent in itself": self.consistent,
            f"dated by {self.dated}": self.dated,
            "signed by the given key": self.signed and self.signer_named,
            "made of these originals": self.originals,
            "as published now": self.published == "same",
            "run again": self.repeated,
            f"bank trained again ({self.retrained_share})": self.retrained,
            "of the given plan": self.plan_found,
        }
        return [name for name, reached in names.items() if reached]

    @property
    def missing(self) -> list[str]:
        """The grades that were not, in words."""
        consistent = "NOT consistent in itself" if self.consistent is False else "not shown to be consistent in itself"
        signed = "signed by a key that you did not name" if self.signed else "not signed"
        signed = "NOT signed by the given key" if self.signer_missing else signed
        undated = "undated" if self.stamped is None else f"dated by {self.stamped}, not checked"
        names = {
            "NOT whole": self.intact,
            consistent: self.consistent or not self.derivable,
            undated: self.dated,
            signed: self.signed and self.signer_named,
            "NOT made of these originals": self.originals is not False,
            "NOT as published": self.published != "contradicted",
            "not shown to be as published now": self.published != "other",
            "NOT the same when run again" if self.repeated is False else "not run again": self.repeated
            or not self.derivable,
            f"bank NOT the same when trained again ({self.retrained_share})": self.retrained is not False,
            "NOT of the given plan": self.plan_found is not False,
        }
        return [name for name, reached in names.items() if not reached]

    @property
    def exit_code(self) -> int:
        """0, unless something is wrong."""
        found = (self.consistent, self.repeated, self.originals, self.retrained, self.plan_found)
        if False in found or self.published == "contradicted" or not self.intact:
            return ALTERED
        return OTHER_SIGNER if self.signer_missing else 0

    @property
    def is_complete(self) -> bool:
        """Whether no grade is missing but a repeated run that nobody asked for."""
        return not [m for m in self.missing if m != "not run again"]

    def line(self) -> str:
        """Say on one line what is shown, and what is missing."""
        missing = f"; {', '.join(self.missing)}" if self.missing else ""
        return f"shown: {', '.join(self.reached) or 'nothing'}{missing}"
