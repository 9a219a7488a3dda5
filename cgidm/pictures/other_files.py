"""What a file is that cannot be read as a picture, by its first bytes: the person who gave it learns what to do."""

from ..messages import Note, note
from .formats import brands, optional_format

HEAD = 4096  # bytes that are looked at
# (where, bytes, the kind as its note's code names it, the format's name)
MARKS = (
    (0, b"8BPS", "project", "Photoshop"),
    (0, b"gimp xcf", "project", "GIMP"),
    (0, b"CSFCHUNK", "project", "Clip Studio Paint"),
    (0, b"SAI-CANVAS", "project", "PaintTool SAI"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "system", "OLE"),  # Thumbs.db
    (0, b"\x00\x05\x16\x07", "system", "AppleDouble"),
    (0, b"\x00\x00\x00\x01Bud1", "system", ".DS_Store"),
    (0, b"\x4c\x00\x00\x00\x01\x14\x02\x00", "system", ".lnk"),
    (0, b"[InternetShortcut]", "system", ".url"),
    (0, b"%PDF", "document", "PDF"),
    (0, b"%!PS", "document", "PostScript"),
    (0, b"{\\rtf", "document", "RTF"),
    (0, b"PK\x03\x04", "archive", "zip"),
    (0, b"Rar!\x1a\x07", "archive", "RAR"),
    (0, b"7z\xbc\xaf\x27\x1c", "archive", "7z"),
    (0, b"\x1f\x8b", "archive", "gzip"),
    (0, b"\x28\xb5\x2f\xfd", "archive", "zstd"),
    (257, b"ustar", "archive", "tar"),
    (0, b"FUJIFILMCCD-RAW", "camera_raw", "RAF"),
    (0, b"IIU\x00", "camera_raw", "RW2"),
    (0, b"IIRO", "camera_raw", "ORF"),
    (0, b"IIRS", "camera_raw", "ORF"),
    (0, b"FOVb", "camera_raw", "X3F"),
    (8, b"CR\x02", "camera_raw", "CR2"),
    (0, b"\x1a\x45\xdf\xa3", "video", "Matroska"),
    (0, b"\x00\x00\x01\xba", "video", "MPEG"),
    (8, b"AVI ", "video", "AVI"),
    (0, b"\x00\x00\x00\x0cjP  ", "other_picture", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "other_picture", "JPEG 2000"),
    (0, b"II\xbc", "other_picture", "JPEG XR"),
    (0, b"\x00\x00\x01\x00", "other_picture", "ICO"),
    (0, b"icns", "other_picture", "ICNS"),
    (0, b"v/1\x01", "other_picture", "OpenEXR"),
    (0, b"#?RADIANCE", "other_picture", "Radiance HDR"),
    (0, b"DDS ", "other_picture", "DDS"),
    (0, b"qoif", "other_picture", "QOI"),
    (0, b"\x0a\x05\x01\x08", "other_picture", "PCX"),
    (0, b"AT&TFORM", "document", "DjVu"),
    (0, b"version https://git-lfs", "lfs_pointer", "Git LFS"),
    (0, b"data:image/", "text", "data URL"),
    (8, b'{"', "weights", "safetensors"),
    (0, b"GGUF", "weights", "GGUF"),
    (0, b"\x80\x02", "weights", "pickle"),
    (0, b"\x80\x04", "weights", "pickle"),
)
STARTS = (  # of formats that are read, where Pillow finds nothing that it knows
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF8", "GIF"),
    *((mark, "TIFF") for mark in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
)
PIXMAPS = (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"P7", b"Pf", b"PF")  # of Netpbm


def identify_file(data: bytes) -> Note | None:
    """Say what a file is, as the end of a sentence that says it is no picture; None if it is of no known kind.

    Args:
        data: the file, or its first 4096 bytes.
    """
    head = data[:HEAD]
    for at, mark, kind, name in MARKS:
        if head[at : at + len(mark)] == mark:
            return _kind(kind, name)
    if head[:2] in PIXMAPS and head[2:3].isspace():
        return _kind("other_picture", "Netpbm")
    if (optional := optional_format(head)) is not None:
        return _kind("variant", optional.name)
    if name := next((name for mark, name in STARTS if head.startswith(mark)), None):
        return _kind("variant", name)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _kind("variant", "WebP")
    if head[:2] == b"BM" and head[6:10] == bytes(4):
        return _kind("variant", "BMP")
    if found := brands(head):
        return _kind("camera_raw", "CR3") if found[0] == b"crx " else _kind("video", "MP4")
    return _text_kind(head)


def _text_kind(head: bytes) -> Note | None:
    """The kind of a text, in whatever encoding; None if it is none."""
    text = head.replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n").lower()
    if b"<svg" in text:
        return _kind("drawing", "SVG")
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")) or b"<html" in text:
        return _kind("web_page", "HTML")
    if text and text.startswith(b"<"):
        return _kind("text", "XML")
    if not text or any(c < 32 and c not in b"\t\r\n\x0c\x1b" for c in text):
        return None
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(text) - 4:  # else a letter is cut in the middle
            return None
    return _kind("text", "JSON") if text[:1] in (b"{", b"[") else _kind("text", "TXT")


def _kind(kind: str, name: str) -> Note:
    return note(f"pictures.kind.{kind}", format=name)
