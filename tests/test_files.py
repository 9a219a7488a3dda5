"""Files are written whole or not at all."""

import multiprocessing

import pytest

from cgidm.files import atomic_path, remove_leftovers, temporary_path, write_atomically


def test_text_and_bytes_replace_what_was_there(tmp_path):
    path = tmp_path / "a.json"
    for data, expected in (("é\n", "é\n".encode()), (b"\x00", b"\x00")):
        write_atomically(path, data)
        assert path.read_bytes() == expected and list(tmp_path.iterdir()) == [path]


def test_a_block_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "a.zip"
    path.write_text("old")
    with pytest.raises(OSError, match="full"), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise OSError("the disk is full")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_gone_is_not_made_again(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "gone" / "a", "x")
    assert not list(tmp_path.iterdir())


def test_leftovers_of_dead_processes_are_removed_and_of_no_other(tmp_path):
    path = tmp_path / "a[1].json"
    process = multiprocessing.get_context("spawn").Process(target=leave_leftovers, args=(path,))
    process.start()
    process.join(60)
    file, folder = sorted(p for p in tmp_path.iterdir())
    assert file.is_file() and folder.is_dir()
    own = temporary_path(path)
    own.touch()  # this process lives
    elsewhere = tmp_path / f".{path.name}.another-machine-{process.pid}-1.tmp"
    elsewhere.touch()
    other = tmp_path / file.name.replace("a[1]", "a1")  # of another file
    other.touch()
    remove_leftovers(path)
    assert sorted(tmp_path.iterdir()) == sorted([own, elsewhere, other])


def leave_leftovers(path):
    """What a killed process leaves: a file, and a folder that is not empty."""
    temporary_path(path).touch()
    folder = temporary_path(path).with_name(temporary_path(path).name.replace(".tmp", "9.tmp"))
    folder.mkdir()
    (folder / "b").touch()
