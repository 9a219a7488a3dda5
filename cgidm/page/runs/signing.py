"""The key of whoever serves the page: it signs every bundle that is made here.

It shows that the bundle came from this page, and nothing of who used it.
"""

import os
from functools import cache
from pathlib import Path
from typing import Any

from cgidm.evidence.anchors.signature import parse_private_key, read_private_key

VARIABLE = "CGIDM_SIGNING_KEY"  # a private Ed25519 key as PEM, or the path of its file


@cache
def operator_key() -> Any | None:
    """Return the key; None if the operator has set none.

    Raises:
        UserError: if it is no such key, or if `cryptography` is not installed.
    """
    given = os.environ.get(VARIABLE, "").strip()
    if not given:
        return None
    if given.startswith("-----BEGIN"):
        return parse_private_key(given.replace("\\n", "\n").encode(), VARIABLE)
    return read_private_key(Path(given))
