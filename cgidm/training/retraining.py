"""A null model of a bank that is trained again, or scored again: does it get the scores that the bank states?

A bank is a table of numbers. Whoever has its pictures and the base can train a model of it once more, by the recipe
that the bank states, and score its pictures. Which model is drawn by a hash, of which anybody gets the same. Scoring
costs far less than training. So models whose weights were kept can all be scored again.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..errors import UserError
from ..files import hash_file
from ..judging.banks.null_bank import Bank, NullModel
from ..messages.text import single_line
from ..method.config import RunConfig
from ..pictures.folders import picture_files
from .captions import read_caption
from .null_models import rank_for_split
from .recipe import TrainingRecipe
from .scoring import BaseLosses, ModelScores, score_pictures
from .split import PictureFile
from .trained_model import KEY_DIGITS, ModelPlan, find_checkpoint, train_model, weight_digests

# Measured on the shipped banks and a CPU, with other threads and instructions: 7e-6 (`python -m eval retraining`).
# A score that somebody moved by 0.05 must be found.
SCORE_TOLERANCE = 0.01
MIRROR_TOLERANCE = 0.01  # of the mirror test's scores: a rank jumps where two blocks change places
DISTANCE_TOLERANCE = 0.02  # relative
NOT_OF_A_TRAINING = ("class_prompt", "sources", "fillers", "captions")  # entries of a bank's recipe beside its settings


@dataclass(frozen=True, kw_only=True)
class ScoredModel:
    """One model of a bank, as it is stated and as it came out.

    Attributes:
        number: its place in the bank, from 0.
        stated: what the bank says of it.
        found: its scores and distances now.
    """

    number: int
    stated: NullModel
    found: ModelScores

    @property
    def largest_difference(self) -> float:
        """The largest difference of a score."""
        return max(abs(a - b) for a, b in zip(self.stated.scores, self.found.scores, strict=True))

    @property
    def largest_mirror_difference(self) -> float:
        """The largest difference of a score of the mirror test; 0 if the bank has none."""
        pairs = zip(self.stated.mirror_scores, self.found.mirror_scores, strict=True)
        return max((abs(a - b) for a, b in pairs if a is not None and b is not None), default=0.0)

    @property
    def differing(self) -> tuple[int, ...]:
        """The pictures whose scores differ by more than the tolerance."""
        pairs = enumerate(zip(self.stated.scores, self.found.scores, strict=True))
        return tuple(i for i, (a, b) in pairs if not abs(a - b) <= SCORE_TOLERANCE)

    @property
    def differing_in_mirror(self) -> tuple[int, ...]:
        """The pictures whose scores of the mirror test differ by more than their tolerance."""
        pairs = enumerate(zip(self.stated.mirror_scores, self.found.mirror_scores, strict=True))
        return tuple(i for i, (a, b) in pairs if not _are_alike(a, b))

    @property
    def agrees(self) -> bool:
        """Whether all scores and distances are within the tolerance."""
        return not self.differing and not self.differing_in_mirror and self._distances_agree()

    def _distances_agree(self) -> bool:
        stated = [*self.stated.prediction_distances, self.stated.weight_distance]
        found = [*self.found.prediction_distances, self.found.weight_distance]
        return all(_is_near(a, b) for a, b in zip(stated, found, strict=True))


@dataclass(frozen=True, kw_only=True)
class RetrainedModel(ScoredModel):
    """One model of a bank that was trained again.

    Attributes:
        weights_are_equal: whether its weights are the stated ones to the last bit.
        is_stated_training: whether pictures, settings and captions are those that the name of its folder is a digest
            of.
        folder: what its training wrote; gone with the folder that it was trained in.
    """

    weights_are_equal: bool
    is_stated_training: bool
    folder: Path


def draw_models(of: int, count: int, seal: str, word: str) -> tuple[int, ...]:
    """Draw models of a bank by a hash.

    Args:
        of: how many models the bank has.
        count: how many to draw; all, if it is more.
        seal: of the bundle, in hex digits.
        word: from somebody who did not make the bundle, once it is sealed. With a word that is known before, whoever
            seals can try one seal after another until it draws a model of their liking.
    """
    ranked = sorted(range(of), key=lambda i: hashlib.sha256(f"{seal} {word} {i}".encode()).hexdigest())
    return tuple(sorted(ranked[:count]))


def find_pictures(bank: Bank, numbers: Sequence[int], folders: Iterable[Path]) -> dict[str, Path]:
    """Find the pictures of a bank, and what its models were trained on besides, by their digests.

    Raises:
        UserError: if one is missing.
    """
    found = {hash_file(p): p.resolve() for folder in folders for p in picture_files(folder, "pictures of the bank")}
    made = bank.content
    names = {p.sha256: p.name for p in made.pictures}
    names |= {sha: f"picture {sha[:12]} by another hand" for n in numbers for sha in made.models[n].fillers}
    if missing := [sha for sha in names if sha not in found]:
        first = {"first": single_line(names[missing[0]]), "sha256": missing[0]}
        raise UserError(
            "training.retraining.pictures", bank=bank.name, needed=len(names), missing=len(missing), **first
        )
    return found


def find_odd_splits(bank: Bank) -> tuple[int, ...]:
    """Find the models whose training pictures are not those that `cgidm bank` draws; no model is trained.

    Whoever chooses the halves could choose those with low scores, or train single models on fewer pictures. Of a bank
    of decoys nothing is found: which of its pictures are decoys is not stated.
    """
    made = bank.content
    if made.decoys:
        return ()
    files = [PictureFile(p.name, p.sha256) for p in made.pictures]
    most, odd = max(len(model.trained_on) for model in made.models), []
    for number, model in enumerate(made.models):
        ranked = rank_for_split(files, range(len(files)), number // 2)[number % 2 :: 2]
        if list(model.trained_on) != sorted(ranked[:most]):
            odd.append(number)
    return tuple(odd)


def plan_retraining(bank: Bank, number: int, pictures: Mapping[str, Path]) -> ModelPlan:
    """Plan the training of one model of a bank, from what the bank states.

    Raises:
        UserError: if its recipe does not say enough, or a caption is missing.
    """
    made = bank.content
    model = made.models[number]
    training = _read_recipe(bank)
    if made.recipe.get("fillers") and not model.fillers:
        raise UserError("training.retraining.fillers", bank=bank.name, fillers=made.recipe["fillers"])
    used = [*(made.pictures[i].sha256 for i in model.trained_on), *model.fillers]
    files = tuple(PictureFile(str(pictures[sha]), sha) for sha in used)
    if made.recipe.get("captions") == "files":
        captions = tuple(read_caption(Path(f.file)) for f in files)
    else:
        captions = training.draw_captions(made.prompt, files)
    prompts = {"prompt": made.prompt, "class_prompt": str(made.recipe.get("class_prompt", "art style"))}
    config = training.configure(pictures=len(files), seed=number, captions=captions, **prompts)
    return ModelPlan(f"models/{number:02d}-a-{training.mode}", config, files)


def retrain(bank: Bank, number: int, base: str, pictures: Mapping[str, Path], work: Path) -> RetrainedModel:
    """Train one model of a bank again, and score the bank's pictures under it.

    Args:
        bank: the bank.
        number: the model's place in it, from 0.
        base: the base model, as `open_checkpoint` takes it.
        pictures: `find_pictures`.
        work: an empty folder for its weights.

    Raises:
        UserError: if it was made with another base, or its recipe does not say enough.
    """
    made, digests = bank.content, weight_digests(base)
    if sorted(digests) != sorted(made.base):
        raise UserError("training.retraining.base", bank=bank.name, base=base, expected=made.base[0], given=digests[0])
    plan, stated = plan_retraining(bank, number, pictures), made.models[number]
    train_model(plan, base, digests, Path("/"), work)
    folder = find_checkpoint(plan, digests, work)
    scored = score_again(bank, number, base, pictures, folder)
    return RetrainedModel(
        **vars(scored),
        weights_are_equal=sorted(weight_digests(str(folder))) == sorted(stated.sha256.values()),
        is_stated_training=f"-{plan.key(digests)[:KEY_DIGITS]}/" in f"{stated.folder}/",
        folder=folder,
    )


def score_again(
    bank: Bank,
    number: int,
    base: str,
    pictures: Mapping[str, Path],
    checkpoint: Path,
    base_losses: BaseLosses | None = None,
) -> ScoredModel:
    """Score the bank's pictures under one of its models, whose weights are at hand.

    Args:
        bank: the bank.
        number: the model's place in it, from 0.
        base: the base model, as `open_checkpoint` takes it.
        pictures: `find_pictures`.
        checkpoint: folder of the model.
        base_losses: those of other models of the bank, which are added to; see `score_pictures`.

    Raises:
        UserError: if the bank's recipe does not say enough.
    """
    made, files = bank.content, [pictures[p.sha256] for p in bank.content.pictures]
    config = RunConfig(loss_draws=made.loss_draws, mirror_draws=made.mirror_draws, seed=made.seed)
    kept = ({} if base_losses is None else base_losses) if made.mirror_draws else None
    scores = score_pictures(base, str(checkpoint), made.prompt, files, config, _read_recipe(bank).framing, kept)
    return ScoredModel(number=number, stated=made.models[number], found=scores)


def _read_recipe(bank: Bank) -> TrainingRecipe:
    settings: dict[str, Any] = {k: v for k, v in bank.content.recipe.items() if k not in NOT_OF_A_TRAINING}
    try:
        return TrainingRecipe(**settings)
    except (ValidationError, TypeError) as error:
        why = single_line(str(error).partition("\n")[2] or str(error))
        raise UserError("training.retraining.recipe", bank=bank.name, problem=why) from error


def _are_alike(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return a is b
    return abs(a - b) <= MIRROR_TOLERANCE


def _is_near(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return a is b
    return abs(a - b) <= DISTANCE_TOLERANCE * max(abs(a), abs(b))
