"""Original files beside a bundle: found by their digests, and decoded to the recorded pixels."""

import dataclasses
import shutil
from pathlib import Path

import pytest
from PIL import Image

from cgidm.cli import main
from cgidm.evidence.anchors.originals import check_originals
from cgidm.evidence.bundle_reader import open_bundle
from cgidm.evidence.bundle_writer import write_evidence
from cgidm.evidence.seal import bundle_record
from cgidm.framing.frame import CentreSquare
from cgidm.judging.flags import RunChecks
from cgidm.pictures.images import read_picture
from tests.support.bundles import MODELS
from tests.support.errors import refuses
from tests.support.forgeries import drawn
from tests.support.results import result_of

SIDE = 16


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A bundle of one picture and its controls, and a folder of their files."""
    place = tmp_path_factory.mktemp("originals")
    files = place / "files"
    (files / "controls").mkdir(parents=True)
    drawn(0, (48, 36)).save(files / "picture.png")
    result = result_of([2.0])
    controls = []
    for i, control in enumerate(result.controls):
        drawn(i + 1, (40, 40)).save(files / "controls" / f"{i}.png")
        controls.append(dataclasses.replace(read_picture(files / "controls" / f"{i}.png", SIDE), name=control.name))
    first = dataclasses.replace(result.pictures[0], picture=read_picture(files / "picture.png", SIDE))
    framing = CentreSquare(resolution=SIDE)
    changed = {"pictures": (first,), "controls": tuple(controls), "framing": framing}
    run = RunChecks(base_vs_itself=0.0, noted_framing=framing)
    write_evidence(dataclasses.replace(result, **changed, checks=run), place / "bundle", MODELS)
    return place


@pytest.fixture
def files(made, tmp_path) -> Path:
    return shutil.copytree(made / "files", tmp_path / "files")


def checked(made, folder):
    with open_bundle(made / "bundle") as bundle:
        return check_originals(bundle, bundle_record(bundle), folder)


def codes(made, folder):
    return [c.note.code.rpartition(".")[2] for c in checked(made, folder)]


def test_the_recorded_files_are_found_whatever_they_are_called(made, files, capsys):
    assert set(codes(made, files)) == {"same"} and len(codes(made, files)) == 41
    (files / "picture.png").rename(files / "controls" / "of another name.png")
    assert set(codes(made, files)) == {"same"}
    assert main(["verify", str(made / "bundle"), "--originals", str(files)]) == 0
    said = capsys.readouterr().out
    assert "originals: 41 of 41 files are the recorded ones" in said and "made of these originals" in said


def test_another_file_of_the_same_name_is_named(made, files, capsys):
    with Image.open(files / "picture.png") as picture:
        picture.save(files / "picture.png", optimize=True, compress_level=1)  # the same pixels in other bytes
    assert codes(made, files)[0] == "other_file"
    assert main(["verify", str(made / "bundle"), "--originals", str(files)]) == 1
    said = capsys.readouterr().out
    assert "  picture.png: is another file: its SHA-256 is " in said
    assert "NOT made of these originals" in said.splitlines()[-1]


def test_a_picture_that_is_not_there_is_named_and_a_control_may_be_missing(made, files, capsys):
    shutil.rmtree(files / "controls")
    assert codes(made, files) == ["same"] + ["missing"] * 40
    assert main(["verify", str(made / "bundle"), "--originals", str(files)]) == 0
    assert "originals: 1 of 41 files are the recorded ones" in capsys.readouterr().out
    (files / "picture.png").unlink()
    (files / "other.png").write_bytes(b"no picture")
    assert main(["verify", str(made / "bundle"), "--originals", str(files)]) == 1


def test_a_file_that_does_not_decode_to_the_recorded_pixels_is_named(made, files, tmp_path):
    """The digest in the record is that of this file, and the bundle's pixels are of another picture."""
    folder = shutil.copytree(made / "bundle", tmp_path / "bundle")
    drawn(99, (SIDE, SIDE)).save(folder / "00-original.png")
    with open_bundle(folder) as bundle:
        (first, *others) = check_originals(bundle, bundle_record(bundle), files)
    assert first.note.code == "evidence.original.other_pixels" and first.agrees is False
    assert all(c.agrees for c in others)


def test_a_folder_that_is_none(made, tmp_path):
    with refuses("evidence.no_originals"):
        checked(made, tmp_path / "missing")
