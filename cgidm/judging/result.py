"""The result of a run: pictures with scores and verdicts, what they are compared with, and the cost."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jaxtyping import Float
from torch import Tensor

from ..errors import UserError
from ..framing.frame import Framing
from ..messages import Note
from ..method.config import RunConfig
from ..method.models import OtherAdapter
from ..method.views import AS_GIVEN
from ..pictures.images import Picture
from .banks.null_bank import Bank
from .flags import Flag, PictureChecks, RunChecks
from .lineup import Lineup, Panel
from .mirror_test import MirrorReference
from .portfolio import SetVerdict
from .tables.likelihood_ratio import LikelihoodRatio
from .verdict import LEVEL, STRICT_LEVEL, Verdict

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

VERDICT_SCORE = "loss_contrast"
MIRROR_SCORE = "mirror"
MIRROR_CONTRAST = "mirror_contrast"  # Eq. 7, the mean over a picture and its mirror image
INNER_MIRROR_SCORE = "mirror_of_square"  # the same of the centre square, where the framing is guessed
RESIDUAL_SCORE = "residual"  # of `VERDICT_SCORE`, with a bank: see `residuals`


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class MeasuredPicture:
    """One picture after its recovery: its scores, and what speaks against them."""

    picture: Picture
    scores: dict[str, float]  # higher: more likely used; empty where the run was stopped
    flags: tuple[Flag, ...]
    partial: Float[Tensor, "3 H W"]  # decoded start of the recovery, in [0, 1]
    recovered: Float[Tensor, "3 H W"]
    mirrored: Float[Tensor, "3 H W"] | None = None  # recovered from the mirror image, and mirrored back
    contrast: tuple[float, ...]  # Eq. 7 per latent entry, of each step
    score_errors: dict[str, float] = field(default_factory=dict)  # Monte Carlo standard errors of some scores
    distance_from_base: float | None = None  # of the suspect's predictions: `judging.distance`
    view: str = AS_GIVEN  # the view with the highest score; the verdict uses its score
    checks: PictureChecks | None = None  # what its flags rest on; None where they are not all measured

    def __repr__(self) -> str:
        scores = ", ".join(f"{name} {score:.3f}" for name, score in self.scores.items())
        return f"<{type(self).__name__} {self.picture.name}: {scores or 'no scores'}>"

    @property
    def panel(self) -> Panel:
        """Original, partial and recovered picture."""
        return Panel(self.picture.image, self.partial, self.recovered)

    @property
    def images(self) -> dict[str, Float[Tensor, "3 H W"]]:
        """What there is to see of it, by role: `evidence.record_of_result.image_roles`."""
        beside = {} if self.mirrored is None else {"mirrored": self.mirrored}
        return {"original": self.picture.image, "partial": self.partial, "recovered": self.recovered, **beside}


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class PictureResult(MeasuredPicture):
    """One picture and its verdict."""

    verdict: Verdict
    likelihood: LikelihoodRatio | None = None  # of the mirror test's score; None: not measured, or it finds nothing

    def __repr__(self) -> str:
        p = "" if self.verdict.p_value is None else f" (p = {self.verdict.p_value:.2g})"
        return f"<{self.picture.name}: {self.verdict.outcome}{p}>"


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Result:
    """A run of one picture or several against one suspect."""

    pictures: tuple[PictureResult, ...]
    control_scores: tuple[float, ...]  # of the controls, or the null residuals of the bank
    mirror: MirrorReference | Note | None = None  # what the mirror test compares with, or why it is silent
    not_computed: Mapping[str, Note]  # similarity -> why it is not among the scores
    config: RunConfig
    fingerprints: dict[str, str]  # weight file -> SHA-256
    base_files: tuple[str, ...] = ()  # the weight files that are the base's
    seconds: float
    together: SetVerdict | None = None  # of several pictures
    machine: Mapping[str, Any] = field(default_factory=dict)  # device, precision, threads
    controls: tuple[Picture, ...] = ()  # whose scores they are
    bank: Bank | None = None
    # share of used pictures that the tests that were asked find: see `RunPower.expected`; None: never measured
    expected_power: float | None = None
    control_power: float | None = None  # by the controls or the bank alone
    weight_distance: float | None = None  # of a full network's weights from its base's
    framing: Framing | None = None  # of pictures and controls
    notes: tuple[Note, ...] = ()  # what was assumed to load the suspect
    framing_is_guessed: bool = False  # nobody noted how the training framed its pictures
    lineup: Lineup | None = None  # where `config` asks for one
    decoys: tuple[Panel, ...] = ()  # of `lineup.decoys`
    checks: RunChecks | None = None  # what the flags rest on; None where they are not all measured
    mirrored_training: bool | None = None  # by the suspect's own notes: were pictures mirrored; None: they do not say
    suspect_scale: float = 1.0  # what the change of an adapter was multiplied by
    others: tuple[OtherAdapter, ...] = ()  # adapters on both sides
    as_loaded: bool = False  # the suspect was opened as other programs load it, perhaps in part

    def __repr__(self) -> str:
        """One line for each picture."""
        together = "" if self.together is None else f", together: {self.together.outcome}"
        lines = [f"Result of {len(self.pictures)} pictures{together}", *(f"  {r!r}" for r in self.pictures)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """The table, in a notebook."""
        return self.to_frame().to_html(index=False, escape=True, float_format="{:.3f}".format)

    @property
    def judged_by(self) -> str:
        """The score that is compared with controls, or with a bank."""
        return judged_score(self.bank)

    @property
    def panels_by_round(self) -> list[tuple[Panel, ...]]:
        """The panels of each round of the line-up, in the order in which they are seen."""
        return [] if self.lineup is None else self.lineup.in_order([r.panel for r in self.pictures], self.decoys)

    def to_dict(self) -> dict[str, Any]:
        """Return the answers as plain data: one entry a picture, the set, and what they were compared with.

        Sentences are English; `flags` and `notes` also have their codes. Images are left out. The full record of a
        run, with everything that identifies its inputs, is what `evidence.write_evidence` writes.
        """
        together = self.together
        return {
            "pictures": [_picture_dict(r) for r in self.pictures],
            "set": None
            if together is None
            else {
                "outcome": together.outcome,
                "p_value": together.p_value,
                "reason": str(together.reason),
                "notes": [str(n) for n in together.notes],
            },
            "judged_by": self.judged_by,
            "level": LEVEL,
            "strict_level": STRICT_LEVEL,
            "control_scores": list(self.control_scores),
            "expected_power": self.expected_power,
            "control_power": self.control_power,
            "not_computed": {score: str(why) for score, why in self.not_computed.items()},
            "preset": self.config.preset,
            "seed": self.config.seed,
            "seconds": self.seconds,
        }

    def to_frame(self) -> "pd.DataFrame":
        """Return one row a picture: name, outcome, p-value and every score."""
        import pandas as pd

        rows = [
            {"name": r.picture.name, "outcome": r.verdict.outcome, "p_value": r.verdict.p_value, **r.scores}
            for r in self.pictures
        ]
        return pd.DataFrame(rows)

    def plot(self) -> "Figure":
        """Draw the score of each picture among those of the controls, or of the bank; of matplotlib.

        Raises:
            UserError: if nothing was compared: there are no controls and no bank.
        """
        if not self.control_scores:
            raise UserError("judging.nothing_to_plot")
        from .score_plot import draw_scores  # late: matplotlib is slow to import

        scores = [(r.picture.name, r.scores[self.judged_by]) for r in self.pictures]
        return draw_scores(scores, self.control_scores, self.judged_by, "controls" if self.bank is None else "bank")


def judged_score(bank: Bank | None) -> str:
    """The score by which single pictures are compared with controls, or with a bank.

    Models that were trained on works by others do not know the style, which is most of what they would take off.
    """
    return VERDICT_SCORE if bank is None or bank.content.decoys else RESIDUAL_SCORE


def _picture_dict(r: PictureResult) -> dict[str, Any]:
    return {
        "name": r.picture.name,
        "sha256": r.picture.sha256,
        "outcome": r.verdict.outcome,
        "p_value": r.verdict.p_value,
        "reason": str(r.verdict.reason),
        "witnesses": [{"name": w.name, "p_value": w.p_value, "references": w.references} for w in r.verdict.witnesses],
        "likelihood_ratio": None if r.likelihood is None else r.likelihood.ratio,
        "likelihood_ratio_low": None if r.likelihood is None else r.likelihood.low,
        "scores": dict(r.scores),
        "score_errors": dict(r.score_errors),
        "view": r.view,
        "distance_from_base": r.distance_from_base,
        "flags": [{"name": f.name, "explanation": f.explanation} for f in r.flags],
        "notes": [str(n) for n in r.picture.notes],
    }
