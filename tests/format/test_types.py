"""The type tables against an independent one, and the C core's."""

from __future__ import annotations

import gguf as independent
import pytest

from llamacpp._native import ffi, lib
from llamacpp.format.types import FILE_TYPES, REMOVED_TYPES, GGMLType, ValueType


def test_tensor_types_equal_an_independent_table() -> None:
    theirs = independent.GGMLQuantizationType
    assert {t.name: int(t) for t in GGMLType} == {t.name: int(t) for t in theirs}
    for kind in GGMLType:
        if kind is GGMLType.Q8_1:  # theirs still has the two f32 of 2023; the block is 36 bytes
            assert kind.block == (32, 2 + 2 + 32)
        else:
            assert kind.block == independent.GGML_QUANT_SIZES[theirs(kind)]


def test_every_id_up_to_the_last_is_known_or_removed() -> None:
    assert {int(t) for t in GGMLType} | set(REMOVED_TYPES) == set(range(max(GGMLType) + 1))
    assert not {int(t) for t in GGMLType} & set(REMOVED_TYPES)


def test_value_types_equal_an_independent_table() -> None:
    assert {t.name: int(t) for t in ValueType} == {
        t.name: int(t) for t in independent.GGUFValueType
    }


def test_file_types_equal_an_independent_table() -> None:
    theirs = {int(t): t.name for t in independent.LlamaFileType if t.name != "GUESSED"}
    assert {n: name.split("_", 1)[1] for n, name in theirs.items()} == FILE_TYPES


@pytest.mark.parametrize("kind", GGMLType)
def test_blocks_equal_those_of_the_kernels(kind: GGMLType) -> None:
    length, nbytes = ffi.new("int32_t *"), ffi.new("int32_t *")
    if lib.lk_type_block(kind, length, nbytes) == lib.LK_OK:
        assert kind.block == (length[0], nbytes[0])
    else:
        assert not hasattr(lib, f"LK_{kind.name}")


def test_sizes_follow_from_blocks() -> None:
    assert GGMLType.Q4_0.row_nbytes(64) == 36
    assert GGMLType.F32.row_nbytes(172) == 688
    assert GGMLType.Q4_K.bits_per_weight == 4.5
    assert GGMLType.Q6_K.bits_per_weight == 6.5625
