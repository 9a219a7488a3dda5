"""Where things lie in the repository."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ASSETS = ROOT / "assets"
EXAMPLES, CONTROLS = ASSETS / "examples", ASSETS / "controls"
RESULTS = ROOT / "eval" / "results"
SUSPECTS = ("gerald-g-dreambooth", "rollandin-lora")  # the examples that ship, by the names of their folders


def pictures_of(suspect: str, part: str) -> list[Path]:
    """Paths of a shipped suspect's pictures; `part` is member, holdout or control."""
    return sorted((CONTROLS / suspect if part == "control" else EXAMPLES / suspect / part).iterdir())
