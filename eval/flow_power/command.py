"""`python -m eval flow-power`: train, score what is missing, count. Work whose file exists is not done again."""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from cgidm.errors import UserError
from cgidm.families import load_pair
from cgidm.files import write_atomically
from cgidm.judging.mirror_test import TABLE, MirrorTable, find_mirror_table
from cgidm.method.config import RunConfig
from cgidm.method.models import ModelPair
from cgidm.pictures.images import Picture, read_picture
from cgidm.training.trained_model import weight_digests
from eval.error_rates.trust import rounded
from eval.flow_power.report import Scored, count, report_text
from eval.flow_power.scores import COMPARED, Tested, prepare_pictures, score_method, score_tests
from eval.flow_power.suspects import DOSES, RECIPE, Artist, find_artists, find_suspect

DOSE = 20  # of the other methods: after 100 presentations most of them find all


def run(o: argparse.Namespace) -> None:
    """Run the command."""
    torch.set_num_threads(1)
    table, names = shipped_table(o.base), read_methods(o.methods)
    artists, scorer = find_artists(o.data, o.work, table)[: o.artists], Scorer(o.base, o.work)
    found = [scorer.tests(a, dose) for a in artists for dose in DOSES]
    found += [scorer.method(a, DOSE, name) for name in names for a in artists]
    report = rounded({"base": weight_digests(str(o.base)), **count(found, table)})
    o.out.mkdir(parents=True, exist_ok=True)
    (o.out / "power.json").write_text(json.dumps(report, indent=1) + "\n")
    (o.out / "power.md").write_text(report_text(report))
    print(report_text(report))


def read_methods(text: str) -> list[str]:
    """Read the names of methods, comma-separated.

    Raises:
        UserError: if one is not compared here.
    """
    names = [name for name in text.split(",") if name]
    for name in names:
        if name not in COMPARED:
            raise UserError("error_rates.not_compared", given=name, accepted=list(COMPARED))
    return names


def shipped_table(base: Path) -> MirrorTable:
    """The null scores that ship for a base.

    Raises:
        UserError: if there are none.
    """
    digests = {str(i): digest for i, digest in enumerate(weight_digests(str(base)))}
    if (table := find_mirror_table(digests, RunConfig().mirror_draws)) is None:
        raise UserError("error_rates.no_shipped_table", file=TABLE)
    return table


def read_pictures(artist: Artist, pair: ModelPair) -> list[Picture]:
    """The pictures of both halves, framed for the pair."""
    return [read_picture(path, pair.resolution) for path in artist.paths]


@dataclass
class Scorer:
    """Scores suspects, or reads what was scored before.

    Attributes:
        base: folder of the base.
        work: folder of LoRAs and scores.
        tested: pictures that are encoded already, by artist.
    """

    base: Path
    work: Path
    tested: dict[str, Tested] = field(default_factory=dict)

    def tests(self, artist: Artist, dose: int) -> Scored:
        """By the mirror test and the contrast."""
        return self._scored(artist, dose, "tests", lambda: score_tests(*self._case(artist, dose)))

    def method(self, artist: Artist, dose: int, name: str) -> Scored:
        """By a method of the benchmark."""

        def measure() -> dict[str, Any]:
            pair, blank = (self._pair(artist, dose, prompt) for prompt in (RECIPE.prompt, ""))
            return score_method(COMPARED[name], pair, blank, read_pictures(artist, pair))

        return self._scored(artist, dose, name, measure)

    def _scored(self, artist: Artist, dose: int, kind: str, measure: Callable[[], dict[str, Any]]) -> Scored:
        path = self.work / "scores" / f"{artist.dataset}-{artist.name}-{dose}-{kind}.json"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, json.dumps(measure()) + "\n")
            print(f"{artist.name}, {dose} presentations: {kind}", flush=True)
        return Scored(artist, dose, kind, json.loads(path.read_text()))

    def _case(self, artist: Artist, dose: int) -> tuple[ModelPair, Tested]:
        pair = self._pair(artist, dose, RECIPE.prompt)
        if artist.name not in self.tested:
            self.tested[artist.name] = prepare_pictures(pair, read_pictures(artist, pair))
        return pair, self.tested[artist.name]

    def _pair(self, artist: Artist, dose: int, prompt: str) -> ModelPair:
        return load_pair(str(self.base), str(find_suspect(self.base, self.work, artist, dose)), prompt)
