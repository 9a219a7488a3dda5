"""What stands around the files of a zip: a run writes nothing there, so whatever stands there is named."""

import shutil
import struct
import zipfile

import pytest

from cgidm.cli import main
from cgidm.evidence.bundle_reader import ARCHIVE, EPOCH, open_bundle
from cgidm.evidence.bundle_writer import pack_evidence, write_evidence
from tests.support.bundles import MODELS
from tests.support.results import result_of


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    place = tmp_path_factory.mktemp("framing")
    write_evidence(result_of([2.0]), place / "folder", MODELS)
    pack_evidence(place / "folder", place / "whole.zip")
    return place


def problems_of(path):
    with open_bundle(path) as bundle:
        return {p.name: p.note.code.rpartition(".")[2] for p in bundle.problems}


def packed(made, path, entry=lambda info: info, more=()):
    """The same files, with each entry as `entry` makes it, and further ones."""
    with zipfile.ZipFile(made / "whole.zip") as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(entry(zipfile.ZipInfo(name, EPOCH)), old.read(name), zipfile.ZIP_DEFLATED)
        for info, data in more:
            new.writestr(info, data, zipfile.ZIP_DEFLATED)
    return path


def changed(**fields):
    def entry(info):
        for name, value in fields.items():
            setattr(info, name, value)
        return info

    return entry


def test_what_a_run_packs_is_framed_as_a_run_packs_it(made, tmp_path):
    assert problems_of(made / "whole.zip") == {} == problems_of(packed(made, tmp_path / "again.zip"))


@pytest.mark.parametrize(
    "alter",
    [
        lambda data: b"%PDF-1.4 a file of two kinds\n" + data,
        lambda data: data + b"more",
        lambda data: data[:-2] + struct.pack("<H", 5) + b"hello",  # a comment
        lambda data: data[: data.index(b"PK\1\2")] + b"hidden" + data[data.index(b"PK\1\2") :],
    ],
    ids=["prefix", "data after the end", "comment", "bytes between"],
)
def test_bytes_around_the_files_are_named(made, tmp_path, capsys, alter):
    path = tmp_path / "altered.zip"
    path.write_bytes(alter((made / "whole.zip").read_bytes()))
    code, said = main(["verify", str(path)]), capsys.readouterr()
    assert code in (1, 2)
    if code == 1:
        assert ARCHIVE in problems_of(path) and said.out.splitlines()[-1].startswith("shown: nothing; NOT whole")


@pytest.mark.parametrize(
    "fields",
    [
        {"date_time": (2026, 1, 1, 0, 0, 0)},
        {"extra": b"UT\4\0abcd"},
        {"comment": b"mine"},
        {"external_attr": 0o644 << 16},
        {"internal_attr": 1},
        {"create_system": 7},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_what_an_entry_says_beside_its_file_is_named(made, tmp_path, fields):
    found = problems_of(packed(made, tmp_path / "altered.zip", changed(**fields)))
    assert found["result.json"] == "zip_entry"


def test_a_file_that_is_stored_and_not_deflated_is_named(made, tmp_path):
    with zipfile.ZipFile(made / "whole.zip") as old, zipfile.ZipFile(tmp_path / "stored.zip", "w") as new:
        for name in old.namelist():
            new.writestr(zipfile.ZipInfo(name, EPOCH), old.read(name), zipfile.ZIP_STORED)
    assert set(problems_of(tmp_path / "stored.zip").values()) == {"zip_entry"}


def with_slack(whole, path, slack):
    """The same zip, with bytes behind the end of the first file's compressed data that its entry counts in."""
    with zipfile.ZipFile(whole) as old:
        first, *rest = old.infolist()
        data, start = whole.read_bytes(), old.start_dir
    size, more = first.compress_size, len(slack)
    end = 30 + len(first.filename) + size
    directory = bytearray(data[start:])
    place = 0
    for member in (first, *rest):
        length = 46 + len(member.filename)
        struct.pack_into("<L", directory, place + 20, member.compress_size + (more if member is first else 0))
        struct.pack_into("<L", directory, place + 42, member.header_offset + (0 if member is first else more))
        place += length
    struct.pack_into("<L", directory, place + 16, start + more)
    local = bytearray(data[:30])
    struct.pack_into("<L", local, 18, size + more)
    path.write_bytes(bytes(local) + data[30:end] + slack + data[end:start] + bytes(directory))
    with zipfile.ZipFile(path) as new:
        assert new.testzip() is None  # unpacking finds nothing
    return path


def test_bytes_behind_the_compressed_data_of_a_file_are_named(made, tmp_path, capsys):
    whole = made / "whole.zip"
    with zipfile.ZipFile(whole) as zipped:
        first = zipped.namelist()[0]
    forged = with_slack(whole, tmp_path / "forged.zip", b"%PDF-1.4 a file of two kinds\n")
    assert problems_of(forged) == {first: "zip_entry"}
    assert main(["verify", str(forged)]) == 1 and "compressed bytes" in capsys.readouterr().out
    assert problems_of(with_slack(whole, tmp_path / "same.zip", b"")) == {}


def test_links_folders_and_names_that_are_the_same_on_some_systems_are_named(made, tmp_path):
    link = changed(external_attr=0o120777 << 16)(zipfile.ZipInfo("link", EPOCH))
    more = [
        (link, b"result.json"),
        (zipfile.ZipInfo("Report.pdf", EPOCH), b""),
        (zipfile.ZipInfo("nested/", EPOCH), b""),
    ]
    found = problems_of(packed(made, tmp_path / "altered.zip", more=more))
    assert (found["link"], found["Report.pdf"], found["nested/"]) == ("link", "same_name", "folder")


def test_entries_that_overlap_are_named(made, tmp_path):
    """Two entries of the directory that point to one file: a zip quine, or a bomb."""
    data = bytearray((made / "whole.zip").read_bytes())
    first = data.index(b"PK\1\2")
    second = data.index(b"PK\1\2", first + 4)
    data[second + 42 : second + 46] = data[first + 42 : first + 46]  # where its file begins
    (tmp_path / "altered.zip").write_bytes(data)
    assert problems_of(tmp_path / "altered.zip")[ARCHIVE] == "zip_gap"


def test_a_local_header_that_says_something_else_is_named(made, tmp_path):
    """Programs that read a zip from its beginning would see another name, or another date."""
    data = bytearray((made / "whole.zip").read_bytes())
    for place in (10, 12, 30):  # time, date, name of the first file
        altered = bytes([*data[:place], data[place] ^ 1, *data[place + 1 :]])
        (tmp_path / "altered.zip").write_bytes(altered)
        assert "zip_entry" in problems_of(tmp_path / "altered.zip").values()


def test_names_of_a_folder_that_differ_in_case_are_named(made, tmp_path):
    shutil.copytree(made / "folder", tmp_path / "folder")
    (tmp_path / "folder" / "RESULT.json").write_bytes(b"{}")
    if len(list((tmp_path / "folder").glob("*.json"))) == 3:  # a system that tells them apart
        assert "same_name" in problems_of(tmp_path / "folder").values()
