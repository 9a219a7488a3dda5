# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = [
#     "accelerate>=1.0",
#     "diffusers>=0.42",
#     "fpdf2>=2.8",
#     "huggingface_hub>=1.32",
#     "jaxtyping>=0.3",
#     "matplotlib>=3.9",
#     "numpy>=2.0",
#     "open_clip_torch>=2.29",
#     "pandas>=2.2",
#     "peft>=0.17",
#     "pillow>=11.3",
#     "protobuf>=4",
#     "pydantic>=2",
#     "safetensors>=0.8",
#     "scikit-learn>=1.5",
#     "scipy>=1.15",
#     "sentencepiece>=0.2",
#     "timm>=1.0",
#     "torch>=2.6",
#     "torchvision",
#     "tqdm>=4.66",
#     "transformers>=5.0",
#     "imagehash>=4.3",
#     "psutil>=6",
#     "pyarrow>=17",
# ]
# ///
r"""Try everything on the paper's own models, on a rented GPU: `python -m eval reality` in a job.

    hf jobs uv run --flavor=a10g-large --timeout=3h --secrets=HF_TOKEN --volume=.:/project \
        --volume=hf://buckets/OWNER/BUCKET:/results scripts/jobs/reality_job.py --project=/project --results=/results

The checkout is mounted, since the benchmark is no part of the package. Everything is computed on the job's own disk.
After each stage the page and the small files go to `--results`; models and data sets do not. Nothing else leaves the
job. docs/benchmark/reality.md says more.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

STAGES = ("machine", "fetch", "embeddings", "loading", "speed", "training", "recovery", "verdicts", "bank")
LARGE = ("data", "work", "models")  # folders that stay: data sets, suspects, null models
CANNOT_START = 2  # exit code


def main(arguments: Sequence[str] | None = None, call: Callable[..., int] = subprocess.call) -> int:
    """Run the job.

    Args:
        arguments: of the command line; None for this process's.
        call: runs a command, and returns its exit code.

    Returns:
        0 if every stage has a result, 1 if one has none, 2 if there is no checkout.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--project", type=Path, default=Path(), help="the checkout (default: this folder)")
    parser.add_argument("--results", type=Path, help="folder that the page and the small files are copied to")
    parser.add_argument("--out", type=Path, default=Path("/tmp/reality"), help="folder of everything")
    parser.add_argument("--stages", default=",".join(STAGES), help="stages, comma-separated (default: all)")
    options, others = parser.parse_known_args(arguments)  # the others are those of `python -m eval reality`
    project = options.project.absolute()
    if not (project / "eval" / "reality").is_dir():
        print(f"--project: {project} is no checkout of the project: it has no eval/reality", file=sys.stderr)
        return CANNOT_START
    command = [sys.executable, "-m", "eval", "reality", f"--out={options.out.absolute()}", *others]
    environment = {**os.environ, "PYTHONPATH": str(project), "PYTHONDONTWRITEBYTECODE": "1"}
    failed = False
    for stage in options.stages.split(","):
        failed |= bool(call([*command, f"--stages={stage}"], cwd=project, env=environment))
        if options.results is not None:
            copy_results(options.out, options.results)
    return int(failed)


def copy_results(out: Path, results: Path) -> None:
    """Copy everything but models and data sets."""
    if out.is_dir():
        shutil.copytree(out, results, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*LARGE))


if __name__ == "__main__":
    sys.exit(main())
