"""The level of the mirror test: how often does a picture that was not used score as high?

Three kinds of scores answer. A bank of null models may hold those of the artist's own works, where they were not used.
A base may have a table: scores of works by many artists that other suspects of that base left out. One ships for the
embedded base; anybody can make one for another (`run.calibrate_command`). A base without a table is answered by the
reference pictures that ship, scored under the very suspect. The test compares a picture with itself, so these need not
be of the same hand. Which of them answers: `mirror_choice`.

Works of one artist share a handedness (a signature, the light). A rate that holds for the average artist would be too
high for some. So a score is first lowered by what the style of nine artists in ten adds at most. A set of works adds
its artist's handedness up; its mean is compared with what artists' means differ by. Against a bank of the same artist's
works nothing is taken off.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, FiniteFloat
from scipy.stats import t as student

from ..errors import UserError
from ..messages import Note, note
from .banks.mirror_nulls import UnusedScores
from .tables.files import read_tables
from .verdict import LEVEL, Witness, conformal_p_value

TABLE = "mirror_nulls.json"
ALLOWANCE = 1.28  # standard deviations of handedness that are taken off a score: those of nine artists in ten
HANDEDNESS = 0.2  # standard deviation of artists' means, as a share of that of pictures; at least
# Of the reference pictures, as shares of their standard deviation. They are by hands that the suspect did not learn:
# unused works of the artist whom it learnt lie higher, and artists differ.
SHIFT_ELSEWHERE, HANDEDNESS_ELSEWHERE = 0.2, 0.35
LEAST_REFERENCES = round(1 / LEVEL) - 1
LEAST_ARTISTS = 5  # of a table that somebody made; fewer do not show what artists' means differ by
MIRROR_SEED = 0  # of the noise, whatever the run's: another seed is no second chance
Source = Literal["bank", "table", "own table", "pictures"]


class NullGroup(BaseModel):
    """Scores of works that one suspect left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    artist: str
    training: str
    scores: tuple[FiniteFloat, ...]


class MirrorTable(BaseModel):
    """The null scores of one base."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: tuple[str, ...]  # SHA-256 of its weight files, sorted
    draws: int
    groups: tuple[NullGroup, ...]

    @cached_property
    def reference(self) -> "MirrorReference":
        """What scores are compared with."""
        return table_reference(self.groups)


@dataclass(frozen=True)
class MirrorReference:
    """What the mirror test's scores are compared with.

    Attributes:
        source: "bank": the artist's own works, under models that left them out. "table": works that other suspects of
            the base left out; "own table": one that does not ship. "pictures": the reference pictures, under the very
            suspect.
        scores: of pictures that were not used, finite; of a bank, residuals.
        handedness: the standard deviation of the means of artists, of a bank's models, as a share of that of the
            scores.
        artists: how many artists' works they are.
        digest: identifies what was scored; of a table, its scores, of an own table also whose they are.
        groups: of an own table, the scores by artist and suspect.
        unused: of a bank, what each picture scores where it was not used.
        shape: of a bank, what else says how far scores reach; see `bank_reference`.
    """

    source: Source
    scores: tuple[float, ...]
    handedness: float
    artists: int
    digest: str = ""
    groups: tuple[NullGroup, ...] = ()
    unused: UnusedScores | None = None
    shape: "MirrorReference | None" = None

    @cached_property
    def spread(self) -> float:
        """Standard deviation of the scores."""
        return float(np.std(self.scores, ddof=1)) if len(self.scores) > 1 else 0.0

    @property
    def degrees_of_freedom(self) -> int:
        """What Student's t has for a set: of artists less one; a bank's spread rests on no more than its own scores."""
        of_bank = self.artists if self.unused is None or self.shape is None else self.unused.count
        return max(1, min(self.artists, of_bank) - 1)

    @property
    def variance_of_mean(self) -> float:
        """How far the mean of the scores may be off, as a share of their variance."""
        if self.unused is None:
            return 1 / len(self.scores)
        between = self.handedness**2
        return between / len(self.unused.by_model) + (1 - between) / self.unused.count

    @property
    def lift(self) -> float:
        """How much higher unused works of the artist lie whom the suspect learnt."""
        return SHIFT_ELSEWHERE * self.spread if self.source == "pictures" else 0.0

    @property
    def allowance(self) -> float:
        """What a picture's score is lowered by, for the style of its artist, which a bank knows."""
        return 0.0 if self.source == "bank" else self.lift + ALLOWANCE * self.handedness * self.spread

    @property
    def silent(self) -> Note | None:
        """Why nothing can be compared with these scores, if nothing can."""
        if len(self.scores) < LEAST_REFERENCES or self.spread == 0:
            return note("judging.mirror.few", n=len(self.scores), need=LEAST_REFERENCES)
        if self.source == "own table" and self.artists < LEAST_ARTISTS:
            return note("judging.mirror.few_artists", n=self.artists, need=LEAST_ARTISTS)
        return None

    def ask(self, score: float | None, sha256: str) -> Witness:
        """Compare one picture's score, less the allowance for its artist's style.

        Args:
            score: of the picture.
            sha256: of its file, by which a bank knows it.
        """
        silent = self.silent or (None if _is_finite(score) else note("judging.no_score"))
        p = None if silent is not None or score is None else self.p_value(self.compared(score, sha256))
        return Witness(name="mirror", p_value=p, references=len(self.scores), silent=silent)

    def compared(self, score: float, sha256: str) -> float:
        """What of a picture's score is compared: by a bank its residual, else the score itself."""
        return score if self.unused is None else self.unused.residual(score, sha256)

    def p_value(self, score: float) -> float:
        """The conformal p-value of what is compared, less the allowance for its artist's style."""
        return conformal_p_value(score - self.allowance, self.scores)

    def ask_set(self, scores: Sequence[float | None], digests: Sequence[str]) -> Witness:
        """Compare the mean score of several pictures of one artist; see `set_p_value`.

        Args:
            scores: of the pictures.
            digests: SHA-256 of each of their files, by which a bank knows them.
        """
        pairs = zip(scores, digests, strict=True)
        known = [self.compared(s, sha256) for s, sha256 in pairs if s is not None and _is_finite(s)]
        silent = self.silent
        if silent is None and (len(known) < len(scores) or len(known) < 2):
            silent = note("judging.set.no_scores", missing=len(scores) - len(known), pictures=len(scores))
        p = set_p_value(known, self) if silent is None else None
        return Witness(name="mirror", p_value=p, references=len(self.scores), silent=silent)


def set_p_value(scores: Sequence[float], reference: MirrorReference) -> float:
    """Test whether the mean score of a set is higher than that of works that were not used; one-sided.

    The mean of n works of one artist varies by the artist's handedness, which does not average out, and by the works:
    var = (handedness^2 + (1 - handedness^2) / n + 1 / m) * var(reference), with m reference scores; by a bank the
    last term is that of its own scores, which come in groups, a model each. The quotient is compared with Student's t,
    of as many degrees of freedom as there are artists less one; by a bank of a base without a table, models less one.
    No p-value is below the least that a single picture can have.
    """
    nulls = np.asarray(reference.scores, float)
    between = reference.handedness**2
    share = between + (1 - between) / len(scores) + reference.variance_of_mean
    distance = (np.mean(scores) - nulls.mean() - reference.lift) / (reference.spread * share**0.5)
    p = float(student.sf(distance, reference.degrees_of_freedom))
    return max(p, 1 / (len(nulls) + 1))


def _is_finite(score: float | None) -> bool:
    return score is not None and bool(np.isfinite(score))


def table_reference(groups: Sequence[NullGroup]) -> MirrorReference:
    """What the scores of a table compare with."""
    scores, artists = tuple(s for g in groups for s in g.scores), len({g.artist for g in groups if g.scores})
    digest = hashlib.sha256(json.dumps(scores).encode()).hexdigest()
    return MirrorReference("table", scores, handedness(groups), artists, digest)


def own_table_reference(groups: Sequence[NullGroup]) -> MirrorReference:
    """What the scores of a table that does not ship compare with."""
    return replace(table_reference(groups), source="own table", groups=tuple(groups), digest=digest_of_groups(groups))


def bank_reference(unused: UnusedScores, shape: MirrorReference | None) -> MirrorReference:
    """What the scores of a picture compare with by a bank.

    The bank's residuals are too few to show how far the largest ones reach. Where other scores are at hand, these are
    moved and scaled to the mean and the spread of the residuals. Else they are the residuals themselves. Models of one
    artist differ less than artists do. So a table's handedness, of many suspects, is a bound where the few models of a
    bank hardly show how much they differ.

    Args:
        unused: null scores of the bank.
        shape: what the mirror test compares with where there is no bank, if anything.
    """
    by_model = [NullGroup(artist="", training=str(n), scores=r) for n, r in enumerate(unused.nulls)]
    own = np.array([r for group in by_model for r in group.scores], float)
    scores, share, counted = own, handedness(by_model), len(by_model)
    if shape is not None and len(own) > 1 and shape.spread:
        others = np.asarray(shape.scores, float)
        scores = own.mean() + (others - others.mean()) * (own.std(ddof=1) / shape.spread)
        share = max(share, shape.handedness)
        counted = shape.artists if shape.source != "pictures" else counted
    settings = {"handedness": share, "artists": counted, "unused": unused, "shape": shape}
    said = json.dumps([unused.nulls, scores.tolist(), share, counted])
    return MirrorReference("bank", tuple(scores.tolist()), digest=hashlib.sha256(said.encode()).hexdigest(), **settings)


def digest_of_groups(groups: Sequence[NullGroup]) -> str:
    """Compute the digest of null scores, by artist and suspect: how many artists there are is part of the level."""
    return hashlib.sha256(json.dumps([(g.artist, g.training, g.scores) for g in groups]).encode()).hexdigest()


def pictures_reference(scores: Sequence[float], digests: Sequence[str] = ()) -> MirrorReference:
    """What the scores of reference pictures compare with; those that are not finite are left out.

    Args:
        scores: under the suspect.
        digests: SHA-256 of each picture's file.
    """
    known = tuple(s for s in scores if _is_finite(s))
    digest = hashlib.sha256(" ".join(digests).encode()).hexdigest()
    return MirrorReference("pictures", known, HANDEDNESS_ELSEWHERE, len(known), digest)


def handedness(groups: Sequence[NullGroup]) -> float:
    """Estimate the share of the scores' standard deviation that lies between artists, each under one suspect.

    One-way analysis of variance: the variance of the groups' means, less what the scores within groups explain of it.
    Not below `HANDEDNESS`: the artists of a table are too few to show that styles have none.
    """
    known = [np.asarray(g.scores, float) for g in groups if len(g.scores) > 1]
    if len(known) < 2:
        return HANDEDNESS
    within = float(np.mean([g.var(ddof=1) for g in known]))
    between = float(np.var([g.mean() for g in known], ddof=1)) - within * float(np.mean([1 / len(g) for g in known]))
    return max(HANDEDNESS, (max(0.0, between) / (max(0.0, between) + within)) ** 0.5)


def find_mirror_table(fingerprints: Mapping[str, str], draws: int, folder: Path | None = None) -> MirrorTable | None:
    """Find the table of the base among these weight files; None if its null scores were never measured.

    Args:
        fingerprints: weight file -> SHA-256, of a pair.
        draws: of the mirror test; a table with another number is not comparable.
        folder: where the table lies; by default, where everything that ships lies.

    Raises:
        UserError: if the file is damaged.
    """
    tables = read_tables(MirrorTable, TABLE, "judging.damaged_mirror_table", folder)
    known = set(fingerprints.values())
    return next((t for t in tables if set(t.base) <= known and t.draws == draws), None)


def read_own_table(path: Path, fingerprints: Mapping[str, str], draws: int) -> tuple[NullGroup, ...]:
    """Read the null scores that somebody made for the base among these weight files.

    Args:
        path: the file.
        fingerprints: weight file -> SHA-256, of a pair.
        draws: of the mirror test.

    Raises:
        UserError: if there is no such file, it is damaged, of another base, or of another number of draws.
    """
    if not path.is_file():
        raise UserError("judging.no_mirror_table", path=path)
    tables = read_tables(MirrorTable, path.name, "judging.damaged_mirror_table", path.parent)
    known = set(fingerprints.values())
    fitting = [t for t in tables if set(t.base) <= known]
    if not fitting:
        raise UserError("judging.other_base_table", file=path.name)
    if (table := next((t for t in fitting if t.draws == draws), None)) is None:
        raise UserError("judging.other_draws_table", file=path.name, draws=fitting[0].draws, wanted=draws)
    return table.groups


def silent_mirror(reason: Note) -> Witness:
    """The mirror test where it cannot be used."""
    return Witness(name="mirror", p_value=None, references=0, silent=reason)


def likelihood_note(ratio: float, low: float) -> Note:
    """State a likelihood ratio of the mirror test's score with two digits, and what it is not."""
    about, least = (f"{float(f'{value:.2g}'):g}" for value in (ratio, low))
    return note("judging.mirror.likelihood", about=about, least=least)
