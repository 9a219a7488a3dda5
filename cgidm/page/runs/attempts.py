"""How many-th run of a visit on a suspect this is. Of other visits, and of runs elsewhere, the page knows nothing."""

import json
from pathlib import Path

FILE = "attempts"  # in the folder of a visit: a line a run


def count_attempt(visit: Path, run: str, suspect: str) -> int:
    """Note a run of a visit on a suspect, once, and return its number among those on this suspect; 1 for the first.

    Args:
        visit: the private folder of the visit.
        run: the name of the run.
        suspect: the SHA-256 of the suspect's weights.
    """
    path = visit / FILE
    if run not in _runs(path, suspect):
        with path.open("a") as file:  # one write a line: two runs may begin at the same time
            file.write(json.dumps({"run": run, "suspect": suspect}) + "\n")
    return _runs(path, suspect).index(run) + 1


def _runs(path: Path, suspect: str) -> list[str]:
    lines = path.read_text().splitlines() if path.is_file() else []
    noted = (json.loads(line) for line in lines)
    return list(dict.fromkeys(n["run"] for n in noted if n["suspect"] == suspect))
