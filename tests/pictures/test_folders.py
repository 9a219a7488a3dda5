"""The picture files of a folder, and what is said of the others."""

import pytest

from cgidm.messages import Note
from cgidm.pictures.folders import list_picture_files, picture_files, skipped_file_notes
from cgidm.pictures.formats import PICTURE_FORMATS, SUFFIXES
from tests.support.errors import refuses


def test_the_picture_files_of_a_folder_are_those_with_a_picture_s_suffix(tmp_path):
    with refuses("pictures.no_pictures", role="controls", suffixes=sorted(SUFFIXES)):
        picture_files(tmp_path, "controls")
    for name in ("b.GIF", "a.tiff", "._a.jpg", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [p.name for p in picture_files(tmp_path, "controls")] == ["a.tiff", "b.GIF"]
    with refuses("pictures.not_a_folder", path=str(tmp_path / "a.tiff")):
        picture_files(tmp_path / "a.tiff", "controls")


@pytest.mark.parametrize("suffix", [".jfif", ".JPE", ".JPG", ".Jpeg", ".HEIC", ".avif", ".jxl", ".mpo", ".webp"])
def test_every_suffix_of_a_format_is_known_in_any_case(tmp_path, suffix):
    (tmp_path / f"a{suffix}").touch()
    assert list_picture_files(tmp_path) == [tmp_path / f"a{suffix}"] and skipped_file_notes(tmp_path) == ()


def test_no_suffix_is_of_two_formats():
    every = [suffix for known in PICTURE_FORMATS for suffix in known.suffixes]
    assert len(every) == len(set(every)) == len(SUFFIXES) and all(s == s.lower() and s[0] == "." for s in every)


def test_what_is_passed_over_is_counted_by_kind(tmp_path):
    for name in ("a.png", "b.psd", "c.PSD", "d.txt", "nameless", "._a.png", ".DS_Store", "Thumbs.db"):
        (tmp_path / name).touch()
    (tmp_path / "more").mkdir()
    others, system, folders = skipped_file_notes(tmp_path)
    assert others.code == "pictures.skipped_files" and others.params["count"] == 4
    assert sorted(others.params["kinds"]) == ["1 x .txt", "1 x nameless", "2 x .psd"]
    assert system == Note("pictures.skipped_system_files", {"path": str(tmp_path), "count": 3})
    assert folders == Note("pictures.skipped_folders", {"path": str(tmp_path), "count": 1})


def test_many_kinds_are_not_all_named(tmp_path):
    for number in range(40):
        (tmp_path / f"a.x{number}").touch()
    (others,) = skipped_file_notes(tmp_path)
    assert others.params["count"] == 40 and len(others.params["kinds"]) == 7 and others.params["kinds"][-1] == "..."
