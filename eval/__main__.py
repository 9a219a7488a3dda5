"""`python -m eval COMMAND`: the benchmark, studies with a committed result, and the recipes of everything that ships.

Each command is one line of `COMMANDS`. Its modules are imported when it is called, so that `--help` is quick and a
command needs only its own packages.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NamedTuple

from cgidm.errors import UserError


class Command(NamedTuple):
    """A command. `options` and `run` are functions, written `module:function` below `eval`."""

    help: str
    options: str
    run: str


COMMANDS = {
    # the benchmark
    "fetch": Command("download a public dataset", "options:add_fetch", "benchmark.cli:run_fetch"),
    "prepare": Command(
        "list pictures, drop near-duplicates, split; writes the manifest",
        "options:add_prepare",
        "benchmark.cli:run_prepare",
    ),
    "finetune": Command("train every suspect; resumes", "options:add_finetune", "benchmark.cli:run_finetune"),
    "score": Command("score every picture by every method; resumes", "options:add_score", "benchmark.cli:run_score"),
    "table": Command("write tables and figures from the ledger", "options:add_table", "benchmark.cli:run_table"),
    "run": Command("prepare, finetune, score, table; resumes", "options:add_run", "benchmark.cli:run_all"),
    # error rates
    "rates": Command("error rates of verdicts; resumes", "options:add_rates", "error_rates.trust:run_rates"),
    "power": Command(
        "power against steps, rank and pictures; writes the table that verdicts use; resumes",
        "options:add_power",
        "error_rates.trust:run_power",
    ),
    "mirror": Command(
        "error rates and power of the mirror test; writes its table of null scores; resumes",
        "options:add_mirror",
        "error_rates.mirror:run",
    ),
    "altered": Command(
        "judge LoRAs whose files were scaled or given noise; resumes", "options:add_altered", "error_rates.altered:run"
    ),
    "framed": Command(
        "judge suspects of buckets and of squares, framed as they were and otherwise; resumes",
        "options:add_framed",
        "error_rates.framed:run",
    ),
    "wild": Command(
        "judge LoRAs as they are met, one deviation from the laboratory at a time; resumes",
        "options:add_wild",
        "error_rates.wild.command:run",
    ),
    "directions": Command(
        "the contrast of a LoRA's aligned and weakly aligned directions, each alone; resumes",
        "options:add_directions",
        "error_rates.wild.directions:run",
    ),
    "flow-loras": Command(
        "judge LoRAs of the embedded flow model; resumes", "options:add_flow_loras", "error_rates.flow.loras:run"
    ),
    "prompts": Command(
        "judge LoRAs of the embedded flow model under right, partial, wrong and blank prompts; resumes",
        "options:add_prompts",
        "error_rates.flow.prompts:run",
    ),
    "flow-power": Command(
        "power against presentations, where in t, other methods: on the embedded flow model; resumes",
        "options:add_flow_power",
        "flow_power.command:run",
    ),
    "stacks": Command(
        "ask which LoRA of a stack knows a picture; resumes", "options:add_stacks", "error_rates.stacks:run"
    ),
    "wrong-base": Command(
        "judge suspects against another base than their own; resumes",
        "options:add_wrong_base",
        "error_rates.wrong_base:run",
    ),
    "foreign": Command(
        "error rates for suspects of another trainer; resumes", "options:add_foreign", "error_rates.foreign:run"
    ),
    "residuals": Command(
        "a bank's verdicts by residuals; reads the scores of rates",
        "options:add_residuals",
        "error_rates.banks.residuals:run",
    ),
    "bank-sizes": Command(
        "a bank's verdicts by its number of models; reads the scores of rates",
        "options:add_bank_sizes",
        "error_rates.banks.sizes:run",
    ),
    "combined": Command(
        "what the mirror test and a bank find together; reads the results of mirror and rates",
        "options:add_combined",
        "error_rates.banks.combined:run",
    ),
    "likelihood": Command(
        "likelihood ratios of the mirror test's scores; reads the results of mirror and wild",
        "options:add_likelihood",
        "error_rates.likelihood:run",
    ),
    "silence": Command(
        "what silence is worth, foretold and counted; reads the results of wild, mirror and rates",
        "options:add_silence",
        "error_rates.power.silence:run",
    ),
    "blind": Command(
        "false alarms of the blind baseline; writes blind.json", "options:add_blind", "benchmark.blind_split:run"
    ),
    "regressions": Command(
        "ask every question whose right answer is known; writes a column of regressions.md",
        "options:add_regressions",
        "regressions.retest:run",
    ),
    "reality": Command(
        "try everything on the paper's own models, and write a page of what holds; resumes",
        "options:add_reality",
        "reality.command:run",
    ),
    # studies
    "shipped": Command("judge the shipped examples; writes shipped.json", "options:add_shipped", "studies.shipped:run"),
    "mirrored": Command(
        "recover the shipped pictures and their mirror images; writes mirrored.json",
        "options:add_shipped",
        "studies.mirrored:run",
    ),
    "crossed": Command(
        "the mirror test on pictures of another kind than the base's table holds; writes crossed.json",
        "options:add_crossed",
        "studies.crossed:run",
    ),
    "masks": Command(
        "draw what comes back of halves removed differently; writes masks.jpg",
        "options:add_folders",
        "studies.masks:run",
    ),
    "flow-shipped": Command(
        "judge the embedded flow model's LoRA, with recoveries", "options:add_folders", "studies.flow_example:run"
    ),
    "banks": Command(
        "judge the shipped examples with the shipped banks; writes banks.json",
        "options:add_folders",
        "studies.banks:run",
    ),
    "generated": Command(
        "judge pictures that a suspect made; writes generated.json", "options:add_folders", "studies.generated:run"
    ),
    "robustness": Command(
        "judge altered copies, with and without a search", "options:add_folders", "studies.robustness:run"
    ),
    "resaved": Command("judge a picture that is saved anew 200 times", "options:add_folders", "studies.resaved:run"),
    "precision": Command(
        "compare verdicts in half precision with float32", "options:add_precision", "studies.precision:run"
    ),
    "merging": Command(
        "merge a LoRA into weights that bfloat16 rounds, or not", "options:add_folders", "studies.merging:run"
    ),
    "reruns": Command("repeat a recorded run in other environments", "options:add_folders", "studies.reruns:run"),
    "retraining": Command("train models of the shipped banks again", "options:add_folders", "studies.retraining:run"),
    # speed
    "fits": Command(
        "count which cards the published architectures fit; writes eval/results/memory.json",
        "memory.fits:add_options",
        "memory.fits:run_options",
    ),
    "bench": Command(
        "time and memory beside the public code; writes eval/results/bench/",
        "speed.options:add_options",
        "speed.options:run_options",
    ),
    # what ships
    "mini": Command("train the embedded model; resumes", "options:add_mini", "asset_recipes.mini:run"),
    "flow-example": Command(
        "fine-tune the embedded flow model's LoRA", "options:add_assets", "asset_recipes.flow_example:run"
    ),
    "flow": Command("train the embedded flow model; resumes", "options:add_flow", "asset_recipes.flow:run"),
    "stand-ins": Command(
        "fine-tune bases of SD 2.x's and AltDiffusion's kind from the embedded model; resumes",
        "options:add_stand_ins",
        "asset_recipes.stand_ins:run",
    ),
    "reconstruct": Command(
        "measure the autoencoder's PSNR; writes reconstruction.json",
        "options:add_reconstruct",
        "asset_recipes.reconstruct:run",
    ),
    "embedder": Command("convert the offline embedder's weights", "options:add_embedder", "asset_recipes.embedder:run"),
    "examples": Command("fine-tune the shipped examples", "options:add_examples", "asset_recipes.examples:run"),
    "reference": Command(
        "choose the reference pictures of the mirror test",
        "options:add_reference",
        "asset_recipes.reference_pictures:run",
    ),
    "example-answers": Command(
        "judge the examples whose answers ship with the page",
        "options:add_assets",
        "asset_recipes.example_answers:run",
    ),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(prog="eval", description="The benchmark, and the recipes of what ships.")
    parsers = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for name, command in COMMANDS.items():
        added = parsers.add_parser(name, help=command.help, description=command.help)
        if given[:1] == [name]:  # the others stay without options, which would need their modules
            _function(command.options)(added)
    options = parser.parse_args(given)
    try:
        _function(COMMANDS[options.command].run)(options)
    except UserError as error:
        sys.exit(f"{error}")
    except KeyboardInterrupt:
        print("\nStopped. Finished work is kept: run the same command again to go on.", flush=True)
        os._exit(130)  # workers follow at once; a normal exit would wait until their jobs are done


def _function(name: str) -> Callable[..., Any]:
    module, function = name.split(":")
    return getattr(import_module(f"eval.{module}"), function)


if __name__ == "__main__":
    main()
