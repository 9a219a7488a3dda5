"""The paper beside our numbers: nothing of its contents is missing, and agreement follows from the numbers."""

import json
import re
import shutil

import pytest

from eval.analysis.paper_comparison import FINDINGS, NO, NOT_RUN, PARTLY, YES, load_contents, overview
from eval.analysis.paper_numbers import numbers
from eval.analysis.tables import load_paper
from eval.benchmark.experiment import PRESETS, load_experiment
from tests.support.paths import RESULTS, ROOT

PAGE = (ROOT / "docs" / "benchmark" / "paper.md").read_text(encoding="utf-8")
ITEMS = [entry["item"] for entry in load_contents()]


@pytest.fixture
def results(tmp_path):
    """A copy of what the page is made of, to be changed."""
    for name in ("table1", "table2", "table3", "table4", "table6", "figure3a", "figure3b", "time"):
        source, place = RESULTS / "mini" / name, tmp_path / "mini" / name
        place.mkdir(parents=True)
        for file in ("summary.json", "manifest.json", "scores.parquet"):
            shutil.copy(source / file, place)
    shutil.copy(RESULTS / "masks.json", tmp_path)
    return tmp_path


def change(results, name, select, value):
    """Set the AUC and fitted accuracy of the cells that `select` takes."""
    path = results / "mini" / name / "summary.json"
    summary = json.loads(path.read_text())
    cells = [e for e in summary["trained"] if select(e)]
    assert cells
    for cell in cells:
        cell["auc"] = cell["accuracy"]["in_sample"] = value
    path.write_text(json.dumps(summary))


def test_the_contents_are_those_of_the_main_text():
    tables = [f"Table {n}" for n in (1, 2, 3, 4, 6)]
    figures = [f"Figure {n}" for n in ("1", "2", "3a", "3b", "4")]
    appendices = [f"Appendix {letter}" for letter in "ABCDFGHIJ"]
    assert sorted(ITEMS) == sorted([*tables, *figures, *appendices, "Algorithm 1"])


def test_each_entry_has_one_row_on_the_page():
    block = PAGE.split("<!-- paper: begin -->")[1].split("<!-- paper: end -->")[0]
    assert re.findall(r"^\| \*\*(.+?)\*\*:", block, re.MULTILINE) == ITEMS
    assert set(FINDINGS) == set(ITEMS)
    for line in block.strip().splitlines()[2:]:
        assert all(cell.strip() for cell in line.strip("|").split(" | ")), line


def test_each_table_of_the_paper_with_numbers_is_printed_in_full():
    for name in ("table2", "table3", "table4"):
        section = PAGE.split(f"### Table {name[-1]}\n")[1].split("###")[0]
        for row, by in load_paper()[name]["rows"].items():
            theirs = [f"{by[m][k]:.2f}" for k in ("auc", "accuracy") for m in ("clip", "dino")]
            assert f"| {row} | {' | '.join(theirs)} |" in section
    section = PAGE.split("### Table 1\n")[1].split("###")[0]
    assert len(re.findall(r"^\| `(?:text2img|ddnm|img2img|cgidm)` ", section, re.MULTILINE)) == 4 * 6


def test_every_preset_it_names_exists_and_can_be_read():
    named = set(re.findall(r"\b((?:mini|paper)-(?:table|figure|time)[\w-]*)", PAGE))
    assert {"mini-figure3b", "mini-table3-mixtures", "paper-table2", "mini-table2"} <= named
    assert named <= {p.stem for p in PRESETS.glob("*.json")}
    for name in named:
        assert load_experiment(name).name == name


def agreement(results, item):
    return FINDINGS[item](results).agrees


def test_table1_follows_the_numbers(results):
    assert agreement(results, "Table 1") == PARTLY
    change(results, "table1", lambda e: (e["method"], e["measure"]) == ("cgidm", "efficientnet_lite0"), 0.95)
    assert agreement(results, "Table 1") == YES
    change(results, "table1", lambda e: (e["method"], e["measure"]) == ("cgidm", "efficientnet_lite0"), 0.5)
    assert agreement(results, "Table 1") == NO


def test_table2_needs_all_kinds_of_bases_high_and_near_each_other(results):
    cells = lambda e: (e["method"], e["measure"]) == ("cgidm", "removed_alignment")  # noqa: E731
    change(results, "table2", cells, 0.95)
    assert agreement(results, "Table 2") == YES
    change(results, "table2", cells, 0.85)
    assert agreement(results, "Table 2") == PARTLY
    change(results, "table2", lambda e: cells(e) and e["training"] == "SD 2.x", 0.6)
    assert agreement(results, "Table 2") == NO
    shutil.rmtree(results / "mini" / "table2")
    assert agreement(results, "Table 2") == NOT_RUN and "small bases" not in numbers(results).lower()


def test_table2_has_a_row_for_each_kind_of_base_with_its_interval():
    section = PAGE.split("### Table 2\n")[1].split("###")[0]
    summary = json.loads((RESULTS / "mini" / "table2" / "summary.json").read_text(encoding="utf-8"))
    cells = [e for e in summary["trained"] if (e["method"], e["measure"]) == ("cgidm", "removed_alignment")]
    assert len(cells) == 4
    for e in cells:
        low, high = e["interval"]
        assert f"| {e['training']} | {e['auc']:.3f} ({low:.3f} to {high:.3f}) |" in section
    made = json.loads((RESULTS / "mini" / "stand-ins.json").read_text(encoding="utf-8"))
    for name, about in made.items():
        (base,) = (b for b in summary["bases"] if b.endswith(name))
        assert sorted(summary["bases"][base]) == sorted(about["sha256"].values()), "the bases are those of the record"


def test_table3_agrees_only_if_it_varies_no_more_than_the_papers(results):
    assert agreement(results, "Table 3") == NO
    change(results, "table3", lambda e: e["measure"] == "removed_alignment", 0.95)
    assert agreement(results, "Table 3") == YES


def test_table4_needs_the_same_worst_row(results):
    assert agreement(results, "Table 4") == PARTLY
    change(results, "table4", lambda e: e["training"] == "flip", 0.95)
    assert agreement(results, "Table 4") == YES
    change(results, "table4", lambda e: e["training"] == "cutout", 0.5)
    assert agreement(results, "Table 4") == NO


def test_table6_and_figure3a_can_disagree(results):
    assert (agreement(results, "Table 6"), agreement(results, "Figure 3a")) == (PARTLY, YES)
    change(results, "table6", lambda e: e["method"] == "right_half", 1.0)
    change(results, "figure3a", lambda e: e["training"] == "40 steps", 0.7)
    assert (agreement(results, "Table 6"), agreement(results, "Figure 3a")) == (NO, NO)


def test_figure3b_needs_1000_steps_near_the_best(results):
    assert agreement(results, "Figure 3b") == NO
    raw = lambda e: e["measure"] == "removed_cosine"  # noqa: E731
    change(results, "figure3b", raw, 0.9)
    change(results, "figure3b", lambda e: raw(e) and e["method"] == "cgidm, 100 steps", 0.92)
    assert agreement(results, "Figure 3b") == YES
    change(results, "figure3b", lambda e: raw(e) and e["method"] == "cgidm, 100 steps", 0.921)
    assert agreement(results, "Figure 3b") == NO


def test_the_page_has_a_row_for_each_number_of_extraction_steps():
    section = PAGE.split("### Figure 3b\n")[1].split("###")[0]
    cells = json.loads((RESULTS / "mini" / "figure3b" / "summary.json").read_text(encoding="utf-8"))["trained"]
    raw = [e for e in cells if e["measure"] == "removed_cosine"]
    assert sorted(int(e["method"].split()[1]) for e in raw) == [100, 250, 500, 750, 1000, 1250, 1500]
    for e in raw:
        steps = e["method"].split(", ")[1]
        assert f"| {steps} | {e['auc']:.3f} | {e['accuracy']['in_sample']:.3f} |" in section


def test_the_page_has_all_four_rows_of_table3():
    section = PAGE.split("### Table 3\n")[1].split("###")[0]
    assert "not run" not in section and section.count(" pictures | ") == 4


def test_rows_of_a_run_that_is_not_committed_say_so(results):
    assert "| 20 pictures | 0.92 | 0.97 | 0.86 | 0.94 | not run | not run | not run |" in numbers(results)
    assert "python -m eval run mini-table3-mixtures" in overview(results)
