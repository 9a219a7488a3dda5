"""The size that a JPEG XL file states, read before anything is decoded: its library decodes whatever it opens."""

MARK = b"\xff\x0a"  # of a codestream
RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
SIZE_BITS = (9, 13, 18, 30)  # of a side, by a selector of two bits
HEADER = 16  # bytes of a codestream that hold its size


def stated_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels that the codestream's header states (ISO/IEC 18181-1, `SizeHeader`).

    Args:
        data: the file: a bare codestream, or the container of ISO/IEC 18181-2.

    Raises:
        ValueError: if there is no such header.
    """
    stream = _codestream(data)
    if len(stream) < HEADER or stream[:2] != MARK:
        raise ValueError("no JPEG XL codestream")
    bits = _Bits(int.from_bytes(stream[2:HEADER], "little"))
    small = bits.take(1)
    height = bits.side(small)
    ratio = bits.take(3)
    if ratio == 0:
        return bits.side(small), height
    across, down = RATIOS[ratio - 1]
    return height * across // down, height


class _Bits:
    """Bits of a header, the least significant one first."""

    def __init__(self, value: int) -> None:
        self._value = value

    def take(self, count: int) -> int:
        found, self._value = self._value & ((1 << count) - 1), self._value >> count
        return found

    def side(self, small: int) -> int:
        return 8 * (self.take(5) + 1) if small else self.take(SIZE_BITS[self.take(2)]) + 1


def _codestream(data: bytes) -> bytes:
    """The first bytes of the codestream: of the file, or of its first box `jxlc` or `jxlp`."""
    if data[:2] == MARK:
        return data[:HEADER]
    at = 0
    while at + 8 <= len(data):
        size, kind, head = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        if kind in (b"jxlc", b"jxlp"):
            begin = at + head + (4 if kind == b"jxlp" else 0)  # jxlp: a number comes first
            return data[begin : begin + HEADER]
        if size < head:
            break
        at += size
    return b""
