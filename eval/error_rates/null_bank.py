"""`python -m eval nullbank`: train null models on halves of a maker's pictures and write a bank that verdicts can use.

Every pair of models is trained on the two halves of a new random split, as the suspect was trained; so every picture
was left out by half of the models. With `--decoys` the halves are of pictures of other hands, for a maker who has too
few works: then a style that the suspect learnt from the maker's other works can pass for membership.
"""

import argparse
import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from tqdm import tqdm

from cgidm.authenticate import VERDICT_SCORE
from cgidm.device import choose_device
from cgidm.errors import UserError
from cgidm.families import load_pair
from cgidm.intake.layout import open_checkpoint
from cgidm.judging.distance import prediction_shift, weight_shift
from cgidm.judging.null_bank import FILE, FORMAT, BankPicture, NullBank, NullModel
from cgidm.method.config import RunConfig
from cgidm.method.sampling import picture_generator
from cgidm.method.scores import loss_contrast
from cgidm.pictures.images import read_picture
from eval.benchmark import datasets
from eval.benchmark.experiment import Dataset, Training
from eval.benchmark.finetune import FinetuneConfig
from eval.benchmark.plan import Suspect, weight_digests
from eval.benchmark.suspects import checkpoint_of, train_suspect
from eval.error_rates.training_recipe import Recipe, read_recipe

LEAST_NULLS = 19  # below, no picture could be called at 5 %
LEAST_PICTURES = 4  # so that a half is more than one
FIRST_STEPS, MOST_STEPS = 5, 640  # presentations of each picture, tried where the suspect's are not known
ENCODED_AT_ONCE = 16


@dataclass(frozen=True)
class Answers:
    """What one model answers about a list of pictures."""

    scores: tuple[float, ...]
    shift: tuple[float, ...]
    weight_shift: float | None  # None of an adapter

    @property
    def moved(self) -> float:
        """How far the model has moved from its base, by the measure that tells it from others of its kind."""
        return fmean(self.shift) if self.weight_shift is None else self.weight_shift


def ask(base: str, suspect: str, prompt: str, pictures: Sequence[Path], config: RunConfig) -> Answers:
    """The verdict's score and the shift of every picture, with the draws and in the precision that a verdict takes."""
    place = choose_device(root := open_checkpoint(base, "base model"))
    pair = load_pair(root, suspect, prompt, device=place.device, dtype=place.dtype)
    read = [read_picture(p, pair.resolution) for p in pictures]
    parts = [read[i : i + ENCODED_AT_ONCE] for i in range(0, len(read), ENCODED_AT_ONCE)]
    with torch.no_grad():
        z = torch.cat([pair.codec.encode(torch.stack([p.image for p in part]).to(pair.device)) for part in parts])

    def generators(purpose: str) -> list[torch.Generator]:
        return [picture_generator(config.seed, p.sha256, purpose) for p in read]

    scores = loss_contrast(pair, z, config.loss_draws, generators(VERDICT_SCORE))
    shift = prediction_shift(pair, z, generators("shift"))
    return Answers(tuple(scores.tolist()), tuple(shift.tolist()), weight_shift(pair))


@dataclass(frozen=True)
class Job:
    """A bank to be built."""

    base: str
    pictures: tuple[Path, ...]  # folders of the maker's works, those in question among them
    decoys: Path | None
    prompt: str
    class_prompt: str
    models: int
    out: Path
    images: int | None = None  # that each model is trained on, at most; None: half of those given
    config: RunConfig = dataclasses.field(default_factory=RunConfig)

    def files(self) -> list[datasets.Picture]:
        """The pictures by name, in whichever folder they are, the decoys after the maker's; `file` is absolute.

        Raises:
            UserError: if a folder is missing or has too few pictures.
        """
        found = []
        for folders in (self.pictures, () if self.decoys is None else (self.decoys,)):
            if missing := [f for f in folders if not f.is_dir()]:
                raise UserError(f"{missing[0]} is not a folder; accepted: a folder of picture files")
            files = (p for folder in folders for p in folder.iterdir() if p.suffix.lower() in datasets.SUFFIXES)
            paths = sorted(files, key=lambda p: (p.name, p))
            found += [datasets.Picture(str(p.resolve()), read_picture(p, datasets.CHECK_SIDE).sha256) for p in paths]
        unique = list({p.sha256: p for p in reversed(found)}.values())[::-1]
        trained = len(self._trainable(unique))
        if trained < LEAST_PICTURES:
            raise UserError(f"{trained} pictures to train on were given; accepted: {LEAST_PICTURES} or more")
        left_out = sum(len(unique) - len(half) for half in self.halves(unique))
        if left_out < LEAST_NULLS:
            raise UserError(
                f"{self.models} models and {len(unique)} pictures give {left_out} null scores; accepted: at least "
                f"{LEAST_NULLS}, for an error rate of 5 %: raise --models"
            )
        return unique

    def _trainable(self, pictures: Sequence[datasets.Picture]) -> list[int]:
        if self.decoys is None:
            return list(range(len(pictures)))
        folder = str(self.decoys.resolve())
        return [i for i, p in enumerate(pictures) if Path(p.file).parent == Path(folder)]

    def halves(self, pictures: Sequence[datasets.Picture]) -> list[tuple[int, ...]]:
        """What each model is trained on: the two halves of one random split after another."""
        found: list[tuple[int, ...]] = []
        trainable = self._trainable(pictures)
        for split in range((self.models + 1) // 2):
            order = {p.sha256: n for n, p in enumerate(datasets.ranked_by_seed(pictures, split, "bank", ""))}
            ranked = sorted(trainable, key=lambda i: order[pictures[i].sha256])
            found += [tuple(sorted(ranked[start::2][: self.images])) for start in (0, 1)]
        return found[: self.models]


def build_bank(job: Job, recipe: Recipe, suspect: str | None, tell: Callable[[str], None]) -> NullBank:
    """Train what is missing below `job.out`, ask every model about every picture, and write the bank.

    To resume, run the same command again. Where neither the user nor the suspect's file says how long to train, the
    steps are those after which a model has moved as far from the base as the suspect has.
    """
    pictures = job.files()
    training = recipe.training
    if "steps_per_picture" not in recipe.sources and suspect is not None:
        training = _match_steps(job, recipe, suspect, pictures, tell)
    bank_models, digests = [], weight_digests(job.base)
    for null in tqdm(list(_nulls(job, training, pictures)), unit="model"):
        train_suspect(null, job.base, digests, Path("/"), job.out)
        bank_models.append(_asked(job, null, pictures, digests))
    bank = NullBank(
        format=FORMAT,
        base=tuple(sorted(digests)),
        prompt=job.prompt,
        recipe={**training.model_dump(), "class_prompt": job.class_prompt, "sources": recipe.sources},
        decoys=job.decoys is not None,
        loss_draws=job.config.loss_draws,
        seed=job.config.seed,
        pictures=tuple(BankPicture(name=Path(p.file).name, sha256=p.sha256) for p in pictures),
        models=tuple(bank_models),
        versions={p: version(p) for p in ("torch", "diffusers", "peft")},
    )
    temporary = job.out / f"{FILE}.tmp"
    temporary.write_text(json.dumps(bank.model_dump(), indent=1) + "\n")
    temporary.replace(job.out / FILE)
    return bank


def _nulls(job: Job, training: Training, pictures: Sequence[datasets.Picture]) -> Iterator[Suspect]:
    """The models to train, each of its own seed."""
    dataset = Dataset(folder="", prompt=job.prompt, class_prompt=job.class_prompt)
    for number, half in enumerate(job.halves(pictures)):
        config = training.config(dataset, "bank", len(half), seed=number)
        yield _null(f"{number:02d}", training, config, [pictures[i] for i in half])


def _null(name: str, training: Training, config: FinetuneConfig, pictures: Sequence[datasets.Picture]) -> Suspect:
    return Suspect("models", name, 0, training.mode, config, tuple(pictures))


def _asked(job: Job, null: Suspect, pictures: Sequence[datasets.Picture], digests: tuple[str, ...]) -> NullModel:
    folder = checkpoint_of(null, digests, job.out)
    answers = ask(job.base, str(folder), job.prompt, [Path(p.file) for p in pictures], job.config)
    model = open_checkpoint(str(folder))
    trained = {p.sha256 for p in null.pictures}
    return NullModel(
        folder=folder.relative_to(job.out).as_posix(),
        sha256={f: model.listing.sha256(f) for f in model.weights},
        trained_on=tuple(i for i, p in enumerate(pictures) if p.sha256 in trained),
        scores=answers.scores,
        shift=answers.shift,
        weight_shift=answers.weight_shift,
    )


def _match_steps(
    job: Job, recipe: Recipe, suspect: str, pictures: Sequence[datasets.Picture], tell: Callable[[str], None]
) -> Training:
    """The training after which a model has moved as far as the suspect.

    The presentations of each picture are doubled until it has moved further, at most to `MOST_STEPS`; between the last
    two they are interpolated, on logarithmic scales.
    """
    paths, digests = [Path(p.file) for p in pictures], weight_digests(job.base)
    asked = ask(job.base, suspect, job.prompt, paths, job.config)
    measure = "answers, of the base's loss" if asked.weight_shift is None else "weights, of their length"
    tell(f"the suspect's steps are not known; it has moved by {asked.moved:.4f} ({measure})")
    steps, tried = FIRST_STEPS, []
    while True:
        null = next(_nulls(job, recipe.training.model_copy(update={"steps_per_picture": steps}), pictures))
        train_suspect(null, job.base, digests, Path("/"), job.out)
        moved = ask(job.base, str(checkpoint_of(null, digests, job.out)), job.prompt, paths, job.config).moved
        tell(f"  {steps} presentations of each picture: {moved:.4f}")
        tried.append((steps, moved))
        if moved >= asked.moved or 2 * steps > MOST_STEPS:
            break
        steps *= 2
    chosen = interpolate_steps(tried, asked.moved)
    tell(f"taken: {chosen} presentations of each picture")
    return recipe.training.model_copy(update={"steps_per_picture": chosen})


def interpolate_steps(tried: Sequence[tuple[int, float]], moved: float) -> int:
    """The steps after which a model has moved so far, from the last two (steps, moved) that were tried, or the nearer.

    By a power law: weights move with about the root of the steps, answers of an adapter in proportion.
    """
    most, furthest = tried[-1]
    if moved >= furthest:
        return most
    steps, shifts = np.log(tried[-2:]).T
    return round(float(np.exp(np.interp(np.log(max(moved, 1e-30)), shifts, steps))))


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "pictures", type=Path, nargs="+", help="folders of the maker's pictures, those in question among them"
    )
    parser.add_argument("--base", required=True, help="the public base model, as for `cgidm authenticate`")
    parser.add_argument("--suspect", help="the suspect: what its file says of its training is followed")
    parser.add_argument("--decoys", type=Path, help="train on these pictures of other hands instead")
    parser.add_argument("--prompt", default="sks style", help="that the models are trained with, and asked with")
    parser.add_argument("--class-prompt", default="art style", help="of the prior loss")
    parser.add_argument("--models", type=int, default=8, help="how many to train; two for each split")
    parser.add_argument("--out", type=Path, required=True, help="folder of the bank")
    numbers = (("images", int), ("rank", int), ("steps-per-picture", int), ("batch", int), ("learning-rate", float))
    for name, kind in numbers:
        parser.add_argument(f"--{name}", type=kind, help="of the training, instead of the suspect's")
    parser.add_argument("--mode", choices=("lora", "dreambooth", "dreambooth-prior"))


def run_options(o: argparse.Namespace) -> None:
    names = ("mode", "images", "rank", "steps_per_picture", "batch", "learning_rate")
    given = {n: v for n in names if (v := getattr(o, n)) is not None}
    recipe = read_recipe(open_checkpoint(o.suspect) if o.suspect else None, given)
    job = Job(o.base, tuple(o.pictures), o.decoys, o.prompt, o.class_prompt, o.models, o.out, recipe.images)
    said = ", ".join(f"{k} {v}" for k, v in recipe.training.model_dump(exclude_none=True).items())
    print(f"recipe: {said}; from " + ("; ".join(f"{k}: {v}" for k, v in recipe.sources.items()) or "the defaults"))
    bank = build_bank(job, recipe, o.suspect, print)
    print(f"{o.out / FILE}: {len(bank.models)} models, {len(bank.pictures)} pictures, {len(bank.nulls)} null scores")
