"""The header of a safetensors file, read as if its author were hostile.

Layout (https://huggingface.co/docs/safetensors): 8 bytes little-endian length N, N bytes of JSON, then the data. Every
number is checked before use. The tensors must tile the data exactly: no gap, no overlap, no remainder. No weight is
read. A file that is something else (a pickle, a web page, a Git LFS pointer) is refused as what it is.
"""

import json
import math
import re
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
SNIFFED = 512  # bytes that tell what a file is instead; a tar archive names itself at byte 257
SIGNATURES = (  # the first bytes of files that are saved or renamed as .safetensors by mistake -> the end of the code
    (rb"version https://git-lfs", "git_lfs"),
    (rb"\s*<(!doctype|html|\?xml|head|body|!--)", "web_page"),
    (rb"\s*[{\[]\s*[\"{\[\]}]", "json"),
    (rb"PK\x03\x04.*data\.pkl", "pickle"),  # torch's format since 1.6 is a zip with a pickle inside
    (rb"\x80[\x02-\x05]", "pickle"),  # protocol 2 to 5 (torch before 1.6)
    (rb"PK[\x03\x05]|7z\xbc\xaf|Rar!|\x1f\x8b|\xfd7zXZ|\x28\xb5\x2f\xfd|BZh|.{257}ustar", "archive"),
    (rb"GGUF|gguf|ggml", "gguf"),
    (rb"\x89PNG|\xff\xd8\xff|GIF8|RIFF....WEBP|BM.{4}\0{4}|II\*\0|MM\0\*|....ftyp", "picture"),
    (rb"\x89HDF", "hdf5"),
    (rb"\0+\Z", "zeros"),
)
PLAIN_TEXT = re.compile(rb"[\t\n\r\x20-\x7e\x80-\xff]{8,}")


@dataclass(frozen=True)
class TensorInfo:
    """The type and shape of one tensor, as a header states them."""

    dtype: str  # as the format names it: F16, BF16, F32, ...
    shape: tuple[int, ...]

    @property
    def numel(self) -> int:
        """The number of its values."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Header:
    """The names, types and shapes of a file's tensors, and the notes that its writer left."""

    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]  # editable by anyone: a hint, never evidence


def read_header(listing: Listing, file: str) -> Header:
    """Read and check the header of `file`, and nothing after it.

    Raises:
        UserError: if the file is missing, or is not a sound safetensors file.
    """
    name = f"{listing.name}/{file}"
    if file not in listing.sizes:
        raise UserError("intake.file_missing", file=name)
    size = listing.sizes[file]
    start = listing.read(file, 0, 9)
    if start[8:] != b"{" or int.from_bytes(start[:8], "little") > size - 8:
        refuse_other_kind(listing, file)
    length = header_length(start[:8], size, name)
    return parse_header(listing.read(file, 8, 8 + length), size - 8 - length, name)


def refuse_other_kind(listing: Listing, file: str) -> None:
    """Refuse a file whose first bytes tell that it is no safetensors file but something else.

    Raises:
        UserError: if it is empty, a pickle, an archive, a picture, a web page, another text, or a Git LFS pointer.
    """
    name, start = f"{listing.name}/{file}", listing.read(file, 0, SNIFFED)
    kind = "empty" if not start else _other_kind(start)
    if kind == "text":
        raise UserError("intake.file_is_text", file=name, text=start.decode("utf-8", "replace").strip()[:80])
    if kind is not None:
        raise UserError(f"intake.file_is_{kind}", file=name)


def _other_kind(start: bytes) -> str | None:
    known = (kind for marks, kind in SIGNATURES if re.match(marks, start, re.DOTALL | re.IGNORECASE))
    kind = next(known, None)
    if kind is None and PLAIN_TEXT.fullmatch(start):
        return "text"
    return kind


def header_length(start: bytes, file_size: int, name: str) -> int:
    """The length N that the first 8 bytes state.

    Args:
        start: the first 8 bytes of the file, or fewer if it is shorter.
        file_size: the file's bytes.
        name: what the file is called, for errors.

    Raises:
        UserError: if N does not fit the file, or exceeds `MAX_HEADER`.
    """
    if len(start) < 8:
        raise UserError("intake.header_too_short", file=name, bytes=len(start))
    length = int.from_bytes(start, "little")
    if length > file_size - 8:
        raise UserError("intake.header_cut_off", file=name, stated=length, left=file_size - 8)
    if length > MAX_HEADER:
        raise UserError("intake.header_too_large", file=name, stated=length, most=MAX_HEADER)
    return length


def parse_header(data: bytes, data_size: int, name: str) -> Header:
    """Parse and check a header.

    Args:
        data: its JSON.
        data_size: the bytes of tensors that follow it.
        name: what the file is called, for errors.

    Raises:
        UserError: if it is not a sound header of so many bytes.
    """
    if not data.startswith(b"{"):
        raise UserError("intake.header_not_found", file=name)
    try:
        entries = load_table(data, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise UserError("intake.header_not_json", file=name, error=_brief(error)) from error
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise UserError("intake.header_metadata", file=name)
    tensors, ranges = {}, []
    for key, entry in entries.items():
        tensors[key], offsets = _tensor(key, entry, name)
        ranges.append((*offsets, key))
    reached = 0
    for begin, end, key in sorted(ranges):
        if begin != reached:
            code = "intake.header_overlap" if begin < reached else "intake.header_gap"
            raise UserError(code, file=name, tensor=key[:80])
        reached = end
    if reached != data_size:
        raise UserError("intake.header_data_size", file=name, stated=reached, found=data_size)
    return Header(tensors, metadata)


def _tensor(key: str, entry: Any, name: str) -> tuple[TensorInfo, tuple[int, int]]:
    known = {"file": name, "tensor": key[:80]}
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise UserError("intake.header_fields", **known)
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise UserError("intake.header_dtype", **known, dtype=f"{dtype!s:.40}")
    if not _counts(shape) or len(shape) > MAX_DIMENSIONS:
        raise UserError("intake.header_shape", **known, shape=f"{shape!r:.80}")
    if not _counts(offsets) or len(offsets) != 2:
        raise UserError("intake.header_offsets", **known, offsets=f"{offsets!r:.80}")
    info = TensorInfo(dtype, tuple(shape))
    begin, end = offsets
    if info.numel * BITS[dtype] != 8 * (end - begin):
        raise UserError("intake.header_tensor_size", **known, dtype=dtype, shape=f"{shape!r:.80}", bytes=end - begin)
    return info, (begin, end)


def _counts(values: Any) -> bool:
    """True for a list of whole numbers from 0 that fit in 64 bits."""
    return isinstance(values, list) and all(type(v) is int and 0 <= v < 2**63 for v in values)


def load_table(data: bytes, **options: Any) -> Any:
    """Load JSON in which no name stands twice and every text can be encoded.

    Raises:
        ValueError: if it is no such JSON; `RecursionError` if it is nested too deeply.
    """
    return json.loads(data.decode("utf-8"), object_pairs_hook=_sound_table, **options)


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
