"""Write the tables of numbers in README and docs from committed results, between marks.

python -m scripts.render_docs            # write them
python -m scripts.render_docs --check    # say which differ; exit code 1 if one does
python -m scripts.render_docs --formats  # also measure the table of formats anew (minutes)
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from cgidm.resources import reference_files
from eval.analysis.paper_comparison import overview
from eval.analysis.paper_numbers import numbers
from eval.analysis.rivals import measure_rivals, rivals_table
from eval.benchmark.leaderboard import leaderboard_table
from eval.error_rates.altered import rates_table as altered_rates
from eval.error_rates.banks.combined import combined_table, series_table, sets_table
from eval.error_rates.banks.residuals import RANKINGS, residuals_table
from eval.error_rates.banks.sizes import sizes_table
from eval.error_rates.flow.loras import flow_tables
from eval.error_rates.flow.prompts import prompt_tables
from eval.error_rates.foreign import foreign_table
from eval.error_rates.framed import framed_table
from eval.error_rates.likelihood import calibration_table, rows_table
from eval.error_rates.power.silence import curves_table, silence_table, trainings_table
from eval.error_rates.stacks import stacks_table
from eval.error_rates.wild.command import missed_text, wild_table
from eval.error_rates.wild.directions import directions_table
from eval.error_rates.wrong_base import wrong_base_table
from eval.flow_power.report import power_tables
from eval.memory.fits import table as fits_table
from eval.regressions.retest import read_cases, regression_table
from eval.speed.repeats import FOLDER, runs_section
from eval.speed.tables import read_reports, readme_section
from eval.studies.banks import banks_table
from eval.studies.crossed import crossed_table, features_table
from eval.studies.mirrored import mirrored_table
from eval.studies.resaved import spread_table
from eval.studies.retraining import retraining_table
from eval.studies.robustness import copies_table

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "eval" / "results"
DATASETS = ("wikiart", "dreambooth")
TRAININGS = ("dreambooth-prior", "dreambooth", "lora")
TABLE1_ROWS = {
    "**CGI-DM**, alignment on the removed cells": ("cgidm", "removed_alignment"),
    "CGI-DM, cosine on the removed cells": ("cgidm", "removed_cosine"),
    "CGI-DM, EfficientNet-Lite0 on the picture": ("cgidm", "efficientnet_lite0"),
    "text2img, EfficientNet-Lite0": ("text2img", "efficientnet_lite0"),
    "inpainting (DDNM), EfficientNet-Lite0": ("ddnm", "efficientnet_lite0"),
    "img2img, EfficientNet-Lite0": ("img2img", "efficientnet_lite0"),
    "loss of the suspect alone": ("loss", "suspect"),
    "loss against the base, one time step": ("loss", "contrast"),
    "`loss_contrast` (the control test)": ("loss_contrast", "contrast"),
    "SecMI against the base": ("secmi", "contrast"),
    "PIA against the base": ("pia", "contrast"),
    "PFAMI against the base": ("pfami", "contrast"),
    "SimA against the base": ("sima", "contrast"),
    "CLiD against the base": ("clid", "contrast"),
}
KINDS = ("lora", "dreambooth")
REFERENCES = len(reference_files())


def render_wild(report: Mapping[str, Any]) -> str:
    """LoRAs as they are met, and what falls short."""
    return f"{wild_table(report)}\n\n{missed_text(report)}\n"


def render_table1() -> str:
    """AUC of the chosen rows, a column for each dataset and training."""
    summary = _read("mini/table1/summary.json")
    cells = {(e["dataset"], e["training"], e["method"], e["measure"]): e for e in summary["trained"]}
    places = [(d, t) for d in DATASETS for t in TRAININGS]
    rows = []
    for name, pair in TABLE1_ROWS.items():
        row = [cells[(*place, *pair)] for place in places]
        rows.append([name, row[0]["evaluations"], *(f"{cell['auc']:.3f}" for cell in row)])
    return _table(["AUC", "evaluations", *(f"{d}, {t}" for d, t in places)], rows)


def render_rivals() -> str:
    """Newer membership tests beside ours, on the suspects of `mini-rivals`."""
    return rivals_table(measure_rivals(pd.read_parquet(RESULTS / "mini/rivals/scores.parquet")))


def render_summary() -> str:
    """The rows of the README: the control test by scores, and by residuals."""
    found = _read("mini/residuals/residuals.json")["rows"]
    own = [next(r for r in found if r["training"] == kind and r["ranking"] == RANKINGS[1]) for kind in KINDS]
    residuals = [
        [f"{what}, by residuals of three null models", *(_percent(r[name]["share"], 1) for r in own)]
        for what, name in (("unused pictures called used", "false calls"), ("used pictures called used", "power"))
    ]
    return _table(["", "LoRA", "DreamBooth"], [*(_rate_rows()[i] for i in (0, 1, 2, 3, 4, 6)), *residuals])


def render_rates() -> str:
    """Error rates of single pictures and of sets."""
    return _table(["", "LoRA", "DreamBooth"], _rate_rows())


def _rate_rows() -> list[list[str]]:
    report = _read("mini/rates/rates.json")
    kinds = [report["pictures"][kind] for kind in KINDS]
    sets = [[p for p in report["portfolios"] if p["training"] == kind] for kind in KINDS]

    def row(name: str, cell: Callable[[Any], str], values: Any = kinds) -> list[str]:
        return [name, *(cell(v) for v in values)]

    foreign = "called, holdouts, against pictures of other makers"
    return [
        row("unused pictures that have p <= 0.05", lambda k: _share(k["p at or below the level"], interval=True)),
        row("unused pictures called used", lambda k: _percent(k["called, holdouts"]["share"], 1)),
        row("used pictures called used", lambda k: _percent(k["called, members"]["share"], 0)),
        row("null p-values uniform? (Kolmogorov-Smirnov)", lambda k: f"p = {k['uniformity']['p_value']:.2f}"),
        row("unused pictures called used against works of *other* artists", lambda k: _share(k[foreign])),
        row("sets of ten, 0 to 100 % used: number within its bounds", _bounds, sets),
        row("sets of which nothing was used, called", lambda s: f"{s[0]['called']} of {s[0]['repeats']}", sets),
    ]


def _bounds(portfolios: list[dict[str, Any]]) -> str:
    return ", ".join(str(p["covered"]) for p in portfolios) + f" of {portfolios[0]['repeats']} each"


def render_power() -> str:
    """Used pictures found, by how often each of ten was presented in training; LoRAs of rank 16."""
    rows = json.loads((ROOT / "assets" / "detectability.json").read_text(encoding="utf-8"))[0]["rows"]
    found = {
        (row["kind"], row["steps_per_picture"]): _percent(row["power"], 0)
        for row in rows
        if row["images"] == 10 and row["rank"] in (None, 16)
    }
    counts = sorted({steps for _, steps in found}, reverse=True)
    heads = ["presentations of each picture", "used pictures found, LoRA", "used pictures found, DreamBooth"]
    return _table(heads, [[n, *(found.get((kind, n), "not measured") for kind in KINDS)] for n in counts])


def render_mirror_summary() -> str:
    """The mirror test on LoRA and DreamBooth suspects of the first experiment."""
    rows = _read("mini/mirror/mirror.json")["rows"]
    kinds = [next(r for r in rows if r["experiment"] == "mini-mirror" and r["training"] == kind) for kind in KINDS]
    table = [["AUC", *(f"{k['AUC']:.3f}" for k in kinds)]]
    for index, level in enumerate(("5 %", "1 %")):
        for what, name in (("unused", "false calls"), ("used", "power")):
            found = [k["pictures"][index][name] for k in kinds]
            table.append([f"{what} pictures called, level {level}", *map(_interval, found)])
    worst = [k["pictures"][0]["false calls"]["worst artist"][0] for k in kinds]
    table.append(["of the worst artist, unused, level 5 %", *(_percent(w, 0) for w in worst)])
    sets = [[k["sets of ten"][0][name] for k in kinds] for name in ("false calls", "power")]
    for what, found in zip(("unused", "used"), sets, strict=True):
        table.append([f"sets of ten {what} works called, level 5 %", *(f"{f['count']} of {f['of']}" for f in found)])
    return _table(["", "LoRA", "DreamBooth"], table)


def render_mirror() -> str:
    """The mirror test on every experiment, at both levels."""
    table = []
    for row in _read("mini/mirror/mirror.json")["rows"]:
        rate, strict = row["pictures"]
        label = f"{row['experiment']}, {row['dataset'] or row['training']}"
        counts = [row["artists"], row["suspects"], f"{row['AUC']:.3f}"]
        table.append([label, *counts, *_both_levels(rate, strict)])
        if others := row["pictures, against reference pictures"]:
            label = f"the same, some suspects, by {REFERENCES} reference pictures"
            table.append([label, "", "", "", *_both_levels(*others)])
    heads = ["experiment", "artists", "suspects", "AUC"]
    heads += [f"{what} called, {level}" for level in ("5 %", "1 %") for what in ("unused", "used")]
    return _table(heads, table)


def _both_levels(rate: Mapping[str, Any], strict: Mapping[str, Any]) -> list[str]:
    """False calls and power at 5 %, with their intervals, and at 1 %."""
    found = [_interval(rate[name]) for name in ("false calls", "power")]
    return found + [_share(strict[name]) for name in ("false calls", "power")]


def render_dose() -> str:
    """The mirror test against presentations of each picture, at a level of 5 %."""
    table = []
    for row in _read("mini/mirror/mirror.json")["rows"]:
        whole = row["experiment"] == "mini-mirror" and row["training"] == "lora"
        if whole or row["experiment"] == "mini-mirror-dose":
            presentations = 60 if whole else int(row["training"].rpartition("-")[2])
            pictures, strictly = row["pictures"]
            sets = row["sets of ten"][0]["power"]
            shares = (pictures["false calls"], pictures["power"], strictly["power"])
            shown = [_percent(found["share"], 0) for found in shares]
            table.append([presentations, *shown, f"{sets['count']} of {sets['of']}"])
    heads = ["presentations", "unused called", "used called", "of them at 1 %", "sets of ten used works called"]
    return _table(heads, sorted(table))


def render_combined() -> str:
    """What the mirror test and a bank find, of pictures and of sets."""
    found = _read("mini/combined/combined.json")
    return f"{combined_table(found)}\n\nSets of ten works, by the mirror test:\n\n{sets_table(found)}\n"


def render_likelihood() -> str:
    """Ratios stated and observed: of the trainings that were fitted, of others, and of each of these."""
    found = _read("mini/likelihood/likelihood.json")
    return "\n\n".join(
        (
            "The trainings of the fit:",
            calibration_table(found["calibration"]),
            "Trainings that entered no fit, without those that mirrored their pictures:",
            calibration_table(found["calibration of other trainings"]),
            "Each of them:",
            rows_table([*found["trainings"], *found["other trainings"]]),
        )
    )


def render_silence() -> str:
    """What was foretold of unseen artists and trainings, and what was counted: of each test, of each training."""
    found = _read("mini/silence/silence.json")
    by_training = {test["test"]: trainings_table(test) for test in found["tests"]}
    parts = [
        silence_table(found),
        "The mirror test:",
        by_training["mirror"],
        "The control test:",
        by_training["controls"],
    ]
    return "\n\n".join(parts) + "\n"


def _interval(found: Mapping[str, Any]) -> str:
    """A share with its interval over artists. A bootstrap of none, or of all, would have no width: it is left out."""
    if found["count"] in (0, found["of"]):
        return f"{100 * found['share']:.1f} % ({found['count']} of {found['of']})"
    low, high = found["interval"]
    return f"{100 * found['share']:.1f} % ({found['count']} of {found['of']}; {100 * low:.1f} to {100 * high:.1f} %)"


def render_shipped() -> str:
    """AUC of each score on the shipped examples."""
    examples = _read("shipped.json")["examples"]
    names = {"gerald-g-dreambooth": "DreamBooth", "rollandin-lora": "LoRA"}
    removed = ("removed_cosine", "removed_gain", "removed_alignment")
    scores = (*removed, "loss_contrast", "efficientnet_lite0")
    heads = ["AUC", *(f"`{s}`" for s in removed), "`loss_contrast` (control test)", "EfficientNet-Lite0"]
    return _table(heads, [[label, *(f"{examples[n]['auc'][s]:.2f}" for s in scores)] for n, label in names.items()])


def render_precision() -> str:
    """Agreement of half precision with float32."""
    lines = (RESULTS / "precision.md").read_text().splitlines()
    return "\n".join(line for line in lines if line.startswith("|")) + "\n"


def render_speed() -> str:
    """Seconds and memory of every arm."""
    reports = [runs_section(r) for r in read_reports(RESULTS / "bench" / FOLDER)]
    return readme_section(read_reports(RESULTS / "bench"), reports)


BLOCKS: Mapping[str, tuple[str, Callable[[], str]]] = {  # mark -> file and what stands between the marks
    "mirror-summary": ("README.md", render_mirror_summary),
    "summary": ("README.md", render_summary),
    "mirror": ("docs/results/error-rates.md", render_mirror),
    "mirrored": ("docs/verdicts.md", lambda: mirrored_table(_read("mirrored.json"))),
    "dose": ("docs/verdicts.md", render_dose),
    "residuals": ("docs/results/error-rates.md", lambda: residuals_table(_read("mini/residuals/residuals.json"))),
    "bank sizes": ("docs/results/error-rates.md", lambda: sizes_table(_read("mini/bank-sizes/sizes.json"))),
    "combined": ("docs/results/error-rates.md", render_combined),
    "combined series": (
        "docs/results/error-rates.md",
        lambda: series_table(_read("mini/combined/combined.json")) + "\n",
    ),
    "crossed": ("docs/results/error-rates.md", lambda: crossed_table(_read("crossed.json")) + "\n"),
    "crossed features": (
        "docs/results/error-rates.md",
        lambda: features_table(_read("crossed.json")) + "\n",
    ),
    "likelihood": ("docs/results/error-rates.md", render_likelihood),
    "silence": ("docs/results/error-rates.md", render_silence),
    "silence curves": ("docs/verdicts.md", lambda: curves_table(_read("mini/silence/silence.json")) + "\n"),
    "rates": ("docs/results/error-rates.md", render_rates),
    "power": ("docs/verdicts.md", render_power),
    "shipped": ("docs/results/error-rates.md", render_shipped),
    "altered": ("docs/results/error-rates.md", lambda: altered_rates(_read("mini/altered/altered.json")) + "\n"),
    "flow": ("docs/results/flow.md", lambda: flow_tables(_read("mini-flow/flow.json"))),
    "flow bank": ("docs/results/flow.md", lambda: residuals_table(_read("mini/rates-flow/residuals.json"))),
    "flow power": ("docs/results/flow.md", lambda: power_tables(_read("mini-flow/power.json"))),
    "wild": ("docs/results/error-rates.md", lambda: render_wild(_read("mini/wild/wild.json"))),
    "stacks": ("docs/usage/several-loras.md", lambda: stacks_table(_read("mini/stacks/stacks.json")) + "\n"),
    "wrong-base": (
        "docs/results/error-rates.md",
        lambda: wrong_base_table(_read("mini/wrong-base/wrong-base.json")) + "\n",
    ),
    "framed": ("docs/results/error-rates.md", lambda: framed_table(_read("mini/framed/framed.json")) + "\n"),
    "framed dreambooth": (
        "docs/results/error-rates.md",
        lambda: framed_table(_read("mini/framed-dreambooth/framed.json")) + "\n",
    ),
    "prompts": ("docs/results/flow.md", lambda: prompt_tables(_read("mini-flow/prompts.json"))),
    "foreign": ("docs/results/error-rates.md", lambda: foreign_table(_read("mini/foreign/foreign.json")) + "\n"),
    "resaved": ("docs/results/robustness.md", lambda: spread_table(_read("resaved.json")) + "\n"),
    "copies": ("docs/results/robustness.md", lambda: copies_table(_read("robustness.json"))),
    "precision": ("docs/results/precision.md", render_precision),
    "speed": ("docs/results/speed.md", render_speed),
    "memory": ("docs/results/memory.md", lambda: f"{fits_table(_read('memory.json'))}\n"),
    "banks": ("docs/usage/controls-and-null-banks.md", lambda: banks_table(_read("banks.json"))),
    "regressions": ("docs/usage/wrong-answers.md", lambda: regression_table(read_cases(), _read("regressions.json"))),
    "retraining": ("docs/usage/evidence.md", lambda: retraining_table(_read("retraining.json"))),
    "table1": ("docs/benchmark.md", render_table1),
    "rivals": ("docs/benchmark.md", render_rivals),
    "directions": (
        "docs/benchmark.md",
        lambda: directions_table(_read("mini/directions/directions.json")) + "\n",
    ),
    "paper": ("docs/benchmark/paper.md", lambda: overview(RESULTS)),
    "leaderboard": ("docs/benchmark/leaderboard.md", lambda: leaderboard_table(RESULTS / "leaderboard")),
    "paper numbers": ("docs/benchmark/paper.md", lambda: numbers(RESULTS)),
}
FORMATS = ("formats", "docs/usage/formats.md")
FLOW_FORMATS = ("flow formats", "docs/usage/formats.md")
REFUSALS = ("refusals", "docs/usage/formats.md")


def read_block(name: str, file: str) -> str:
    """What stands between the marks of `name` in `file` today."""
    begin, end = _marks(name)
    return (ROOT / file).read_text(encoding="utf-8").split(begin)[1].split(end)[0]


def write_block(name: str, file: str, text: str) -> None:
    """Put `text` between the marks of `name` in `file`."""
    begin, end = _marks(name)
    before, rest = (ROOT / file).read_text(encoding="utf-8").split(begin)
    (ROOT / file).write_text(before + begin + text + end + rest.split(end)[1], encoding="utf-8")


def find_outdated() -> list[str]:
    """The marks whose text is not that of the committed results."""
    return [name for name, (file, render) in BLOCKS.items() if read_block(name, file) != render()]


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Write the tables of numbers in README and docs.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a table differs")
    parser.add_argument("--formats", action="store_true", help="measure the table of formats anew, too (minutes)")
    options = parser.parse_args()
    if options.check:
        outdated = find_outdated()
        for name in outdated:
            print(f"{BLOCKS[name][0]}: table {name} is not that of eval/results; run python -m scripts.render_docs")
        return int(bool(outdated))
    for name, (file, render) in BLOCKS.items():
        write_block(name, file, render())
    if options.formats:
        from tests.families import test_flow_formats
        from tests.families.test_format_refusals import table
        from tests.families.test_formats import measure_table

        write_block(*FORMATS, measure_table())
        write_block(*FLOW_FORMATS, test_flow_formats.measure_table())
        write_block(*REFUSALS, table())
    return 0


def _marks(name: str) -> tuple[str, str]:
    return f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->\n"


def _read(file: str) -> Any:
    return json.loads((RESULTS / file).read_text(encoding="utf-8"))


def _table(heads: list[str], rows: list[list[Any]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def _percent(share: float, digits: int) -> str:
    return f"{100 * share:.{digits}f} %"


def _share(cell: dict[str, Any], interval: bool = False) -> str:
    low, high = (_percent(x, 1) for x in cell["interval"])
    more = f"; {low.removesuffix(' %')} to {high}" if interval else ""
    return f"{_percent(cell['share'], 1 if interval else 0)} ({cell['count']} of {cell['of']}{more})"


if __name__ == "__main__":
    sys.exit(main())
