"""A line-up: does an observer, who does not know which it is, find the picture among control pictures by its recovery?

The protocol of visual inference (Buja et al. 2009; Wickham et al. 2010, "Graphical inference for infovis"). Each round
shows one picture in question among decoys, in random order. Decoys are control pictures that were recovered in the same
way. An observer chooses the panel whose removed half came back best. If picture and decoys are exchangeable, the choice
is right with a chance of 1 / panels, whatever the observer looks at.

Rounds must be independent for their hits to be counted together. So a picture has one round, near-duplicates have one
in common, and no decoy is used twice. Of near-duplicate controls only one is used, since two would show that neither is
the picture. An observer must know none of the pictures, and chooses once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from string import ascii_uppercase
from typing import Annotated, Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from pydantic import BeforeValidator, TypeAdapter, ValidationError
from torch import Tensor

from ..errors import UserError
from ..messages import Note, note
from ..method.sampling import picture_generator
from ..pictures.duplicates import near_duplicates, representatives
from ..pictures.images import Picture
from .verdict import LEVEL

LETTERS = ascii_uppercase
UNKNOWN = "-"  # a choice: "I cannot tell"
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Panel:
    """The three images of one picture, in [0, 1]."""

    original: Float[Tensor, "3 H W"]
    partial: Float[Tensor, "3 H W"]
    recovered: Float[Tensor, "3 H W"]

    @property
    def images(self) -> tuple[Tensor, Tensor, Tensor]:
        """Original, partial and recovered, in the order of the panel."""
        return self.original, self.partial, self.recovered


@dataclass(frozen=True)
class Round:
    """One choice: a picture among decoys."""

    picture: int  # index among the pictures of the run
    letter: str  # under which it stands
    decoys: tuple[int, ...]  # indices of the controls around it, in the order in which they stand

    def __post_init__(self) -> None:
        if self.letter not in [*LETTERS[: self.size]]:
            raise ValueError(f"letter {self.letter} in a round of {self.size}")

    @property
    def size(self) -> int:
        """The number of panels."""
        return len(self.decoys) + 1

    def in_order(self, picture: T, decoys: Sequence[T]) -> tuple[T, ...]:
        """Put what belongs to the picture and to its decoys in the order of the panels."""
        position = LETTERS.index(self.letter)
        return (*decoys[:position], picture, *decoys[position:])


@dataclass(frozen=True)
class LeftOut:
    """A picture that has no round."""

    picture: int
    reason: Annotated[Note, BeforeValidator(lambda stated: Note(stated) if isinstance(stated, str) else stated)]


@dataclass(frozen=True)
class Lineup:
    """The rounds of a run, with their key."""

    rounds: tuple[Round, ...]
    left_out: tuple[LeftOut, ...] = ()

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of panels of each round: all that an observer may know."""
        return tuple(r.size for r in self.rounds)

    @property
    def decoys(self) -> tuple[int, ...]:
        """The indices of all decoys, round after round."""
        return tuple(d for r in self.rounds for d in r.decoys)

    def in_order(self, pictures: Sequence[T], decoys: Sequence[T]) -> list[tuple[T, ...]]:
        """Put what belongs to all pictures of the run and to `self.decoys` in the order of each round's panels."""
        assert len(decoys) == len(self.decoys)
        rounds, rest = [], list(decoys)
        for r in self.rounds:
            rounds.append(r.in_order(pictures[r.picture], rest[: len(r.decoys)]))
            rest = rest[len(r.decoys) :]
        return rounds


@dataclass(frozen=True)
class LineupVerdict:
    """The result of one observer's choices."""

    right: tuple[bool, ...]  # of each round
    p_value: float  # of as many right choices, or more, by somebody who cannot tell
    reason: Note

    @property
    def hits(self) -> int:
        """The number of right choices."""
        return sum(self.right)


def check_lineup(size: int, controls: int) -> None:
    """Refuse a line-up without enough decoys for one round.

    Raises:
        UserError: if there are too few.
    """
    if controls < size - 1:
        raise UserError("judging.lineup.few_controls", size=size, need=size - 1, given=controls)


def plan_lineup(pictures: Sequence[Picture], controls: Sequence[Picture], size: int, seed: int) -> Lineup:
    """Draw the rounds of `size` panels: one for each picture, as far as the controls that are used in the run suffice.

    Raises:
        UserError: if they do not suffice for one.
    """
    standing = representatives(near_duplicates([c.image for c in controls]))
    usable = [i for i, representative in enumerate(standing) if representative == i]
    check_lineup(size, len(usable))
    standing = representatives(near_duplicates([p.image for p in pictures]))
    alike = [[i for i in usable if controls[i].image.shape == p.image.shape] for p in pictures]
    return draw_lineup([p.sha256 for p in pictures], standing, usable, size, seed, alike)


def draw_lineup(
    digests: Sequence[str],
    representatives: Sequence[int],
    usable: Sequence[int],
    size: int,
    seed: int,
    alike: Sequence[Sequence[int]] | None = None,
) -> Lineup:
    """Draw the rounds of pictures.

    The position of a picture depends on the run's seed and the picture's bytes. So it can be drawn again, and differs
    between runs of one seed.

    Args:
        digests: SHA-256 of each picture.
        representatives: for each picture, the first of its near-duplicates (`duplicates.first_alike`).
        usable: indices of the controls that may become decoys.
        size: panels of a round.
        seed: of the run.
        alike: for each picture, the usable controls of its shape, among which it does not stand out; None: all.
    """
    left, rounds, left_out = list(usable), [], []
    for i, digest in enumerate(digests):
        if representatives[i] != i:
            left_out.append(LeftOut(i, note("judging.lineup.near_duplicate", picture=representatives[i] + 1)))
            continue
        mine = left if alike is None else [c for c in left if c in alike[i]]
        if len(mine) < size - 1:
            left_out.append(LeftOut(i, note("judging.lineup.no_decoys_left")))
        else:
            g = picture_generator(seed, digest, "line-up")
            decoys = tuple(mine[j] for j in torch.randperm(len(mine), generator=g)[: size - 1].tolist())
            position = int(torch.randint(size, (), generator=g))
            rounds.append(Round(i, LETTERS[position], decoys))
            left = [c for c in left if c not in decoys]
    return Lineup(tuple(rounds), tuple(left_out))


def lineup_p_value(sizes: Sequence[int], hits: int) -> float:
    """Compute the chance of at least `hits` right choices in rounds of these `sizes` for somebody who cannot tell.

    The upper tail of the Poisson binomial distribution with a chance of 1 / size in each round, exact.
    """
    assert 0 <= hits <= len(sizes)
    chances = np.ones(1)  # of 0, 1, ... right choices
    for size in sizes:
        chances = np.convolve(chances, (1 - 1 / size, 1 / size))
    return min(1.0, float(chances[hits:].sum()))


def judge_lineup(lineup: Lineup, picks: Sequence[str]) -> LineupVerdict:
    """Count one observer's `picks`, a letter for each round. "-", *I cannot tell*, is a miss.

    Such a miss can only make the p-value larger than that of an observer who guesses instead.

    Raises:
        UserError: if there is not one for each round, or a round has no such letter.
    """
    rounds, given = lineup.rounds, [p.strip().upper() for p in picks]
    if len(given) != len(rounds):
        raise UserError("judging.lineup.number_of_picks", rounds=len(rounds), given=len(given))
    for number, (r, pick) in enumerate(zip(rounds, given, strict=True), 1):
        if pick not in (*LETTERS[: r.size], UNKNOWN):
            last = LETTERS[r.size - 1]
            raise UserError("judging.lineup.unknown_pick", round=number, given=pick, last=last, unknown=UNKNOWN)
    right = tuple(pick == r.letter for r, pick in zip(rounds, given, strict=True))
    p = lineup_p_value(lineup.sizes, sum(right))
    return LineupVerdict(right, p, _explain_hits(lineup.sizes, sum(right), p))


def explain_reach(sizes: Sequence[int]) -> Note:
    """State how low a p-value rounds of these `sizes` allow."""
    n, all_right, size = len(sizes), prod(sizes), max(sizes)
    rounds = note("judging.lineup.rounds.one" if n == 1 else "judging.lineup.rounds", n=n, size=size)
    if lineup_p_value(sizes, n) > LEVEL:
        more = next(k for k in range(n + 1, 99) if lineup_p_value([*sizes, *[size] * (k - n)], k) <= LEVEL)
        large = round(1 / LEVEL)  # panels of one round that would do
        values = {"all_right": all_right, "level": LEVEL, "more": more, "size": size, "large": large}
        return note("judging.lineup.out_of_reach", rounds=rounds, **values)
    need = next(h for h in range(1, n + 1) if lineup_p_value(sizes, h) <= LEVEL)
    return note("judging.lineup.reach", rounds=rounds, all_right=all_right, level=LEVEL, need=need, n=n)


def parse_lineup(stated: Mapping[str, Any] | None) -> Lineup | None:
    """Read a line-up as a record states it, which may be hostile; None if a record has none.

    Raises:
        UserError: if it is none.
    """
    if stated is None:
        return None
    try:
        return TypeAdapter(Lineup).validate_python(stated)
    except ValidationError as error:
        said = error.errors()[0]["msg"]
        raise UserError("judging.lineup.damaged", problem=said) from error


def _explain_hits(sizes: Sequence[int], hits: int, p: float) -> Note:
    counts = {"hits": hits, "n": len(sizes), "p": p}
    if p <= LEVEL:
        return Note("judging.lineup.stands_out", counts)
    if lineup_p_value(sizes, len(sizes)) > LEVEL:
        return note("judging.lineup.cannot_show", **counts, reach=explain_reach(sizes))
    return Note("judging.lineup.may_be_chance", counts)
