"""Files are written whole or not at all."""

import pytest

from cgidm.files import atomic_path, write_atomically


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
