"""Safetensors headers: sound ones read alike by the library, damaged and hostile ones refused in a sentence."""

import json
import struct
import time
import tracemalloc

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.torch import save, save_file

from cgidm import UserError
from cgidm.intake.header import MAX_HEADER, header_length, parse_header, read_header
from cgidm.intake.listing import LocalListing
from cgidm.messages import english
from tests.support.errors import refuses

TENSORS = {
    "a.weight": torch.zeros(4, 3),
    "b.bias": torch.zeros(5, dtype=torch.float16),
    "c": torch.zeros((), dtype=torch.int64),
}
SOUND = save(TENSORS, {"ss_network_dim": "16"})


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def packed(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def read_bytes(data):
    length = header_length(data[:8], len(data), "file")
    return parse_header(data[8 : 8 + length], len(data) - 8 - length, "file")


def test_a_sound_file_is_read_as_the_library_reads_it(tmp_path):
    path = tmp_path / "sound.safetensors"
    save_file(TENSORS, path, {"ss_network_dim": "16"})
    header = read_header(LocalListing(path.parent), path.name)
    assert header.metadata == {"ss_network_dim": "16"}
    with safe_open(path, "pt") as file:
        slices = {k: file.get_slice(k) for k in file.keys()}
        assert {k: (v.dtype, v.shape) for k, v in header.tensors.items()} == {
            k: (s.get_dtype(), tuple(s.get_shape())) for k, s in slices.items()
        }


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "header_too_short"),
        (b"abc", "header_too_short"),
        (struct.pack("<Q", 2**63) + b"{}", "header_cut_off"),
        (SOUND[:40], "header_cut_off"),
        (SOUND[:-1], "header_data_size"),
        (SOUND + b"x", "header_data_size"),
        (packed(b"[]"), "header_not_found"),
        (packed(b"{\xff}"), "header_not_json"),
        (packed(b"{"), "header_not_json"),
        (packed(b'{"a":' * 100_000), "header_not_json"),
        (packed(b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,8]}}', bytes(8)), "header_not_json"),
        (packed(b'{"a":{"dtype":"F32","shape":[1e400],"data_offsets":[0,8]}}', bytes(8)), "header_shape"),
        (
            packed(b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,8]}}', bytes(8)),
            "header_not_json",
        ),
        (packed(b'{"a":1,"a":2}'), "header_not_json"),
        (packed({"a": entry(shape=(-2,))}, bytes(8)), "header_shape"),
        (packed({"a": entry(shape=(2**40, 2**40))}, bytes(8)), "header_tensor_size"),
        (packed({"a": entry(shape=(True,), offsets=(0, 4))}, bytes(4)), "header_shape"),
        (packed({"a": entry(dtype="F31")}, bytes(8)), "header_dtype"),
        (packed({"a": entry(offsets=(8, 0))}, bytes(8)), "header_tensor_size"),
        (packed({"a": entry(), "b": entry(offsets=(4, 12))}, bytes(12)), "header_overlap"),
        (packed({"a": entry(), "b": entry(offsets=(0, 8))}, bytes(8)), "header_overlap"),
        (packed({"a": entry(), "b": entry(offsets=(12, 20))}, bytes(20)), "header_gap"),
        (packed({"a": {"dtype": "F32"}}), "header_fields"),
        (packed({"__metadata__": {"x": 1}}), "header_metadata"),
        (packed({"__metadata__": "x"}), "header_metadata"),
    ],
)
def test_a_damaged_or_hostile_header_is_refused_in_one_line(data, code):
    with pytest.raises(UserError) as error:
        read_bytes(data)
    message = str(error.value)
    assert error.value.code == f"intake.{code}" and error.value.code in english()
    assert message.startswith("file") and "\n" not in message and len(message) < 400


def test_a_header_over_the_cap_is_not_read():
    with refuses("intake.header_too_large", most=MAX_HEADER):
        header_length(struct.pack("<Q", MAX_HEADER + 1), 2**40, "file")


def test_a_missing_file_is_refused(tmp_path):
    with refuses("intake.file_missing"):
        read_header(LocalListing(tmp_path), "no.safetensors")


MUTATION = st.tuples(
    st.sampled_from(["flip", "insert", "delete", "copy"]), st.integers(0, 10**6), st.binary(max_size=12)
)
PIECES = [
    b'"',
    b"{",
    b"[",
    b"-1",
    b"1e999",
    b"NaN",
    b'"a.weight":',
    b"99999999999999999999",
    b"\x00",
    b"\\ud800",
    b"null",
]


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(MUTATION, min_size=1, max_size=4), st.sampled_from(PIECES), st.booleans())
def test_mutated_headers_never_crash_and_never_pass_where_the_library_refuses(mutations, piece, fix_length):
    length = int.from_bytes(SOUND[:8], "little")
    header, data = bytearray(SOUND[8 : 8 + length]), SOUND[8 + length :]
    for kind, place, noise in mutations:
        at = place % (len(header) + 1)
        match kind:
            case "flip":
                header[at : at + len(noise)] = noise
            case "insert":
                header[at:at] = piece
            case "delete":
                del header[at : at + len(noise)]
            case "copy":
                header[at:at] = header[at : at + 3 * len(noise)]
    stated = len(header) if fix_length else length
    mutated = struct.pack("<Q", stated) + bytes(header) + data
    start = time.process_time()  # others may be at work on this machine
    try:
        ours = {k: v.shape for k, v in read_bytes(mutated).tensors.items()}
    except UserError:
        ours = None
    assert time.process_time() - start < 1  # what is read in quadratic time takes longer
    try:
        theirs = {k: tuple(v.shape) for k, v in load(mutated).items()}
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError):
        theirs = None
    if ours is not None:
        assert theirs == ours


def test_the_largest_header_is_cheap_in_memory():
    notes = b'{"__metadata__":{"ss_tag_frequency":"' + b"x" * (MAX_HEADER - 100) + b'"}}'
    tracemalloc.start()
    read_bytes(packed(notes))
    with pytest.raises(UserError):
        read_bytes(struct.pack("<Q", 2**62) + b"{")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000_000


def load(data):
    from safetensors.torch import load as load_bytes

    return load_bytes(data)
