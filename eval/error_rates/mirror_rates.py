"""Error rates of the mirror test by counting. Scores in, shares with intervals out; no model is needed.

Every picture is judged against the null scores of *other* artists. An interval is a bootstrap over artists, since the
pictures of one artist err together.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from cgidm.judging.mirror_test import MirrorReference, NullGroup, pictures_reference, set_p_value, table_reference
from eval.error_rates.mirror_scores import MirrorScores

LEVELS = (0.05, 0.01)
SET_SIZE = 10
SETS = 20  # of each kind, drawn from one suspect with more pictures than `SET_SIZE`
RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class MirrorDecision:
    """One picture judged under one suspect."""

    training: str
    artist: str
    suspect: str
    file: str
    member: int
    score: float
    p_value: float  # against the null scores of other artists
    reference_p: float | None  # against the reference pictures, under the same suspect


@dataclass(frozen=True, kw_only=True)
class SetDecision:
    """Ten pictures of one artist, judged together."""

    training: str
    artist: str
    suspect: str
    member: int  # 1: all of them were used. 0: none
    p_value: float
    reference_p: float | None


def artist_of(file: str) -> str:
    """The artist of a picture: its folder."""
    return file.rpartition("/")[0]


def null_groups(scored: Sequence[MirrorScores]) -> list[NullGroup]:
    """The null scores of each suspect, by artist."""
    groups = []
    for s in scored:
        by_artist: dict[str, list[float]] = {}
        for file, member, score in zip(s.files, s.member, s.scores, strict=True):
            if not member:
                by_artist.setdefault(artist_of(file), []).append(score)
        groups += [NullGroup(artist=m, training=s.training, scores=tuple(v)) for m, v in by_artist.items()]
    return groups


def without_artist(groups: Sequence[NullGroup], artist: str) -> MirrorReference:
    """What a picture of `artist` is compared with: the table without that artist's works."""
    return table_reference([g for g in groups if g.artist != artist])


def decide(scored: Sequence[MirrorScores], groups: Sequence[NullGroup]) -> list[MirrorDecision]:
    """Judge every picture under every suspect of its artist."""
    references = {m: without_artist(groups, m) for s in scored for m in map(artist_of, s.files)}
    return [
        MirrorDecision(
            training=s.training,
            artist=artist_of(file),
            suspect=name_of(s),
            file=file,
            member=member,
            score=score,
            p_value=references[artist_of(file)].p_value(score),
            reference_p=pictures_reference(s.reference).p_value(score) if s.reference else None,
        )
        for s in scored
        for file, member, score in zip(s.files, s.member, s.scores, strict=True)
    ]


def decide_sets(scored: Sequence[MirrorScores], groups: Sequence[NullGroup], seed: int = 0) -> Iterator[SetDecision]:
    """Judge sets of ten works of one artist, all used or none; all of a suspect's if it has ten."""
    rng = np.random.default_rng(seed)
    for s in scored:
        for artist in dict.fromkeys(map(artist_of, s.files)):
            reference = without_artist(groups, artist)
            pictures = pictures_reference(s.reference) if s.reference else None
            for member in (0, 1):
                rows = zip(s.files, s.member, s.scores, strict=True)
                chosen = [score for file, m, score in rows if m == member and artist_of(file) == artist]
                draws = 0 if len(chosen) < SET_SIZE else 1 if len(chosen) == SET_SIZE else SETS
                for _ in range(draws):
                    some = rng.choice(chosen, SET_SIZE, replace=False)
                    yield SetDecision(
                        training=s.training,
                        artist=artist,
                        suspect=name_of(s),
                        member=member,
                        p_value=set_p_value(some.tolist(), reference),
                        reference_p=None if pictures is None else set_p_value(some.tolist(), pictures),
                    )


def name_of(s: MirrorScores) -> str:
    """The suspect's name."""
    return f"{s.dataset}/{s.concept}-{'ab'[s.half]}"


def summarise(decisions: Sequence[MirrorDecision], sets: Sequence[SetDecision]) -> dict[str, Any]:
    """Summarise the decisions of one training."""
    member, scores = [d.member for d in decisions], [d.score for d in decisions]
    crossed = [d for d in decisions if d.reference_p is not None]
    return {
        "artists": len({d.artist for d in decisions}),
        "suspects": len({d.suspect for d in decisions}),
        "AUC": float(roc_auc_score(member, scores)),
        "pictures": _rates(decisions, lambda d: d.p_value),
        "sets of ten": _rates(sets, lambda d: d.p_value),
        "pictures, against reference pictures": _rates(crossed, lambda d: d.reference_p),
        "sets of ten, against reference pictures": _rates(
            [d for d in sets if d.reference_p is not None], lambda d: d.reference_p
        ),
    }


def _rates(decisions: Sequence[Any], p_value: Callable[[Any], float | None]) -> list[dict[str, Any]]:
    """False calls and power at each level, each with its interval and its worst artist."""
    rows = []
    for level in LEVELS if decisions else ():
        found = {}
        for name, member in (("false calls", 0), ("power", 1)):
            chosen = [(d.artist, _at_most(p_value(d), level)) for d in decisions if d.member == member]
            found[name] = share_by_artist(chosen, max if member == 0 else min)
        rows.append({"level": level, **found})
    return rows


def _at_most(p: float | None, level: float) -> bool:
    assert p is not None, "only decisions with a p-value are counted"
    return p <= level


def share_by_artist(
    calls: Sequence[tuple[str, bool]], worst: Callable[[list[tuple[float, str]]], tuple[float, str]]
) -> dict[str, Any] | None:
    """Return the share of true values, its bootstrap interval over artists, and the worst artist's share.

    Args:
        calls: artist and answer of each decision.
        worst: `max` or `min`.
    """
    if not calls:
        return None
    by_artist: dict[str, list[bool]] = {}
    for artist, called in calls:
        by_artist.setdefault(artist, []).append(called)
    counts = np.array([[sum(v), len(v)] for v in by_artist.values()], float)
    rng = np.random.default_rng(0)
    drawn = counts[rng.integers(len(counts), size=(RESAMPLES, len(counts)))].sum(1)
    tail = (1 - CONFIDENCE) / 2
    return {
        "count": int(counts[:, 0].sum()),
        "of": int(counts[:, 1].sum()),
        "share": float(counts[:, 0].sum() / counts[:, 1].sum()),
        "interval": np.quantile(drawn[:, 0] / drawn[:, 1], [tail, 1 - tail]).tolist(),
        "worst artist": list(worst([(float(np.mean(v)), m) for m, v in by_artist.items()])),
    }
