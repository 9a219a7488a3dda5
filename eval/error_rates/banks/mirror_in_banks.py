"""The mirror test where a bank's models were scored by it, too: p-values from the committed scores of `eval mirror`."""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path
from statistics import fmean

from cgidm.judging.banks.mirror_nulls import UnusedScores
from cgidm.judging.mirror_test import MirrorReference, MirrorTable, NullGroup, bank_reference
from cgidm.judging.tables.files import read_tables
from cgidm.resources import resource_root
from eval.error_rates.mirror_rates import without_artist

TABLE = resource_root() / "mirror_nulls.json"


@dataclass(frozen=True)
class MirrorScored:
    """One picture under one suspect, scored by the mirror test.

    Attributes:
        training: of the suspect.
        artist: of the picture.
        suspect: "split/artist-half".
        file: the picture.
        used: whether the suspect was trained on it.
        score: of the mirror test.
        by_table: its p-value among the null scores of other artists.
    """

    training: str
    artist: str
    suspect: str
    file: str
    used: bool
    score: float
    by_table: float

    @property
    def split(self) -> str:
        """The random split that the suspect's half is of."""
        return self.suspect.partition("/")[0]

    @property
    def learnt(self) -> str:
        """Whose works the suspect learnt."""
        return self.suspect.partition("/")[2][:-2]


def read_mirror(paths: Iterable[Path]) -> list[MirrorScored]:
    """Read the decisions of `eval mirror`; a suspect that stands in several files counts once."""
    found: dict[tuple[str, str, str], MirrorScored] = {}
    for path in paths:
        with path.open(newline="") as file:
            for r in csv.DictReader(file):
                facts = (r["training"], r["artist"], r["suspect"], r["file"], r["member"] == "1")
                scored = MirrorScored(*facts, float(r["score"]), float(r["p_value"]))
                found.setdefault((scored.training, scored.suspect, scored.file), scored)
    return list(found.values())


def choose_bank(bank: str, suspects: Sequence[str], suspect: str) -> list[str]:
    """Choose the models of one artist that judge a suspect; none if there are too few.

    Args:
        bank: "three models": all others. Else "N models": those of the next N / 2 splits, two a split.
        suspects: all suspects of the artist and training, with that in question.
        suspect: the one in question.
    """
    if bank == "three models":
        return [s for s in suspects if s != suspect] if len(suspects) == 4 else []
    size, split = int(bank.split()[0].replace("two", "2")), suspect.partition("/")[0]
    splits = sorted({s.partition("/")[0] for s in suspects})
    at = splits.index(split)
    neighbours = [*splits[at + 1 :], *splits[:at]][: size // 2]
    chosen = [s for s in suspects if s.partition("/")[0] in neighbours]
    return chosen if len(chosen) == size else []


def judge_by_banks(
    scores: Sequence[MirrorScored], bank: str, *, lacking: bool = False
) -> Iterator[tuple[MirrorScored, float]]:
    """Judge every picture under every suspect by the null scores of a bank: each picture and its p-value.

    The shape of the null distribution is that of the shipped table without the picture's artist.

    Args:
        scores: of pictures under suspects and models.
        bank: see `choose_bank`.
        lacking: judge each picture as if the bank lacked it. A verdict does not do so.
    """
    for own, unused in _with_banks(scores, bank):
        references = {a: bank_reference(unused, table_without(a)) for a in {s.artist for s in own.values()}}
        for file, scored in own.items():
            reference = references[scored.artist]
            if lacking:
                rest = tuple({f: s for f, s in of.items() if f != file} for of in unused.by_model)
                reference = bank_reference(UnusedScores(rest), table_without(scored.artist))
            p = reference.ask(scored.score, file).p_value
            assert p is not None, "a bank of this size has null scores enough"
            yield scored, p


@dataclass(frozen=True)
class SetOfWorks:
    """All used, or all unused, works of one artist under one suspect, judged together."""

    training: str
    artist: str
    used: bool
    by_table: float
    by_bank: float


def judge_sets(scores: Sequence[MirrorScored], bank: str) -> Iterator[SetOfWorks]:
    """Judge the works of one artist that each suspect learnt, and those that it did not, as sets."""
    for own, unused in _with_banks(scores, bank):
        for artist in dict.fromkeys(s.artist for s in own.values()):
            table = table_without(artist)
            by_bank = bank_reference(unused, table)
            for used in (False, True):
                some = {file: s for file, s in own.items() if s.artist == artist and s.used is used}
                values, files = [s.score for s in some.values()], list(some)
                found = [reference.ask_set(values, files).p_value for reference in (table, by_bank)]
                if len(some) > 1 and None not in found:
                    yield SetOfWorks(next(iter(some.values())).training, artist, used, *(p for p in found if p))


def shared_correlation(scores: Sequence[MirrorScored], training: str) -> float:
    """The correlation of a picture's scores under two models of one artist that left it out, over all artists.

    Scores are taken from the mean of each artist's unused works.
    """
    products, squares, pairs, count = 0.0, 0.0, 0, 0
    groups: dict[str, dict[str, list[float]]] = {}
    for s in scores:
        if s.training == training and not s.used:
            groups.setdefault(s.learnt, {}).setdefault(s.file, []).append(s.score)
    for by_file in groups.values():
        mean = fmean(s for of in by_file.values() for s in of)
        for of in by_file.values():
            apart = [s - mean for s in of]
            squares, count = squares + sum(a * a for a in apart), count + len(apart)
            for a, b in combinations(apart, 2):
                products, pairs = products + a * b, pairs + 1
    return (products / pairs) / (squares / count)


def _with_banks(scores: Sequence[MirrorScored], bank: str) -> Iterator[tuple[Mapping[str, MirrorScored], UnusedScores]]:
    """The pictures of each suspect that has such a bank, and the bank's null scores."""
    works: dict[tuple[str, str], dict[str, dict[str, MirrorScored]]] = {}
    for s in scores:
        works.setdefault((s.training, s.learnt), {}).setdefault(s.suspect, {})[s.file] = s
    for by_suspect in works.values():
        for suspect, own in by_suspect.items():
            models = [by_suspect[name] for name in choose_bank(bank, sorted(by_suspect), suspect)]
            left_out = [{file: m.score for file, m in scored.items() if not m.used} for scored in models]
            if left_out:
                yield own, UnusedScores(tuple(left_out))


@cache
def table_without(artist: str) -> MirrorReference:
    """The shipped table without an artist's works."""
    return without_artist(_shipped_groups(), artist)


@cache
def _shipped_groups() -> tuple[NullGroup, ...]:
    tables = read_tables(MirrorTable, TABLE.name, "judging.damaged_mirror_table", TABLE.parent)
    return tables[0].groups  # of the embedded base, whose suspects these are
