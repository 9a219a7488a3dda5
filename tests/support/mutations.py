"""Damaged picture files, and what reading them comes to: the same ones for the same seed."""

import random
import time
import zlib
from collections import Counter
from dataclasses import dataclass, field

from cgidm.errors import UserError
from cgidm.pictures.decoding import picture_size
from cgidm.pictures.images import decode_picture
from tests.support.picture_files import every_picture_file

EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
HEADER = 200  # bytes, where most damage matters
SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass
class FuzzReport:
    """What came of damaged files."""

    read: int = 0
    refused: Counter = field(default_factory=Counter)  # by the code of the refusal
    broken: list = field(default_factory=list)  # (name, bytes, error) of those that raised anything else
    slowest: tuple = (0.0, "", b"")  # seconds of a processor, name, bytes


def read_damaged_files(count, seed=0):
    """Read so many damaged files."""
    files, report = every_picture_file(), FuzzReport()
    for number in range(count):
        rng = random.Random(f"{seed} {number}")
        name = rng.choice(sorted(files))
        data = damage(files[name], rng, files)
        begun = time.process_time()
        try:
            found = decode_picture(data, name, 48)
            assert found.image.isfinite().all() and found.image.shape == (3, 48, 48)
            report.read += 1
        except UserError as error:
            assert "\n" not in str(error)
            report.refused[error.code] += 1
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            report.broken.append((f"{number} {name}", data, f"{type(error).__name__}: {error}"))
        picture_size(data)
        report.slowest = max(report.slowest, (time.process_time() - begun, f"{number} {name}", data))
    return report


def damage(data, rng, files):
    """Damage a file in one to three places, or by joining it with another."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        data = rng.choice(DAMAGES)(bytearray(data), rng, files)
    if data.startswith(SIGNATURE) and rng.random() < 0.8:
        data = with_right_sums(data)  # so that Pillow looks further than at the first checksum
    return bytes(data)


def flip_bits(data, rng, files):
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        if data:
            data[_place(data, rng)] ^= 1 << rng.randrange(8)
    return data


def overwrite(data, rng, files):
    if data:
        at, length = _place(data, rng), rng.choice((1, 4, 16, 200))
        fill = rng.choice((b"\0", b"\xff", rng.randbytes(1)))
        data[at : at + length] = rng.choice((fill * length, rng.randbytes(length)))
    return data


def set_number(data, rng, files):
    at, size = _place(data, rng), rng.choice((1, 2, 4))
    value = rng.choice(EXTREMES) & (256**size - 1)
    data[at : at + size] = value.to_bytes(size, rng.choice(("big", "little")))
    return data


def cut_off(data, rng, files):
    return data[: rng.randrange(len(data) + 1)]


def cut_out(data, rng, files):
    at = _place(data, rng)
    del data[at : at + rng.choice((1, 2, 8, 100))]
    return data


def repeat_part(data, rng, files):
    at, length = _place(data, rng), rng.choice((1, 12, 100))
    return data[:at] + data[at : at + length] * rng.choice((2, 3, 50)) + data[at + length :]


def swap_parts(data, rng, files):
    a, b = sorted((_place(data, rng), _place(data, rng)))
    length = min(b - a, rng.choice((4, 16, 100)))
    data[a : a + length], data[b : b + length] = data[b : b + length], data[a : a + length]
    return data


def join_files(data, rng, files):
    other = files[rng.choice(sorted(files))]
    return data[: _place(data, rng)] + other[rng.randrange(len(other)) :]


DAMAGES = (
    flip_bits,
    flip_bits,
    overwrite,
    set_number,
    set_number,
    cut_off,
    cut_out,
    repeat_part,
    swap_parts,
    join_files,
)


def with_right_sums(data):
    """A PNG with right checksums of its chunks, as far as they can be found."""
    at, fixed = 8, bytearray(data)
    while at + 12 <= len(fixed):
        end = at + 8 + int.from_bytes(fixed[at : at + 4], "big")
        if end + 4 > len(fixed):
            break
        fixed[end : end + 4] = zlib.crc32(fixed[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return fixed


def _place(data, rng):
    """A place in a file, in its first bytes half of the time."""
    return rng.randrange(max(1, min(len(data), HEADER) if rng.random() < 0.5 else len(data)))
