"""Damage of every kind gives a parse or one of our errors: no other exception, no wild size."""

from __future__ import annotations

import random
import struct

import pytest
from gguf_bytes import (
    ARRAY,
    BOOL,
    STRING,
    BytesSource,
    array,
    entry,
    gguf,
    model,
    string,
    tensor,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from llamacpp.errors import FormatError, LlamaError
from llamacpp.format.gguf import parse_header
from llamacpp.format.metadata import NumericArray, StringArray
from llamacpp.format.types import GGMLType

INTERESTING = [0, 1, 2, 7, 8, 9, 31, 32, 0x7F, 0x80, 0xFF]
WIDE = [0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**61, 2**62, 2**63 - 1, 2**63, 2**64 - 32]


def seed_file(version: int = 3) -> bytes:
    return gguf(
        [
            entry("a.s", STRING, string("text", version), version),
            entry("a.f", BOOL, True, version),
            entry("a.w", ARRAY, array(STRING, ["x", "", "yy"], version), version),
            entry("a.b", ARRAY, array(BOOL, [True, False], version), version),
            entry("a.n", ARRAY, array(6, [0.5, 1.5], version), version),
            entry("general.alignment", 4, 16, version),
        ],
        [
            tensor("m", [32, 2], GGMLType.Q4_0, 0, version),
            tensor("v", [3], GGMLType.F32, 48, version),
        ],
        bytes(60),
        version=version,
        alignment=16,
    )


def use_all(data: bytes) -> bool:
    """Parse and touch everything; False where the file was refused by one of our errors."""
    try:
        header = parse_header(BytesSource(data))
    except LlamaError:
        return False
    for key in header.metadata:
        try:
            value = header.metadata[key]
            if isinstance(value, StringArray):
                assert sum(len(raw) for raw in value.iter_raw()) <= len(data)
            if isinstance(value, (StringArray, NumericArray)):
                assert len(list(value)) <= len(data)
        except FormatError as error:
            assert "not valid UTF-8" in str(error)  # noqa: PT017  the only lazy complaint
    end = header.data_offset
    for info in sorted(header.tensors.values(), key=lambda info: info.offset):
        assert end <= info.offset < info.offset + info.nbytes <= len(data)
        end = info.offset + info.nbytes
    return True


@pytest.mark.parametrize("version", [1, 2, 3])
def test_every_byte_changed_in_turn(version: int) -> None:
    whole = seed_file(version)
    assert use_all(whole)
    outcomes = set()
    for position in range(len(whole)):
        for byte in INTERESTING:
            outcomes.add(use_all(whole[:position] + bytes([byte]) + whole[position + 1 :]))
    assert outcomes == {True, False}


def test_every_aligned_or_unaligned_number_replaced_in_turn() -> None:
    whole = seed_file()
    for position in range(len(whole) - 8):
        for number in WIDE:
            use_all(whole[:position] + struct.pack("<Q", number) + whole[position + 8 :])


def test_random_damage_with_a_fixed_seed() -> None:
    rng = random.Random(20231123)
    whole = seed_file()
    for _ in range(3000):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 6)):
            start = rng.randrange(len(data))
            action = rng.randrange(4)
            if action == 0:
                data[start] = rng.randrange(256)
            elif action == 1:
                del data[start : start + rng.randint(1, 16)]
            elif action == 2:
                data[start:start] = rng.randbytes(rng.randint(1, 16))
            else:
                end = min(len(data), start + rng.randint(1, 40))
                at = rng.randrange(len(data))
                data[at:at] = data[start:end]
            if not data:
                data = bytearray(whole)
        use_all(bytes(data))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_after_a_valid_beginning(tail: bytes) -> None:
    use_all(b"GGUF\x03\0\0\0" + tail)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.text(min_size=1, max_size=20).filter(lambda key: key != "general.alignment"),
        st.one_of(
            st.text(),
            st.booleans(),
            st.integers(0, 2**32 - 1),
            st.floats(width=32, allow_nan=False),
            st.lists(st.text(), min_size=1, max_size=5),
            st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=5),
        ),
        max_size=8,
    ),
    st.sampled_from([1, 2, 3]),
)
def test_any_metadata_reads_back(
    metadata: dict[str, str | bool | int | float | list[str] | list[int]], version: int
) -> None:
    header = parse_header(BytesSource(model(metadata, version=version)))
    read = {
        key: list(value) if isinstance(value, (StringArray, NumericArray)) else value
        for key, value in header.metadata.items()
    }
    assert read == metadata
