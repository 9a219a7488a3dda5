"""Several suspects at the command line: a bundle for each, a summary that follows from them, and what is refused."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

from cgidm.cli import main
from cgidm.evidence.record import WitnessRecord, read_record
from cgidm.evidence.suspects.command import read_bundle
from cgidm.evidence.suspects.summary import PAGE, summarise, summary_bytes, summary_lines, summary_page
from cgidm.evidence.verify import SUMMARY
from cgidm.evidence.verify import main as verify
from tests.support import tiny
from tests.support.adapters import kohya, weights

LORAS = {"one": (2, "0.8"), "two": (3, "1.0"), "three": (1, "0.5")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("several")
    tiny.stable_diffusion().save_pretrained(folder / "base")
    for name, (rank, _) in LORAS.items():
        save_file(kohya(weights(folder / "base", rank)[0]), folder / f"{name}.safetensors")
    rng = np.random.default_rng(0)
    (folder / "controls").mkdir()
    for i in range(22):
        Image.fromarray(rng.integers(0, 256, (4, 4), np.uint8)).resize((64, 64)).save(folder / "controls" / f"{i}.png")
    for name in "ab":
        Image.effect_noise((64, 64), 80).convert("RGB").save(folder / f"{name}.png")
    return folder


def arguments(folder, out, several, *more):
    pictures = [str(folder / "a.png"), str(folder / "b.png")]
    suspects = [a for n, (_, s) in LORAS.items() for a in ("--suspect", f"{folder / n}.safetensors@{s}")]
    given = ["--base", str(folder / "base"), "--controls", str(folder / "controls"), "--out", str(out)]
    kind = [] if several is None else ["--several", several]
    return ["authenticate", *pictures, *suspects, *given, *kind, "--preset", "fast", "--steps", "2", *more]


@pytest.fixture(scope="module")
def stack(folder, few_draws, without_pages):
    out = folder / "stack"
    assert main(arguments(folder, out, "stack", "--bundle", str(folder / "packed.zip"))) == 0
    return out


def record_of(folder):
    return read_record((folder / "result.json").read_bytes(), "it")


def test_each_lora_is_judged_by_itself_at_its_scale(folder, stack):
    assert sorted(p.name for p in stack.iterdir() if p.is_dir()) == ["1-one", "2-two", "3-three"]
    for bundle, own in zip(("1-one", "2-two", "3-three"), LORAS, strict=True):
        models = record_of(stack / bundle).models
        assert models.suspect.endswith(f"{own}.safetensors") and models.suspect_scale == float(LORAS[own][1])
        assert models.others == ()
    assert {p.name for p in folder.glob("packed*.zip")} == {"packed-1.zip", "packed-2.zip", "packed-3.zip"}


def test_the_summary_holds_every_suspect_and_every_picture(stack):
    summary = json.loads((stack / SUMMARY).read_text())
    records = [record_of(stack / s["folder"]) for s in summary["suspects"]]
    assert [q["picture"].rpartition("/")[2] for q in summary["questions"][:-1]] == ["a.png", "b.png"]
    for i, question in enumerate(summary["questions"][:-1]):
        p_values = [r.pictures[i].p_value for r in records]
        assert question["p_values"] == p_values
        smallest = min(p for p in p_values if p is not None)
        assert min(question["adjusted"]) == pytest.approx(min(1.0, 3 * smallest))
    assert summary["questions"][-1]["picture"] is None
    assert summary["questions"][-1]["p_values"] == [r.set.p_value for r in records]
    assert [n["code"] for n in summary["notes"]] == ["evidence.suspects.out_of_reach"]  # 22 controls, three suspects
    assert "Which LoRA of the stack" in (stack / PAGE).read_text()


CONTRASTS, P_VALUES = (0.01, 0.03, 0.02), (0.6, 0.035, 0.9)


def by_mirror(record, contrast, p_value, witness="mirror"):
    """The record as if that test had answered for each of its pictures."""
    asked = (WitnessRecord(name=witness, p_value=p_value, references=160, silent=None),)
    answer = {"p_value": p_value, "outcome": "weak evidence" if p_value <= 0.05 else "cannot tell", "witnesses": asked}
    pictures = tuple(replace(p, **answer, scores=p.scores | {"mirror_contrast": contrast}) for p in record.pictures)
    return replace(record, pictures=pictures, set=None if record.set is None else replace(record.set, **answer))


def summary_of(stack, contrasts=CONTRASTS, p_values=P_VALUES, **more):
    names = ("1-one", "2-two", "3-three")
    records = [record_of(stack / name) for name in names]
    changed = [by_mirror(r, c, p, **more) for r, c, p in zip(records, contrasts, p_values, strict=True)]
    return summarise("stack", [(n, "0" * 64, r) for n, r in zip(names, changed, strict=True)])


def test_the_suspect_with_the_largest_contrast_is_tested_first(stack):
    summary = summary_of(stack)
    for question in summary.questions:  # both pictures, and all together
        assert question.contrasts == pytest.approx(CONTRASTS) and question.first == 1
        assert question.adjusted == pytest.approx([1.0, 0.04375, 1.0]) and question.any == "weak evidence"
    assert [n.code for n in summary.notes] == ["evidence.suspects.first_alone"], "160 scores, three suspects"
    assert "tested first" in summary_page(summary)
    assert "tested first" in "".join(summary_lines(summary))
    smaller = summary_of(stack, contrasts=(0.01, 0.02, 0.03))
    assert smaller.questions[0].first == 2 and smaller.questions[0].any == "cannot tell"


def test_a_p_value_that_depends_on_the_contrast_gives_no_order(stack):
    """Controls and banks are compared by a contrast; and old records have none."""
    summary = summary_of(stack, witness="controls")
    assert {q.first for q in summary.questions} == {None} and summary.questions[0].any == "cannot tell"
    assert summary.questions[0].adjusted == pytest.approx([1.0, 0.105, 1.0])
    assert summary_of(stack, contrasts=(0.01, 0.03, None)).questions[0].first is None
    assert "tested first" not in summary_page(summary)


def test_a_whole_folder_is_verified(stack, capsys):
    assert verify([str(stack)]) == 0
    said = capsys.readouterr().out
    assert said.count("consistent in itself: ") == 3 and "follows from the 3 bundles" in said


@pytest.mark.parametrize("file", [SUMMARY, PAGE])
def test_an_altered_summary_is_found(stack, tmp_path, capsys, file):
    shutil.copytree(stack, tmp_path / "copy")
    text = (tmp_path / "copy" / file).read_text()
    changed = text.replace('"any": "cannot tell"', '"any": "no evidence"') if file == SUMMARY else text + " "
    assert changed != text
    (tmp_path / "copy" / file).write_text(changed)
    assert verify([str(tmp_path / "copy")]) == 1
    assert "does NOT follow" in capsys.readouterr().out


def test_what_lies_beside_the_bundles_and_the_summary_is_named(stack, tmp_path, capsys):
    shutil.copytree(stack, tmp_path / "copy")
    (tmp_path / "copy" / "report.pdf").write_bytes(b"%PDF-1.4 proven")
    (tmp_path / "copy" / "4-best").mkdir()
    assert verify([str(tmp_path / "copy")]) == 1
    said = capsys.readouterr().out
    assert "report.pdf: was added" in said and "4-best: was added" in said


def test_a_bundle_that_was_altered_outweighs_one_that_the_named_key_did_not_sign(stack, tmp_path, capsys):
    shutil.copytree(stack, tmp_path / "copy")
    (tmp_path / "copy" / "3-three" / "report.html").write_text("Proven")
    assert verify([str(tmp_path / "copy"), "--signer", "0" * 64]) == 1
    assert verify([str(stack), "--signer", "0" * 64]) == 4
    assert verify([str(tmp_path / "copy"), "--strict"]) == 1 and verify([str(stack), "--strict"]) == 3


@pytest.mark.slow
def test_a_bundle_of_another_run_does_not_fit_the_stack(folder, stack, tmp_path, capsys, few_draws, without_pages):
    """Somebody puts a run with another LoRA on both sides in the place of one of the stack's."""
    shutil.copytree(stack, tmp_path / "copy")
    alone = ["--suspect", f"{folder / 'one.safetensors'}@0.8", "--out", str(tmp_path / "copy" / "1-one")]
    alone += ["--also", f"{folder / 'two.safetensors'}@1.0"]
    given = [a for a in arguments(folder, tmp_path, None) if not a.startswith(str(folder / "t"))]
    given = given[:3] + [a for a in given[3:] if a not in ("--suspect", f"{folder / 'one'}.safetensors@0.8")]
    assert main([*given, *alone]) == 0
    assert verify([str(tmp_path / "copy")]) == 1
    assert "does NOT follow from the 3 bundles" in capsys.readouterr().out


@pytest.mark.slow
def test_versions_are_judged_by_themselves(folder, tmp_path, capsys, few_draws, without_pages):
    assert main(arguments(folder, tmp_path / "out", "versions")) == 0
    summary = json.loads((tmp_path / "out" / SUMMARY).read_text())
    assert summary["several"] == "versions"
    assert all(record_of(tmp_path / "out" / s["folder"]).models.others == () for s in summary["suspects"])
    assert "Does one of these versions" in (tmp_path / "out" / PAGE).read_text()
    capsys.readouterr()
    out, last = tmp_path / "out", summary["suspects"][2]["folder"]
    shutil.copytree(out / last, out / "again")  # whoever is accused pads the family, until nothing is left
    bundles = [(f, *read_bundle(out / f)) for f in (*(s["folder"] for s in summary["suspects"]), "again")]
    padded = summarise("versions", bundles)
    (out / SUMMARY).write_bytes(summary_bytes(padded))
    (out / PAGE).write_text(summary_page(padded))
    assert verify([str(out)]) == 1 and "again is about a suspect that another" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("several", "change", "code"),
    [
        (None, (), "--several stack"),
        ("stack", ("--suspect", "base"), "is a pipeline"),
    ],
)
def test_what_cannot_be_judged_together_is_refused_before_anything_is_computed(
    folder, tmp_path, capsys, several, change, code
):
    more = [str(folder / a) if a == "base" else a for a in change]
    assert main(arguments(folder, tmp_path / "out", several, *more)) == 2
    said = capsys.readouterr().err
    assert code in said and said.count("\n") == 1 and not (tmp_path / "out").exists()


def test_one_suspect_has_no_kind_of_several(folder, tmp_path, capsys):
    given = ["authenticate", str(folder / "a.png"), "--base", str(folder / "base"), "--several", "stack"]
    assert main([*given, "--suspect", str(folder / "one.safetensors")]) == 2
    assert "one was given" in capsys.readouterr().err
