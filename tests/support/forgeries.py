"""Bundles of tiny random networks, and every change of one leaf of their records."""

import copy
import dataclasses
import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.torch import save_file

from cgidm.conductor import authenticate
from cgidm.evidence.bundle_reader import Bundle
from cgidm.evidence.bundle_writer import FollowedPlan, weights_sha256, write_evidence
from cgidm.evidence.record import AnchorRecord, ControlStatementRecord, ModelsRecord, StatementsRecord
from cgidm.families import load_pair
from cgidm.intake.layout import open_checkpoint
from cgidm.judging.banks.null_bank import open_bank
from cgidm.judging.result import Result
from cgidm.method.config import RecoveryConfig, RunConfig
from cgidm.method.models import ModelPair
from cgidm.pictures.images import read_picture
from cgidm.run.plan_command import describe_models, describe_picture
from cgidm.run.plan_file import PlanContent, write_plan
from tests.support import tiny
from tests.support.adapters import kohya, weights

CONFIG = RunConfig(
    recovery=RecoveryConfig(steps=2), mirror_draws=4, loss_draws=2, mirrored_recovery=True, lineup=3, preset="fast"
)
PICTURES = {"upright.png": (80, 120), "second.png": (80, 120), "even.png": (90, 90)}
MODELS = {"base": "base", "suspect": "suspect.safetensors"}  # by their roles
ATTEMPTS = ("2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00")  # at the plan of the run with a bank


def drawn(seed: int, size: tuple[int, int]) -> Image.Image:
    """A picture of soft colours."""
    noise = np.random.default_rng(seed).random((6, 4, 3))
    return Image.fromarray((noise * 255).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)


@dataclasses.dataclass(frozen=True)
class Made:
    """A bundle, the run that it is of, and what a repeated run needs."""

    folder: Path  # the evidence
    result: Result
    pair: ModelPair
    models: Path  # the folder of models and pictures


def make_models(folder: Path) -> ModelPair:
    """Write base, suspect, pictures and controls to a folder, and load the pair."""
    tiny.stable_diffusion().save_pretrained(folder / "base")
    pairs, _ = weights(folder / "base")
    save_file(kohya(pairs), folder / "suspect.safetensors")
    (folder / "controls").mkdir()
    for i, (name, size) in enumerate(PICTURES.items()):
        drawn(i, size).save(folder / name)
    for i in range(22):
        drawn(100 + i, (80, 120)).save(folder / "controls" / f"{i:02d}.png")
    return load_pair(str(folder / "base"), str(folder / "suspect.safetensors"), "a b")


def models_of(folder: Path, *, unrelated: bool = False) -> ModelsRecord:
    """How the models of a folder are named."""
    suspect = open_checkpoint(str(folder / "suspect.safetensors"))
    stated = {suspect.root: suspect.listing.sha256(suspect.root)}
    day = "2025-01-15T09:16:12+00:00"
    anchor = AnchorRecord(location="org/lora", version="c0ffee", published=day, retrieved=day, stated=stated)
    found = ModelsRecord(base=str(folder / "base"), suspect=suspect.name, prompt="a b", anchors={"suspect": anchor})
    other = {"unrelated": suspect.name, "unrelated_sha256": weights_sha256(suspect)} if unrelated else {}
    return dataclasses.replace(found, **other)


def make_with_controls(folder: Path, out: Path) -> Made:
    """A bundle with controls, a line-up, an unrelated suspect, and a framing that nobody noted."""
    pair = make_models(folder)
    pictures = [read_picture(folder / name, pair.framing) for name in PICTURES]
    controls = [read_picture(p, pair.framing) for p in sorted((folder / "controls").iterdir())]
    pictures = [dataclasses.replace(p, name=Path(p.name).name) for p in pictures]
    result = authenticate(pair, pictures, controls, config=CONFIG, reference=controls, unrelated=pair)
    made = (ControlStatementRecord(made_by="Anna", made_on="2024"), *[ControlStatementRecord()] * (len(controls) - 1))
    stated = StatementsRecord(controls="my own works", of_controls=made, attempt=2)
    write_evidence(result, out, models_of(folder, unrelated=True), statements=stated)
    return Made(out, result, pair, folder)


def make_with_bank(folder: Path, out: Path) -> Made:
    """A bundle of a plan that was judged against a bank of null models."""
    pair = make_models(folder)
    config = dataclasses.replace(CONFIG, lineup=None, mirror_draws=0, mirrored_recovery=False)
    pictures = [read_picture(folder / name, 64) for name in PICTURES]
    rng = np.random.default_rng(0)
    listed = [{"name": p.name, "sha256": p.sha256} for p in pictures]
    listed += [{"name": f"{i}.png", "sha256": f"{i:064x}"} for i in range(6)]
    base = [sha for name, sha in pair.fingerprints.items() if "suspect" not in name]
    halves = [sorted(rng.permutation(len(listed))[: len(listed) // 2].tolist()) for _ in range(12)]
    models = [
        {
            "folder": f"{i}",
            "sha256": {},
            "trained_on": half,
            "scores": [float(rng.normal(0.2 if j in half else 0.0, 0.02)) for j in range(len(listed))],
            "shift": [float(10 ** rng.uniform(-6, 3)) for _ in listed],  # whatever the suspect's is
        }
        for i, half in enumerate(halves)
    ]
    bank = {"format": 2, "base": sorted(base), "prompt": "a b", "recipe": {"mode": "lora"}, "loss_draws": 2, "seed": 0}
    (folder / "bank.json").write_text(json.dumps(bank | {"pictures": listed, "models": models}))
    result = authenticate(pair, pictures, config=config, bank=open_bank(folder / "bank.json"))
    write_evidence(result, out, models_of(folder), plan=FollowedPlan(plan_bytes(folder, config), ATTEMPTS))
    return Made(out, result, pair, folder)


def plan_bytes(folder: Path, config: RunConfig) -> bytes:
    """The plan of a run of a folder's pictures by its bank."""
    models = [(role, open_checkpoint(str(folder / name))) for role, name in MODELS.items()]
    content = PlanContent(
        written=ATTEMPTS[0],
        options={"prompt": ["a b"], "framing": "notes"},
        config=dataclasses.asdict(config),
        pictures=tuple(describe_picture(folder / name) for name in PICTURES),
        controls=(),
        bank=open_bank(folder / "bank.json").sha256,
        models=tuple(describe_models(models)),
    )
    return write_plan(folder / "plan.json", content).data


@dataclasses.dataclass(frozen=True)
class AlteredBundle:
    """A bundle some of whose files have other bytes, whatever its manifest says."""

    bundle: Bundle
    files: Mapping[str, bytes]
    problems: tuple[()] = ()

    @property
    def label(self) -> str:
        return self.bundle.label

    @property
    def sizes(self) -> Mapping[str, int]:
        return {**self.bundle.sizes, **{name: len(data) for name, data in self.files.items()}}

    @contextmanager
    def open(self, name: str) -> Iterator[Any]:
        if name in self.files:
            yield io.BytesIO(self.files[name])
        else:
            with self.bundle.open(name) as file:
                yield file


SHORT = 4  # entries of a list that are each changed


def changes_of(value: Any) -> Iterator[Any]:
    """What somebody might write in place of a value: a little else, and something else altogether."""
    match value:
        case bool():
            yield not value
        case int():
            yield from (value + 1, 3 * value + 7)
        case float():
            yield from (value + 1e-5 * max(1.0, abs(value)), 3 * value + 0.7)
        case str():
            yield from (f"{value}x", "")
        case None:
            yield from (0.25, "x", True)
        case list():
            yield from ([*value, copy.deepcopy(value[-1])], value[:-1]) if value else ([0.5], ["x"])
        case dict():
            yield {**value, "x": 0.5}
            if value:
                yield dict(list(value.items())[:-1])
    if value is not None:
        yield None


def forgeries(record: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every record with one value changed, and where: "pictures[0].p_value"."""
    for path, where in places(record):
        for changed in changes_of(value_at(record, path)):
            forged = copy.deepcopy(record)
            if not path:
                continue
            value_at(forged, path[:-1])[path[-1]] = changed
            yield where, forged


def places(value: Any, path: tuple[Any, ...] = (), where: str = "") -> Iterator[tuple[tuple[Any, ...], str]]:
    """Every place in plain data, with how it is written.

    The entries of a long list are of one kind, and read by one loop: of these, the first and the last.
    """
    yield path, where
    if isinstance(value, dict):
        for key, part in value.items():
            yield from places(part, (*path, key), f"{where}.{key}" if where else str(key))
    elif isinstance(value, list):
        for i, part in enumerate(value):
            if len(value) <= SHORT or i in (0, len(value) - 1):
                yield from places(part, (*path, i), f"{where}[{i}]")


def value_at(value: Any, path: tuple[Any, ...]) -> Any:
    """The value at a place."""
    for key in path:
        value = value[key]
    return value
