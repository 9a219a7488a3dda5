"""The pictures and captions that the embedded model is trained on.

Only pictures whose licence allows a derived model to be given away: paintings in the public domain, Creative
Commons photographs, and the Open Clip Art Library's public-domain drawings. Two clip-art authors are left out
whole: the shipped examples are made of their works, and a base model that had seen them would know them already.
"""

import csv
import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

LICENSED_KINDS = ("wikiart", "paintinghr", "openimages", "coco")  # of `pretrain/SOURCES.csv`
EXAMPLE_AUTHORS = ("Gerald G.", "Architetto Francesco Rollandin")  # never in the corpus
MAX_CLIPARTS_PER_AUTHOR = 150  # some authors drew hundreds of nearly equal flags and icons
RESOLUTION = 144  # stored side in pixels: 128 and a margin to crop from
HELD_OUT_SHARE = 0.03


@dataclass(frozen=True)
class Source:
    """One picture of the corpus: where it is and what may be said of it."""

    path: Path
    caption: str
    author: str
    licence: str


@dataclass(frozen=True, eq=False)
class Corpus:
    """Pictures as one array, with their captions; a fixed few are held out by the hash of their name."""

    pictures: np.ndarray  # n RESOLUTION RESOLUTION 3, uint8
    captions: list[str]
    held_out: np.ndarray  # n, bool


def find_sources(pictures: Path, openclipart: Path | None) -> list[Source]:
    """List the licence-clean sources: a tree of photographs and paintings, and Debian's `openclipart` trees.

    `pictures` holds `pretrain/` and `cc0_paintings/`, each with a `SOURCES.csv`; `openclipart` holds `png/` and
    `svg/` (Debian packages openclipart-png and openclipart-svg: the SVG names author and title).
    """
    found = []
    for row in _rows(pictures / "pretrain" / "SOURCES.csv"):
        if row["kind"] in LICENSED_KINDS:
            artist = _clean(row["artist"])
            caption = f"a painting by {artist}" if artist else "a photo"
            path = pictures / "pretrain" / row["file"]
            found.append(Source(path, caption, artist, row["licence_note"]))
    for row in _rows(pictures / "cc0_paintings" / "SOURCES.csv"):
        artist, path = _clean(row["artist"]), pictures / "cc0_paintings" / row["file"]
        caption = f"{row['title'].lower()}, a painting by {artist}"
        found.append(Source(path, caption, artist, row["licence_note"]))
    if openclipart is not None:
        found += [s for s in find_cliparts(openclipart) if s.author not in EXAMPLE_AUTHORS]
    return sorted((s for s in found if s.path.exists()), key=lambda s: s.path.as_posix())


def find_cliparts(openclipart: Path, only_author: str | None = None) -> list[Source]:
    """Drawings of the Open Clip Art Library with the author and title that their SVG names."""
    found, per_author = [], Counter()
    drawings = sorted((openclipart / "svg").rglob("*.svg"), key=lambda p: _digest(p.stem))
    for svg in drawings:
        png = openclipart / "png" / svg.relative_to(openclipart / "svg").with_suffix(".png")
        text = svg.read_text(errors="ignore")
        creator = re.search(r"<dc:creator>.*?<dc:title>(.*?)</dc:title>", text, re.S)
        author = creator.group(1).strip() if creator else ""
        if not png.exists() or not author or (only_author is not None and author != only_author):
            continue
        per_author[author] += 1
        if only_author is None and per_author[author] > MAX_CLIPARTS_PER_AUTHOR:
            continue
        title = re.sub(r"[\d_\-]+", " ", svg.stem).strip()
        licence = "Open Clip Art Library, public domain dedication"
        found.append(Source(png, f"a clip art of {title.lower()}", author, licence))
    return found


def square_picture(path: Path, side: int) -> Image.Image:
    """The centre square at `side` pixels, transparency laid on white."""
    picture = Image.open(path).convert("RGBA")
    flat = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    short = min(flat.size)
    left, top = (flat.width - short) // 2, (flat.height - short) // 2
    return flat.crop((left, top, left + short, top + short)).resize((side, side), Image.Resampling.LANCZOS)


def build_corpus(pictures: Path, openclipart: Path | None, out: Path) -> Corpus:
    """Decode every source once and write `corpus.npz` and `SOURCES.csv` (name, author, licence) to `out`."""
    sources = [s for s in find_sources(pictures, openclipart) if is_sane(s.path)]
    arrays = np.stack([np.asarray(square_picture(s.path, RESOLUTION)) for s in sources])
    names = [s.path.name for s in sources]
    held_out = np.array([int(_digest(n), 16) % 1000 < 1000 * HELD_OUT_SHARE for n in names])
    out.mkdir(parents=True, exist_ok=True)
    np.savez(out / "corpus.npz", pictures=arrays, captions=[s.caption for s in sources], held_out=held_out)
    with (out / "SOURCES.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("file", "author", "caption", "licence"))
        writer.writerows((s.path.name, s.author, s.caption, s.licence) for s in sources)
    return load_corpus(out)


def load_corpus(out: Path) -> Corpus:
    """Read what `build_corpus` wrote."""
    data = np.load(out / "corpus.npz")
    return Corpus(data["pictures"], [str(c) for c in data["captions"]], data["held_out"])


def is_sane(path: Path) -> bool:
    """False for the few posters of hundreds of megapixels, which Pillow takes for decompression bombs."""
    try:
        with Image.open(path) as picture:
            return picture.width * picture.height <= 30e6
    except Image.DecompressionBombError:
        return False


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _clean(artist: str) -> str:
    return re.sub(r"\(.*?\)", "", artist).replace("-", " ").strip().lower()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
