"""`cgidm bank`: train null models on halves of an artist's pictures and write a bank that verdicts can use."""

import argparse
from pathlib import Path
from typing import Any

from ..messages.text import print_line

PROMPT = "sks style"
RECIPE_OPTIONS = (
    ("images", int, "training pictures per model"),
    ("rank", int, "rank of a LoRA"),
    ("steps-per-picture", int, "presentations of each training picture"),
    ("batch", int, "batch size"),
    ("learning-rate", float, "learning rate"),
    ("alpha", float, "alpha of a LoRA"),
    ("text-learning-rate", float, "learning rate of a LoRA's text encoder"),
    ("restarts", int, "cycles of cosine_with_restarts"),
    ("warmup", float, "share of the steps in which the learning rate rises"),
    ("caption-dropout", float, "share of the presentations without a caption"),
    ("noise-offset", float, "noise offset"),
    ("min-snr", float, "gamma of Min-SNR"),
)
CHOICES = (  # as `settings` has them, which is not imported so that --help is quick; a test compares
    ("adapter", ("lora", "dora", "loha", "lokr"), "kind of adapter"),
    ("layers", ("all", "everything", "transformer", "attention"), "layers that an adapter changes"),
    ("optimizer", ("adamw", "adamw8bit", "lion", "prodigy"), "optimiser"),
    ("schedule", ("constant", "linear", "cosine", "cosine_with_restarts"), "schedule of the learning rate"),
    ("times", ("uniform", "sigmoid", "u-shaped", "shift"), "law of the diffusion time"),
    ("defence", ("flip", "cutout", "randaugment"), "augmentation; flip is what trainers call flips"),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument(
        "pictures", type=Path, nargs="+", metavar="FOLDER", help="the artist's pictures, those in question among them"
    )
    parser.add_argument("--base", required=True, help="the public base model, as for `cgidm authenticate`")
    parser.add_argument("--suspect", help="the suspect: null models follow what its file says of its training")
    parser.add_argument(
        "--decoys", type=Path, metavar="FOLDER", help="train on these pictures by other artists instead"
    )
    parser.add_argument(
        "--fillers",
        type=Path,
        metavar="FOLDER",
        help="train on these pictures by other hands besides, up to the number of the suspect's pictures",
    )
    parser.add_argument(
        "--captions", action="store_true", help="read each picture's caption from the .txt file beside it"
    )
    parser.add_argument("--prompt", help="training prompt (default: sks style; the word of a textual inversion)")
    parser.add_argument("--initial-word", help="word that a textual inversion starts from (default: art)")
    parser.add_argument("--class-prompt", default="art style", help="prompt of DreamBooth's prior loss")
    parser.add_argument("--models", type=int, default=8, help="number of models to train (two per random split)")
    parser.add_argument("--out", type=Path, required=True, metavar="BANK", help="folder of the bank; resumes")
    parser.add_argument("--mode", choices=("lora", "dreambooth", "dreambooth-prior"), help="kind of training")
    for name, kind, text in RECIPE_OPTIONS:
        parser.add_argument(f"--{name}", type=kind, help=f"{text} (default: as the suspect's)")
    for name, choices, text in CHOICES:
        parser.add_argument(f"--{name}", choices=choices, help=f"{text} (default: as the suspect's)")
    parser.add_argument(
        "--text-encoder",
        action=argparse.BooleanOptionalAction,
        help="whether a LoRA changes the text encoder (default: as the suspect's)",
    )


def make_bank(options: argparse.Namespace) -> None:
    """Run the command. The trainer is imported here, so that `--help` is quick."""
    from ..intake.civitai.client import read_key
    from ..intake.layout import open_checkpoint
    from ..judging.banks.null_bank import FILE
    from ..pictures.folders import skipped_file_notes
    from .null_models import BankPlan, build_bank
    from .recipe_reader import read_recipe
    from .settings import settings_to_table
    from .trainable import check_trainable

    listed = (name.replace("-", "_") for name, _, _ in (*RECIPE_OPTIONS, *CHOICES))
    names = ("mode", "text_encoder", "initial_word", *listed)
    given: dict[str, Any] = {n: v for n in names if (v := getattr(options, n)) is not None}
    if options.captions:
        given["tags"] = ()  # captions beside the pictures take their place
    suspect = open_checkpoint(options.suspect, civitai_key=read_key()) if options.suspect else None
    check_trainable(open_checkpoint(options.base, "base model"), suspect)
    recipe = read_recipe(suspect, given)
    plan = BankPlan(
        base=options.base,
        folders=tuple(options.pictures),
        decoys=options.decoys,
        prompt=(recipe.training.word or PROMPT) if options.prompt is None else options.prompt,
        class_prompt=options.class_prompt,
        models=options.models,
        out=options.out,
        images=recipe.images,
        fillers=options.fillers,
        captions=options.captions,
    )
    settings = ", ".join(f"{k} {v}" for k, v in settings_to_table(recipe.training).items() if v is not None)
    sources = "; ".join(f"{k}: {v}" for k, v in recipe.sources.items()) or "the defaults"
    print_line(f"recipe: {settings}; from {sources}")
    for folder in (*plan.folders, plan.decoys, plan.fillers):
        for skipped in skipped_file_notes(folder) if folder is not None and folder.is_dir() else ():
            print_line(skipped)
    bank = build_bank(plan, recipe, options.suspect, print_line)
    counts = f"{len(bank.models)} models, {len(bank.pictures)} pictures, {len(bank.nulls)} null scores"
    print_line(f"{options.out / FILE}: {counts}")
    size = sum((options.out / m.folder / name).stat().st_size for m in bank.models for name in m.sha256)
    print_line(
        f"weights of the {len(bank.models)} models are kept there, {size / len(bank.models) / 1e6:.1f} MB each: "
        "keep them, with the pictures, for whoever checks the bank with `cgidm verify --retrain`"
    )
