"""Which well-known public base some weight files are, by their SHA-256 alone.

`bases.json` holds each base's files with their digests. A digest is taken up only if at least two independent public
lists of model files state it, or if the model ships with this tool. `python -m scripts.known_bases` compares the list
with what the Hub states today. Standard library alone.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

FILE = Path(__file__).with_name("bases.json")


@dataclass(frozen=True, kw_only=True)
class KnownBase:
    """A public base.

    Attributes:
        name: how people call it.
        location: its repository on the Hub, or "shipped:" and its name.
        networks: SHA-256 of files that hold the network that is trained, alone or with the other parts.
        parts: SHA-256 of files that hold other parts: autoencoder, text encoders.
    """

    name: str
    location: str
    networks: frozenset[str]
    parts: frozenset[str]


@cache
def known_bases(file: Path = FILE) -> tuple[KnownBase, ...]:
    """Read the list."""
    table = json.loads(file.read_text(encoding="utf-8"))
    return tuple(
        KnownBase(
            name=base["name"],
            location=base["location"],
            networks=frozenset(d for name, d in base["files"].items() if is_network(name)),
            parts=frozenset(d for name, d in base["files"].items() if not is_network(name)),
        )
        for base in table["bases"]
    )


def find_known_base(digests: Mapping[str, str]) -> KnownBase | None:
    """Find the public base that these weight files are; None if one of them is not on the list.

    Args:
        digests: weight file -> SHA-256, of all weight files of a base. What the files are called does not matter.
    """
    given = set(digests.values())
    for base in known_bases():
        if given & base.networks and given <= base.networks | base.parts:
            return base
    return None


def digests_of(name: str) -> tuple[str, ...]:
    """The SHA-256 of every file that holds the network of a base; empty if it is not on the list."""
    return next((tuple(sorted(base.networks)) for base in known_bases() if base.name == name), ())


def is_network(file: str) -> bool:
    """Tell whether a file of a repository holds the network that is trained: it lies at the top, or in `unet/`."""
    return PurePosixPath(file).parts[0] in ("unet", file)
