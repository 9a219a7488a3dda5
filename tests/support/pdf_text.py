"""The text of a PDF that fpdf2 wrote, read from the file itself: what a person reads, page after page."""

import re
import zlib

OBJECT = re.compile(rb"(?:^|\n)(\d+) 0 obj\n(.*?)\nendobj", re.DOTALL)
PART = re.compile(rb"/(F\d+) [\d.]+ Tf|\(((?:[^\\()]|\\.)*)\) Tj", re.DOTALL)
ESCAPES = {b"\\n": b"\n", b"\\r": b"\r", b"\\t": b"\t"}


def pdf_text(data: bytes) -> str:
    """Every text of the file, its lines joined by spaces."""
    objects = dict(OBJECT.findall(data))
    fonts: dict[bytes, dict[int, str]] = {}
    for body in objects.values():
        for listed in re.findall(rb"/Font <<(.*?)>>", body, re.DOTALL):
            for name, number in re.findall(rb"/(F\d+) (\d+) 0 R", listed):
                fonts[name] = _letters(objects, objects[number])
    words = []
    for body in objects.values():
        content, font = _stream(body), {}
        if b" Tj" not in content or b"BT" not in content:
            continue
        for name, text in PART.findall(content):
            if name:
                font = fonts[name]
            else:
                plain = re.sub(rb"\\(.)", lambda m: ESCAPES.get(m[0], m[1]), text, flags=re.DOTALL)
                codes = (int.from_bytes(plain[i : i + 2]) for i in range(0, len(plain), 2))
                words.append("".join(font[c] for c in codes))
    return " ".join(words)


def _letters(objects: dict[bytes, bytes], font: bytes) -> dict[int, str]:
    """What each code of a font means: its table of Unicode letters."""
    (number,) = re.findall(rb"/ToUnicode (\d+) 0 R", font)
    tables = b"".join(_stream(objects[number]).split(b"beginbfchar")[1:])  # of a hundred letters each
    pairs = re.findall(rb"<([0-9A-F]{4})> <([0-9A-F]{4,8})>\n", tables)
    return {int(code, 16): bytes.fromhex(letter.decode()).decode("utf-16-be") for code, letter in pairs}


def _stream(body: bytes) -> bytes:
    found = re.search(rb"stream\n(.*)\nendstream", body, re.DOTALL)
    if found is None:
        return b""
    return zlib.decompress(found[1]) if b"/FlateDecode" in body.split(b"stream")[0] else found[1]
