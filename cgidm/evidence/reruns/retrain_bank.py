"""Train models of a bundle's bank again, drawn by the seal, and compare their scores with the stated ones."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ...errors import UserError
from ...judging.null_bank import Bank
from ...messages.text import single_line
from ...training.retraining import (
    SCORE_TOLERANCE,
    RetrainedModel,
    draw_models,
    find_odd_splits,
    find_pictures,
    retrain,
)
from ..bundle_reader import Bundle, read_small
from ..record import Record
from ..seal import SEAL
from .rerun import bank_of_bundle, use_threads

MOST_PICTURES = 5  # whose scores are named


@dataclass(frozen=True, kw_only=True)
class RetrainOptions:
    """What is trained again, and from what.

    Attributes:
        count: number of models.
        pictures: folders that hold the bank's pictures.
        word: changes which models are drawn; see `draw_models`.
        base: the base, if not where the bundle says.
        bank: folder of the bank, if the bundle does not hold its numbers.
        threads: of the processor; None: as many as there are.
    """

    count: int
    pictures: Sequence[Path] = ()
    word: str = ""
    base: str | None = None
    bank: Path | None = None
    threads: int | None = None


@dataclass(frozen=True, kw_only=True)
class Retraining:
    """What came of training models of a bank again."""

    bank: Bank
    models: tuple[RetrainedModel, ...]
    odd_splits: tuple[int, ...]  # models that were trained on other halves than the tool draws

    @property
    def agrees(self) -> bool:
        """Whether all models that were trained again have the stated scores, and all were trained on drawn halves."""
        return not self.odd_splits and all(model.agrees for model in self.models)

    @property
    def share(self) -> str:
        """How many of the models were trained again: "1 of 8"."""
        return f"{len(self.models)} of {len(self.bank.content.models)}"

    def lines(self) -> Iterator[str]:
        """Yield what was found."""
        of, done = len(self.bank.content.models), len(self.models)
        for number in self.odd_splits:
            yield f"model {number + 1} of the bank: it was NOT trained on the half that is drawn for it"
        for model in self.models:
            yield from self._model_lines(model)
        if self.agrees and done < of:
            yield (
                f"the other {of - done} models were not trained again: a bank with one altered model is found by this "
                f"with a chance of {done} in {of}. --retrain {of} trains all"
            )

    def _model_lines(self, model: RetrainedModel) -> Iterator[str]:
        verdict = "the same" if model.agrees else "NOT the same"
        of, scores = len(self.bank.content.models), len(model.stated.scores)
        yield (
            f"model {model.number + 1} of {of}, trained again: {verdict}; largest difference of its {scores} scores "
            f"{model.largest_difference:.1e} (tolerance {SCORE_TOLERANCE:g})"
        )
        if model.weights_are_equal:
            yield "  its weights are the stated ones to the last bit"
        for i in model.differing[:MOST_PICTURES]:
            name = single_line(self.bank.content.pictures[i].name)
            yield f"  {name}: stated {model.stated.scores[i]:.4f}, now {model.found.scores[i]:.4f}"
        if len(model.differing) > MOST_PICTURES:
            yield f"  and {len(model.differing) - MOST_PICTURES} more"
        if not model.agrees and not model.differing:
            yield "  its distances from the base differ"
        if not model.agrees and not model.is_stated_training:
            yield "  its pictures, settings or captions are not those that its folder is named after"


def retrain_bank(
    bundle: Bundle, record: Record, options: RetrainOptions, report: Callable[[str], object] = lambda _: None
) -> Retraining:
    """Train as many models of the bundle's bank again as the options say, drawn by the seal.

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
    folders = options.pictures or ([options.bank] if options.bank is not None and options.bank.is_dir() else [])
    if not folders:
        raise UserError("evidence.retrain.no_pictures", pictures=len(bank.content.pictures))
    seal = (read_small(bundle, SEAL) or b"")[:64].decode(errors="replace")
    numbers = draw_models(len(bank.content.models), options.count, seal, options.word)
    pictures = find_pictures(bank, numbers, folders)
    report(f"drawn from the bank's {len(bank.content.models)} models: {', '.join(str(n + 1) for n in numbers)}")
    found = []
    with use_threads(options.threads):
        for number in numbers:
            start = time.monotonic()
            with TemporaryDirectory() as work:
                found.append(retrain(bank, number, options.base or record.models.base, pictures, Path(work)))
            report(f"model {number + 1}: trained and scored in {time.monotonic() - start:.0f} s")
    return Retraining(bank=bank, models=tuple(found), odd_splits=find_odd_splits(bank))
