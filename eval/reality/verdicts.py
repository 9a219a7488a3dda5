"""The stages `verdicts` and `bank`: suspects whose training pictures are known, judged as a user would judge them.

A LoRA of one subject; a full network of another, which is also asked about the first one's pictures; the base as its
own suspect, of which the right answer is no for every picture.
"""

import argparse
import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from cgidm.conductor import authenticate
from cgidm.device import choose_device
from cgidm.evidence.bundle_writer import write_evidence
from cgidm.evidence.record import ModelsRecord
from cgidm.evidence.verify import main as verify_bundle
from cgidm.families import load_pair
from cgidm.intake.layout import open_checkpoint
from cgidm.judging.banks.null_bank import framing_for, open_bank
from cgidm.judging.result import Result
from cgidm.method.config import find_preset
from cgidm.pictures.embedders import load_embedders
from cgidm.pictures.images import read_picture
from cgidm.resources import reference_files
from cgidm.training.command import add_options, make_bank
from cgidm.training.split import PictureFile, locate_picture
from cgidm.training.trained_model import find_checkpoint
from eval.benchmark.plan import Suspect, plan_suspects
from eval.reality.measurements import choose_suspects, experiment_setting
from eval.reality.stages import Sitting

TRUTHS = ("used", "not used")


@dataclass(frozen=True, kw_only=True)
class Question:
    """Pictures and a suspect, of which the right answers are known."""

    name: str
    suspect: str  # a folder, or the base
    prompt: str
    pictures: tuple[PictureFile, ...]
    used: frozenset[str]  # SHA-256 of the pictures that the suspect was trained on
    reference: bool = True  # whether the mirror test compares with reference pictures


def judge_suspects(sitting: Sitting) -> list[dict[str, Any]]:
    """Judge three suspects by the mirror test, and seal and verify the evidence of each."""
    return [sitting.parts.remember(q.name, partial(_judge, sitting, q)) for q in _questions(sitting)]


def judge_with_bank(sitting: Sitting) -> dict[str, Any]:
    """Train a bank for the LoRA as `cgidm bank` does, and judge its subject's pictures with it."""
    setting, manifest = experiment_setting(sitting)
    suspect, _ = choose_suspects(plan_suspects(setting.experiment, manifest))
    question = next(q for q in _questions(sitting) if q.name == "lora")
    folder, config = sitting.out / "bank", suspect.config
    works = {locate_picture(setting.data, p).parent for p in question.pictures}
    settings = {"rank": config.rank, "steps-per-picture": config.steps * config.batch // len(suspect.pictures)}
    settings |= {"batch": config.batch, "learning-rate": config.learning_rate}
    given = [*map(str, sorted(works)), "--base", setting.experiment.base, "--suspect", question.suspect]
    given += ["--prompt", config.prompt, "--class-prompt", config.class_prompt, "--mode", config.mode]
    given += [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    given += ["--models", str(sitting.plan.bank_models), "--out", str(folder)]
    parser = argparse.ArgumentParser()
    add_options(parser)
    make_bank(parser.parse_args(given))
    answer = sitting.parts.remember("answer", partial(_judge, sitting, question, folder))
    return {"command": " ".join(["cgidm", "bank", *(_below(word, sitting.out) for word in given)]), **answer}


def _questions(sitting: Sitting) -> list[Question]:
    """The questions, in the order in which they are judged."""
    setting, manifest = experiment_setting(sitting)
    lora, full = choose_suspects(plan_suspects(setting.experiment, manifest))

    def pictures(suspect: Suspect) -> tuple[PictureFile, ...]:
        concept = next(c for c in manifest.datasets[suspect.dataset].concepts if c.name == suspect.concept)
        return tuple(p for half in concept.halves for p in half)

    def question(name: str, suspect: Suspect, *others: Suspect) -> Question:
        return Question(
            name=name,
            suspect=str(find_checkpoint(suspect.model, setting.base_weights, setting.work)),
            prompt=suspect.config.prompt,
            pictures=tuple(p for suite in (suspect, *others) for p in pictures(suite)),
            used=frozenset(p.sha256 for p in suspect.pictures),
        )

    own = question("lora", lora)
    innocent = replace(own, name="base", suspect=setting.experiment.base, used=frozenset(), reference=False)
    return [own, question("dreambooth", full, lora), innocent]


def _judge(sitting: Sitting, question: Question, bank_folder: Path | None = None) -> dict[str, Any]:
    setting, _ = experiment_setting(sitting)
    base = open_checkpoint(setting.experiment.base, "base model")
    target = choose_device(base, sitting.device)
    pair = load_pair(base, question.suspect, question.prompt, device=target.device, dtype=target.dtype)
    bank = None if bank_folder is None else open_bank(bank_folder)
    framing = framing_for(pair, bank)
    config, compared = find_preset("fast"), question.reference and bank is None
    files = reference_files()[: sitting.plan.reference_pictures] if compared else ()
    result = authenticate(
        pair,
        [read_picture(locate_picture(setting.data, p), framing) for p in question.pictures],
        config=replace(config, mirror_draws=0) if bank is not None else config,  # what the bank finds by itself
        embedders=load_embedders(sitting.device),
        bank=bank,
        reference=[read_picture(p, framing) for p in files],
    )
    name = question.name if bank is None else "bank"
    folder = sitting.out / "evidence" / name
    models = ModelsRecord(base=setting.experiment.base, suspect=question.suspect, prompt=question.prompt)
    write_evidence(result, folder, models)
    with redirect_stdout(io.StringIO()) as told:
        verified = verify_bundle([str(folder)])
    (folder.parent / f"{name}.txt").write_text(told.getvalue(), encoding="utf-8")
    return {
        "name": question.name,
        "suspect": _below(question.suspect, sitting.out),
        "prompt": question.prompt,
        "bundle": f"evidence/{name}",
        "verified": verified == 0,
        "pictures": _rows(result, question.pictures, question.used),
        "together": None if result.together is None else result.together.outcome,
    }


def _rows(result: Result, pictures: Sequence[PictureFile], used: frozenset[str]) -> list[dict[str, Any]]:
    return [
        {
            "picture": picture.file,
            "truth": TRUTHS[picture.sha256 not in used],
            "outcome": judged.verdict.outcome,
            "p_value": judged.verdict.p_value,
            "scores": {name: round(score, 5) for name, score in judged.scores.items()},
            "flags": [flag.name for flag in judged.flags],
        }
        for picture, judged in zip(pictures, result.pictures, strict=True)
    ]


def _below(text: str, out: Path) -> str:
    """A path below the folder of the results, as it is written on the page: the same wherever that folder lies."""
    return text.replace(str(out.absolute()), "OUT").replace(str(out), "OUT")
