"""`python -m eval directions`: which part of a LoRA's change knows the pictures, and which the style.

After BAF (https://arxiv.org/abs/2605.10439; only its abstract could be read): singular directions of a change that lie
in the principal subspace of the base's weight are said to carry style, those that hardly do to carry memorised
pictures. Each suspect's change is split in two by `Alteration`, and the loss contrast is measured with the whole change
and with each part alone. A part that knew the style alone would raise used and unused works alike.
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from cgidm.families import load_pair
from cgidm.files import write_atomically
from cgidm.pictures.images import read_picture
from cgidm.training.split import locate_picture
from cgidm.training.trained_model import find_checkpoint
from eval.analysis.metrics import auc_interval, pooled_auc
from eval.benchmark.datasets import prepare
from eval.benchmark.engine import run_local
from eval.benchmark.experiment import load_experiment
from eval.benchmark.ledger import Ledger, Row, make_key
from eval.benchmark.methods import Case, LossContrast
from eval.benchmark.plan import Unit, plan_units
from eval.benchmark.stages import Setting, train_jobs
from eval.error_rates.alteration import UNALTERED, Alteration
from eval.error_rates.trust import rounded
from eval.markdown import markdown_table
from eval.options import default_workers

HALF = 0.5
PARTS: Mapping[str, Alteration] = {
    "whole": UNALTERED,
    "more aligned half": Alteration(filtered=HALF),
    "less aligned half": Alteration(weakest=HALF),
}
METHOD = LossContrast()


@dataclass(frozen=True)
class DirectionsJob:
    """One suspect with one part of its change, on its artist's pictures."""

    setting: Setting
    unit: Unit
    part: str

    @property
    def name(self) -> str:
        """Suspect and part."""
        return f"{self.unit.suspect_name}, {self.part}"

    @property
    def cost(self) -> int:
        """Network evaluations."""
        return METHOD.evaluations * len(self.unit.pictures)

    @property
    def path(self) -> Path:
        """The file of its scores."""
        assert self.unit.suspect is not None
        suspect = self.unit.suspect.model.key(self.setting.base_weights)
        pictures = [p.sha256 for p, _, _ in self.unit.pictures]
        key = make_key(suspect=suspect, pictures=pictures, part=repr(PARTS[self.part]), method=repr(METHOD))
        return self.setting.work / "directions" / f"{key[:20]}.json"

    def run(self) -> Iterator[list[Row]]:
        """Score the pictures and write the file; the ledger gets no row."""
        unit, setting = self.unit, self.setting
        assert unit.suspect is not None
        folder = find_checkpoint(unit.suspect.model, setting.base_weights, setting.work)
        with PARTS[self.part].checkpoint(folder, base=Path(unit.base)) as altered:
            pair = load_pair(unit.base, str(altered), unit.prompt)
            paths = [locate_picture(setting.data, p) for p, _, _ in unit.pictures]
            images = torch.stack([read_picture(path, pair.resolution).image for path in paths])
            with torch.no_grad():
                z = torch.cat([pair.codec.encode(image[None]) for image in images])
            digests, groups = tuple(p.sha256 for p, _, _ in unit.pictures), torch.zeros(len(z)).long()
            (answer,) = METHOD(Case(pair, lambda: pair, images, z, digests, groups, seed=setting.experiment.seed))
        rows = [
            {"concept": unit.concept.name, "member": member, "score": score}
            for (_, _, member), score in zip(unit.pictures, answer.scores.tolist(), strict=True)
        ]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, json.dumps(rows) + "\n")
        yield []


def run(o: argparse.Namespace) -> None:
    """Run the command: train and score what is missing, then measure."""
    experiment = load_experiment(o.experiment)
    manifest = prepare(experiment, o.data, o.work / experiment.name / "manifest.json")
    setting, ledger = Setting(experiment, o.data.absolute(), o.work.absolute()), Ledger(o.work.absolute() / "ledger.db")
    workers = o.workers or default_workers()
    units = [u for u in plan_units(experiment, manifest) if u.suspect is not None and u.suspect.half == 0]
    chosen = {u.suspect_name for u in units}
    run_local([j for j in train_jobs(setting, manifest) if j.name in chosen], ledger, workers, "picture")
    jobs = {part: [DirectionsJob(setting, unit, part) for unit in units] for part in PARTS}
    every = [job for of_part in jobs.values() for job in of_part]
    run_local([job for job in every if not job.path.exists()], ledger, workers, "evaluation")
    rows = []
    for part, of_part in jobs.items():
        scores = [row for job in of_part for row in json.loads(job.path.read_text())]
        rows.append({"part": part, "suspects": len(of_part), **measure_part(pd.DataFrame(scores))})
    report = rounded({"experiment": experiment.name, "rows": rows})
    o.out.mkdir(parents=True, exist_ok=True)
    (o.out / "directions.json").write_text(json.dumps(report, indent=1) + "\n")
    command = f"`python -m eval directions {experiment.name} --data DIR`. Intervals: bootstrap over artists, 95 %."
    (o.out / "directions.md").write_text(f"{command}\n\n{directions_table(report)}\n")
    print(directions_table(report))


def measure_part(scores: pd.DataFrame) -> dict[str, Any]:
    """AUC with its interval, and the mean contrast of used and unused works, as shares of the base's loss."""
    used, unused = (float(scores.loc[scores["member"] == member, "score"].mean()) for member in (1, 0))
    return {
        "AUC": pooled_auc(scores),
        "interval": list(auc_interval(scores)),
        "contrast of used works": used,
        "contrast of unused works": unused,
    }


def directions_table(report: Mapping[str, Any]) -> str:
    """A row for each part; the docs show it, too."""
    heads = ["part of the change", "suspects", "AUC (95 %)", "contrast of used works", "of unused works"]
    rows = [
        [
            *(r["part"], r["suspects"], "{:.3f} ({:.2f} to {:.2f})".format(r["AUC"], *r["interval"])),
            *(f"{100 * r[name]:+.2f} %" for name in ("contrast of used works", "contrast of unused works")),
        ]
        for r in report["rows"]
    ]
    return markdown_table(heads, rows, spaced=True)
