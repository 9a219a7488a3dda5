"""A version on Civitai, from a link or an AIR that somebody typed or pasted. Nothing is requested here.

AIR, the identifier of a model's file: `urn:air:ECOSYSTEM:TYPE:civitai:MODEL@VERSION+FILE`, where `urn:air:`, ecosystem
and type may be left out (https://developer.civitai.com/site/guide/air). `CivitaiSource.name` is its short form.
"""

import re
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

from ...errors import UserError

# The site by its three names (https://github.com/civitai/civitai, AppProvider: green, blue, red). They share models and
# accounts; .red holds all, the others those for every age.
MAIN_HOST, FULL_HOST = "civitai.com", "civitai.red"
HOSTS = (MAIN_HOST, f"www.{MAIN_HOST}", FULL_HOST, "civitai.green")
LARGEST_ID = 2**31 - 1  # the site's ids are 32-bit integers
PROPERTIES = ("type", "format", "size", "fp")  # by which a download link names one file of a version
KEYS = {"token", "api_key", "apikey", "key"}  # parameters of a link that hold a person's API key
AIR = re.compile(
    r"(?P<prefix>(?:urn:)?(?:air:)?)(?:[\w/-]{1,40}:){0,2}civitai:(?P<model>\d{1,10})"
    r"(?:@(?P<version>\d{1,10}))?(?:\+(?P<file>\d{1,10}))?(?:\.(?P<format>\w{1,20}))?(?:/(?P<path>.{1,400}))?",
    re.ASCII | re.IGNORECASE,
)
OTHER_AIR = re.compile(
    r"(?:urn:air|air):(?:[\w/-]{1,40}:){0,2}(?P<place>[\w-]{1,40}):.{1,300}", re.ASCII | re.IGNORECASE
)
PAGES = (  # paths of links, without what follows
    re.compile(r"/models/(?P<model>\d{1,10})(?:/.*)?"),
    re.compile(r"/api/download/models/(?P<version>\d{1,10})"),
    re.compile(r"/(?:api/v1/)?model-versions/(?P<version>\d{1,10})"),
    re.compile(r"/api/v1/models/(?P<model>\d{1,10})"),
)


@dataclass(frozen=True)
class CivitaiSource:
    """A location on Civitai; a model, a version, or both are named."""

    model: int | None
    version: int | None = None  # None: the newest published one
    file: int | None = None  # None: the version's primary file
    properties: tuple[tuple[str, str], ...] = ()  # what a download link says of the file: type, format, size, fp
    path: str = ""  # the file's name, if it was given
    host: str = MAIN_HOST

    @property
    def name(self) -> str:
        """The short AIR; a version whose model is not known goes by the version alone."""
        if self.model is None:
            return f"civitai.com/model-versions/{self.version}"
        version = "" if self.version is None else f"@{self.version}"
        return f"civitai:{self.model}{version}" + ("" if self.file is None else f"+{self.file}")


def parse_civitai(text: str) -> CivitaiSource | None:
    """Find out which version `text` names; None if it is neither an AIR nor a link to Civitai.

    Raises:
        UserError: for another page of Civitai, an AIR of another place, or a link that holds an API key.
    """
    head, slash, tail = text.partition("/")  # the site writes "civitai: MODEL @ VERSION"
    match = AIR.fullmatch(re.sub(r"\s*([:@+])\s*", r"\1", head) + slash + tail)
    if match is not None:
        model, version, file = (_identifier(match[name], text) for name in ("model", "version", "file"))
        return CivitaiSource(model, version, file, path=match["path"] or "")
    other = OTHER_AIR.fullmatch(text)
    if other is not None:
        raise UserError("intake.air_other_place", given=text[:300], place=other["place"])
    return _parse_link(text if "://" in text else f"https://{text}")


def _parse_link(text: str) -> CivitaiSource | None:
    link = urlsplit(text)
    host = link.netloc.lower()
    if link.scheme not in ("http", "https") or host not in HOSTS:
        return None
    query = {name.lower(): values[-1] for name, values in parse_qs(link.query).items()}
    if KEYS & query.keys():
        raise UserError("intake.civitai_key_in_link")
    path = unquote(link.path).rstrip("/")
    found = next((m.groupdict() for page in PAGES if (m := page.fullmatch(path))), None)
    if found is None:
        raise UserError("intake.civitai_link_to_no_model", given=text[:300])
    model = _identifier(found.get("model"), text)
    version = _identifier(found.get("version") or query.get("modelversionid"), text)
    properties = tuple((name, query[name][:40]) for name in PROPERTIES if name in query)
    return CivitaiSource(model, version, _identifier(query.get("fileid"), text), properties, host=host)


def _identifier(text: str | None, given: str) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"\d{1,10}", text, re.ASCII) or not 0 < int(text) <= LARGEST_ID:
        raise UserError("intake.civitai_link_to_no_model", given=given[:300])
    return int(text)
