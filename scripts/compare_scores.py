"""Are the scores of the shipped examples the same, to the last bit, as those of an earlier commit?

    python -m scripts.compare_scores COMMIT

Checks the earlier commit out beside this one and judges every member and holdout of both shipped examples with each:
preset `fast`, against controls and against the bank, on one thread. Every score, p-value, answer and contrast must be
equal. It takes about 20 minutes; runs that are already in `--work` are not repeated.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ("gerald-g-dreambooth", "rollandin-lora")
AGAINST = {"controls": "controls", "bank": "banks"}  # option -> folder below assets/


def main() -> int:
    """Run the comparison: 0 if all is equal, 1 if not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", help="the earlier commit")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "compare-scores", help="runs of both commits")
    options = parser.parse_args()
    work = options.work.resolve()
    earlier = work / "checkout"
    if not earlier.is_dir():
        subprocess.run(["git", "worktree", "add", "--detach", str(earlier), options.commit], cwd=ROOT, check=True)
    equal = True
    for example in EXAMPLES:
        for against in AGAINST:
            name = f"{example}-{against}"
            before = judge(earlier, example, against, work / "before" / name)
            after = judge(ROOT, example, against, work / "after" / name)
            different = compare(before, after)
            equal &= not different
            pictures = len(after["pictures"])
            print(f"{example}, {against}: {pictures} pictures, {'; '.join(different) or 'every number is equal'}")
    return 0 if equal else 1


def judge(checkout: Path, example: str, against: str, out: Path) -> dict[str, Any]:
    """Judge an example's members and holdouts with the code of `checkout`; returns the record."""
    if not (out / "seal.txt").is_file():
        assets = Path("assets")
        pictures = [
            str(p.relative_to(checkout))
            for part in ("member", "holdout")
            for p in sorted((checkout / assets / "examples" / example / part).iterdir())
        ]
        cli = (checkout / "cgidm" / "cli.py").read_text()
        suspect = "--suspect" if '"--suspect"' in cli else "--finetuned"
        command = [
            sys.executable,
            "-m",
            "cgidm",
            "authenticate",
            *pictures,
            "--preset",
            "fast",
            "--prompt",
            "sks style",
        ]
        command += ["--base", str(assets / "mini"), suspect, str(assets / "examples" / example / "checkpoint")]
        command += ["--no-mirror"] if '"--mirror"' in cli else []  # earlier commits have no mirror test
        command += [f"--{against}", str(assets / AGAINST[against] / example), "--out", str(out)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(checkout)}
        subprocess.run(command, cwd=checkout, env=environment, check=True, stdout=subprocess.DEVNULL)
    return json.loads((out / "result.json").read_text())


def compare(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What differs between two records."""
    found = [] if before["control_scores"] == after["control_scores"] else ["scores compared with"]
    for old, new in zip(before["pictures"], after["pictures"], strict=True):
        found += [f"{new['name']}: {k}" for k in ("sha256", "p_value", "outcome", "contrast") if old[k] != new[k]]
        names = old["scores"].keys() | new["scores"].keys()
        found += [f"{new['name']}: {s}" for s in sorted(names) if old["scores"].get(s) != new["scores"].get(s)]
    if (before["set"], after["set"]) != (None, None):
        keys = ("outcome", "p_value", "used", "adjusted")
        found += [f"the set's {k}" for k in keys if before["set"][k] != after["set"][k]]
    return found


if __name__ == "__main__":
    sys.exit(main())
