"""Options of the commands. Nothing heavy is imported, so that each command's `--help` is quick."""

import argparse
import os
from pathlib import Path

from cgidm.resources import base_folder, embedder_file, resource_root

RESULTS = Path("eval/results")


def add_assets(parser: argparse.ArgumentParser) -> None:
    """Add `--assets`."""
    parser.add_argument("--assets", type=Path, default=resource_root(), help="folder of what ships (default: assets)")


def add_folders(parser: argparse.ArgumentParser) -> None:
    """Add `--assets` and `--out`, which every study has."""
    add_assets(parser)
    _add_out(parser)


def add_shipped(parser: argparse.ArgumentParser) -> None:
    """Add the options of `shipped`."""
    add_folders(parser)
    parser.add_argument("--preset", default="fast", help="preset of the recovery (default: fast)")


def add_regressions(parser: argparse.ArgumentParser) -> None:
    """Add the options of `regressions`."""
    add_folders(parser)
    parser.add_argument(
        "--case", action="append", default=[], metavar="ID", help="judge this case alone; the others stay (repeatable)"
    )


def add_precision(parser: argparse.ArgumentParser) -> None:
    """Add the options of `precision`."""
    add_folders(parser)
    text = "precisions to compare with float32, comma-separated (default: bfloat16,float16)"
    parser.add_argument("--precisions", default="bfloat16,float16", help=text)
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--pictures", type=int, help="number of pictures of each folder (default: all)")


def add_blind(parser: argparse.ArgumentParser) -> None:
    """Add the options of `blind`."""
    parser.add_argument("folders", type=Path, nargs=2, help="two kinds of pictures, such as photos and paintings")
    _add_out(parser)


def add_mini(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mini`."""
    parser.add_argument("--pictures", type=Path, required=True, help="folder with pretrain/ and cc0_paintings/")
    parser.add_argument("--openclipart", type=Path, help="folder with png/ and svg/ of the Open Clip Art Library")
    parser.add_argument("--work", type=Path, default=Path("runs/mini"), help="folder of checkpoints and logs")
    parser.add_argument("--out", type=Path, default=base_folder(), help="folder of the model")
    parser.add_argument("--autoencoder-steps", type=int, default=4500, help="training steps of the autoencoder")
    parser.add_argument("--unet-steps", type=int, default=2400, help="training steps of the denoiser")


def add_flow(parser: argparse.ArgumentParser) -> None:
    """Add the options of `flow`."""
    parser.add_argument("--pictures", type=Path, required=True, help="folder with pretrain/ and cc0_paintings/")
    parser.add_argument("--openclipart", type=Path, help="folder with png/ and svg/ of the Open Clip Art Library")
    parser.add_argument("--vae", type=Path, default=base_folder() / "vae", help="folder of the autoencoder")
    parser.add_argument("--work", type=Path, default=Path("runs/flow"), help="folder of checkpoints and logs")
    parser.add_argument("--out", type=Path, default=base_folder().parent / "mini-flow", help="folder of the model")
    parser.add_argument("--transformer-steps", type=int, default=3100, help="training steps of the transformer")


def add_flow_loras(parser: argparse.ArgumentParser) -> None:
    """Add the options of `flow-loras`."""
    parser.add_argument("--base", type=Path, default=base_folder().parent / "mini-flow", help="folder of the model")
    parser.add_argument("--data", type=Path, required=True, help="folder of the pictures, a folder for each artist")
    text = "recipes, each with the number of artists (default: as in the docs)"
    parser.add_argument("--recipes", default="sigmoid:12;shift:6;sigmoid, 20 presentations:6", help=text)
    parser.add_argument("--work", type=Path, default=Path("runs/flow-loras"), help="folder of LoRAs and scores")
    parser.add_argument("--out", type=Path, default=RESULTS / "mini-flow", help="folder of the results")


def add_stand_ins(parser: argparse.ArgumentParser) -> None:
    """Add the options of `stand-ins`."""
    parser.add_argument("--pictures", type=Path, required=True, help="folder with pretrain/ and cc0_paintings/")
    parser.add_argument("--openclipart", type=Path, help="folder with png/ and svg/ of the Open Clip Art Library")
    parser.add_argument("--base", type=Path, default=base_folder(), help="folder of the base model")
    parser.add_argument("--work", type=Path, default=Path("runs/stand-ins"), help="folder of the models")
    parser.add_argument("--v-steps", type=int, default=160, help="training steps of the model that predicts v")
    parser.add_argument("--alt-steps", type=int, default=120, help="training steps of the one of AltDiffusion's kind")
    parser.add_argument("--out", type=Path, default=RESULTS / "mini", help="folder of stand-ins.json")


def add_prompts(parser: argparse.ArgumentParser) -> None:
    """Add the options of `prompts`."""
    parser.add_argument("--base", type=Path, default=base_folder().parent / "mini-flow", help="folder of the model")
    parser.add_argument("--data", type=Path, required=True, help="folder of the pictures, a folder for each artist")
    parser.add_argument("--artists", type=count, default=8, help="so many, drawn by lot (default: 8)")
    parser.add_argument("--presentations", type=count, default=5, help="of each picture in training (default: 5)")
    parser.add_argument("--work", type=Path, default=Path("runs/prompts"), help="folder of LoRAs and scores")
    parser.add_argument("--out", type=Path, default=RESULTS / "mini-flow", help="folder of the results")


def add_flow_power(parser: argparse.ArgumentParser) -> None:
    """Add the options of `flow-power`."""
    parser.add_argument("--base", type=Path, default=base_folder().parent / "mini-flow", help="folder of the model")
    parser.add_argument("--data", type=Path, required=True, help="folder of the pictures, a folder for each artist")
    parser.add_argument("--work", type=Path, default=Path("runs/flow-power"), help="folder of LoRAs and scores")
    parser.add_argument("--artists", type=int, default=6, help="number of artists (default: 6, all there are)")
    text = "other methods to ask, comma-separated (default: as in the docs)"
    parser.add_argument("--methods", default="loss,pia,sima,secmi,clid,pfami,cgidm", help=text)
    parser.add_argument("--out", type=Path, default=RESULTS / "mini-flow", help="folder of the results")


def add_reconstruct(parser: argparse.ArgumentParser) -> None:
    """Add the options of `reconstruct`."""
    parser.add_argument("folders", type=Path, nargs="+", help="folders of JPEG pictures")
    parser.add_argument("--model", type=Path, default=base_folder(), help="folder of the model")
    _add_out(parser)


def add_embedder(parser: argparse.ArgumentParser) -> None:
    """Add the options of `embedder`."""
    parser.add_argument("source", type=Path, help="efficientnet-lite0-57934424.pth")
    parser.add_argument("--pictures", type=Path, required=True, help="folder with scikit-image's chelsea and coffee")
    parser.add_argument("--out", type=Path, default=embedder_file(), help="file to write")


def add_examples(parser: argparse.ArgumentParser) -> None:
    """Add the options of `examples`."""
    parser.add_argument("--openclipart", type=Path, required=True, help="folder of the Open Clip Art Library")
    parser.add_argument("--base", type=Path, default=base_folder(), help="folder of the base model")
    add_assets(parser)


def add_fetch(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fetch`."""
    parser.add_argument("dataset", choices=("dreambooth", "wikiart"), help="which dataset")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the datasets (default: data)")


def add_prepare(parser: argparse.ArgumentParser) -> None:
    """Add the options of `prepare`."""
    _add_experiment(parser)


def add_finetune(parser: argparse.ArgumentParser) -> None:
    """Add the options of `finetune`."""
    _add_experiment(parser)
    _add_engine(parser)


def add_score(parser: argparse.ArgumentParser) -> None:
    """Add the options of `score`."""
    add_finetune(parser)


def add_table(parser: argparse.ArgumentParser) -> None:
    """Add the options of `table`."""
    _add_experiment(parser)
    _add_report_folder(parser)


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add the options of `run`."""
    add_finetune(parser)
    _add_report_folder(parser)
    parser.add_argument("--dry-run", action="store_true", help="print the cost, and stop")


def add_rates(parser: argparse.ArgumentParser) -> None:
    """Add the options of `rates`."""
    parser.add_argument("experiment", help="name of a preset (eval/presets), or a .json file")
    _add_report_folder(parser)
    _add_work(parser)
    _add_workers(parser)


def add_power(parser: argparse.ArgumentParser) -> None:
    """Add the options of `power`."""
    parser.add_argument("experiments", nargs="+", help="names of presets, or .json files, with the same base")
    parser.add_argument("--held-out", help="an experiment of other artists, to count outcomes with the table")
    parser.add_argument("--out", type=Path, default=resource_root() / "detectability.json", help="the table")
    parser.add_argument("--report", type=Path, default=RESULTS / "mini" / "power.md", help="the table as Markdown")
    _add_work(parser)
    _add_workers(parser)


def add_mirror(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mirror`."""
    parser.add_argument("experiments", nargs="+", help="names of presets, or .json files, with the same base")
    parser.add_argument("--unused", nargs="*", default=[], help="experiments whose scores do not enter the table")
    parser.add_argument("--reference", type=int, default=6, help="suspects of each training scored on them")
    parser.add_argument("--out", type=Path, default=RESULTS / "mini" / "mirror", help="folder of the results")
    made = parser.add_mutually_exclusive_group()
    made.add_argument("--table", type=Path, help="write the table of null scores: assets/mirror_nulls.json")
    made.add_argument("--nulls", type=Path, help="judge by the null scores of this table instead of making one")
    _add_work(parser)
    _add_workers(parser)


def add_altered(parser: argparse.ArgumentParser) -> None:
    """Add the options of `altered`."""
    parser.add_argument("experiment", help="name of a preset, or a .json file; its LoRAs are altered")
    parser.add_argument("--suspects", type=count, help="so many, drawn by the hash of their names (default: all)")
    parser.add_argument("--out", type=Path, default=RESULTS / "mini" / "altered", help="folder of the results")
    _add_work(parser)
    _add_workers(parser)


def add_framed(parser: argparse.ArgumentParser) -> None:
    """Add the options of `framed`."""
    parser.add_argument("experiments", nargs="+", help="names of presets, or .json files; one has suspects of buckets")
    parser.add_argument("--trainings", nargs="+", default=["lora"], help="which trainings (default: lora)")
    parser.add_argument("--halves", type=int, choices=(1, 2), default=1, help="suspects of each artist (default: 1)")
    parser.add_argument("--artists", type=count, help="so many, drawn by lot (default: all)")
    parser.add_argument("--out", type=Path, default=RESULTS / "mini" / "framed", help="folder of the results")
    _add_work(parser)
    _add_workers(parser)


def add_wild(parser: argparse.ArgumentParser) -> None:
    """Add the options of `wild`."""
    parser.add_argument("experiments", nargs="+", help="names of presets, or .json files")
    parser.add_argument("--suspects", type=count, default=6, help="suspects of each row (default: 6)")
    parser.add_argument("--out", type=Path, default=RESULTS / "mini" / "wild", help="folder of the results")
    _add_work(parser)
    _add_workers(parser)


def add_directions(parser: argparse.ArgumentParser) -> None:
    """Add the options of `directions`."""
    parser.add_argument("experiment", help="name of a preset, or a .json file; one LoRA of each artist is split")
    parser.add_argument("--out", type=Path, default=RESULTS / "mini" / "directions", help="folder of the results")
    _add_work(parser)
    _add_workers(parser)


def add_stacks(parser: argparse.ArgumentParser) -> None:
    """Add the options of `stacks`."""
    parser.add_argument("experiment", help="name of a preset, or a .json file; its LoRAs are put together")
    parser.add_argument("--stacks", type=count, default=20, help="so many stacks of three (default: 20)")
    parser.add_argument("--out", type=Path, default=RESULTS / "mini" / "stacks", help="folder of the results")
    _add_work(parser)
    _add_workers(parser)


def add_wrong_base(parser: argparse.ArgumentParser) -> None:
    """Add the options of `wrong-base`."""
    parser.add_argument("experiment", help="name of a preset, or a .json file; its LoRAs are judged")
    parser.add_argument("--suspects", type=count, default=4, help="artists, drawn by lot (default: 4)")
    parser.add_argument("--out", type=Path, default=RESULTS / "mini" / "wrong-base", help="folder of the results")
    _add_work(parser)
    _add_workers(parser)


def add_foreign(parser: argparse.ArgumentParser) -> None:
    """Add the options of `foreign`."""
    parser.add_argument("experiment", help="name of a preset, or a .json file, whose artists are taken")
    parser.add_argument("--out", type=Path, default=RESULTS / "mini" / "foreign", help="folder of the results")
    _add_work(parser)
    _add_workers(parser)


def add_residuals(parser: argparse.ArgumentParser) -> None:
    """Add the options of `residuals`."""
    text = "folders of results of `eval rates`, of one base (default: those of the embedded model)"
    parser.add_argument("--rates", type=Path, nargs="+", default=[], help=text)
    parser.add_argument("--out", type=Path, default=RESULTS / "mini" / "residuals", help="folder of the results")
    parser.add_argument("--table", type=Path, help="also write the table of residuals that verdicts use")


def add_bank_sizes(parser: argparse.ArgumentParser) -> None:
    """Add the option of `bank-sizes`."""
    parser.add_argument("--out", type=Path, default=RESULTS / "mini" / "bank-sizes", help="folder of the results")


def add_combined(parser: argparse.ArgumentParser) -> None:
    """Add the options of `combined`."""
    parser.add_argument("--out", type=Path, default=RESULTS / "mini" / "combined", help="folder of the results")


def add_likelihood(parser: argparse.ArgumentParser) -> None:
    """Add the options of `likelihood`."""
    mini = RESULTS / "mini"
    parser.add_argument("--mirror", type=Path, default=mini / "mirror", help="results of `eval mirror`")
    parser.add_argument("--wild", type=Path, default=mini / "wild", help="results of `eval wild`")
    parser.add_argument("--nulls", type=Path, default=resource_root() / "mirror_nulls.json", help="its null scores")
    parser.add_argument("--out", type=Path, default=mini / "likelihood", help="folder of the results")
    parser.add_argument("--table", type=Path, help="also write the table of ratios that verdicts use")


def add_silence(parser: argparse.ArgumentParser) -> None:
    """Add the options of `silence`."""
    parser.add_argument("--results", type=Path, default=RESULTS / "mini", help="results of wild, mirror and rates")
    parser.add_argument("--power", type=Path, default=resource_root() / "detectability.json", help="table of `power`")
    parser.add_argument("--out", type=Path, default=RESULTS / "mini" / "silence", help="folder of the results")
    parser.add_argument("--table", action="store_true", help="also write what verdicts look up into that table")


def add_crossed(parser: argparse.ArgumentParser) -> None:
    """Add the options of `crossed`."""
    add_shipped(parser)
    parser.add_argument(
        "--data", type=Path, help="pictures of painters, to be judged as well; trains two LoRAs of them"
    )
    parser.add_argument("--work", type=Path, default=Path("runs"), help="working folder of these LoRAs")


def add_reference(parser: argparse.ArgumentParser) -> None:
    """Add the options of `reference`."""
    parser.add_argument("--openclipart", type=Path, required=True, help="folder of the Open Clip Art Library")
    parser.add_argument("--photographs", type=Path, required=True, help="folder of photographs that may be shipped")
    parser.add_argument("--out", type=Path, default=resource_root() / "reference", help="folder of the pictures")


def add_reality(parser: argparse.ArgumentParser) -> None:
    """Add the options of `reality`."""
    parser.add_argument("--check", action="store_true", help="say what is missing, and compute nothing")
    parser.add_argument("--stages", metavar="NAMES", help="stages, comma-separated (default: all)")
    parser.add_argument("--out", type=Path, default=Path("runs/reality"), help="folder of the results; resumes")
    parser.add_argument("--plan", type=Path, help="another plan (default: eval/reality/plan.json)")
    parser.add_argument("--price", type=float, help="of an hour of this machine: the estimate states the cost")
    _add_engine(parser)


def count(text: str) -> int:
    """Parse a whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, got {text!r}")
    return int(text)


def _add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the result (default: eval/results)")


def _add_experiment(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("experiment", help="name of a preset (eval/presets), or a .json file")
    _add_work(parser)


def _add_work(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the datasets (default: data)")
    parser.add_argument("--work", type=Path, default=Path("runs"), help="folder of intermediate files (default: runs)")


def _add_workers(parser: argparse.ArgumentParser) -> None:
    text = "number of processes, one thread each (default: the cores; 1 with a GPU)"
    parser.add_argument("--workers", type=count, help=text)


def _add_engine(parser: argparse.ArgumentParser) -> None:
    _add_workers(parser)
    parser.add_argument("--engine", choices=("local", "ray"), default="local", help="who runs the jobs")
    parser.add_argument("--address", help="address of a Ray cluster (default: start one on this machine)")


def _add_report_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, help="folder of tables and figures (default: below eval/results)")


def default_workers() -> int:
    """Return the number of cores; 1 where a GPU is used, since every worker would take one."""
    import torch

    return 1 if torch.cuda.is_available() else os.cpu_count() or 1
