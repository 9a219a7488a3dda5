"""The README's tables of the benchmark are made of the committed results: `python -m tests.test_readme` writes them."""

import json

import pytest

from eval.speed.repeats import FOLDER, runs_section
from eval.speed.tables import read_reports, readme_section
from eval.studies.banks import banks_table
from eval.studies.robustness import copies_table
from tests.support.paths import ROOT

RESULTS = ROOT / "eval" / "results" / "mini" / "table1" / "summary.json"
SPEED = ROOT / "eval" / "results" / "bench"
COPIES = ROOT / "eval" / "results" / "robustness.json"
BANKS = ROOT / "eval" / "results" / "banks.json"
PLACES = [(d, t) for d in ("wikiart", "dreambooth") for t in ("dreambooth-prior", "dreambooth", "lora")]
ROWS = {
    "**CGI-DM**, alignment on the removed cells": ("cgidm", "removed_alignment"),
    "CGI-DM, cosine on the removed cells": ("cgidm", "removed_cosine"),
    "CGI-DM, EfficientNet-Lite0 on the picture": ("cgidm", "efficientnet_lite0"),
    "text2img, EfficientNet-Lite0": ("text2img", "efficientnet_lite0"),
    "inpainting (DDNM), EfficientNet-Lite0": ("ddnm", "efficientnet_lite0"),
    "img2img, EfficientNet-Lite0": ("img2img", "efficientnet_lite0"),
    "loss of the suspect alone": ("loss", "suspect"),
    "loss against the base, one time step": ("loss", "contrast"),
    "`loss_contrast` (the verdict)": ("loss_contrast", "contrast"),
    "SecMI against the base": ("secmi", "contrast"),
    "PIA against the base": ("pia", "contrast"),
    "PFAMI against the base": ("pfami", "contrast"),
    "SimA against the base": ("sima", "contrast"),
    "CLiD against the base": ("clid", "contrast"),
}


def table(summary):
    """AUC of the chosen rows, a column for each dataset and training."""
    cells = {(e["dataset"], e["training"], e["method"], e["measure"]): e for e in summary["trained"]}
    heads = [f"{d}, {t}" for d, t in PLACES]
    lines = [f"| AUC | evaluations | {' | '.join(heads)} |", f"|{'---|' * (2 + len(heads))}"]
    for name, pair in ROWS.items():
        of = [cells[(*place, *pair)] for place in PLACES]
        lines.append(f"| {name} | {of[0]['evaluations']} | {' | '.join('{:.3f}'.format(e['auc']) for e in of)} |")
    return "\n".join(lines) + "\n"


def sections():
    """What stands between the marks of each name."""
    return {
        "table1": table(json.loads(RESULTS.read_text())),
        "speed": readme_section(read_reports(SPEED), [runs_section(r) for r in read_reports(SPEED / FOLDER)]),
        "copies": copies_table(json.loads(COPIES.read_text())),
        "banks": banks_table(json.loads(BANKS.read_text())),
    }


def marks(name):
    return f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->\n"


@pytest.mark.parametrize("name", ["table1", "speed", "copies", "banks"])
def test_the_table_is_that_of_the_committed_results(name):
    begin, end = marks(name)
    assert (ROOT / "README.md").read_text().split(begin)[1].split(end)[0] == sections()[name]


def test_committed_speeds_are_whole_runs_with_their_commit():
    reports = read_reports(SPEED)
    assert reports and all(not r["quick"] and r["commit"] and r["machine"]["processor"] for r in reports)


if __name__ == "__main__":
    path = ROOT / "README.md"
    readme = path.read_text()
    for name, text in sections().items():
        begin, end = marks(name)
        before, rest = readme.split(begin)
        readme = before + begin + text + end + rest.split(end)[1]
    path.write_text(readme)
