"""The header of a safetensors file, read as if its author were hostile.

Layout (https://huggingface.co/docs/safetensors): 8 bytes little-endian length N, N bytes of JSON, then the data. Every
number is checked before it is used, and tensors must tile the data exactly: no gap, no overlap, nothing left over.
No weight is read.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from ..errors import UserError
from .listing import Listing

MAX_HEADER = 8_000_000  # bytes; checkpoints with thousands of tensors and long training notes have about 1,000,000
MAX_DIMENSIONS = 8
BITS = {
    **{"BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8},
    **{"I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32},
    **{"I64": 64, "U64": 64, "F64": 64, "C64": 64},
}
ACCEPTED = "accepted: a whole, undamaged .safetensors file"


@dataclass(frozen=True)
class TensorInfo:
    """What a header says of one tensor."""

    dtype: str  # as the format names it: F16, BF16, F32, ...
    shape: tuple[int, ...]

    @property
    def numel(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Header:
    """The names, types and shapes of a file's tensors, and the notes that its writer left."""

    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]  # editable by anyone: a hint, never evidence


def read_header(listing: Listing, file: str) -> Header:
    """Read and check the header of `file`; no more of it is read.

    Raises:
        UserError: if the file is missing or is not a sound safetensors file; says what is wrong with it.
    """
    name = f"{listing.name}/{file}"
    if file not in listing.sizes:
        raise UserError(f"{name} does not exist; {ACCEPTED}")
    size = listing.sizes[file]
    length = header_length(listing.read(file, 0, 8), size, name)
    return parse_header(listing.read(file, 8, 8 + length), size - 8 - length, name)


def header_length(start: bytes, file_size: int, name: str) -> int:
    """The length N that the first 8 bytes state, checked against the file's size and `MAX_HEADER`."""
    if len(start) < 8:
        _refuse(name, f"has {len(start)} bytes, fewer than a header's length takes")
    length = int.from_bytes(start, "little")
    if length > file_size - 8:
        _refuse(
            name, f"states a header of {length:,} bytes but has {file_size - 8:,} after it: cut off, or another format"
        )
    if length > MAX_HEADER:
        _refuse(name, f"states a header of {length:,} bytes, more than the {MAX_HEADER:,} that are read")
    return length


def parse_header(data: bytes, data_size: int, name: str) -> Header:
    """Check the JSON `data` of a header in front of `data_size` bytes of tensors. `name` is for the error."""
    if not data.startswith(b"{"):
        _refuse(name, "does not begin with a header")
    try:
        entries = json.loads(data.decode("utf-8"), object_pairs_hook=_sound_table, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        _refuse(name, f"has a header that is not proper JSON ({_brief(error)})")
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        _refuse(name, "has a __metadata__ that is not a table of texts")
    tensors, ranges = {}, []
    for key, entry in entries.items():
        tensors[key], offsets = _tensor(key, entry, name)
        ranges.append((*offsets, key))
    reached = 0
    for begin, end, key in sorted(ranges):
        if begin != reached:
            what = "overlaps the one before it" if begin < reached else "leaves a gap before it"
            _refuse(name, f"has a tensor {key!r:.80} that {what}")
        reached = end
    if reached != data_size:
        _refuse(name, f"has {data_size:,} bytes of tensors where its header states {reached:,}")
    return Header(tensors, metadata)


def _tensor(key: str, entry: Any, name: str) -> tuple[TensorInfo, tuple[int, int]]:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        _refuse(name, f"has a tensor {key!r:.80} without dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        _refuse(name, f"has a tensor {key!r:.80} of unknown type {dtype!r:.40}")
    if not _counts(shape) or len(shape) > MAX_DIMENSIONS:
        _refuse(name, f"has a tensor {key!r:.80} of shape {shape!r:.80}")
    if not _counts(offsets) or len(offsets) != 2:
        _refuse(name, f"has a tensor {key!r:.80} at {offsets!r:.80}")
    info = TensorInfo(dtype, tuple(shape))
    begin, end = offsets
    if info.numel * BITS[dtype] != 8 * (end - begin):
        _refuse(name, f"has a tensor {key!r:.80} of {dtype} {shape!r:.80} in {end - begin:,} bytes")
    return info, (begin, end)


def _counts(values: Any) -> bool:
    """True for a list of whole numbers from 0 that fit in 64 bits."""
    return isinstance(values, list) and all(type(v) is int and 0 <= v < 2**63 for v in values)


def _sound_table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name stands twice")
    for text in (t for pair in pairs for t in pair if isinstance(t, str)):
        text.encode()  # half a surrogate pair passes as JSON, but is no text
    return table


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number")


def _brief(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error).splitlines()[0][:120]


def _refuse(name: str, what: str) -> NoReturn:
    raise UserError(f"{name} {what}; {ACCEPTED}")
