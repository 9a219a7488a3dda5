"""Train models of a bundle's bank again, score all of them, and compare with what the bank states."""

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ...errors import UserError
from ...judging.banks.null_bank import Bank
from ...messages.text import single_line
from ...training.retraining import (
    SCORE_TOLERANCE,
    RetrainedModel,
    ScoredModel,
    draw_models,
    find_odd_splits,
    find_pictures,
    retrain,
    score_again,
)
from ...training.scoring import BaseLosses
from ..anchors.originals import OriginalCheck, check_originals
from ..bundle_reader import Bundle, read_small
from ..record import Record
from ..seal import SEAL
from .kept_weights import find_kept, place_weights, weights_difference
from .rerun import bank_of_bundle, use_threads

MOST_PICTURES = 5  # whose scores are named
WORD_BYTES = 4  # of a word that is drawn here


@dataclass(frozen=True, kw_only=True)
class RetrainOptions:
    """What is trained again, and from what.

    Attributes:
        count: number of models.
        pictures: folders that hold the bank's pictures.
        word: with the seal it draws the models; None: one that is drawn now, so that nobody could know it.
        base: the base, if not where the bundle says.
        bank: folder of the bank. Models whose weights it holds are scored again, all of them.
        threads: of the processor; None: as many as there are.
    """

    count: int
    pictures: Sequence[Path] = ()
    word: str | None = None
    base: str | None = None
    bank: Path | None = None
    threads: int | None = None


@dataclass(frozen=True, kw_only=True)
class Retraining:
    """What came of training models of a bank again, and of scoring them.

    Attributes:
        bank: the bank.
        models: those that were trained again.
        odd_splits: models that were trained on other halves than the tool draws.
        scored: models that were scored again from their kept weights.
        altered: models whose kept weights are not the stated ones, or no such model, with what is wrong.
        apart: how far the weights of models that were trained again are from the kept ones, relative to their norm.
        pictures: pictures in question, compared with the bank's files of the same digests.
    """

    bank: Bank
    models: tuple[RetrainedModel, ...]
    odd_splits: tuple[int, ...] = ()
    scored: tuple[ScoredModel, ...] = ()
    altered: Mapping[int, str]
    apart: Mapping[int, float]
    pictures: tuple[OriginalCheck, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether nothing contradicts the bank."""
        same = all(model.agrees for model in (*self.models, *self.scored))
        return same and not self.odd_splits and not self.altered and all(p.agrees for p in self.pictures)

    @property
    def share(self) -> str:
        """How many of the models were trained again: "1 of 8 models", and how many were scored."""
        of = len(self.bank.content.models)
        scored = f"; scores of {'all ' if len(self.scored) == of else ''}{len(self.scored)} computed again"
        return f"{len(self.models)} of {of} models{scored if self.scored else ''}"

    def lines(self) -> Iterator[str]:
        """Yield what was found."""
        of = len(self.bank.content.models)
        for number in self.odd_splits:
            yield f"model {number + 1} of the bank: it was NOT trained on the half that is drawn for it"
        if self.bank.content.decoys:
            yield "the bank has decoys, and does not say which: the halves of its pictures were not compared"
        for picture in self.pictures:
            if not picture.agrees:
                yield f"a picture in question is NOT the bank's of the same SHA-256: {picture}"
        for model in self.models:
            yield from self._model_lines(model)
        for number, problem in self.altered.items():
            yield f"model {number + 1} of {of}: {problem}"
        for model in self.scored:
            if not model.agrees:
                yield from self._score_lines(model, "scored again from its kept weights")
        yield from self._summary()

    def _summary(self) -> Iterator[str]:
        of, done, scored = len(self.bank.content.models), len(self.models), len(self.scored)
        if scored and all(m.agrees for m in self.scored):
            largest = max(m.largest_difference for m in self.scored)
            yield (
                f"scored again from their kept weights: {scored} of {of} models, the same; largest difference of a "
                f"score {largest:.1e}. A score of theirs that somebody moved would be named"
            )
        if not self.agrees or done == of:
            return
        chance = f"with a chance of {done} in {of}. --retrain {of} trains all"
        if scored == of:
            yield f"weights that another training made are found {chance}"
            return
        rest = of - len({m.number for m in (*self.models, *self.scored)})
        yield (
            f"the other {rest} models were neither trained nor scored again: a bank with one altered model is found "
            f"{chance}. Their weights, if you have them (--bank FOLDER), show every score that was moved"
        )

    def _model_lines(self, model: RetrainedModel) -> Iterator[str]:
        yield from self._score_lines(model, "trained again")
        if model.weights_are_equal:
            yield "  its weights are the stated ones to the last bit"
        elif model.number in self.apart:
            yield f"  its weights are {self.apart[model.number]:.1e} of their norm away from the kept ones"
        if not model.agrees and not model.is_stated_training:
            yield "  its pictures, settings or captions are not those that its folder is named after"

    def _score_lines(self, model: ScoredModel, how: str) -> Iterator[str]:
        verdict = "the same" if model.agrees else "NOT the same"
        of, scores = len(self.bank.content.models), len(model.stated.scores)
        yield (
            f"model {model.number + 1} of {of}, {how}: {verdict}; largest difference of its {scores} scores "
            f"{model.largest_difference:.1e} (tolerance {SCORE_TOLERANCE:g})"
        )
        for i in model.differing[:MOST_PICTURES]:
            name = single_line(self.bank.content.pictures[i].name)
            yield f"  {name}: stated {model.stated.scores[i]:.4f}, now {model.found.scores[i]:.4f}"
        if len(model.differing) > MOST_PICTURES:
            yield f"  and {len(model.differing) - MOST_PICTURES} more"
        for i in model.differing_in_mirror[:MOST_PICTURES]:
            name, both = single_line(self.bank.content.pictures[i].name), (model.stated, model.found)
            stated, now = ("none" if m.mirror_scores[i] is None else f"{m.mirror_scores[i]:.4f}" for m in both)
            yield f"  {name}, mirror test: stated {stated}, now {now}"
        if len(model.differing_in_mirror) > MOST_PICTURES:
            yield f"  and {len(model.differing_in_mirror) - MOST_PICTURES} more of the mirror test"
        if not model.agrees and not model.differing and not model.differing_in_mirror:
            yield "  its distances from the base differ"


def retrain_bank(
    bundle: Bundle, record: Record, options: RetrainOptions, report: Callable[[str], object] = lambda _: None
) -> Retraining:
    """Train as many models of the bundle's bank again as the options say, and score those whose weights were kept.

    Args:
        bundle: the evidence, whole.
        record: that of the bundle.
        options: which, and from what.
        report: called with what is about to be done, and how long it took.

    Raises:
        UserError: if there is no bank, or something that the training needs is missing.
    """
    if options.count < 1:
        raise UserError("evidence.retrain.count", given=options.count)
    bank = bank_of_bundle(bundle, record, options.bank)
    if bank is None:
        raise UserError("evidence.retrain.no_bank", bundle=bundle.label)
    made, given = bank.content, options.bank
    if given is not None and not given.is_dir():
        given = given.parent  # of a bank.json
    folders = options.pictures or ([given] if given is not None else [])
    if not folders:
        raise UserError("evidence.retrain.no_pictures", pictures=len(made.pictures), besides=_besides(bank))
    numbers = _draw(bundle, len(made.models), options, report)
    pictures = find_pictures(bank, numbers, folders)
    base, kept = options.base or record.models.base, find_kept(bank, given)
    trained: list[RetrainedModel] = []
    scored: list[ScoredModel] = []
    altered, apart = dict(kept.altered), {}
    base_losses: BaseLosses = {}
    with use_threads(options.threads), TemporaryDirectory() as work:
        for number in numbers:
            start = time.monotonic()
            trained.append(retrain(bank, number, base, pictures, Path(work)))
            report(f"model {number + 1}: trained and scored in {time.monotonic() - start:.0f} s")
            if number in kept.unaltered:
                apart[number] = weights_difference(kept.unaltered[number], trained[-1].folder)
        start = time.monotonic()
        for number, files in kept.unaltered.items():
            folder = Path(work) / "kept" / str(number)
            if (problem := place_weights(files, trained[0].folder, folder)) is not None:
                altered[number] = problem
                continue
            try:
                scored.append(score_again(bank, number, base, pictures, folder, base_losses))
            except UserError as error:
                altered[number] = f"its kept weights can NOT be used: {error}"
        if scored:
            report(f"{len(scored)} models: scored from their kept weights in {time.monotonic() - start:.0f} s")
    return Retraining(
        bank=bank,
        models=tuple(trained),
        odd_splits=find_odd_splits(bank),
        scored=tuple(scored),
        altered=altered,
        apart=apart,
        pictures=tuple(_own_pictures(bundle, record, bank, folders)),
    )


def _besides(bank: Bank) -> str:
    """What else a training needs, in words."""
    fillers = len({sha for m in bank.content.models for sha in m.fillers})
    captions = "their captions" if bank.content.recipe.get("captions") == "files" else "no captions"
    return f"{fillers} pictures by other hands that were trained on besides, {captions}"


def _draw(bundle: Bundle, of: int, options: RetrainOptions, report: Callable[[str], object]) -> tuple[int, ...]:
    """Draw the models to train, and say how the same ones can be drawn again."""
    seal = (read_small(bundle, SEAL) or b"")[:64].decode(errors="replace")
    word = secrets.token_hex(WORD_BYTES) if options.word is None else options.word
    numbers = draw_models(of, options.count, seal, word)
    report(f"drawn from the bank's {of} models: {', '.join(str(n + 1) for n in numbers)}")
    if options.word is None:
        report(f"  by the seal and a word that was drawn now: --draw {word} draws the same")
    else:
        report("  by the seal and the word that you gave. Whoever knew the seal and chose the word could choose models")
    return numbers


def _own_pictures(bundle: Bundle, record: Record, bank: Bank, folders: Sequence[Path]) -> Iterator[OriginalCheck]:
    """Compare the pictures in question with the bank's files: a residual rests on a picture's digest."""
    known = {p.sha256 for p in bank.content.pictures}
    checks = check_originals(bundle, record, *folders)[: len(record.pictures)]
    for picture, check in zip(record.pictures, checks, strict=True):
        if picture.sha256 in known:
            yield check
