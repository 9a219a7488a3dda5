"""PNG files without the texts that programs leave in them: workflows, histories, colour profiles of megabytes.

Pillow refuses a PNG that holds much of them, or one with a wrong checksum in them. The picture is sound all the same.
"""

import zlib
from collections.abc import Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
ORIENTED = (b"XML:com.adobe.xmp", b"Raw profile type exif", b"Raw profile type APP1")  # texts that may say: rotated
MOST_TEXT = 500_000  # bytes, unpacked, of a text or profile that is handed on; Pillow takes a million of each
MOST_KEPT = 20  # texts that are handed on; Pillow takes 64 million bytes in all


def slim_png(data: bytes) -> tuple[bytes, tuple[str, ...]]:
    """Return a PNG without the chunks that say nothing of its pixels, and the names of colour profiles left out.

    Texts are left out but for those that may say how the picture is rotated. A colour profile is left out if it is
    large or damaged. Whatever is no chunk stays, for Pillow to judge.

    Args:
        data: the file's bytes, of any format; what is no PNG is returned as it is.
    """
    if not data.startswith(SIGNATURE):
        return data, ()
    parts, profiles, kept = [SIGNATURE], [], 0
    for kind, chunk in _chunks(data):
        body = chunk[8:-4]
        if kind in TEXTS:
            if kept == MOST_KEPT or not body.startswith(ORIENTED) or not _is_usable(kind, chunk):
                continue
            kept += 1
        elif kind == b"iCCP" and not _is_usable(kind, chunk):
            profiles.append(body.partition(b"\0")[0][:80].decode("latin-1"))
            continue
        elif kind == b"eXIf" and not _is_whole(chunk):
            continue
        parts.append(chunk)
    return b"".join(parts), tuple(profiles)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and bytes of each chunk (length, type, body, checksum); the rest of a file that is cut off comes last."""
    at = len(SIGNATURE)
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        yield (data[at + 4 : at + 8] if end <= len(data) else b""), data[at:end]
        at = end


def _is_whole(chunk: bytes) -> bool:
    return zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")


def _is_usable(kind: bytes, chunk: bytes) -> bool:
    """Whether a text or profile is whole, and unpacks to little."""
    body = chunk[8:-4]
    if not _is_whole(chunk):
        return False
    if kind == b"tEXt":
        return len(body) <= MOST_TEXT
    _, _, rest = body.partition(b"\0")
    if kind == b"iTXt":
        packed, rest = rest[:1] == b"\1", rest[2:].split(b"\0", 2)[-1]
        if not packed:
            return len(rest) <= MOST_TEXT
    else:
        rest = rest[1:]  # the method
    unpacking = zlib.decompressobj()
    try:
        return len(unpacking.decompress(rest, MOST_TEXT + 1)) <= MOST_TEXT and unpacking.eof
    except zlib.error:
        return False
