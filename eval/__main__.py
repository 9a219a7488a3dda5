"""`python -m eval COMMAND`: the benchmark, and the recipes of the embedded model and its examples."""

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from cgidm.errors import UserError
from cgidm.pictures.embedders import load_embedders
from cgidm.resources import embedder_file
from eval.asset_recipes.embedder import convert_embedder
from eval.asset_recipes.example_answers import write_beforehand
from eval.asset_recipes.examples import build_examples
from eval.asset_recipes.mini import train_all
from eval.asset_recipes.reconstruct import measure_reconstruction
from eval.benchmark.blind_split import measure_blind
from eval.benchmark.cli import register
from eval.benchmark.ledger import LedgerError
from eval.error_rates import null_bank as nullbank
from eval.error_rates import trust
from eval.speed import options as speed
from eval.studies.banks import banks_table, measure_banks
from eval.studies.generated import measure_generated
from eval.studies.merging import measure_merging, merging_table
from eval.studies.precision import measure_precision, precision_table
from eval.studies.reruns import measure_reruns, reruns_table
from eval.studies.robustness import measure_robustness, robustness_table
from eval.studies.shipped import measure_shipped

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
    embedder.add_argument("--out", type=Path, default=embedder_file())

    examples = command("examples", _examples, "fine-tune the shipped examples")
    examples.add_argument("--openclipart", type=Path, required=True)
    examples.add_argument("--base", type=Path, default=MINI)
    examples.add_argument("--assets", type=Path, default=ASSETS)

    shipped = command("shipped", _shipped, "judge the shipped examples; writes shipped.json")
    shipped.add_argument("--assets", type=Path, default=ASSETS)
    shipped.add_argument("--out", type=Path, default=RESULTS)
    shipped.add_argument("--preset", default="fast")

    banks = command("banks", _banks, "judge the shipped examples with the shipped banks; writes banks.json")
    banks.add_argument("--assets", type=Path, default=ASSETS)
    banks.add_argument("--out", type=Path, default=RESULTS)

    beforehand = command("beforehand", _beforehand, "the answers that ship with the page")
    beforehand.add_argument("--assets", type=Path, default=ASSETS)

    precision = command("precision", _precision, "how far verdicts in half precision agree with float32")
    precision.add_argument("--assets", type=Path, default=ASSETS)
    precision.add_argument("--out", type=Path, default=RESULTS)
    precision.add_argument("--precisions", default="bfloat16,float16", help="to compare with float32")
    precision.add_argument("--device", default="cpu")
    precision.add_argument("--pictures", type=int, help="the first of each folder; default: all")

    merging = command("merging", _merging, "whether a LoRA may be added to weights that bfloat16 rounds")
    merging.add_argument("--assets", type=Path, default=ASSETS)
    merging.add_argument("--out", type=Path, default=RESULTS)

    reruns = command("reruns", _reruns, "how far a repeated run is from the recorded one, elsewhere")
    reruns.add_argument("--assets", type=Path, default=ASSETS)
    reruns.add_argument("--out", type=Path, default=RESULTS)

    robustness = command("robustness", _robustness, "copies of pictures, with and without a search over views")
    robustness.add_argument("--assets", type=Path, default=ASSETS)
    robustness.add_argument("--out", type=Path, default=RESULTS)

    speed.add_options(command("bench", speed.run_options, speed.HELP))

    bank = command("nullbank", nullbank.run_options, "train null models of a maker's pictures; resumes")
    nullbank.add_options(bank)

    trust.register(command)

    generated = command("generated", _generated, "what is said of pictures that a suspect made; writes generated.json")
    generated.add_argument("--assets", type=Path, default=ASSETS)
    generated.add_argument("--out", type=Path, default=RESULTS)

    blind = command("blind", _blind, "how often the blind baseline trips, on two folders; writes blind.json")
    blind.add_argument("folders", type=Path, nargs=2, help="two kinds of pictures, such as photos and paintings")
    blind.add_argument("--out", type=Path, default=RESULTS)

    register(command)

    options = parser.parse_args()
    try:
        options.run(options)
    except (UserError, LedgerError) as error:
        sys.exit(f"{error}")
    except KeyboardInterrupt:
        print("\nStopped. Nothing that was finished is lost: run the same command again to go on.", flush=True)
        os._exit(130)  # workers follow at once; a normal exit would wait until their jobs are done


def _mini(o: argparse.Namespace) -> None:
    steps = {"autoencoder_steps": o.autoencoder_steps, "unet_steps": o.unet_steps}
    train_all(o.pictures, o.openclipart, o.work, o.out, **steps)


def _reconstruct(o: argparse.Namespace) -> None:
    print(measure_reconstruction(o.model, o.folders, o.out))


def _embedder(o: argparse.Namespace) -> None:
    convert_embedder(o.source, o.pictures, o.out)


def _examples(o: argparse.Namespace) -> None:
    build_examples(o.openclipart, o.base, o.assets)


def _beforehand(o: argparse.Namespace) -> None:
    print("\n".join(map(str, write_beforehand(o.assets))))


def _precision(o: argparse.Namespace) -> None:
    report = measure_precision(o.assets, o.out, o.precisions.split(","), o.device, o.pictures)
    print(precision_table(report), end="")


def _merging(o: argparse.Namespace) -> None:
    print(merging_table(measure_merging(o.assets, o.out)), end="")


def _reruns(o: argparse.Namespace) -> None:
    print(reruns_table(measure_reruns(o.assets, o.out)), end="")


def _robustness(o: argparse.Namespace) -> None:
    print(robustness_table(measure_robustness(o.assets, o.out)), end="")


def _shipped(o: argparse.Namespace) -> None:
    measure_shipped(o.assets, o.out, o.preset)


def _banks(o: argparse.Namespace) -> None:
    print(banks_table(measure_banks(o.assets, o.out)), end="")


def _generated(o: argparse.Namespace) -> None:
    print(json.dumps(measure_generated(o.assets, o.out), indent=1))


def _blind(o: argparse.Namespace) -> None:
    report = measure_blind(tuple(o.folders), load_embedders().ready["efficientnet_lite0"])
    o.out.mkdir(parents=True, exist_ok=True)
    (o.out / "blind.json").write_text(json.dumps(report, indent=2) + "\n")
    print(report)


if __name__ == "__main__":
    main()
