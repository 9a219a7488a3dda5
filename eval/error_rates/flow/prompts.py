"""`python -m eval prompts`: what it costs to ask a suspect with another prompt than its training's.

The embedded flow model listens to its prompt. Artists whom it has not seen, half of their pictures each: one LoRA is
trained with a caption for each picture, one with a trigger alone. Both halves are scored by forward passes under six
prompts. Each picture is judged by the mirror test against the table that ships, without the artist's own works, as a
run does; its contrast is compared with the unused works of the other artists under theirs.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter
from sklearn.metrics import roc_auc_score

from cgidm.files import write_atomically
from cgidm.judging.verdict import LEVEL
from cgidm.training.split import locate_picture
from cgidm.training.trained_model import weight_digests
from eval.benchmark.datasets import Concept
from eval.error_rates.altered import table_groups
from eval.error_rates.flow.loras import draw_artists
from eval.error_rates.flow.prompt_scores import (
    LABELS,
    RESOLUTION,
    TRAININGS,
    CaptionedPicture,
    PromptedModels,
    PromptScores,
    picture_words,
    score_prompts,
    train_suspects,
)
from eval.error_rates.mirror_rates import CONFIDENCE, RESAMPLES, MirrorDecision, decide, null_groups, share_by_artist
from eval.error_rates.trust import rounded
from eval.markdown import markdown_table

RIGHT = {"captions": "own caption", "trigger": "trigger"}
ALL = 18  # artists of the experiment
ABOUT = {
    "own caption": "trigger and the picture's words",
    "trigger": "the trigger alone",
    "words": "the picture's words alone",
    "blank": "blank",
    "wrong": "another artist's caption",
    "list of four": "four prompts, the trigger among them",
}


def run(o: argparse.Namespace) -> None:
    """Run the command: train and score what is missing, then count."""
    torch.set_num_threads(1)
    every = draw_artists(o.data, o.work, ALL)
    found: list[PromptScores] = []
    for i in range(o.artists):
        dataset, concept = every[i]
        path = o.work / "scores" / f"{o.presentations}-{dataset}-{concept.name}.json"
        if not path.exists():
            scores = judge_artist(o, dataset, concept, every[(i + 1) % ALL][1])
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, json.dumps([asdict(s) for s in scores]) + "\n")
        found += TypeAdapter(list[PromptScores]).validate_json(path.read_text())
        print(f"{concept.name}: scored", flush=True)
    report = rounded(count_prompts(found, weight_digests(str(o.base))))
    print(prompt_tables(report))
    o.out.mkdir(parents=True, exist_ok=True)
    (o.out / "prompts.json").write_text(json.dumps(report, indent=1) + "\n")


def judge_artist(o: argparse.Namespace, dataset: str, concept: Concept, other: Concept) -> list[PromptScores]:
    """Train both LoRAs on half of the artist's pictures; score both halves under every prompt."""
    half, paths = 0, [[locate_picture(o.data, p) for p in some] for some in concept.halves]
    others = [picture_words(locate_picture(o.data, p), RESOLUTION) for some in other.halves for p in some]
    told = iter(others)
    pictures = [
        CaptionedPicture(path, file.file, int(i == half), picture_words(path, RESOLUTION), next(told))
        for i in (0, 1)
        for path, file in zip(paths[i], concept.halves[i], strict=True)
    ]
    work = o.work / "loras" / f"{o.presentations}-{dataset}-{concept.name}"
    models = PromptedModels(o.base, train_suspects(o.base, pictures, work, o.presentations))
    return [
        PromptScores(
            dataset=dataset,
            artist=concept.name,
            half=half,
            training=training,
            presentations=o.presentations,
            files=tuple(p.file for p in pictures),
            member=tuple(p.member for p in pictures),
            mirror=mirror,
            contrast=contrast,
        )
        for training, (mirror, contrast) in zip(TRAININGS, score_prompts(models, pictures), strict=True)
    ]


def count_prompts(found: Sequence[PromptScores], base: Sequence[str]) -> dict[str, Any]:
    """Count AUC, false calls and power of each training and prompt.

    Args:
        found: the scores.
        base: SHA-256 of the base's weight files, for the table of null scores that ships.
    """
    groups, rows = table_groups(base), []
    for training in TRAININGS:
        some = [s for s in found if s.training == training]
        right: list[MirrorDecision] = []
        for label in sorted(LABELS, key=lambda label: label != RIGHT[training]):
            mirror, contrast = ([s.as_scored(getattr(s, kind)[label]) for s in some] for kind in ("mirror", "contrast"))
            decisions = decide(mirror, groups)
            right = right or decisions
            rows.append(
                {
                    "training": training,
                    "prompt": label,
                    "mirror": {
                        "AUC": mean_area([(s.member, s.mirror[label]) for s in some]),
                        **_rates(decisions),
                        "power lost": power_lost(right, decisions),
                    },
                    "contrast": {
                        "AUC": mean_area([(s.member, s.contrast[label]) for s in some]),
                        "AUC lost": area_lost(some, RIGHT[training], label),
                        **_rates(decide(contrast, null_groups(contrast))),
                    },
                }
            )
    artists = {s.artist for s in found}
    return {"artists": len(artists), "presentations": found[0].presentations, "level": LEVEL, "rows": rows}


def mean_area(found: Sequence[tuple[Sequence[int], Sequence[float]]]) -> dict[str, Any]:
    """The mean over suspects of the AUC of members against holdouts, with a bootstrap interval over artists."""
    areas = np.array([float(roc_auc_score(member, scores)) for member, scores in found])
    return {"mean": float(areas.mean()), "interval": _interval(areas), "worst": float(areas.min())}


def area_lost(found: Sequence[PromptScores], right: str, label: str) -> dict[str, Any]:
    """How much lower the contrast's AUC is than under the training's own prompt, suspect by suspect."""
    lost = np.array([_contrast_area(s, right) - _contrast_area(s, label) for s in found])
    return {"mean": float(lost.mean()), "interval": _interval(lost)}


def _contrast_area(s: PromptScores, label: str) -> float:
    return float(roc_auc_score(s.member, s.contrast[label]))


def power_lost(right: Sequence[MirrorDecision], other: Sequence[MirrorDecision]) -> dict[str, Any]:
    """How much lower the power is than under the training's own prompt: the same members, paired."""
    by_artist: dict[str, list[float]] = {}
    for a, b in zip(right, other, strict=True):
        if a.member:
            by_artist.setdefault(a.artist, []).append(float(a.p_value <= LEVEL) - float(b.p_value <= LEVEL))
    lost = np.array([np.mean(values) for values in by_artist.values()])
    return {"mean": float(lost.mean()), "interval": _interval(lost)}


def _interval(values: np.ndarray) -> list[float]:
    drawn = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    tail = (1 - CONFIDENCE) / 2
    return np.quantile(values[drawn].mean(1), [tail, 1 - tail]).tolist()


def _rates(decisions: Sequence[MirrorDecision]) -> dict[str, Any]:
    """False calls and power at the verdict's level."""
    kinds = (("false calls", 0, max), ("power", 1, min))
    return {
        name: share_by_artist([(d.artist, d.p_value <= LEVEL) for d in decisions if d.member == member], worst)
        for name, member, worst in kinds
    }


def prompt_tables(report: Mapping[str, Any]) -> str:
    """A table for each training; the docs show them, too."""
    level, parts = f"{report['level']:.0%}", []
    heads = ["prompt of the run", "mirror test: AUC", f"false calls at {level}", f"power at {level}", "power lost"]
    heads += ["contrast: AUC", "AUC lost", f"false calls at {level}", f"power at {level}"]
    for training, title in (("captions", "a caption for each picture"), ("trigger", "the trigger alone")):
        rows = [
            [
                ABOUT[r["prompt"]] + (" (the training's)" if r["prompt"] == RIGHT[training] else ""),
                *(_area(r["mirror"]), *_shares(r["mirror"]), _lost(r, training)),
                *(_area(r["contrast"]), _area_lost(r, training), *_shares(r["contrast"])),
            ]
            for r in report["rows"]
            if r["training"] == training
        ]
        about = f"{report['artists']} artists, {report['presentations']} presentations of each picture"
        parts.append(f"Trained with {title} ({about}):\n\n{markdown_table(heads, rows)}")
    return "\n\n".join(parts) + "\n"


def _area(found: Mapping[str, Any]) -> str:
    low, high = found["AUC"]["interval"]
    return f"{found['AUC']['mean']:.3f} ({low:.3f} to {high:.3f})"


def _shares(found: Mapping[str, Any]) -> list[str]:
    return [
        f"{share['share']:.1%} ({low:.1%} to {high:.1%})"
        for share in (found["false calls"], found["power"])
        for low, high in [share["interval"]]
    ]


def _area_lost(row: Mapping[str, Any], training: str) -> str:
    if row["prompt"] == RIGHT[training]:
        return ""
    low, high = row["contrast"]["AUC lost"]["interval"]
    return f"{row['contrast']['AUC lost']['mean']:.3f} ({low:.3f} to {high:.3f})"


def _lost(row: Mapping[str, Any], training: str) -> str:
    if row["prompt"] == RIGHT[training]:
        return ""
    low, high = (f"{100 * x:.0f}" for x in row["mirror"]["power lost"]["interval"])
    return f"{100 * row['mirror']['power lost']['mean']:.0f} ({low} to {high}) points"
