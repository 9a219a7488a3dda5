"""Tables of scores whose worth is known: perfect, a coin, inverted, tied, one-sided, too few."""

import csv
import io
import json
import random

import numpy as np
import pandas as pd
import pytest

from eval.analysis import metrics
from eval.analysis.table_rendering import (
    Cell,
    Table,
    comma_separated,
    contest_sentences,
    latex,
    markdown,
    natural,
    write_tables,
)
from eval.analysis.tables import OWN, factor_table, last, load_paper, summarise, table1, wide
from tests.support.score_tables import CGIDM, coin, crossed, perfect

ORDER = ["dreambooth-prior", "dreambooth", "lora"]
PAPER_TABLE_1 = {
    "wikiart": """
        Text2img 0.64 0.70 0.68 0.74 0.67 0.72 0.69 0.76 0.60 0.66 0.61 0.68
        inpainting 0.67 0.71 0.71 0.74 0.71 0.75 0.77 0.82 0.59 0.59 0.60 0.59
        Img2img 0.82 0.86 0.89 0.92 0.83 0.90 0.90 0.94 0.68 0.73 0.74 0.79
        CGI-DM 0.90 0.95 0.96 0.98 0.86 0.95 0.94 0.99 0.74 0.80 0.81 0.87""",
    "dreambooth": """
        Text2img 0.65 0.71 0.68 0.75 0.69 0.75 0.70 0.79 0.64 0.69 0.66 0.74
        inpainting 0.63 0.71 0.67 0.76 0.67 0.79 0.71 0.82 0.62 0.64 0.64 0.68
        Img2img 0.67 0.77 0.73 0.82 0.75 0.81 0.81 0.87 0.65 0.75 0.68 0.76
        CGI-DM 0.84 0.85 0.90 0.91 0.89 0.88 0.94 0.94 0.76 0.79 0.82 0.86""",
}
PAPER_OTHERS = {
    "table2": """
        SD(v1.4) 0.93 0.96 0.97 0.98
        SD(v1.5) 0.97 0.96 0.97 0.99
        SD(v2.0) 0.88 0.94 0.91 0.98
        AltDiffusion 0.92 0.94 0.98 0.99""",
    "table3": """
        5 0.90 0.90 0.93 0.97
        10 0.93 0.96 0.97 0.98
        20 0.86 0.94 0.92 0.97
        50 0.86 0.96 0.95 0.99""",
    "table4": """
        NoDefense 0.93 0.96 0.97 0.98
        HorizationalFlip 0.93 0.94 0.98 0.98
        Cutout 0.87 0.93 0.92 0.97
        RandAugment 0.83 0.85 0.86 0.92""",
}
NAMES = {"Text2img": "text2img", "inpainting": "ddnm", "Img2img": "img2img", "CGI-DM": "cgidm"}
NAMES |= {"SD(v1.4)": "SD 1.4", "SD(v1.5)": "SD 1.5", "SD(v2.0)": "SD 2.0", "NoDefense": "no defence"}
NAMES |= {"HorizationalFlip": "flip", "Cutout": "cutout", "RandAugment": "randaugment"}
NAMES |= {n: f"{n} pictures" for n in ("5", "10", "20", "50")}


def only(rows, **settings):
    (entry,) = summarise(rows, **settings)["trained"]
    return entry


def grid(table):
    return [[cell.text for cell in row] for row in table.rows]


@pytest.fixture(scope="module")
def benchmark():
    """CGI-DM between a weak pipeline and a strong test, a second training, innocent suspects and a curve."""
    weak = lambda m, e: m + e  # noqa: E731
    return pd.concat(
        [
            crossed(weak, seed=1),
            crossed(coin, seed=2, evaluations=30),
            crossed(coin, ("cgidm", "clip"), seed=3),
            crossed(perfect, ("cgidm", "clip_group_max"), seed=4),
            crossed(perfect, ("loss_contrast", "contrast"), seed=5),
            crossed(coin, ("pia", "suspect"), seed=6),
            crossed(lambda m, e: e - 5 * m, ("text2img", "latent_cosine"), seed=7),
            crossed(perfect, ("img2img", "latent_cosine"), seed=8),
            crossed(weak, training="dreambooth-prior", seed=9),
            crossed(coin, role="innocent", training="none", seed=10),
            crossed(perfect, role="unrelated", seed=11),
        ],
        ignore_index=True,
    )


@pytest.fixture(scope="module")
def summary(benchmark):
    return summarise(benchmark)


def test_a_perfect_method_has_all_there_is():
    found = only(crossed(perfect))
    assert (found["auc"], found["interval"], found["auc_per_suspect"], found["paired_win_rate"]) == (1, [1, 1], 1, 1)
    assert found["accuracy"] == {"other_concepts": 1, "in_sample": 1, "per_concept": 1}
    assert (found["members"], found["holdouts"], found["concepts"], found["evaluations"]) == (36, 36, 6, 60)
    assert found["against_reference"] is None


def test_a_coin_an_inverted_method_and_ties():
    inverted = only(crossed(lambda m, e: -perfect(m, e)))
    tied = only(crossed(lambda m, e: 1))
    assert abs(only(crossed(coin, concepts=12))["auc"] - 0.5) < 0.1
    assert (inverted["auc"], inverted["paired_win_rate"], inverted["accuracy"]["in_sample"]) == (0, 0, 0.5)
    assert (tied["auc"], tied["interval"], tied["auc_per_suspect"], tied["paired_win_rate"]) == (
        0.5,
        [0.5] * 2,
        0.5,
        0.5,
    )


def test_numbers_are_those_of_the_metrics(benchmark, summary):
    table = last(benchmark).query("method == 'cgidm' and measure == 'removed_alignment' and role == 'trained'")
    table = table.query("training == 'lora'")
    (found,) = [e for e in summary["trained"] if (e["measure"], e["training"]) == ("removed_alignment", "lora")]
    assert found["auc"] == round(metrics.pooled_auc(table), 4)
    assert found["auc_per_suspect"] == round(metrics.auc_per_suspect(table), 4)
    assert found["interval"] == [round(v, 3) for v in metrics.auc_interval(table)]
    assert found["accuracy"]["other_concepts"] == round(metrics.accuracy(table, "other_concepts"), 4)


def test_auc_per_suspect_with_ties_and_unequal_sizes():
    rows = crossed(lambda m, e: round(m + e)).drop(index=[0, 1, 9])
    assert only(rows)["auc_per_suspect"] == round(metrics.auc_per_suspect(rows), 4)


def test_a_one_sided_design_has_no_pairs():
    rows = crossed(perfect).query("suspect.str.endswith('/0')")
    assert only(rows)["paired_win_rate"] is None
    table = table1(summarise(rows), load_paper(), "")[0]
    assert grid(table)[0][3:] == ["1.000 (1.00 to 1.00)", ""]


def test_one_concept_gives_no_interval_and_no_accuracy():
    rows = pd.concat([crossed(perfect, concepts=1), crossed(coin, ("loss", "contrast"), concepts=1)])
    for found in summarise(rows)["trained"]:
        assert found["interval"] is None and found["accuracy"]["other_concepts"] is None
        assert found["against_reference"] is None
    assert "one concept only" in contest_sentences(summarise(rows))[0]


def test_rates_that_rest_on_too_few_holdouts_are_none():
    assert only(crossed(perfect))["tpr"] == {"5%": None, "1%": None}
    assert only(crossed(perfect, concepts=34))["tpr"] == {"5%": 1, "1%": None}  # 204 holdouts


def test_only_the_last_evaluations_count(benchmark):
    at = last(benchmark).query("method == 'cgidm' and measure == 'removed_alignment'")["evaluations"]
    assert set(at) == {60} and 30 in set(benchmark["evaluations"])


def test_a_decision_that_stands_twice_is_refused():
    with pytest.raises(ValueError, match="72 decisions stand twice, such as wikiart, trained, lora, c0/0"):
        summarise(pd.concat([crossed(coin), crossed(coin)]))


def test_what_cannot_be_measured_is_named_and_left_out():
    broken = crossed(perfect, ("loss", "contrast"))
    broken.loc[0, "score"] = np.inf
    found = summarise(pd.concat([crossed(perfect), broken]))
    assert [e["method"] for e in found["trained"]] == ["cgidm"]
    assert "Left out: wikiart.lora.loss.contrast. 1 of 72 scores are NaN" in table1(found, load_paper(), "")[0].note


def test_every_cell_is_compared_with_the_reference_of_its_training(summary):
    against = {(e["training"], e["method"], e["measure"]): e["against_reference"] for e in summary["trained"]}
    assert against["lora", "cgidm", "removed_alignment"] is None
    ahead = against["lora", "loss_contrast", "contrast"]
    assert ahead["difference"] > 0.1 and ahead["interval"][0] > 0 and ahead["p_value"] == 0.0002
    assert against["lora", "pia", "suspect"]["difference"] < 0
    partly = pd.concat([crossed(perfect), crossed(coin, ("pia", "suspect")).iloc[3:]])
    assert summarise(partly)["trained"][1]["against_reference"] is None


def test_below_five_concepts_no_p_value_is_quoted():
    rows = pd.concat([crossed(coin, concepts=4), crossed(perfect, ("loss", "contrast"), concepts=4)])
    assert summarise(rows)["trained"][1]["against_reference"]["p_value"] is None
    assert "is ahead of" in contest_sentences(summarise(rows))[0]


def test_chance_rows_say_whether_a_half_is_inside(summary):
    inside = {e["role"]: e["half_inside"] for e in summary["chance"]}
    assert inside == {"innocent": True, "unrelated": False}
    chance = table1(summary, load_paper(), "")[2]
    assert chance.columns[3:] == ("wikiart, unrelated: AUC (95 %)", "wikiart, innocent: AUC (95 %)")
    assert grid(chance)[0][3] == "1.000 (1.000 to 1.000), not 0.5" and "not" not in grid(chance)[0][4]


def test_shuffled_rows_give_identical_bytes(benchmark, summary):
    shuffled = benchmark.sample(frac=1, random_state=1)
    assert json.dumps(summarise(shuffled)) == json.dumps(summary)
    assert wide(shuffled).to_csv() == wide(benchmark).to_csv()


def test_a_test_that_beats_cgidm_is_named(summary):
    tests = [s for s in contest_sentences(summary) if s.startswith("`loss") or s.startswith("`pia")]
    assert len(tests) == 1
    assert tests[0].startswith("`loss_contrast.contrast` beats CGI-DM's best score (`cgidm.removed_alignment`) by +0.")
    assert tests[0].endswith("(p = 0.0002) in wikiart/lora.")
    assert tests[0] in table1(summary, load_paper(), "")[0].note


def test_a_lead_that_may_be_chance_is_not_called_a_win():
    rows = [crossed(lambda m, e: m + e, cell, seed=s) for cell, s in ((CGIDM, 1), (("loss", "contrast"), 28))]
    (sentence,) = contest_sentences(summarise(pd.concat(rows)))
    assert "is ahead of" in sentence and "which may be chance" in sentence


def test_a_pipeline_that_cgidm_does_not_beat_is_named(summary):
    pipelines = [s for s in contest_sentences(summary) if s.startswith("CGI-DM")]
    assert (
        len(pipelines) == 1 and "does not beat `img2img.latent_cosine` in wikiart/lora: difference -0." in pipelines[0]
    )


def test_where_cgidm_beats_all_nothing_is_said():
    rivals = [crossed(coin, c) for c in (("loss", "contrast"), ("img2img", "latent_cosine"), ("fused", "x+y"))]
    assert contest_sentences(summarise(pd.concat([crossed(perfect), *rivals]))) == []


def test_table1_has_the_best_in_bold_and_the_papers_numbers_below(summary):
    auc, thresholds, _, rates = table1(summary, load_paper(), "All at 60 evaluations.")
    assert auc.note.startswith("All at 60 evaluations.\n")
    assert auc.columns[3] == "wikiart, dreambooth-prior: AUC (95 %)"
    rows = {(row[0].text, row[1].text): row for row in auc.rows}
    assert list(rows)[:3] == [
        ("`text2img`", "`latent_cosine`"),
        ("`text2img`", "paper: SD 1.4, CLIP"),
        ("`text2img`", "paper: SD 1.4, DINO"),
    ]
    assert [c.text for c in rows["`cgidm`", "paper: SD 1.4, DINO"][3:]] == ["0.98", "", "0.87", ""]
    assert rows["`loss_contrast`", "`contrast`"][5] == Cell("1.000 (1.00 to 1.00)", bold=True)
    assert rows["`loss_contrast`", "`contrast`"][3] == Cell("")
    assert rows["`cgidm`", "`removed_alignment`"][3].bold and not rows["`cgidm`", "`removed_alignment`"][5].bold
    fitted = {(r[0].text, r[1].text): r[-1].text for r in thresholds.rows}
    assert fitted["`cgidm`", "paper: SD 1.4, CLIP"] == "0.74"
    assert rates.columns[-1] == "wikiart, lora: lead" and set(r[-4].text for r in rates.rows) == {"n too small"}
    assert any("(p = 0.0002)" in r[-1].text for r in rates.rows)


def test_wide_has_a_row_for_each_decision(benchmark):
    table = wide(benchmark)
    assert len(table) == 4 * 72
    assert "cgidm.removed_alignment" in table
    assert np.count_nonzero(table["pia.suspect"].notna()) == 72
    one = wide(crossed(lambda m, e: 0.123456789))
    assert set(one["cgidm.removed_alignment"]) == {0.123457}


def test_factor_table_of_trainings_with_the_papers_numbers():
    rows = pd.concat([crossed(perfect, training=t) for t in ("flip", "no defence")])
    pairs = [("cgidm", "removed_alignment")]
    order = ["no defence", "flip", "cutout"]
    paper = load_paper()["table4"]["rows"]
    table = factor_table(rows, "training", pairs, "Defences", values=order, paper=paper)
    assert [row[0] for row in grid(table)] == order
    assert table.columns[1] == "cgidm.removed_alignment: AUC (95 %)"
    assert table.columns[4:] == tuple(f"paper, {m}: {k}" for m in ("clip", "dino") for k in ("AUC", "accuracy, fitted"))
    assert grid(table)[1] == ["flip", "1.000 (1.00 to 1.00)", "1.000", "1.000", "0.98", "0.93", "0.98", "0.94"]
    assert grid(table)[2] == ["cutout", "", "", "", "0.92", "0.87", "0.97", "0.93"]


def test_factor_table_of_methods_in_several_trainings():
    rows = [crossed(perfect, (m, "removed_cosine"), training=t) for m in ("block8", "block4") for t in ORDER[1:]]
    table = factor_table(pd.concat(rows), "method", [(OWN, "removed_cosine")], "Masks")
    assert table.columns[:3] == ("method", "training", "removed_cosine: AUC (95 %)")
    assert [row[:2] for row in grid(table)] == [[m, t] for m in ("block4", "block8") for t in ORDER[1:]]


def test_factor_table_counts_as_people_do_and_quotes_words():
    rows = pd.concat([crossed(perfect, training=f"{n} steps") for n in (100, 20, 40)])
    paper = load_paper()["figure3a"]["rows"]
    table = factor_table(rows, "training", [("cgidm", "removed_alignment")], "Steps", paper=paper)
    assert [row[0] for row in grid(table)] == ["20 steps", "40 steps", "100 steps"]
    assert [row[-1] for row in grid(table)] == ["", "accuracy above 90 %", ""]


def test_natural_order():
    names = ["zebra", "lora", "dreambooth", "x10", "x9", "dreambooth-prior"]
    random.Random(0).shuffle(names)
    assert sorted(names, key=natural) == [*ORDER, "x9", "x10", "zebra"]


def test_spellings_of_a_table_hold_the_same(tmp_path):
    rows = ((Cell("`a_b`"), Cell("5 % & more", bold=True)), (Cell("x|y"), Cell("1, 2")))
    table = Table("A #1", "First.\nSecond_half.", ("name", "what"), rows)
    assert "| `a_b` | **5 % & more** |\n| x\\|y | 1, 2 |\n\n- First.\n- Second_half.\n" in markdown(table)
    assert r"\texttt{a\_b} & \textbf{5 \% \& more} \\" in latex(table)
    assert r"\caption{A \#1}" in latex(table) and r"Second\_half." in latex(table)
    assert list(csv.reader(io.StringIO(comma_separated(table)))) == [
        ["name", "what"],
        ["a_b", "5 % & more"],
        ["x|y", "1, 2"],
    ]
    write_tables([table, table], tmp_path, "t")
    assert {p.name for p in tmp_path.iterdir()} == {"t.md", "t.tex", "t.csv", "t-2.csv"}
    with pytest.raises(ValueError, match="1 cells and not 2"):
        Table("", "", ("a", "b"), ((Cell("x"),),))


def quartets(text):
    for line in text.split("\n")[1:]:
        name, *values = line.split()
        yield NAMES.get(name, name), list(map(float, values))


def numbers(acc_clip, acc_dino, auc_clip, auc_dino):
    return {"clip": {"accuracy": acc_clip, "auc": auc_clip}, "dino": {"accuracy": acc_dino, "auc": auc_dino}}


@pytest.mark.parametrize("dataset", PAPER_TABLE_1)
def test_table_1_of_the_paper_is_transcribed(dataset):
    held = load_paper()["table1"][dataset]
    assert list(held) == ORDER
    for method, values in quartets(PAPER_TABLE_1[dataset]):
        for i, training in enumerate(ORDER):
            assert held[training][method] == numbers(*values[4 * i : 4 * i + 4])


@pytest.mark.parametrize("table", PAPER_OTHERS)
def test_tables_2_to_4_of_the_paper_are_transcribed(table):
    held = load_paper()[table]["rows"]
    assert held == {name: numbers(*values) for name, values in quartets(PAPER_OTHERS[table])}


def test_what_the_paper_text_lacks_is_said():
    assert {"table6", "appendices"} <= load_paper()["not_available"].keys()
    assert "table6" not in load_paper()
