"""`cgidm bank`: train null models on halves of an artist's pictures and write a bank that verdicts can use."""

import argparse
from pathlib import Path

RECIPE_OPTIONS = (
    ("images", int, "training pictures per model"),
    ("rank", int, "rank of a LoRA"),
    ("steps-per-picture", int, "presentations of each training picture"),
    ("batch", int, "batch size"),
    ("learning-rate", float, "learning rate"),
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
    parser.add_argument("--prompt", default="sks style", help="training prompt")
    parser.add_argument("--class-prompt", default="art style", help="prompt of DreamBooth's prior loss")
    parser.add_argument("--models", type=int, default=8, help="number of models to train (two per random split)")
    parser.add_argument("--out", type=Path, required=True, metavar="BANK", help="folder of the bank; resumes")
    parser.add_argument("--mode", choices=("lora", "dreambooth", "dreambooth-prior"), help="kind of training")
    for name, kind, text in RECIPE_OPTIONS:
        parser.add_argument(f"--{name}", type=kind, help=f"{text} (default: as the suspect's)")


def make_bank(options: argparse.Namespace) -> None:
    """Run the command. The trainer is imported here, so that `--help` is quick."""
    from ..intake.layout import open_checkpoint
    from ..judging.null_bank import FILE
    from .null_models import BankPlan, build_bank
    from .recipe_reader import read_recipe

    names = ("mode", *(name.replace("-", "_") for name, _, _ in RECIPE_OPTIONS))
    given = {n: v for n in names if (v := getattr(options, n)) is not None}
    recipe = read_recipe(open_checkpoint(options.suspect) if options.suspect else None, given)
    plan = BankPlan(
        base=options.base,
        folders=tuple(options.pictures),
        decoys=options.decoys,
        prompt=options.prompt,
        class_prompt=options.class_prompt,
        models=options.models,
        out=options.out,
        images=recipe.images,
    )
    settings = ", ".join(f"{k} {v}" for k, v in recipe.training.model_dump(exclude_none=True).items())
    print(f"recipe: {settings}; from " + ("; ".join(f"{k}: {v}" for k, v in recipe.sources.items()) or "the defaults"))
    bank = build_bank(plan, recipe, options.suspect, print)
    counts = f"{len(bank.models)} models, {len(bank.pictures)} pictures, {len(bank.nulls)} null scores"
    print(f"{options.out / FILE}: {counts}")
