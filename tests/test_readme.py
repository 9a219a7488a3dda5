"""The README's table of the benchmark is made of the committed results: `python -m tests.test_readme` writes it."""

import json
from pathlib import Path

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "eval" / "results" / "mini" / "table1" / "summary.json"
BEGIN, END = "<!-- table1: begin -->\n", "<!-- table1: end -->\n"
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


def test_the_table_is_that_of_the_committed_results():
    readme = (ROOT / "README.md").read_text()
    assert readme.split(BEGIN)[1].split(END)[0] == table(json.loads(RESULTS.read_text()))


if __name__ == "__main__":
    path = ROOT / "README.md"
    before, rest = path.read_text().split(BEGIN)
    path.write_text(before + BEGIN + table(json.loads(RESULTS.read_text())) + END + rest.split(END)[1])
