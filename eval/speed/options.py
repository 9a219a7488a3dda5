"""The command's options. Torch is imported when it runs, not when it is described."""

import argparse
from dataclasses import replace
from pathlib import Path

from cgidm.errors import UserError

HELP = "seconds and memory beside the public code's way; writes eval/results/bench/"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--models", default="mini", help="of mini, sd14, sd21, sdxl, with commas (default: mini)")
    parser.add_argument("--arms", default="reference,paper,fast", help="with commas (default: all three)")
    parser.add_argument("--pairs", default="full,lora", help="with commas (default: both)")
    parser.add_argument("--pictures", help="so many at once (1,2,4,8,16,32; with --quick 1,2)")
    parser.add_argument("--device", default="auto", help="cuda or cpu (default: the GPU if there is one)")
    parser.add_argument("--dtype", default="auto", choices=("auto", "float32", "float16", "bfloat16"))
    parser.add_argument("--budget", type=float, default=480, help="seconds after which nothing more is begun (480)")
    parser.add_argument("--runs", type=int, default=1, help="so many processes, reference and paper alone (1)")
    parser.add_argument("--quick", action="store_true", help="seconds: does it work? not to be quoted")
    parser.add_argument("--assets", type=Path, default=Path("assets"))
    parser.add_argument("--out", type=Path, default=Path("eval/results/bench"))


def run_options(options: argparse.Namespace) -> None:
    if options.runs > 1:
        from eval.speed.repeats import repeat_bench

        stem = repeat_bench(_repeated(options), options.runs, options.out, lambda line: print(line, flush=True))
        print(f"written: {stem}.json and .md")
        return
    from eval.speed.arms import ARMS
    from eval.speed.bench import Job, choose_device, choose_dtype, quicken, run_bench
    from eval.speed.measure import Settings
    from eval.speed.subjects import KINDS, find_subject
    from eval.speed.tables import file_stem

    def listed(name: str, accepted: tuple[str, ...]) -> tuple:
        given = tuple(getattr(options, name).split(","))
        unknown = [g for g in given if g not in accepted]
        if unknown:
            raise UserError(f"--{name} {unknown[0]!r} was given; accepted: {', '.join(accepted)}")
        return given

    device = choose_device(options.device)
    settings = Settings(device, choose_dtype(options.dtype, device), listed("arms", ARMS))
    settings = quicken(settings) if options.quick else settings
    if options.pictures:
        settings = replace(settings, pictures=_counts(options.pictures))
    job = Job(settings, listed("pairs", KINDS), options.budget, options.quick, options.out)
    subjects = [find_subject(name, options.assets) for name in options.models.split(",")]
    report = run_bench(subjects, job, lambda line: print(line, flush=True))
    print(f"written: {options.out / file_stem(report)}.json and .md")


def _repeated(options: argparse.Namespace) -> list[str]:
    """What each of several processes is told: all that was not left as it is, but for how many and where to."""
    usual = argparse.ArgumentParser()
    add_options(usual)
    told = []
    for name, value in vars(options).items():
        if name in ("runs", "out", "arms", "run") or value == usual.get_default(name):
            continue
        told += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return told


def _counts(text: str) -> tuple[int, ...]:
    try:
        counts = tuple(sorted(int(n) for n in text.split(",")))
    except ValueError:
        counts = (0,)
    if counts[0] < 1:
        raise UserError(f"--pictures {text!r} was given; accepted: whole numbers from 1, with commas")
    return counts
