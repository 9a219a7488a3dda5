"""`python -m eval foreign`: do the error rates hold for suspects of another trainer, or of another strength?

A half of every artist's pictures is trained by `foreign_trainer`, and judged in three ways: by the mirror test, against
the table that ships, without the artist's works; by the mirror test and by residuals among the other models of `eval
mirror` and `eval rates`, which the library's trainer made. The second arm's LoRAs change convolutions too, at twice the
first one's alpha. The other arms have suspects of the library's trainer: whose change is larger or smaller by 30 %, or
that were trained longer by 30 %. They are planted: a rate that cannot be wrong shows nothing.

A verdict refuses a bank whose models moved otherwise than the suspect (`null_bank.bank_flags`). Here none is refused,
so that the rates show what that is good for; the table states how many would be.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import TypeAdapter

from cgidm.families import load_pair
from cgidm.files import write_atomically
from cgidm.judging.banks.null_bank import SAME_PICTURES_RANGE, is_within
from cgidm.judging.banks.residuals import residual
from cgidm.judging.verdict import LEVEL, STRICT_LEVEL, conformal_p_value
from cgidm.method.config import RunConfig
from cgidm.training.scoring import score_pictures
from cgidm.training.split import PictureFile, locate_picture
from cgidm.training.trained_model import find_checkpoint, train_model
from eval.benchmark.datasets import prepare
from eval.benchmark.engine import run_local
from eval.benchmark.experiment import load_experiment
from eval.benchmark.ledger import Ledger, Row, make_key
from eval.benchmark.plan import Suspect, plan_suspects
from eval.benchmark.stages import Setting, train_jobs
from eval.error_rates.alteration import Alteration
from eval.error_rates.altered import table_groups
from eval.error_rates.banks.mirror_in_banks import MirrorScored, judge_by_banks, read_mirror
from eval.error_rates.banks.residuals import Scored, left_out_by_others, read_scores, residuals_among
from eval.error_rates.foreign_trainer import ForeignConfig, train_foreign
from eval.error_rates.mirror_rates import decide, name_of, share_by_artist
from eval.error_rates.mirror_scores import MirrorScores, score_by_mirror
from eval.error_rates.trust import rounded
from eval.markdown import markdown_table
from eval.options import RESULTS, default_workers


@dataclass(frozen=True)
class Longer:
    """A training by the library's trainer that takes more steps."""

    times: float = 1.3


ARMS = {
    "another trainer, alpha 4": ForeignConfig(),
    "another trainer, alpha 8, convolutions": ForeignConfig(convolutions=True, alpha=8),
    "the same trainer, change times 1.3": Alteration(scale=1.3),
    "the same trainer, change times 0.7": Alteration(scale=0.7),
    "the same trainer, 30% longer": Longer(),
}
BANK = "three models"
LABELS = {
    "mirror": "mirror test, by the table",
    "mirror in a bank": f"mirror test, {BANK}",
    "residuals": f"residuals, {BANK}",
}
MIRROR = ("mirror", "mirror-second")  # folders of results: null models of both splits
TRAINING = "lora"  # of the experiment, whose suspects are altered, and of `eval rates`
FOLDER = "foreign"  # below the working folder
NOISE = RunConfig(score_noise="own")  # as the scores of `eval rates` were computed


@dataclass(frozen=True, kw_only=True)
class ForeignScores:
    """What one suspect scores its artist's pictures."""

    mirror: MirrorScores
    contrast: tuple[float, ...]  # `loss_contrast` of each of `mirror.files`
    distance: float  # mean of `prediction_distance`
    distance_of_null: float  # that of the library's LoRA of the other half


@dataclass(frozen=True)
class ForeignJob:
    """Make one suspect of an arm, score it, forget it."""

    setting: Setting
    suspect: Suspect
    pictures: tuple[PictureFile, ...]
    other: Suspect  # the library's, of the other half
    arm: str

    @property
    def name(self) -> str:
        """The suspect's name."""
        return self.suspect.name

    @property
    def cost(self) -> int:
        """The number of pictures."""
        return len(self.pictures)

    @property
    def path(self) -> Path:
        """The file of its scores."""
        made = asdict(ARMS[self.arm])
        pictures = [p.sha256 for p in self.pictures]
        models = [s.model.key(self.setting.base_weights) for s in (self.suspect, self.other)]
        key = make_key(arm=self.arm, made=made, models=models, pictures=pictures, scored=asdict(NOISE))
        return self.setting.work / FOLDER / f"{self.suspect.name.replace('/', '-')}-{key[:10]}.json"

    def run(self) -> Iterator[list[Row]]:
        """Train or alter, score, and write the file; the ledger gets no row."""
        how = ARMS[self.arm]
        if isinstance(how, ForeignConfig):
            with TemporaryDirectory() as folder:
                paths = [locate_picture(self.setting.data, p) for p in self.suspect.pictures]
                train_foreign(Path(self.setting.experiment.base), paths, Path(folder), how)
                found = self._score(folder)
        elif isinstance(how, Longer):
            model, setting = self.suspect.model, self.setting
            longer = replace(model, config=replace(model.config, steps=round(how.times * model.config.steps)))
            train_model(longer, setting.experiment.base, setting.base_weights, setting.data, setting.work)
            found = self._score(str(find_checkpoint(longer, setting.base_weights, setting.work)))
        else:
            own = find_checkpoint(self.suspect.model, self.setting.base_weights, self.setting.work)
            with how.checkpoint(own) as folder:
                found = self._score(str(folder))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, json.dumps(asdict(found)) + "\n")
        yield []

    def _score(self, folder: str) -> ForeignScores:
        setting, s = self.setting, self.suspect
        base, prompt = setting.experiment.base, s.config.prompt
        paths = [locate_picture(setting.data, p) for p in self.pictures]
        contrast = score_pictures(base, folder, prompt, paths, NOISE)
        pair, trained = load_pair(base, folder, prompt), {p.sha256 for p in s.pictures}
        mirror = MirrorScores(
            dataset=s.dataset,
            concept=s.concept,
            half=s.half,
            training=self.arm,
            files=tuple(p.file for p in self.pictures),
            member=tuple(int(p.sha256 in trained) for p in self.pictures),
            scores=tuple(score_by_mirror(setting, prompt, pair, path) for path in paths),
        )
        null = find_checkpoint(self.other.model, setting.base_weights, setting.work)
        of_null = score_pictures(base, str(null), prompt, paths, replace(NOISE, loss_draws=1))
        return ForeignScores(
            mirror=mirror,
            contrast=contrast.scores,
            distance=fmean(contrast.prediction_distances),
            distance_of_null=fmean(of_null.prediction_distances),
        )


def run(o: argparse.Namespace) -> None:
    """Run the command: train, alter and score what is missing, then count."""
    experiment = load_experiment(o.experiment)
    manifest = prepare(experiment, o.data, o.work / experiment.name / "manifest.json")
    setting, ledger = Setting(experiment, o.data.absolute(), o.work.absolute()), Ledger(o.work.absolute() / "ledger.db")
    workers = o.workers or default_workers()
    run_local([j for j in train_jobs(setting, manifest) if j.suspect.training == TRAINING], ledger, workers, "picture")
    planned = [s for s in plan_suspects(experiment, manifest) if s.training == TRAINING]
    suspects = [s for s in planned if s.half == 0]
    others = {(s.dataset, s.concept): s for s in planned if s.half == 1}
    concepts = {(d, c.name): c for d, found in manifest.datasets.items() for c in found.concepts}
    rates = [s for s in read_scores(RESULTS / "mini" / "rates" / "decisions.csv") if s.training == TRAINING]
    nulls = read_mirror(RESULTS / "mini" / folder / "decisions.csv" for folder in MIRROR)
    nulls = [s for s in nulls if s.training == TRAINING]
    groups, rows = table_groups(setting.base_weights), []
    for arm in ARMS:
        jobs = []
        for s in suspects:
            both = [p for half in concepts[s.dataset, s.concept].halves for p in half]
            pictures = tuple(sorted(both, key=lambda p: p.file))
            jobs.append(ForeignJob(setting, s, pictures, others[s.dataset, s.concept], arm))
        run_local([j for j in jobs if not j.path.exists()], ledger, workers, "picture")
        scores = [TypeAdapter(ForeignScores).validate_json(j.path.read_text()) for j in jobs]
        by_mirror = decide([s.mirror for s in scores], groups)
        in_banks = [found for s in scores for found in judge_by_mirror_in_bank(s.mirror, nulls)]
        by_residual = [found for s in scores for found in judge_by_residuals(s, rates)]
        rows.append(
            {
                "suspects of": arm,
                "suspects": len(scores),
                "distance": fmean(s.distance for s in scores),
                "distance of a null": fmean(s.distance_of_null for s in scores),
                "refused": sum(not is_within(s.distance, [s.distance_of_null], SAME_PICTURES_RANGE) for s in scores),
                "mirror": count([(d.artist, bool(d.member), d.p_value) for d in by_mirror]),
                "mirror in a bank": count(in_banks),
                "residuals": count(by_residual),
            }
        )
    arms = {name: asdict(how) for name, how in ARMS.items()}
    report = rounded({"experiment": experiment.name, "arms": arms, "rows": rows})
    o.out.mkdir(parents=True, exist_ok=True)
    (o.out / "foreign.json").write_text(json.dumps(report, indent=1) + "\n")
    (o.out / "foreign.md").write_text(foreign_text(report))
    print(foreign_text(report), end="")


def judge_by_mirror_in_bank(found: MirrorScores, nulls: Sequence[MirrorScored]) -> Iterator[tuple[str, bool, float]]:
    """Artist, whether it was used, and p-value of each picture of one suspect, by the mirror test in a bank.

    The suspect stands in the place of the model of its half, so that this one is not among its bank's.
    """
    rows = zip(found.files, found.member, found.scores, strict=True)
    own = [MirrorScored(TRAINING, found.artist, name_of(found), file, bool(m), s, 1.0) for file, m, s in rows]
    works = [s for s in nulls if s.artist == found.artist and s.suspect != name_of(found)]
    for s, p in judge_by_banks([*own, *works], BANK):
        if s.suspect == name_of(found):
            yield s.artist, s.used, p


def judge_by_residuals(found: ForeignScores, rates: Sequence[Scored]) -> list[tuple[str, bool, float]]:
    """Artist, whether it was used, and p-value of each picture of one suspect, among the models of `eval rates`.

    The model of the same half is left out: the suspect stands in its place.
    """
    mirror, name = found.mirror, name_of(found.mirror)
    works = [s for s in rates if s.file in set(mirror.files)]
    groups = {file: [s.score for s in of] for file, of in left_out_by_others(works, name).items()}
    nulls = residuals_among(groups)
    return [
        (mirror.artist, bool(member), conformal_p_value(residual(score, groups[file]), nulls))
        for file, member, score in zip(mirror.files, mirror.member, found.contrast, strict=True)
    ]


def count(decisions: Sequence[tuple[str, bool, float]]) -> dict[str, Any]:
    """False calls and power at both levels."""
    rates: dict[str, Any] = {}
    for level in (LEVEL, STRICT_LEVEL):
        for name, member, worst in (("false calls", False, max), ("power", True, min)):
            calls = [(artist, p <= level) for artist, used, p in decisions if used == member]
            rates[f"{name} at {level}"] = share_by_artist(calls, worst)
    return rates


def foreign_text(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    name = report["experiment"]
    text = (
        "Suspects of another trainer (`eval/error_rates/foreign_trainer.py`) and of the same trainer in other "
        f"strengths, on the artists of `{name}`: `python -m eval foreign {name} --data DIR`. Intervals: bootstrap over "
        "artists, 95 %. “Refused”: suspects that moved too far or too little to be compared with the library's LoRA "
        "of the artist's other half."
    )
    return f"{text}\n\n{foreign_table(report)}\n"


def foreign_table(report: Mapping[str, Any]) -> str:
    """A row for each arm and test; the docs show it, too."""
    columns = ["suspects of", "distance from base, of a null model", "refused", "judged by"]
    columns += [f"unused called at {LEVEL:.0%}", f"used called at {LEVEL:.0%}"]
    rows = [
        [
            r["suspects of"],
            f"{r['distance']:.3f}, {r['distance of a null']:.3f}",
            f"{r['refused']} of {r['suspects']}" if test == "residuals" else "",
            label,
            _share(r[test][f"false calls at {LEVEL}"]),
            _share(r[test][f"power at {LEVEL}"]),
        ]
        for r in report["rows"]
        for test, label in LABELS.items()
    ]
    return markdown_table(columns, rows)


def _share(found: Mapping[str, Any]) -> str:
    low, high = found["interval"]
    return f"{found['share']:.1%} ({found['count']} of {found['of']}; {low:.1%} to {high:.1%})"
