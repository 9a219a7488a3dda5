"""Read damaged pictures of every format: each is read or refused in a sentence, quickly and with little memory.

    python -m scripts.fuzz_pictures --count 10000

The damage follows from the seed alone. A file that fails is written to the folder that is named.
"""

import argparse
import resource
import sys
import time
from pathlib import Path

from tests.support.mutations import read_damaged_files

MOST_SECONDS = 1.0  # for one file
MOST_MEMORY = 1_000_000_000  # bytes, over all files


def main() -> int:
    """Return 0 if nothing but pictures and refusals came of the files, else 1."""
    parser = argparse.ArgumentParser(description="read damaged pictures of every format")
    parser.add_argument("--count", type=int, default=1000, help="number of damaged files")
    parser.add_argument("--seed", type=int, default=0, help="of the damage")
    parser.add_argument("--keep", type=Path, help="folder for the files that fail, and the slowest one")
    options = parser.parse_args()
    before, begun = peak_memory(), time.perf_counter()
    report = read_damaged_files(options.count, options.seed)
    seconds, memory = time.perf_counter() - begun, peak_memory() - before
    print(f"{options.count} files in {seconds:.0f} s: {report.read} read, {report.refused.total()} refused")
    for code, count in report.refused.most_common():
        print(f"  {count:6d} {code}")
    slowest, name, data = report.slowest
    print(f"slowest: {slowest:.2f} s ({name}); memory: {memory / 1e6:.0f} MB more than before")
    for file, _, error in report.broken:
        print(f"FAILED: {file}: {error}")
    if options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)
        for file, content in (*((file, content) for file, content, _ in report.broken), (name, data)):
            (options.keep / file).write_bytes(content)
    return int(bool(report.broken) or slowest > MOST_SECONDS or memory > MOST_MEMORY)


def peak_memory() -> int:
    """The most memory that this process has had, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    sys.exit(main())
