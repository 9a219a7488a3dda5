"""`python -m eval COMMAND`: the embedded model, its examples, and what they are measured to do."""

import argparse
from collections.abc import Callable
from pathlib import Path

from cgidm.similarity import SHIPPED, load_embedders
from eval.bench import measure_speed
from eval.crossed import find_concepts, run_crossed, unfinished
from eval.crossed_report import write_report
from eval.crossed_scores import score_crossed
from eval.embedder import convert_embedder
from eval.examples import build_examples
from eval.ledger import Ledger
from eval.membership import collect, describe_plan, run_membership
from eval.membership_report import write_membership
from eval.methods import METHODS
from eval.mini import train_all
from eval.reconstruct import measure_reconstruction
from eval.shipped import measure_shipped

ASSETS, MINI, RESULTS = Path("assets"), Path("assets/mini"), Path("eval/results")


def main() -> None:
    parser = argparse.ArgumentParser(prog="eval", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], object], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text)
        added.set_defaults(run=run)
        return added

    mini = command("mini", _mini, "train the embedded model; resumes")
    mini.add_argument("--pictures", type=Path, required=True, help="folder with pretrain/ and cc0_paintings/")
    mini.add_argument("--openclipart", type=Path, help="folder with png/ and svg/ of the Open Clip Art Library")
    mini.add_argument("--work", type=Path, default=Path("runs/mini"), help="checkpoints and logs")
    mini.add_argument("--out", type=Path, default=MINI)
    mini.add_argument("--autoencoder-steps", type=int, default=4500)
    mini.add_argument("--unet-steps", type=int, default=2400)

    reconstruct = command("reconstruct", _reconstruct, "PSNR of the autoencoder; writes reconstruction.json")
    reconstruct.add_argument("folders", type=Path, nargs="+")
    reconstruct.add_argument("--model", type=Path, default=MINI)
    reconstruct.add_argument("--out", type=Path, default=RESULTS)

    embedder = command("embedder", _embedder, "convert the offline embedder's weights")
    embedder.add_argument("source", type=Path, help="efficientnet-lite0-57934424.pth")
    embedder.add_argument("--pictures", type=Path, required=True, help="folder with scikit-image's chelsea and coffee")
    embedder.add_argument("--out", type=Path, default=SHIPPED)

    examples = command("examples", _examples, "fine-tune the shipped examples")
    examples.add_argument("--openclipart", type=Path, required=True)
    examples.add_argument("--base", type=Path, default=MINI)
    examples.add_argument("--assets", type=Path, default=ASSETS)

    shipped = command("shipped", _shipped, "judge the shipped examples; writes shipped.json")
    shipped.add_argument("--assets", type=Path, default=ASSETS)
    shipped.add_argument("--out", type=Path, default=RESULTS)
    shipped.add_argument("--preset", default="fast")

    bench = command("bench", _bench, "seconds for one picture of a shipped example; writes bench.json")
    bench.add_argument("--assets", type=Path, default=ASSETS)
    bench.add_argument("--out", type=Path, default=RESULTS)

    crossed = command("crossed", _crossed, "train on either half of each concept and compare presets; resumes")
    crossed.add_argument("folders", type=Path, nargs="+", help="a folder of pictures for each artist or subject")
    crossed.add_argument("--base", type=Path, default=MINI)
    crossed.add_argument("--work", type=Path, default=Path("runs/crossed"), help="checkpoints and recoveries")
    crossed.add_argument("--out", type=Path, default=RESULTS / "crossed")
    crossed.add_argument("--worker", default="0/1", help="I/N: only the I-th (from 0) of N shares")

    membership = command("membership", _membership, "membership tests of the literature on crossed suspects; resumes")
    membership.add_argument("folders", type=Path, nargs="+", help="a folder of pictures for each artist or subject")
    membership.add_argument("--base", type=Path, default=MINI)
    membership.add_argument(
        "--work", type=Path, default=Path("runs/crossed"), help="checkpoints, shared with `crossed`"
    )
    membership.add_argument("--ledger", type=Path, default=Path("runs/membership.db"))
    membership.add_argument("--out", type=Path, default=RESULTS / "membership")
    membership.add_argument("--worker", default="0/1", help="I/N: only the I-th (from 0) of N shares")
    membership.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="NAME", help="all")
    membership.add_argument("--dry-run", action="store_true", help="say what it would cost, and stop")

    options = parser.parse_args()
    options.run(options)


def _mini(o: argparse.Namespace) -> None:
    steps = {"autoencoder_steps": o.autoencoder_steps, "unet_steps": o.unet_steps}
    train_all(o.pictures, o.openclipart, o.work, o.out, **steps)


def _reconstruct(o: argparse.Namespace) -> None:
    print(measure_reconstruction(o.model, o.folders, o.out))


def _embedder(o: argparse.Namespace) -> None:
    convert_embedder(o.source, o.pictures, o.out)


def _examples(o: argparse.Namespace) -> None:
    build_examples(o.openclipart, o.base, o.assets)


def _shipped(o: argparse.Namespace) -> None:
    measure_shipped(o.assets, o.out, o.preset)


def _bench(o: argparse.Namespace) -> None:
    print(measure_speed(o.assets, o.out))


def _crossed(o: argparse.Namespace) -> None:
    worker, workers = map(int, o.worker.split("/"))
    concepts = find_concepts(o.folders)
    run_crossed(concepts, o.base, o.work, worker, workers)
    if left := unfinished(concepts, o.work):
        print(f"{len(left)} units are left, first {left[0].name}: other workers have them, or run this again")
        return
    write_report(score_crossed(concepts, o.base, o.work, load_embedders().ready), o.out)


def _membership(o: argparse.Namespace) -> None:
    worker, workers = map(int, o.worker.split("/"))
    concepts, methods = find_concepts(o.folders), {name: METHODS[name] for name in o.methods}
    if o.dry_run:
        print(describe_plan(concepts, methods))
        return
    ledger = Ledger(o.ledger)
    run_membership(concepts, o.base, o.work, ledger, methods, worker, workers)
    rows, missing = collect(concepts, o.base, o.work, ledger, methods)
    if missing:
        print(f"{missing} of {missing + len(rows)} scores are left: other workers have them, or run this again")
        return
    write_membership(rows, o.out)


if __name__ == "__main__":
    main()
