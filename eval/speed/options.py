"""The command's options. Torch is imported when it runs, not when it is described."""

import argparse
import re
from dataclasses import replace
from pathlib import Path

from cgidm.errors import UserError
from cgidm.resources import resource_root

ALL_ARMS = "reference,paper,fast,answer"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `bench`."""
    text = "models, comma-separated: mini, sd14, sd21, sdxl, flux-1-dev, z-image, ... (default: mini)"
    parser.add_argument("--models", default="mini", help=text)
    parser.add_argument("--arms", default=ALL_ARMS, help=f"arms, comma-separated (default: {ALL_ARMS})")
    parser.add_argument("--pairs", default="full,lora", help="kinds of suspect, comma-separated (default: full,lora)")
    parser.add_argument(
        "--pictures", help="batch sizes, comma-separated (default: 1,2,4,8,16,32; --quick: 1,2; --runs: 8)"
    )
    parser.add_argument("--device", default="auto", help="cuda or cpu (default: the GPU if there is one)")
    parser.add_argument("--dtype", default="auto", choices=("auto", "float32", "float16", "bfloat16"), help="precision")
    parser.add_argument(
        "--budget", type=float, default=480, help="seconds after which no measurement starts (default: 480)"
    )
    parser.add_argument(
        "--runs", type=int, default=1, help="repeat `paper` beside `reference` in this many new processes (default: 1)"
    )
    parser.add_argument("--quick", action="store_true", help="a smoke test of seconds; do not quote its numbers")
    parser.add_argument("--assets", type=Path, default=resource_root(), help="folder of what ships (default: assets)")
    parser.add_argument("--out", type=Path, default=Path("eval/results/bench"), help="folder of the results")
    text = "name of the files, so that another machine's stay (default: that of the device)"
    parser.add_argument("--name", type=file_name, help=text)


def run_options(options: argparse.Namespace) -> None:
    """Run `bench`."""
    import torch

    from eval.speed.arms import ARMS
    from eval.speed.bench import BenchRun, choose_device, choose_dtype, quicken, run_bench
    from eval.speed.measure import Settings
    from eval.speed.paired import usual_dtypes
    from eval.speed.repeats import Run, repeat_runs
    from eval.speed.subjects import KINDS, find_subject
    from eval.speed.tables import file_stem

    def listed(name: str, accepted: tuple[str, ...]) -> tuple:
        given = tuple(getattr(options, name).split(","))
        unknown = [g for g in given if g not in accepted]
        if unknown:
            raise UserError("speed.unknown_value", option=name, given=unknown[0], accepted=list(accepted))
        return given

    def tell(line: str) -> None:
        print(line, flush=True)

    device, models = choose_device(options.device), tuple(options.models.split(","))
    if options.runs > 1:
        if options.quick or options.arms != ALL_ARMS or options.name:
            raise UserError("speed.runs_alone")
        auto = options.dtype == "auto"
        dtypes = tuple(usual_dtypes(device)) if auto else (choose_dtype(options.dtype, device),)
        pictures = _counts(options.pictures or "8")
        run = Run(models, listed("pairs", KINDS), device, dtypes, pictures, options.budget, options.assets)
        print(f"written: {repeat_runs(run, options.runs, options.out, tell)}.json and .md")
        return
    settings = Settings(device, choose_dtype(options.dtype, device), listed("arms", ARMS))
    settings = quicken(settings) if options.quick else settings
    if options.pictures:
        settings = replace(settings, pictures=_counts(options.pictures))
    job = BenchRun(settings, listed("pairs", KINDS), options.budget, options.quick, options.out, options.name)
    subjects = [find_subject(name, options.assets) for name in models]
    flows = [s.name for s in subjects if s.is_flow]
    if flows and settings.dtype == torch.float16:
        raise UserError("speed.half_of_flow", given=flows)
    report = run_bench(subjects, job, tell)
    print(f"written: {options.out / file_stem(report)}.json and .md")


def file_name(text: str) -> str:
    """The name of a file without its ending.

    Raises:
        argparse.ArgumentTypeError: if it could be another place.
    """
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", text):
        raise argparse.ArgumentTypeError(f"expected lower-case letters and digits joined by hyphens, got {text!r}")
    return text


def _counts(text: str) -> tuple[int, ...]:
    try:
        counts = tuple(sorted(int(n) for n in text.split(",")))
    except ValueError:
        counts = (0,)
    if counts[0] < 1:
        raise UserError("speed.picture_counts", given=text)
    return counts
