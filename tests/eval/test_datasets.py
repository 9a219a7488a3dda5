"""The pictures of an experiment: chosen, split and written down; what cannot be used is named."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cgidm.messages import Note
from cgidm.pictures.embedders import Embedders
from cgidm.training.split import locate_picture
from eval.benchmark import duplicates
from eval.benchmark.datasets import load_manifest, prepare
from eval.benchmark.duplicates import Rule, clip_rule, find_near_duplicates, find_rule
from eval.benchmark.experiment import Dataset, Experiment
from tests.support.errors import refuses


def draw(path, number, size=(96, 80), quality=90):
    """A picture of broad shapes, another for each number, as a JPEG or whatever the name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(number).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    picture.save(path, **({"quality": quality} if path.suffix.lower() in (".jpg", ".jpeg") else {}))
    return path


@pytest.fixture
def data(tmp_path):
    """Three artists of six pictures each below data/art."""
    for a, artist in enumerate(("anna", "bert", "cleo")):
        for i in range(6):
            draw(tmp_path / "data" / "art" / artist / f"{i}.jpg", 10 * a + i)
    return tmp_path / "data"


def experiment(seed=0, **dataset):
    """Only what prepare reads: methods and trainings are none of its business."""
    settings = Dataset(**{"folder": "art", **dataset})
    return Experiment.model_construct(name="trial", seed=seed, datasets={"painters": settings})


def prepared(data, seed=0, **dataset):
    return prepare(experiment(seed, **dataset), data, data.parent / "manifest.json").datasets["painters"]


def halves(concept):
    return [[p.file for p in half] for half in concept.halves]


def test_the_same_inputs_give_the_same_bytes_and_are_read_back(data):
    out = data.parent / "runs" / "manifest.json"
    made = prepare(experiment(), data, out)
    first = out.read_bytes()
    assert load_manifest(out) == made
    out.write_text("something else")
    prepare(experiment(), data, out)
    assert out.read_bytes() == first
    assert [p.name for p in out.parent.iterdir()] == ["manifest.json"]
    assert str(data) not in first.decode()


def test_where_the_data_lies_changes_nothing(data, tmp_path):
    (data / "art" / "anna" / "bad.png").write_bytes(b"no picture")
    before = prepared(data)
    data.rename(tmp_path / "elsewhere")
    assert prepared(tmp_path / "elsewhere") == before


def test_halves_are_disjoint_and_whole(data):
    made = prepared(data)
    assert made.rule == "pHash of 64 bits within 6" and made.dropped == ()
    assert [c.name for c in made.concepts] == ["anna", "bert", "cleo"]
    for concept in made.concepts:
        a, b = halves(concept)
        assert len(a) == len(b) == 3
        assert sorted(a + b) == [f"art/{concept.name}/{i}.jpg" for i in range(6)]


def test_the_split_depends_on_the_seed_and_not_on_other_concepts(data):
    before = {c.name: c for c in prepared(data).concepts}
    for i in range(6):
        draw(data / "art" / "aaron" / f"{i}.jpg", 70 + i)
    (data / "art" / "bert" / "0.jpg").unlink()
    after = {c.name: c for c in prepared(data).concepts}
    assert after["anna"] == before["anna"] and after["cleo"] == before["cleo"]
    others = [{c.name: c for c in prepared(data, seed=s).concepts}["anna"] for s in (1, 2, 3, 4)]
    assert any({*halves(o)[0]} != {*halves(before["anna"])[0]} for o in others)


def test_a_file_name_has_no_part_in_the_draw(data):
    def hashes():
        return [[p.sha256 for p in half] for half in prepared(data).concepts[0].halves]

    before = hashes()
    for path in sorted((data / "art" / "anna").iterdir()):
        path.rename(path.with_name(f"new{9 - int(path.stem)}.jpg"))
    assert hashes() == before


def test_asking_for_more_pictures_moves_none_to_the_other_half(data):
    two, four, all_six = (prepared(data, pictures=n).concepts[0] for n in (2, 4, None))
    for half in (0, 1):
        assert [len(c.halves[half]) for c in (two, four, all_six)] == [1, 2, 3]
        assert set(two.halves[half]) < set(four.halves[half]) < set(all_six.halves[half])


def test_of_an_odd_number_half_a_has_one_more(data):
    (data / "art" / "anna" / "3.jpg").unlink()
    assert [len(half) for half in prepared(data).concepts[0].halves] == [3, 2]


def test_concepts_by_number_and_by_name(data):
    assert [c.name for c in prepared(data, concepts=2).concepts] == ["anna", "bert"]
    assert [c.name for c in prepared(data, concepts=("cleo", "anna")).concepts] == ["cleo", "anna"]
    with refuses("benchmark.too_few_concepts", given=3, least=4):
        prepared(data, concepts=4)
    with refuses("benchmark.unknown_concept", given="dora", accepted=["anna", "bert", "cleo"]):
        prepared(data, concepts=("dora",))


def test_concepts_that_are_joined_are_one(data):
    apart = prepared(data, concepts=["anna", "cleo"]).concepts
    (joined,) = prepared(data, concepts=["anna", "cleo"], joined="both").concepts
    assert joined.name == "both"
    for half in (0, 1):
        assert joined.halves[half] == (*apart[0].halves[half], *apart[1].halves[half])


def test_concepts_of_several_folders_are_named_by_their_paths(data):
    (found,) = prepared(data, folder=".", concepts=["art/anna"]).concepts
    assert {p.file for half in found.halves for p in half} == {f"art/anna/{i}.jpg" for i in range(6)}
    with refuses("benchmark.unknown_concept"):
        prepared(data, folder=".", concepts=["art/../art/anna"])


def test_what_is_no_concept_and_no_picture_is_passed_over(data):
    before = prepared(data)
    (data / "art" / ".anna.part").mkdir()
    (data / "art" / "SOURCES.json").write_text("{}")
    (data / "art" / "anna" / "notes.txt").write_text("none")
    (data / "art" / "anna" / "._0.jpg").write_bytes(b"what macOS leaves")
    (data / "art" / "anna" / "folder.jpg").mkdir()
    assert prepared(data) == before


def test_suffixes_in_any_case(data):
    for i, suffix in enumerate((".JPG", ".jpeg", ".Png", ".webp", ".bmp", ".tif", ".TIFF", ".gif")):
        draw(data / "art" / "dora" / f"{i}{suffix}", 50 + i)
    assert sum(len(h) for h in prepared(data, concepts=("dora",)).concepts[0].halves) == 8


def test_member_and_holdout_fix_the_halves(data):
    for i in range(4):
        draw(data / "art" / "dora" / ("member" if i < 3 else "holdout") / f"{i}.jpg", 50 + i)
    draw(data / "art" / "dora" / "holdout" / "again.jpg", 51, quality=40)
    made = prepared(data, concepts=("dora",))
    a, b = halves(made.concepts[0])
    assert (sorted(a), b) == ([f"art/dora/member/{i}.jpg" for i in range(3)], ["art/dora/holdout/3.jpg"])
    assert made.dropped[0].reason.startswith("near-duplicate of art/dora/member/1.jpg")
    assert [len(half) for half in prepared(data, concepts=("dora",), pictures=2).concepts[0].halves] == [1, 1]
    with refuses("benchmark.too_few_pictures_left", concept="painters/dora/holdout", given=1, least=2):
        prepared(data, concepts=("dora",), pictures=4)
    draw(data / "art" / "dora" / "loose.jpg", 60)
    with refuses("benchmark.pictures_beside_halves"):
        prepared(data, concepts=("dora",))


def test_a_damaged_picture_is_named_and_left_out(data):
    whole = (data / "art" / "anna" / "1.jpg").read_bytes()
    (data / "art" / "anna" / "1.jpg").write_bytes(whole[: len(whole) // 2])
    (data / "art" / "anna" / "2.jpg").write_bytes(b"")
    (data / "art" / "anna" / "3.jpg").unlink()
    (data / "art" / "anna" / "3.jpg").symlink_to("nowhere.jpg")
    made = prepared(data)
    assert [d.file for d in made.dropped] == [f"art/anna/{i}.jpg" for i in (1, 2, 3)]
    damaged, empty, gone = (d.reason for d in made.dropped)
    assert "damaged or cut off" in damaged and "is empty" in empty and "does not exist" in gone
    assert sum(len(half) for half in made.concepts[0].halves) == 3


def test_too_few_pictures_says_which_how_many_and_why(data):
    out = data.parent / "manifest.json"
    (data / "art" / "bert" / "0.jpg").write_bytes(b"no picture")
    counts = {"concept": "painters/bert", "given": 5, "least": 6, "dropped": 1}
    with refuses("benchmark.too_few_pictures_left", **counts) as caught:
        prepared(data, pictures=6)
    (reason,) = caught.value.params["reasons"]
    assert "art/bert/0.jpg" in reason and reason in str(caught.value)
    assert "\n" not in str(caught.value) and not out.exists()
    for i in range(1, 6):
        (data / "art" / "bert" / f"{i}.jpg").write_bytes(b"no picture")
    with refuses("benchmark.too_few_pictures_left", given=0, least=2, dropped=6) as caught:
        prepared(data)
    assert len(caught.value.params["reasons"]) == 4 and caught.value.params["reasons"][3] == "..."
    draw(data / "art" / "aaron" / "only.jpg", 1)
    with refuses("benchmark.too_few_pictures", concept="painters/aaron", given=1, least=2):
        prepared(data)


@pytest.mark.parametrize("pictures", [0, 3, -2])
def test_halves_of_equal_size_are_asked_for(data, pictures):
    with refuses("benchmark.picture_count", given=pictures):
        prepared(data, pictures=pictures)


def test_a_folder_that_is_not_there(data):
    with refuses("benchmark.unknown_folder"):
        prepared(data, folder="gone")
    with refuses("benchmark.unknown_folder_fetch", source="wikiart", data=str(data)):
        prepared(data, folder="gone", fetch="wikiart")
    for outside in ("../art", str(data / "art")):
        with refuses("benchmark.folder_outside", given=outside):
            prepared(data, folder=outside)


def test_near_duplicates_go_and_the_earlier_stays(data):
    anna = data / "art" / "anna"
    with Image.open(anna / "2.jpg") as picture:
        picture.resize((90, 75)).save(anna / "2-copy.jpg", quality=60)  # sorts before 2.jpg
        picture.resize((200, 167)).save(anna / "9.png")
    draw(data / "art" / "bert" / "anna2.jpg", 2)  # the same picture in another concept is none of anna's
    made = prepared(data)
    assert [d.file for d in made.dropped] == ["art/anna/2.jpg", "art/anna/9.png"]
    assert {d.reason for d in made.dropped} == {"near-duplicate of art/anna/2-copy.jpg (pHash of 64 bits within 6)"}
    assert [sum(len(h) for h in c.halves) for c in made.concepts] == [6, 7, 6]


def test_with_clip_the_limit_is_a_cosine(tmp_path, monkeypatch):
    """A stand-in for CLIP that sees the mean colour alone."""

    def embedder(images):
        assert images.shape[1:] == (3, 224, 224)
        return torch.nn.functional.normalize(images.mean((2, 3)), dim=1)

    colours = {"a": (200, 100, 50), "b": (100, 50, 25), "c": (20, 200, 20), "d": (10, 20, 200), "e": (21, 190, 30)}
    paths = [tmp_path / "data" / "art" / "anna" / f"{name}.png" for name in colours]
    paths[0].parent.mkdir(parents=True)
    for path, colour in zip(paths, colours.values(), strict=True):
        Image.new("RGB", (40, 40), colour).save(path)
    assert find_near_duplicates(paths, clip_rule(embedder)) == {paths[1]: paths[0], paths[4]: paths[2]}
    assert find_near_duplicates([], clip_rule(embedder)) == {}
    monkeypatch.setattr(duplicates, "load_embedders", lambda: Embedders({"clip": embedder}))
    made = prepared(tmp_path / "data", near_duplicates="clip")
    assert made.rule == "CLIP cosine above 0.90"
    assert made.dropped[1].reason == "near-duplicate of art/anna/c.png (CLIP cosine above 0.90)"


def test_a_picture_that_resembles_only_dropped_ones_stays():
    """In a chain a ~ b ~ c only b goes."""
    alike = np.eye(3, dtype=bool) | np.eye(3, k=1, dtype=bool) | np.eye(3, k=-1, dtype=bool)
    a, b, c = Path("a"), Path("b"), Path("c")
    assert find_near_duplicates([a, b, c], Rule("chain", lambda _: alike)) == {b: a}


def test_the_rule_is_the_experiment_s_and_never_the_machine_s(monkeypatch):
    monkeypatch.setattr(duplicates, "load_embedders", lambda: Embedders({"clip": lambda images: images.flatten(1)}))
    assert find_rule("clip").name == "CLIP cosine above 0.90"
    assert find_rule("phash").name == "pHash of 64 bits within 6"
    reason = Note("pictures.weights_not_cached", {"repo": "r", "file": "f"})
    monkeypatch.setattr(duplicates, "load_embedders", lambda: Embedders({}, {"clip": reason}))
    with refuses("benchmark.clip_missing", reason=reason):
        find_rule("clip")


def test_none_drops_nothing(data):
    first = data / "art" / "anna" / "0.jpg"
    (first.parent / "copy.jpg").write_bytes(first.read_bytes())
    assert [d.file for d in prepared(data).dropped] == ["art/anna/copy.jpg"]
    assert prepared(data, near_duplicates="none").dropped == ()


def test_a_picture_that_changed_since_is_refused(data):
    picture = prepared(data).concepts[0].halves[0][0]
    path = data / picture.file
    assert locate_picture(data, picture) == path
    path.write_bytes(path.read_bytes() + b"\0")
    with refuses("training.picture_changed", path=str(path)):
        locate_picture(data, picture)
    path.unlink()
    with refuses("training.picture_gone", path=str(path)):
        locate_picture(data, picture)


def test_only_a_manifest_is_read_as_one(data, tmp_path):
    path = tmp_path / "manifest.json"
    with refuses("benchmark.no_manifest"):
        load_manifest(path)
    made = asdict(prepare(experiment(), data, path))
    for text in ("", "[]", "{}", json.dumps({**made, "datasets": {"painters": {}}}), path.read_text()[:-9]):
        path.write_text(text)
        with refuses("benchmark.not_a_manifest"):
            load_manifest(path)
