"""Null models: models trained as the suspect was, on random halves of an artist's pictures.

Models are trained in pairs, each pair on the two halves of a new random split. Half of the models therefore left out a
given picture. With decoys, the halves are of pictures by other artists, for an artist who has too few works. A style
that the suspect learnt from the artist's other works can then pass for membership.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..errors import UserError
from ..files import remove_leftovers, write_atomically
from ..intake.layout import open_checkpoint
from ..judging.banks.null_bank import FILE, FORMAT, BankPicture, NullBank, NullModel
from ..judging.flags import flat_flags
from ..judging.tables.residual_table import find_residual_table
from ..messages import Note, note
from ..method.config import RunConfig
from ..pictures.folders import picture_files
from ..pictures.images import read_picture
from .captions import read_caption
from .cost import scoring_evaluations, training_bytes, training_evaluations
from .recipe import TrainingRecipe
from .recipe_reader import SuspectRecipe
from .scoring import BaseLosses, ModelScores, score_pictures
from .settings import settings_to_table
from .split import PictureFile, rank_by_seed
from .step_matching import match_steps
from .trainable import check_trainable
from .trained_model import ModelPlan, find_checkpoint, find_damage, train_model, weight_digests

LEAST_NULLS = 19  # below, no picture could be called at 5 %
LEAST_PICTURES = 4  # so that a half is more than one
CHECK_SIDE = 64  # pixels: a picture is opened only to know that it can be


@dataclass(frozen=True, kw_only=True)
class BankPlan:
    """A bank to be made.

    Attributes:
        base: the base model, as `open_checkpoint` takes it.
        folders: folders of the artist's pictures, those in question among them.
        decoys: folder of pictures by other artists to train on instead.
        prompt: prompt that the models are trained and scored with.
        class_prompt: prompt of the prior loss.
        models: number of models to train.
        out: folder of the bank.
        images: most pictures that each model is trained on; None for a half of those given.
        fillers: folder of pictures by other hands that are trained on besides, as many as `images` has more than a
            half; all, if `images` is not known. They are not scored.
        captions: each picture's caption is read from the text file beside it.
        config: number of draws and random seed of the scores.
    """

    base: str
    folders: tuple[Path, ...]
    decoys: Path | None = None
    prompt: str = "sks style"
    class_prompt: str = "art style"
    models: int = 8
    out: Path
    images: int | None = None
    fillers: Path | None = None
    captions: bool = False
    config: RunConfig = field(default_factory=RunConfig)

    def find_pictures(self) -> list[PictureFile]:
        """List the pictures by name, whichever folder they are in, and after them the decoys. Paths are absolute.

        Raises:
            UserError: if a folder is missing, or there are too few pictures or models.
        """
        found = _list_pictures(*self.folders) + (_list_pictures(self.decoys) if self.decoys is not None else [])
        unique = list({p.sha256: p for p in reversed(found)}.values())[::-1]
        trained = len(self._trainable(unique))
        if trained < LEAST_PICTURES:
            raise UserError("training.too_few_pictures", given=trained, least=LEAST_PICTURES)
        halves = self.draw_halves(unique)
        left_out = [sum(i not in half for half in halves) for i in range(len(unique))]
        nulls = sum(n for n in left_out if n > 1)  # a picture that one model left out has no residual
        if nulls < LEAST_NULLS and not self._has_residual_table():
            counts = {"models": self.models, "pictures": len(unique)}
            raise UserError("training.too_few_scores", **counts, scores=nulls, least=LEAST_NULLS)
        return unique

    def draw_halves(self, pictures: Sequence[PictureFile]) -> list[tuple[int, ...]]:
        """Return the indices of each model's training pictures: the two halves of one random split after another."""
        found: list[tuple[int, ...]] = []
        trainable = self._trainable(pictures)
        for split in range((self.models + 1) // 2):
            ranked = rank_for_split(pictures, trainable, split)
            found += [tuple(sorted(ranked[start::2][: self.images])) for start in (0, 1)]
        return found[: self.models]

    def plan_models(self, training: TrainingRecipe, pictures: Sequence[PictureFile]) -> Iterator[ModelPlan]:
        """Yield the models to train, each with its own seed."""
        prompts = {"prompt": self.prompt, "class_prompt": self.class_prompt}
        others = self.find_fillers(pictures)
        for number, half in enumerate(self.draw_halves(pictures)):
            more = rank_by_seed(others, number, "fillers", "")[: self._filler_count(len(half), len(others))]
            trained = (*(pictures[i] for i in half), *more)
            captions = self.read_captions(trained) or training.draw_captions(self.prompt, trained)
            config = training.configure(pictures=len(trained), seed=number, captions=captions, **prompts)
            yield ModelPlan(f"models/{number:02d}-a-{training.mode}", config, trained)

    def find_fillers(self, pictures: Sequence[PictureFile]) -> list[PictureFile]:
        """List the pictures that are trained on besides; none that is in question."""
        if self.fillers is None:
            return []
        known = {p.sha256 for p in pictures}
        return [p for p in _list_pictures(self.fillers) if p.sha256 not in known]

    def read_captions(self, pictures: Sequence[PictureFile]) -> tuple[str, ...]:
        """Read the captions beside the pictures, if this is asked for.

        Raises:
            UserError: if a picture has none.
        """
        return tuple(read_caption(Path(p.file)) for p in pictures) if self.captions else ()

    def _filler_count(self, half: int, fillers: int) -> int:
        return fillers if self.images is None else max(0, min(fillers, self.images - half))

    def mirror_draws(self, training: TrainingRecipe) -> int:
        """How many draws the mirror test's scores have: none where the training mirrors pictures, or has decoys."""
        return 0 if training.defence == "flip" or self.decoys is not None else self.config.mirror_draws

    def score_model(
        self,
        model: str,
        pictures: Sequence[PictureFile],
        framing: Mapping[str, Any] | None = None,
        base_losses: BaseLosses | None = None,
    ) -> ModelScores:
        """Score the pictures under one model, framed as in its training; see `score_pictures`."""
        files = [Path(p.file) for p in pictures]
        return score_pictures(self.base, model, self.prompt, files, self.config, framing, base_losses)

    def is_trained(self, model: ModelPlan) -> bool:
        """Tell whether a model is there, whole."""
        return find_damage(model.folder(self.out, weight_digests(self.base))) is None

    def train(self, model: ModelPlan, progress: Callable[[], object] = lambda: None) -> Path:
        """Train a model unless it is there, and return its checkpoint. `progress` is called after each step."""
        digests = weight_digests(self.base)
        train_model(model, self.base, digests, Path("/"), self.out, progress)
        return find_checkpoint(model, digests, self.out)

    def _has_residual_table(self) -> bool:
        """Whether two models are enough: residuals by other artists are known for the base."""
        own_works = self.decoys is None and self.models >= 2  # else no picture has both a score with it and without it
        return own_works and bool(find_residual_table(weight_digests(self.base), self.config.loss_draws))

    def _trainable(self, pictures: Sequence[PictureFile]) -> list[int]:
        if self.decoys is None:
            return list(range(len(pictures)))
        folder = str(self.decoys.resolve())
        return [i for i, p in enumerate(pictures) if Path(p.file).parent == Path(folder)]


def rank_for_split(pictures: Sequence[PictureFile], trainable: Sequence[int], split: int) -> list[int]:
    """Rank pictures for a split: its two halves have every other one each.

    Args:
        pictures: all of a bank.
        trainable: indices of those that models are trained on.
        split: the number of the split.
    """
    order = {p.sha256: n for n, p in enumerate(rank_by_seed(pictures, split, "bank", ""))}
    return sorted(trainable, key=lambda i: order[pictures[i].sha256])


def _list_pictures(*folders: Path) -> list[PictureFile]:
    """The pictures of folders, by name."""
    files = (p for folder in folders for p in picture_files(folder, "pictures"))
    paths = sorted(files, key=lambda p: (p.name, p))
    return [_picture_file(p) for p in paths]


def _picture_file(path: Path) -> PictureFile:
    read = read_picture(path, CHECK_SIDE)
    if flat_flags(read.image):
        raise UserError("training.flat_picture", path=str(path))
    return PictureFile(str(path.resolve()), read.sha256)


def build_bank(
    plan: BankPlan,
    recipe: SuspectRecipe,
    suspect: str | None = None,
    report: Callable[[Note], None] = lambda note: None,
) -> NullBank:
    """Train the missing models, score every picture under every model, and write the bank to `plan.out`.

    Call it again to resume: models that are there are scored again, not trained. Where neither the user nor the
    suspect's file says how long to train, the steps are those that move a model as far from the base as the suspect.

    Args:
        plan: the bank.
        recipe: how the models are trained.
        suspect: the suspect, as `open_checkpoint` takes it; needed to match unknown steps.
        report: called with what is found while steps are matched.

    Raises:
        UserError: if a picture or a model cannot be used, the base's family is not trained, or the disk is full.
    """
    check_trainable(open_checkpoint(plan.base, "base model"))
    pictures = plan.find_pictures()
    training = recipe.training
    if "steps_per_picture" not in recipe.sources and suspect is not None:
        training = _match_steps(plan, recipe.training, suspect, pictures, report)
    models = list(plan.plan_models(training, pictures))
    missing = [m for m in models if not plan.is_trained(m)]
    report(_cost(plan, training, missing, len(pictures), len(models)))
    draws = plan.mirror_draws(training)
    scoring = scoring_evaluations(len(pictures), plan.config.loss_draws, draws)
    total = training_evaluations(missing) + len(models) * scoring
    base_losses: BaseLosses | None = {} if draws else None
    bar = tqdm(total=total, unit="evaluation", unit_scale=True)

    def null_model(model: ModelPlan) -> NullModel:
        step = training_evaluations([model]) / model.config.steps
        found = _null_model(plan, model, pictures, base_losses, lambda: bar.update(step))
        bar.update(scoring)
        return found

    bank = NullBank(
        format=FORMAT,
        base=tuple(sorted(weight_digests(plan.base))),
        prompt=plan.prompt,
        recipe={
            **settings_to_table(training),
            "class_prompt": plan.class_prompt,
            "sources": recipe.sources,
            **({} if plan.fillers is None else {"fillers": len(plan.find_fillers(pictures))}),
            **({"captions": "files"} if plan.captions else {}),
        },
        decoys=plan.decoys is not None,
        loss_draws=plan.config.loss_draws,
        mirror_draws=draws,
        seed=plan.config.seed,
        pictures=tuple(BankPicture(name=Path(p.file).name, sha256=p.sha256) for p in pictures),
        models=tuple(map(null_model, models)),
        versions={p: version(p) for p in ("torch", "diffusers", "peft")},
    )
    bar.close()
    remove_leftovers(plan.out / FILE)
    write_atomically(plan.out / FILE, json.dumps(bank.model_dump(), indent=1) + "\n")
    return bank


def _cost(plan: BankPlan, training: TrainingRecipe, missing: Sequence[ModelPlan], pictures: int, models: int) -> Note:
    """What is about to be done, and the memory that a training takes."""
    counted = training_bytes(open_checkpoint(plan.base, "base model").fetch(), training) if missing else None
    counts = {
        "models": len(missing),
        "images": max((len(m.pictures) for m in missing), default=0),
        "steps": sum(m.config.steps for m in missing),
        "batch": training.batch,
        "scored": models * pictures,
    }
    if counted is None:
        return note("training.cost", **counts)
    return note("training.cost_and_memory", **counts, gigabytes=counted / 1e9)


def _null_model(
    plan: BankPlan,
    model: ModelPlan,
    pictures: Sequence[PictureFile],
    base_losses: BaseLosses | None,
    progress: Callable[[], object],
) -> NullModel:
    folder = plan.train(model, progress)
    scored = plan.score_model(str(folder), pictures, model.config.framing, base_losses)
    checkpoint = open_checkpoint(str(folder))
    trained, known = {p.sha256 for p in model.pictures}, {p.sha256 for p in pictures}
    return NullModel(
        folder=folder.relative_to(plan.out).as_posix(),
        sha256={f: checkpoint.listing.sha256(f) for f in checkpoint.weights},
        trained_on=tuple(i for i, p in enumerate(pictures) if p.sha256 in trained),
        fillers=tuple(p.sha256 for p in model.pictures if p.sha256 not in known),
        scores=scored.scores,
        prediction_distances=scored.prediction_distances,
        weight_distance=scored.weight_distance,
        mirror_scores=scored.mirror_scores,
    )


def _match_steps(
    plan: BankPlan,
    training: TrainingRecipe,
    suspect: str,
    pictures: Sequence[PictureFile],
    report: Callable[[Note], None],
) -> TrainingRecipe:
    """The recipe after whose steps the first null model has moved as far from the base as the suspect."""

    def with_steps(steps: int) -> TrainingRecipe:
        return replace(training, steps_per_picture=steps)

    def measure(steps: int) -> float:
        first = next(plan.plan_models(with_steps(steps), pictures))
        return plan.score_model(str(plan.train(first)), pictures, training.framing).distance_from_base

    return with_steps(match_steps(plan.score_model(suspect, pictures, training.framing), measure, report))
