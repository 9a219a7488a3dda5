"""What the mirror test scores an artist's works where they were not used: the null scores that a bank holds.

The table of a base holds scores of *other* artists under suspects of many trainings. The works of one artist share a
handedness, and a mixture of many artists scatters less than a LoRA of ten pictures. A bank knows both: its models were
made as the suspect was, and each left out half of the works. What is more, a picture scores alike under all models that
left it out, since it is what looks otherwise in a mirror. So most of that is taken off.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

from .null_bank import NullBank

# Correlation of a picture's scores under two models that left it out. Measured on painters that no figure is reported
# on: 0.4 to 0.6 after 10 to 60 presentations
SHARED = 0.5


@dataclass(frozen=True)
class UnusedScores:
    """The mirror test's scores of a bank's pictures under the models that left them out.

    Attributes:
        by_model: SHA-256 of a picture -> its score, of each model.
        symmetric: SHA-256 of pictures without a score, since they are their own mirror images.
    """

    by_model: tuple[Mapping[str, float], ...]
    symmetric: frozenset[str] = frozenset()

    @cached_property
    def pictures(self) -> frozenset[str]:
        """The SHA-256 of every picture that some model left out."""
        return self.symmetric.union(*self.by_model)

    @property
    def count(self) -> int:
        """How many they are."""
        return sum(map(len, self.by_model))

    @cached_property
    def mean(self) -> float:
        """The mean of all of them: how much the artist's style tells left from right."""
        return fmean(s for scores in self.by_model for s in scores.values())

    def residual(self, score: float, sha256: str) -> float:
        """A score less what is expected of the picture if it was not used; see `shrunken_residual`."""
        return self._residual(score, sha256, self.by_model)

    @cached_property
    def nulls(self) -> tuple[tuple[float, ...], ...]:
        """The residual of every picture under every model that left it out, among the others that did; by model."""
        found = []
        for number, scores in enumerate(self.by_model):
            others = self.by_model[:number] + self.by_model[number + 1 :]
            found.append(tuple(self._residual(s, sha256, others) for sha256, s in scores.items()))
        return tuple(found)

    def _residual(self, score: float, sha256: str, models: Sequence[Mapping[str, float]]) -> float:
        return shrunken_residual(score, [m[sha256] for m in models if sha256 in m], self.mean)


def shrunken_residual(score: float, others: Sequence[float], mean: float) -> float:
    """Compute a score less the best linear prediction of it from others of the same picture, in units of a score.

    With k others, each of which correlates by r = `SHARED` with the score and with one another, the prediction is mean
    + w (mean(others) - mean) with w = r k / (1 + (k - 1) r), and its error has the share 1 - r w of the variance. The
    error is divided by the root of that share: so residuals scatter alike however many others there are, none included
    (best linear unbiased prediction; Robinson 1991, https://doi.org/10.1214/ss/1177011926).

    Args:
        score: of the picture.
        others: its scores under models that left it out.
        mean: of all pictures' scores under models that left them out.
    """
    k = len(others)
    weight = SHARED * k / (1 + (k - 1) * SHARED)
    expected = mean + weight * (fmean(others) - mean) if others else mean
    return (score - expected) / (1 - SHARED * weight) ** 0.5


def unused_scores(bank: NullBank, draws: int) -> UnusedScores | None:
    """Read the mirror test's null scores of a bank; None where it has none of so many draws, or of other works only.

    Args:
        bank: the null models.
        draws: of the test.
    """
    if bank.decoys or not draws or bank.mirror_draws != draws:
        return None
    scored = list(zip(*(m.mirror_scores for m in bank.models), strict=True))
    symmetric = frozenset(p.sha256 for p, of in zip(bank.pictures, scored, strict=True) if None in of)
    return UnusedScores(tuple(_left_out(bank, number) for number in range(len(bank.models))), symmetric)


def member_scores(bank: NullBank) -> list[tuple[int, int, float]]:
    """Model, picture and score of every picture under every model that was trained on it."""
    models = enumerate(bank.models)
    return [(n, i, s) for n, m in models for i, s in enumerate(m.mirror_scores) if s is not None and i in m.trained_on]


def _left_out(bank: NullBank, number: int) -> dict[str, float]:
    model = bank.models[number]
    pairs = zip(bank.pictures, model.mirror_scores, strict=True)
    return {p.sha256: s for i, (p, s) in enumerate(pairs) if s is not None and i not in model.trained_on}
