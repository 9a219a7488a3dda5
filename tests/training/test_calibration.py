"""Null scores for a base of one's own: the command makes them, a verdict uses them, the bundle holds them."""

import json

import numpy as np
import pytest
from PIL import Image

from cgidm.cli import main
from cgidm.evidence.bundle_reader import open_bundle
from cgidm.evidence.recompute import recompute
from cgidm.evidence.reports.report import report_blocks
from cgidm.evidence.seal import bundle_record
from cgidm.judging.mirror_choice import mirror_reference
from cgidm.judging.mirror_test import LEAST_ARTISTS, MirrorReference, NullGroup, own_table_reference, table_reference
from tests.support import tiny
from tests.support.results import block_texts

pytestmark = pytest.mark.usefixtures("few_draws")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibration")
    tiny.stable_diffusion().save_pretrained(folder / "base")
    for seed in (1, 2):
        tuned = tiny.stable_diffusion()
        tiny.perturbed(tuned.unet, seed=seed)
        tuned.save_pretrained(folder / f"tuned-{seed}")
    rng = np.random.default_rng(0)
    for artist in range(LEAST_ARTISTS):
        (folder / f"artist-{artist}").mkdir()
        for i in range(4):
            image = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8)).resize((64, 64))
            image.save(folder / f"artist-{artist}" / f"{i}.png")
    Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8)).resize((64, 64)).save(folder / "a.png")
    return folder


def calibrated(folder, table, artists=LEAST_ARTISTS):
    for artist in range(artists):
        given = [str(folder / "tuned-1"), str(folder / f"artist-{artist}")]
        assert main(["calibrate", *given, "--base", str(folder / "base"), "--table", str(table)]) == 0


def authenticated(folder, table, *more):
    models = ["--base", str(folder / "base"), "--suspect", str(folder / "tuned-2"), "--steps", "2"]
    return main(["authenticate", str(folder / "a.png"), *models, "--null-table", str(table), *more])


def test_a_table_is_made_call_by_call_and_judges_another_suspect(folder, tmp_path, capsys):
    table, out = tmp_path / "nulls.json", tmp_path / "evidence"
    calibrated(folder, table)
    assert f"{4 * LEAST_ARTISTS} null scores of {LEAST_ARTISTS} artists" in capsys.readouterr().out
    assert authenticated(folder, table, "--out", str(out)) == 0, capsys.readouterr().err
    (groups,) = [t["groups"] for t in json.loads(table.read_text())]
    with open_bundle(out) as bundle:
        record = bundle_record(bundle)
        assert recompute(bundle, record).agrees
    assert (
        record.mirror is not None
        and record.mirror.source == "own table"
        and record.mirror.references == 4 * LEAST_ARTISTS
    )
    assert [(g.artist, list(g.scores)) for g in record.mirror.groups] == [(g["artist"], g["scores"]) for g in groups]
    (witness, _) = record.pictures[0].witnesses
    own = own_table_reference([NullGroup(**g) for g in groups])
    score = record.pictures[0].scores["mirror"]
    assert score is not None and witness.p_value == own.p_value(score)
    text = " ".join(t for block in report_blocks(record, "0" * 64)[:3] for t in block_texts(block))
    assert "a table that was handed over" in text
    rerun = ["--base", str(folder / "base"), "--suspect", str(folder / "tuned-2")]
    assert main(["verify", str(out), "--rerun", *rerun]) == 0


def test_a_second_call_for_the_same_works_replaces_the_first(folder, tmp_path):
    table = tmp_path / "nulls.json"
    calibrated(folder, table, artists=1)
    first = table.read_bytes()
    calibrated(folder, table, artists=1)
    assert table.read_bytes() == first


def test_copies_count_once_and_what_is_its_own_mirror_image_not_at_all(folder, tmp_path, capsys):
    table, works = tmp_path / "nulls.json", tmp_path / "works"
    works.mkdir()
    for i in range(3):
        (works / f"{i}.png").write_bytes((folder / "artist-0" / "0.png").read_bytes())
    given = ["calibrate", str(folder / "tuned-1"), str(works), "--base", str(folder / "base"), "--table", str(table)]
    assert main(given) == 0
    (group,) = json.loads(table.read_text())[0]["groups"]
    assert len(group["scores"]) == 1 and str(folder) not in table.read_text()
    for path in works.iterdir():
        Image.new("RGB", (64, 64), "white").save(path)
    assert main(given) == 2 and "its own mirror image" in capsys.readouterr().err


def test_a_table_that_does_not_suffice_leaves_the_reference_pictures_their_say():
    few = [NullGroup(artist="a", training="t", scores=(0.0, 1.0))]
    pictures = [i / 40 for i in range(40)]
    found = mirror_reference({"unet": "0" * 64}, None, 24, pictures, own=few)
    assert isinstance(found, MirrorReference) and found.source == "pictures"
    empty = [NullGroup(artist=str(i), training="t", scores=()) for i in range(9)]
    many = NullGroup(artist="a", training="t", scores=tuple(i / 30 for i in range(30)))
    silent = own_table_reference([*empty, many]).silent
    assert silent is not None and silent.code == "judging.mirror.few_artists" and silent.params["n"] == 1


def test_too_few_artists_show_no_level(folder, tmp_path, capsys):
    table = tmp_path / "nulls.json"
    calibrated(folder, table, artists=LEAST_ARTISTS - 1)
    assert authenticated(folder, table) == 0, capsys.readouterr().err
    groups = [NullGroup(artist=str(i % 4), training="t", scores=tuple(np.arange(9.0) / 9)) for i in range(8)]
    silent = own_table_reference(groups).silent
    assert silent is not None and silent.code == "judging.mirror.few_artists"
    assert table_reference(groups).silent is None


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda t: t[0].update(base=["0" * 64]), "has no null scores of this base"),
        (lambda t: t[0].update(draws=7), "7 draws"),
        (lambda t: t[0].pop("groups"), "is damaged"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(folder, tmp_path, capsys, change, words):
    table = tmp_path / "nulls.json"
    calibrated(folder, table, artists=1)
    content = json.loads(table.read_text())
    change(content)
    table.write_text(json.dumps(content))
    assert authenticated(folder, table) == 2 and words in capsys.readouterr().err


def test_a_table_that_is_not_there_is_named(folder, tmp_path, capsys):
    assert authenticated(folder, tmp_path / "none.json") == 2 and "There is no file" in capsys.readouterr().err
    given = [str(folder / "tuned-1"), str(folder / "artist-0"), "--base", str(folder / "base")]
    assert main(["calibrate", *given, "--table", str(tmp_path / "no" / "t.json")]) == 2
    assert "There is no folder" in capsys.readouterr().err


def test_the_table_of_ones_own_comes_before_pictures():
    groups = [NullGroup(artist=str(i), training="t", scores=tuple(j / 9 + i for j in range(9))) for i in range(6)]
    found = mirror_reference({"unet": "0" * 64}, None, 24, [0.5] * 40, own=groups)
    assert isinstance(found, MirrorReference) and found.source == "own table"
    without = mirror_reference({"unet": "0" * 64}, None, 24, [0.5])
    assert isinstance(without, MirrorReference) and without.source == "pictures"
