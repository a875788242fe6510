"""Walking string arrays in C, against the same walk in Python."""

from __future__ import annotations

import random
import struct

import pytest

from llamacpp._native import ffi, lib
from llamacpp.errors import FormatError
from llamacpp.format.strings import string_offsets, walk_strings


def random_strings(rng: random.Random, count: int, width: int) -> tuple[bytes, list[int]]:
    """The bytes of `count` strings, and where each starts, with the end."""
    data, starts = b"", [0]
    for _ in range(count):
        raw = rng.randbytes(rng.choice([0, 1, 3, 8, 40]))
        data += struct.pack("<I" if width == 4 else "<Q", len(raw)) + raw
        starts.append(len(data))
    return data, starts


@pytest.mark.parametrize("width", [4, 8])
def test_a_walk_stops_before_the_first_string_that_is_not_whole(width: int) -> None:
    data, starts = random_strings(random.Random(1), 30, width)
    for have in range(len(data) + 1):
        whole = sum(end <= have for end in starts[1:])
        assert walk_strings(memoryview(data), have, 0, 30, width) == (whole, starts[whole])
    assert walk_strings(memoryview(data), len(data), starts[7], 5, width) == (5, starts[12])
    assert walk_strings(memoryview(data), len(data), 0, 0, width) == (0, 0)


@pytest.mark.parametrize("width", [4, 8])
def test_offsets_are_where_the_strings_are(width: int) -> None:
    data, starts = random_strings(random.Random(2), 100, width)
    assert string_offsets(memoryview(data), 100, width).tolist() == starts
    assert string_offsets(memoryview(b""), 0, width).tolist() == [0]
    with pytest.raises(FormatError, match="the data ends too early"):
        string_offsets(memoryview(data)[:-1], 100, width)


@pytest.mark.parametrize("length", [2**64 - 1, 2**64 - 8, 2**64 - 9, 2**63, 17])
def test_a_length_beyond_the_end_cannot_wrap_around(length: int) -> None:
    data = struct.pack("<Q", 1) + b"x" + struct.pack("<Q", length) + bytes(16)
    assert walk_strings(memoryview(data), len(data), 0, 2, 8) == (1, 9)


def test_the_c_functions_refuse_bad_arguments() -> None:
    n, end, table = ffi.new("size_t *"), ffi.new("size_t *"), ffi.new("uint64_t[2]")
    data = ffi.new("uint8_t[9]")
    walk, offsets, bad = lib.lk_gguf_walk_strings, lib.lk_gguf_string_offsets, lib.LK_ERR_ARGUMENT
    assert walk(ffi.NULL, 9, 0, 1, 8, n, end) == bad
    assert walk(data, 9, 10, 1, 8, n, end) == bad
    assert walk(data, 9, 0, 1, 5, n, end) == bad
    assert walk(data, 9, 0, 1, 8, ffi.NULL, end) == bad
    assert walk(data, 9, 0, 1, 8, n, ffi.NULL) == bad
    assert offsets(ffi.NULL, 9, 1, 8, table) == bad
    assert offsets(data, 9, 1, 0, table) == bad
    assert offsets(data, 9, 1, 8, ffi.NULL) == bad
