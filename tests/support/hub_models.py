"""Models on a stand-in for the Hub, harmless and hostile, as a search of the page finds them."""

import io
from pathlib import Path

from PIL import Image

from tests.support.hub_server import Repository

PICTURES = {"pipeline_tag": "text-to-image", "tags": ["lora", "text-to-image", "base_model:owner/base"]}
SVG = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
SCRIPT = "<script>alert(1)</script>"


def picture(colour: str = "red", kind: str = "PNG") -> bytes:
    """A small picture file."""
    file = io.BytesIO()
    Image.new("RGB", (300, 200), colour).save(file, kind)
    return file.getvalue()


def lora_repository(weights: Path) -> Repository:
    """A LoRA with a picture, as its owner publishes it."""
    files = {"pytorch_lora_weights.safetensors": weights.read_bytes(), "images/one.png": picture()}
    card = {"instance_prompt": "sks style", "license": "mit", "thumbnail": "images/one.png"}
    return Repository(files, card, downloads=1234, **PICTURES)


def hostile_repositories(elsewhere: str) -> dict[str, Repository]:
    """Models that mean harm; `elsewhere` is an address of another host."""
    card = {"license": SCRIPT, "instance_prompt": '"><img src=x onerror=alert(1)>', "base_model": SCRIPT}
    moved = {"a.png": elsewhere}
    large = picture() + bytes(10_000_000)
    return {
        "evil/style-svg": Repository({"a.png": SVG}, card, downloads=5, **PICTURES),
        "evil/style-large": Repository({"a.png": large}, card, downloads=4, **PICTURES),
        "evil/style-redirect": Repository({"a.png": b""}, card, redirects=moved, downloads=3, **PICTURES),
        "evil/style-bomb": Repository({"a.png": b"\x89PNG\r\n\x1a\n" + bytes(50)}, card, downloads=2, **PICTURES),
        "evil/style-address": Repository({}, card | {"thumbnail": elsewhere}, downloads=1, **PICTURES),
        "evil/style-words": Repository({}, {}, ["lora", "text-generation"], downloads=9),
    }
