"""Small pictures for the page: of what a visitor sends, with the part that a network will see, and of models found.

Each is decoded and written anew as a JPEG of a few kilobytes inside the page. So no stranger's bytes reach a browser,
and no browser asks a stranger's host.
"""

import base64
import io
from collections.abc import Sequence
from urllib.parse import urljoin, urlsplit

from huggingface_hub import get_session, hf_hub_url
from huggingface_hub.utils import build_hf_headers
from PIL import Image, ImageDraw

from cgidm.errors import UserError
from cgidm.framing.frame import Frame
from cgidm.intake.hub import endpoint
from cgidm.pictures.decoding import decode_pixels, picture_size

from .hub_search import FoundModel

THUMBNAIL_SIZE = 160  # pixels of the longer side
MAX_BYTES = 3_000_000  # of a found model's picture
MAX_PIXELS = 20_000_000
TIMEOUT = 5.0  # seconds
MAX_REDIRECTS = 3
HUB_DOMAINS = (".huggingface.co", ".hf.co")  # where the Hub keeps large files
SEEN, ALSO_SEEN = (255, 196, 0), (255, 255, 255)  # of the frame, and of the centre square that is looked at as well


def draw_frames(picture: Image.Image, frames: Sequence[Frame]) -> str:
    """Return a thumbnail as a data URL: what no frame holds is dark, and each frame has an outline."""
    small = picture.copy()
    small.thumbnail((THUMBNAIL_SIZE, THUMBNAIL_SIZE))
    boxes = [frame_box(frame, small.size) for frame in frames]
    if boxes:
        dark = Image.blend(small, Image.new("RGB", small.size), 0.6)
        for left, top, right, bottom in boxes:
            part = left, top, right + 1, bottom + 1
            dark.paste(small.crop(part), part)
        drawing = ImageDraw.Draw(dark)
        for box, colour in zip(boxes, (SEEN, ALSO_SEEN), strict=False):
            drawing.rectangle(box, outline=colour, width=2)
        small = dark
    return data_url(small)


def frame_box(frame: Frame, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Where a frame lies in a picture of another size: left, top, right and bottom pixel, all inside."""
    left, top, width, height = frame.cut
    across, down = width / frame.scaled[0], height / frame.scaled[1]
    scale_x, scale_y = size[0] / frame.original[0], size[1] / frame.original[1]
    x, y = (left + frame.corner[0] * across) * scale_x, (top + frame.corner[1] * down) * scale_y
    wide, high = frame.size[0] * across * scale_x, frame.size[1] * down * scale_y
    right, bottom = min(size[0], round(x + wide)) - 1, min(size[1], round(y + high)) - 1
    return min(round(x), right), min(round(y), bottom), right, bottom


def data_url(picture: Image.Image) -> str:
    """Write a small RGB picture as a JPEG inside an address."""
    file = io.BytesIO()
    picture.convert("RGB").save(file, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def model_thumbnail(model: FoundModel) -> str | None:
    """Return the picture of a found model as a data URL; None if it has none that is harmless and small.

    No token goes along, and a redirect is followed to the Hub's own hosts alone.
    """
    if model.picture is None or model.gated:
        return None
    url = hf_hub_url(model.repo, model.picture, revision=model.commit or "main", endpoint=endpoint())
    try:
        data = _fetch(url)
        if data is None:
            return None
        width, height = picture_size(data)
        if not 0 < width * height <= MAX_PIXELS:
            return None
        picture, _, _ = decode_pixels(data, model.picture)
    except UserError:
        return None
    except Exception as error:
        if type(error).__module__.startswith(("httpx", "httpcore")):  # no answer is no picture
            return None
        raise
    picture.thumbnail((THUMBNAIL_SIZE, THUMBNAIL_SIZE))
    return data_url(picture)


def _fetch(url: str) -> bytes | None:
    """Read a file of the Hub, if it is small and lies there."""
    for _ in range(MAX_REDIRECTS + 1):
        if not _is_the_hub(url):
            return None
        headers = build_hf_headers(token=False)
        with get_session().stream("GET", url, headers=headers, timeout=TIMEOUT, follow_redirects=False) as answer:
            if 300 <= answer.status_code < 400 and "location" in answer.headers:
                url = urljoin(url, answer.headers["location"])
                continue
            if answer.status_code != 200:
                return None
            data = b""
            for piece in answer.iter_bytes():
                data += piece
                if len(data) > MAX_BYTES:
                    return None
            return data
    return None


def _is_the_hub(url: str) -> bool:
    hub, there = urlsplit(endpoint()), urlsplit(url)
    if (there.scheme, there.netloc) == (hub.scheme, hub.netloc):
        return True
    return there.scheme == "https" and (there.hostname or "").endswith(HUB_DOMAINS)
