"""Judge one suspect as a user would: its file with its notes, the first answer of the library about each picture."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

import torch
from jaxtyping import Float, Int
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from cgidm.conductor import authentication_steps
from cgidm.families import load_pair
from cgidm.files import write_atomically
from cgidm.judging.judge_pictures import judge_pictures
from cgidm.judging.mirror_test import MirrorReference, table_reference
from cgidm.judging.result import MeasuredPicture, Result
from cgidm.judging.scoring import measure_distance
from cgidm.method.config import PRESETS
from cgidm.method.models import EpsModel, ModelPair
from cgidm.pictures.images import read_picture
from cgidm.run.plan import RunRequest, frame_as
from cgidm.training.split import PictureFile, locate_picture
from cgidm.training.trained_model import find_checkpoint
from eval.benchmark.ledger import Row, make_key
from eval.benchmark.plan import Suspect
from eval.benchmark.stages import Setting
from eval.error_rates.alteration import FILE
from eval.error_rates.altered import table_groups
from eval.error_rates.foreign_trainer import train_foreign
from eval.error_rates.mirror_rates import artist_of
from eval.error_rates.wild.rows import FOREIGN, WildRow

FOLDER, BASE_FOLDER = "wild", "wild-base"  # below the working folder
MOST_PICTURES = 20  # that are judged under one suspect, half of them used
MOST_OF_MIXTURE = 80  # the same, of a suspect of several artists


@dataclass(frozen=True, kw_only=True)
class WildAnswer:
    """What the library says of one picture."""

    artist: str
    file: str
    member: bool
    p_value: float | None
    outcome: str
    reason: str  # the code of its note


@dataclass(frozen=True, kw_only=True)
class WildScores:
    """What it says under one suspect.

    Attributes:
        suspect: its name.
        distance: of its predictions from the base's, mean over the pictures.
        answers: of each picture.
        sets: outcome of the ten used works together, and of the ten others; None where they are not ten of one artist.
    """

    suspect: str
    distance: float
    answers: tuple[WildAnswer, ...]
    sets: tuple[str, str] | None


@dataclass(frozen=True)
class WildJob:
    """Make one suspect of a row, judge pictures under it, forget it."""

    setting: Setting
    suspect: Suspect  # of another trainer's row: whose pictures are trained
    row: WildRow
    pictures: tuple[PictureFile, ...]
    other: Suspect  # whose LoRA is merged, where one is

    @property
    def name(self) -> str:
        """The suspect's name and the row's."""
        return f"{self.suspect.name}, {self.row.name}"

    @property
    def cost(self) -> int:
        """The number of pictures."""
        return len(self.pictures)

    @property
    def path(self) -> Path:
        """The file of the answers."""
        base = self.setting.base_weights
        models = [s.model.key(base) for s in (self.suspect, self.other)]
        made = asdict(self.row) | {"foreign": None if self.row.training else asdict(FOREIGN)}
        nulls = [list(g.scores) for g in table_groups(base)]
        judged = {"pictures": [p.sha256 for p in self.pictures], "nulls": nulls, "config": asdict(PRESETS["fast"])}
        key = make_key(row=made, models=models, judged=judged)
        return self.setting.work / FOLDER / f"{self.suspect.name.replace('/', '-').replace(' ', '-')}-{key[:10]}.json"

    def run(self) -> Iterator[list[Row]]:
        """Make, judge, and write the file; the ledger gets no row."""
        setting = self.setting
        with ExitStack() as stack:
            folder = self._make(stack)
            prompt = self.suspect.config.prompt
            pair = load_pair(setting.experiment.base, str(folder), prompt)
            found = self._judge(frame_as(_with_kept_base(pair, setting, prompt), self.row.framing))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, json.dumps(asdict(found)) + "\n")
        yield []

    def _make(self, stack: ExitStack) -> Path:
        """The folder of the suspect's file, with its notes."""
        setting, base = self.setting, Path(self.setting.experiment.base)
        if self.row.training is None:
            folder = Path(stack.enter_context(TemporaryDirectory()))
            train_foreign(base, [locate_picture(setting.data, p) for p in self.suspect.pictures], folder, FOREIGN)
        else:
            folder = find_checkpoint(self.suspect.model, setting.base_weights, setting.work)
        other = find_checkpoint(self.other.model, setting.base_weights, setting.work)
        folder = stack.enter_context(self.row.alteration.checkpoint(folder, other, base))
        if not self.row.notes:
            return folder
        noted = Path(stack.enter_context(TemporaryDirectory()))
        with safe_open(folder / FILE, "pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}
            save_file(state, noted / FILE, {**(file.metadata() or {}), **self.row.notes})
        return noted

    def _judge(self, pair: ModelPair) -> WildScores:
        trained = {p.sha256 for p in self.suspect.pictures}
        artists = {artist_of(p.file) for p in self.pictures}
        groups = [g for g in table_groups(self.setting.base_weights) if g.artist not in artists]
        answers: list[WildAnswer] = []
        sets: list[str] = []
        distances: list[float] = []
        for member in (True, False):
            chosen = [p for p in self.pictures if (p.sha256 in trained) == member]
            pictures = [read_picture(locate_picture(self.setting.data, p), pair.framing) for p in chosen]
            request = RunRequest(pictures=pictures, config=PRESETS["fast"])
            result = _first_answer(pair, request)
            distances += _distances(pair, request)
            reference = result.mirror
            if isinstance(reference, MirrorReference):  # the shipped table, without the artists in question
                reference = table_reference(groups)
            measured = [
                MeasuredPicture(**{f.name: getattr(r, f.name) for f in fields(MeasuredPicture)})
                for r in result.pictures
            ]
            judged, together = judge_pictures(measured, (), mirror=reference)
            sets.append("" if together is None else together.outcome)
            answers += [
                WildAnswer(
                    artist=artist_of(p.file),
                    file=p.file,
                    member=member,
                    p_value=r.verdict.p_value,
                    outcome=r.verdict.outcome,
                    reason=r.verdict.reason.code,
                )
                for p, r in zip(chosen, judged, strict=True)
            ]
        return WildScores(
            suspect=self.suspect.name,
            distance=fmean(distances),
            answers=tuple(answers),
            sets=(sets[0], sets[1]) if len(artists) == 1 else None,
        )


def _first_answer(pair: ModelPair, request: RunRequest) -> Result:
    """The verdicts before any recovery, which can only take one back."""
    for event in authentication_steps(pair, request):
        if event.phase == "answered":
            assert event.result is not None, "an answer has a result"
            return event.result
    raise AssertionError("every run answers")


def _distances(pair: ModelPair, request: RunRequest) -> list[float]:
    with torch.no_grad():
        z = [pair.codec.encode(p.image[None])[0] for p in request.pictures]
    return measure_distance(pair, request.pictures, z, request.config)


class KeptModel:
    """A model whose predictions are kept on the disk: the base's are the same for every suspect."""

    def __init__(self, model: EpsModel, folder: Path, name: str) -> None:
        self.model, self.folder, self.name = model, folder, name

    def predict_eps(self, x_t: Float[Tensor, "b c h w"], t: Int[Tensor, " b"]) -> Float[Tensor, "b c h w"]:
        """Predict, or read what was predicted of the same input."""
        digest = hashlib.sha256(self.name.encode())
        for tensor in (x_t, t):
            digest.update(tensor.contiguous().numpy().tobytes())
        file = self.folder / f"{digest.hexdigest()[:32]}.safetensors"
        if file.exists():
            return load_file(file)["eps"]
        found = self.model.predict_eps(x_t, t)
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = file.with_suffix(f".{os.getpid()}")
        save_file({"eps": found.contiguous()}, temporary)
        temporary.replace(file)
        return found


def _with_kept_base(pair: ModelPair, setting: Setting, prompt: str) -> ModelPair:
    name = make_key(base=setting.base_weights, prompt=prompt)
    return replace(pair, base=KeptModel(pair.base, setting.work / BASE_FOLDER, name))
