"""What a suspect's files tell beside its weights in use: other parts that lie there, averages, markers, its base.

Nothing of it changes a number. It is said with the answer, since half of a suspect, or another base, misleads.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Literal

from ..errors import UserError
from ..messages import Note, note
from ..resources import SHIPPED
from .adapters import is_adapter
from .embeddings import is_embedding
from .family import compare_bases, confirm_base
from .header import TensorInfo, read_header
from .layout import Checkpoint, read_json
from .note_values import read_number
from .source import PICKLES

StatedPrediction = Literal["v", "edm", "edm v"]
# tensors without a use that say how a single file's UNet is to be read; ComfyUI and its like write and read them
PREDICTION_MARKERS: dict[str, StatedPrediction | None] = {
    "edm_vpred.sigma_max": "edm v",
    "edm_vpred.sigma_min": "edm v",
    "edm_mean": "edm",
    "edm_std": "edm",
    "v_pred": "v",
    "ztsnr": None,  # zero terminal SNR, a matter of the schedule
}
PREDICTION_NOTES = ("modelspec.prediction_type", "modelspec.predict_key")
GUIDANCE_NOTE = "ss_guidance_scale"
PURPOSES = {  # channels that the first convolution reads -> what the network is for
    5: "depth",
    7: "upscaling",
    8: "editing",
    9: "inpainting",
}
FIRST_CONVOLUTIONS = ("model.diffusion_model.input_blocks.0.0.weight", "unet/conv_in.weight")
AVERAGES = "model_ema."
BOOKKEEPING = ("model_ema.decay", "model_ema.num_updates")
ADDED = re.compile(r"lora|lyco|loha|lokr|emb")  # in the names of files that are added to a model
MOST_READ = 8  # files beside a suspect whose headers are read
LARGEST_READ = 2_000_000_000  # bytes of such a file; a LoRA or embedding is smaller


def stated_prediction(checkpoint: Checkpoint) -> StatedPrediction | None:
    """What the markers in a single file say that it predicts; None if it holds none."""
    if checkpoint.kind != "single file":
        return None
    return next((kind for marker, kind in PREDICTION_MARKERS.items() if kind and marker in checkpoint.tensors), None)


def stated_guidance(checkpoint: Checkpoint) -> float | None:
    """The strength of guidance that a guidance-distilled network was told in its training, as kohya's scripts note it.

    None: the notes do not state it.
    """
    return read_number(checkpoint.metadata.get(GUIDANCE_NOTE))


def find_purpose(checkpoint: Checkpoint) -> Note | None:
    """What a full network is for, if it is for more than pictures from a prompt: inpainting, depth, editing."""
    shapes = [checkpoint.tensors[k].shape for k in FIRST_CONVOLUTIONS if k in checkpoint.tensors]
    channels = shapes[0][1] if checkpoint.is_full_network and shapes and len(shapes[0]) == 4 else 0
    return note(f"intake.purpose_{PURPOSES[channels]}", channels=channels) if channels in PURPOSES else None


def list_remarks(checkpoint: Checkpoint) -> tuple[Note, ...]:
    """List what is worth knowing of a model's files, beside the weights that are used."""
    return (*_own_remarks(checkpoint), *_parts_beside(checkpoint))


def list_pair_remarks(base: Checkpoint, suspect: Checkpoint, embeddings: Sequence[Checkpoint] = ()) -> tuple[Note, ...]:
    """List what is worth knowing of a suspect's files when it is judged against `base` with `embeddings`."""
    used = {f"{e.listing.name}/{f}" for e in embeddings for f in e.weights}
    absent = [n for n in _components(base) if suspect.kind == "pipeline" and n not in suspect.components]
    lent = [note("intake.parts_of_base", parts=sorted(absent))] if absent else []
    stated = None if suspect.name.startswith(SHIPPED) else confirm_base(base, suspect)
    confirmed = [] if stated is None else [stated]
    return (
        *_own_remarks(suspect),
        *_parts_beside(suspect, used),
        *_differing_prediction(base, suspect),
        *lent,
        *confirmed,
    )


def list_other_remarks(base: Checkpoint, others: Sequence[Checkpoint]) -> tuple[Note, ...]:
    """List what is worth knowing of adapters that are on both sides: that one names another base, or bundles words."""
    found = []
    for other in others:
        if (warning := compare_bases(base, other)) is not None:
            found.append(note("intake.of_other_adapter", name=other.name, what=warning))
        if other.adapter is not None and other.adapter.bundle:
            found.append(note("intake.words_of_other_adapter", name=other.name))
    return tuple(found)


def _differing_prediction(base: Checkpoint, suspect: Checkpoint) -> Iterator[Note]:
    """The note that a suspect's notes state another prediction than the base's scheduler: eps or v."""
    stated = next((v for k in PREDICTION_NOTES if (v := suspect.metadata.get(k))), None)
    file = next((f for f in base.extras if f.endswith("scheduler/scheduler_config.json")), None)
    if stated not in ("v", "epsilon") or file is None:
        return
    given = read_json(base.listing, file).get("prediction_type", "epsilon")
    if (stated == "v") != (given == "v_prediction"):
        yield note("intake.prediction_differs", stated=stated, base=f"{given!s:.40}")


def _components(base: Checkpoint) -> list[str]:
    return [name for name, part in base.components.items() if part.weights or part.extras]


def _own_remarks(checkpoint: Checkpoint) -> Iterator[Note]:
    tensors = checkpoint.tensors
    if averages := sum(k.startswith(AVERAGES) and k not in BOOKKEEPING for k in tensors):
        yield note("intake.averages_inside", count=averages)
    if markers := [k for k in PREDICTION_MARKERS if k in tensors]:
        yield note("intake.markers", markers=markers)
    if (purpose := find_purpose(checkpoint)) is not None:
        yield note("intake.for_purpose", purpose=purpose)


def _parts_beside(checkpoint: Checkpoint, used: Collection[str] = ()) -> Iterator[Note]:
    """Embeddings, adapters and averaged weights in the folder of the checkpoint that are no part of it."""
    listing, root = checkpoint.listing, checkpoint.root
    folder = PurePosixPath(root).parent.as_posix().strip(".") if root in listing.sizes else root
    start = f"{folder}/" if folder else ""
    inside = [f.removeprefix(start) for f in listing.sizes if f.startswith(start) and f not in checkpoint.headers]
    found: dict[str, list[str]] = {"embeddings": [], "adapters": [], "averages": []}
    files = [f for f in inside if "/" not in f and f"{listing.name}/{start}{f}" not in used]
    small = [f for f in files if f.endswith(".safetensors") and listing.sizes[start + f] <= LARGEST_READ]
    if listing.about is not None and checkpoint.kind != "adapter":  # each header is a request to the Hub
        small = [f for f in small if ADDED.search(f.lower())]
    for file in small[:MOST_READ]:
        if kind := _kind_of(checkpoint, start + file):
            found[kind].append(file)
    found["embeddings"] += [f for f in files if PurePosixPath(f).suffix in PICKLES and "embed" in f]
    if checkpoint.kind != "adapter":
        folders = {f.split("/")[0] for f in inside if f.endswith(".safetensors") and "/" in f}
        found["averages"] = sorted(f for f in folders if "ema" in f.lower().split("_"))
    yield from (note(f"intake.{kind}_beside", files=names) for kind, names in found.items() if names)


def _kind_of(checkpoint: Checkpoint, file: str) -> str | None:
    try:
        tensors: Mapping[str, TensorInfo] = read_header(checkpoint.listing, file).tensors
    except UserError:  # a damaged file beside a sound model is no matter of the model's
        return None
    if is_adapter(tensors):
        return "adapters"
    return "embeddings" if is_embedding(tensors) else None
