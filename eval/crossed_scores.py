"""From the recoveries of a crossed run to one table of scores, a row for each decision at each point of the way."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from cgidm.config import find_preset
from cgidm.families import load_pair
from cgidm.images import read_picture
from cgidm.models import Codec
from cgidm.partial import Partial, block_mask
from cgidm.scores import removed_alignment, removed_cosine, removed_gain
from cgidm.similarity import Embedder
from eval.crossed import LOSS_DRAWS, Concept, Unit, plan

LOSS_SCORE_DRAWS = (2, 5, 10, 20, 50, 100)  # divisors of LOSS_DRAWS


def score_crossed(
    concepts: Sequence[Concept], base: Path, work: Path, embedders: Mapping[str, Embedder]
) -> pd.DataFrame:
    """All scores of a finished run; higher means more likely a member, in every column."""
    pair = load_pair(str(base), str(base), "")
    originals: dict[str, dict[str, Tensor]] = {}
    rows: list[dict[str, Any]] = []
    for unit in plan(concepts):
        if unit.concept.name not in originals:
            pictures = [read_picture(p, pair.side).image for half in unit.concept.halves for p in half]
            originals[unit.concept.name] = {n: e(torch.stack(pictures)) for n, e in embedders.items()}
        tensors = load_file(unit.file(work))
        for values in _recovery_scores(unit, tensors, pair.codec, embedders, originals[unit.concept.name]):
            rows += _rows(unit, unit.preset, values)
        if unit.preset == "fast":  # the others would repeat it
            for values in _loss_scores(tensors):
                rows += _rows(unit, "loss_contrast", values)
    return pd.DataFrame(rows)


def _recovery_scores(
    unit: Unit,
    tensors: dict[str, Tensor],
    codec: Codec,
    embedders: Mapping[str, Embedder],
    originals: dict[str, Tensor],
) -> Iterator[dict[str, Any]]:
    """At every kept step: each picture's own scores, and the best match with any recovery of its half."""
    z = tensors["z"]
    block = int(find_preset(unit.preset).partial.removeprefix("block"))
    partial = Partial(block_mask(z.shape[-2], z.shape[-1], block), tensors["start"])
    removed = 1 - partial.mask
    for z_hat, evaluations in zip(tensors["z_hat"], tensors["evaluations"].tolist(), strict=True):
        cells = F.normalize((removed * z_hat).flatten(1)) @ F.normalize((removed * z).flatten(1)).T
        yield {
            "evaluations": evaluations,
            "removed_cosine": removed_cosine(z_hat, z, partial),
            "removed_gain": removed_gain(z_hat, z, partial),
            "removed_alignment": removed_alignment(z_hat, z, partial),
            "removed_cosine_group_max": group_max(cells),
            **{k: v for n, e in embedders.items() for k, v in _seen(n, e(codec.decode(z_hat)), originals[n]).items()},
        }


def _seen(name: str, recovered: Tensor, originals: Tensor) -> dict[str, Tensor]:
    pairwise = recovered @ originals.T
    return {name: pairwise.diagonal(), f"{name}_group_max": group_max(pairwise)}


def group_max(pairwise: Tensor) -> Tensor:
    """For each original (column) the best of its group's recoveries (rows), the halves being the groups.

    What the paper's public code reports. A recovery of *another* picture may then stand for this one.
    """
    half = len(pairwise) // 2
    return torch.cat([block.amax(0) for block in (pairwise[:half, :half], pairwise[half:, half:])])


def _loss_scores(tensors: dict[str, Tensor]) -> Iterator[dict[str, Any]]:
    """`loss_contrast` with every so many of the stratified draws."""
    base, finetuned = tensors["loss_base"], tensors["loss_finetuned"]
    for draws in LOSS_SCORE_DRAWS:
        every = LOSS_DRAWS // draws
        part = slice(every // 2, None, every)
        lost, difference = base[:, part].sum(1), (base - finetuned)[:, part].sum(1)
        yield {"evaluations": 2 * draws, "loss_contrast": difference / lost}


def _rows(unit: Unit, preset: str, values: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for i, (path, member) in enumerate(unit.pictures):
        yield {
            "role": unit.role,
            "concept": unit.concept.name,
            "suspect": unit.suspect_name,
            "mode": unit.mode,
            "picture": path.name,
            "member": member,
            "preset": preset,
            **{k: round(v[i].item(), 5) if isinstance(v, Tensor) else v for k, v in values.items()},
        }
