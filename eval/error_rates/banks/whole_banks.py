"""Banks put together from committed scores: what the library answers by both tests, and how many it would find."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cgidm.judging.banks.mirror_nulls import unused_scores
from cgidm.judging.banks.null_bank import FORMAT, NullBank
from cgidm.judging.banks.residuals import bank_residual, combined_power, null_residuals
from cgidm.judging.mirror_test import bank_reference
from cgidm.judging.verdict import CORRELATION_IN_BANK, combine, conformal_p_value, is_called
from cgidm.method.config import RunConfig
from eval.error_rates.banks.mirror_in_banks import MirrorScored, choose_bank, table_without
from eval.error_rates.banks.residuals import Scored

DRAWS = RunConfig().mirror_draws


@dataclass(frozen=True)
class JudgedByBoth:
    """One suspect, judged by a bank of three by both tests.

    Attributes:
        training: of the suspect.
        artist: whose works it learnt.
        called: of each used picture, whether it was called.
        foretold: the share that the bank states.
    """

    training: str
    artist: str
    called: tuple[bool, ...]
    foretold: float


def judge_by_both(scores: Sequence[Scored], mirror: Sequence[MirrorScored]) -> Iterator[JudgedByBoth]:
    """Judge the used pictures of every suspect whose artist has four models that were scored by both tests."""
    mirrored: dict[tuple[str, str], dict[str, MirrorScored]] = {}
    for m in mirror:
        mirrored.setdefault((m.training, m.suspect), {})[m.file] = m
    for training, artist in dict.fromkeys((s.training, s.artist) for s in scores):
        works = [s for s in scores if (s.training, s.artist) == (training, artist)]
        suspects = [n for n in dict.fromkeys(s.suspect for s in works) if (training, n) in mirrored]
        for suspect in suspects:
            if not (models := choose_bank("three models", suspects, suspect)):
                continue
            bank = make_bank([s for s in works if s.suspect in models], mirrored)
            own = [s for s in works if s.suspect == suspect and s.member]
            unused = unused_scores(bank, DRAWS)
            assert unused is not None, "it has the scores"
            reference = bank_reference(unused, table_without(mirrored[training, suspect][own[0].file].artist))
            foretold, called = combined_power(bank, reference), []
            for s in own:
                value = bank_residual(bank, s.file, s.score)
                p_mirror = reference.ask(mirrored[training, suspect][s.file].score, s.file).p_value
                assert value is not None and p_mirror is not None, "models left out each picture"
                p = combine(p_mirror, conformal_p_value(value, null_residuals(bank)), CORRELATION_IN_BANK)
                called.append(is_called(p, p_mirror, value > 0))
            assert foretold is not None, "it has null residuals enough"
            yield JudgedByBoth(training, artist, tuple(called), foretold)


def make_bank(works: Sequence[Scored], mirrored: dict[tuple[str, str], dict[str, MirrorScored]]) -> NullBank:
    """Put a bank together from the scores of its models; a picture's path is its digest.

    Args:
        works: every picture under every model.
        mirrored: training and model -> file -> the same by the mirror test.
    """
    files = list(dict.fromkeys(s.file for s in works))
    models = []
    for name in dict.fromkeys(s.suspect for s in works):
        own = {s.file: s for s in works if s.suspect == name}
        models.append(
            {
                "folder": name,
                "sha256": {},
                "trained_on": [i for i, file in enumerate(files) if own[file].member],
                "scores": [own[file].score for file in files],
                "shift": [0.0] * len(files),
                "mirror_scores": [mirrored[own[file].training, name][file].score for file in files],
            }
        )
    facts = {"format": FORMAT, "base": (), "prompt": "", "recipe": {}, "seed": 0}
    draws = {"loss_draws": RunConfig().loss_draws, "mirror_draws": DRAWS}
    pictures = [{"name": file, "sha256": file} for file in files]
    return NullBank.model_validate({**facts, **draws, "pictures": pictures, "models": models})
