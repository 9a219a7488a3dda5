"""What is tried: one JSON file, `plan.json`, and the list of public models beside it."""

import json
from functools import cached_property
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from cgidm.errors import UserError
from eval.benchmark.experiment import Experiment, load_experiment

PLAN = Path(__file__).with_name("plan.json")


class _Strict(BaseModel):
    """Frozen; a key that is not known is a mistake and not ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Download(_Strict):
    """A base that is downloaded whole."""

    location: str  # with the commit that it is pinned to
    gb: float  # 1e9 bytes, about: for the estimate


class PublicModel(_Strict):
    """A public model, and what its files must be taken for; None: no public source states it."""

    location: str  # as for `cgidm inspect`
    kind: str  # as `cgidm inspect` names it
    family: str
    dialect: str | None = None  # of an adapter's names
    trainer: str | None = None  # that its notes must lead to
    base: str | None = None  # that a first answer compares with
    sha256: str | None = None  # of its only weight file
    gated: bool = False  # its owner decides who may read it
    answer: bool = False  # judge a picture under it, if its base fits


class BenchPlan(_Strict):
    """What is timed."""

    models: tuple[str, ...]  # as for `python -m eval bench --models`
    pictures: tuple[int, ...]  # batch sizes
    seconds: float  # after which no measurement starts
    quick: bool = False  # a smoke test


class FirstAnswerPlan(_Strict):
    """How little a first answer may rest on."""

    reference_pictures: int
    mirror_draws: int


class RealityPlan(_Strict):
    """Everything that is tried.

    Attributes:
        gpu_gb: 1e9 bytes of GPU memory that it is sized for; 0: it computes on a CPU as well.
        disk_gb: 1e9 bytes of disk that it takes.
        seconds_per_evaluation: of one network forward and its input gradient, assumed until it is measured.
        megabytes_per_second: of a download, assumed.
        downloads: bases.
        embedders: name -> SHA-256 of its weights that public sources state; None: none does.
        dreambooth_archive: address of the DreamBooth data set.
        models: file of the public models, beside the plan's.
        largest_download_gb: no base beyond it is downloaded for a first answer.
        bench: what is timed.
        experiments: presets or files; the first one's suspects are judged, the others are scored besides.
        reference_pictures: of the mirror test, in verdicts.
        first_answer: of a public model.
        bank_models: null models of the bank.
    """

    about: str
    gpu_gb: float
    disk_gb: float
    seconds_per_evaluation: float
    megabytes_per_second: float
    downloads: tuple[Download, ...]
    embedders: dict[str, str | None]
    dreambooth_archive: str
    models: str
    largest_download_gb: float
    bench: BenchPlan
    experiments: tuple[str, ...]
    reference_pictures: int
    first_answer: FirstAnswerPlan
    bank_models: int
    folder: Path = PLAN.parent  # that the plan was read from

    @cached_property
    def public_models(self) -> tuple[PublicModel, ...]:
        """The public models, in the order of their file."""
        table = json.loads((self.folder / self.models).read_text(encoding="utf-8"))
        return tuple(PublicModel.model_validate(entry) for entry in table["models"])

    def find_experiments(self) -> tuple[Experiment, ...]:
        """Load the experiments; the first one is judged."""
        return tuple(load_experiment(self.experiment_name(i)) for i in range(len(self.experiments)))

    def experiment_name(self, index: int) -> str:
        """Return the preset's name, or the path of an experiment's file, which is relative to the plan."""
        given = self.experiments[index]
        return str(self.folder / given) if given.endswith(".json") else given


def load_plan(path: Path = PLAN) -> RealityPlan:
    """Read a plan.

    Raises:
        UserError: if it is none, or its list of models is none.
    """
    try:
        plan = RealityPlan.model_validate(json.loads(path.read_text(encoding="utf-8")) | {"folder": path.parent})
        _ = plan.public_models
    except (OSError, ValidationError, ValueError, KeyError, TypeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError("reality.not_a_plan", path=str(path), reason=reason) from error
    return plan
