"""Tensors made from buffers."""

from __future__ import annotations

import pytest

from llamacpp._native import ffi
from llamacpp.errors import InvalidArgumentError
from llamacpp.format import GGMLType
from llamacpp.tensors import Tensor


def test_a_tensor_views_a_buffer_without_copying() -> None:
    buffer = bytearray(range(68))
    tensor = Tensor.from_buffer("t", GGMLType.Q8_0, (32, 2), memoryview(buffer))
    assert (tensor.row_nbytes, tensor.n_rows, tensor.n_elements) == (34, 2, 64)
    buffer[5] = 99
    assert tensor.data[5] == 99
    assert ffi.cast("uint8_t *", tensor.address)[5] == 99
    assert tensor.data.readonly
    with pytest.raises(BufferError):
        buffer.clear()


@pytest.mark.parametrize(
    ("kind", "shape", "nbytes", "message"),
    [
        (GGMLType.F32, (2,), 7, r"F32 \[2\] takes 8 bytes, but the buffer has 7"),
        (GGMLType.Q4_0, (33,), 18, "is no shape of Q4_0, whose rows are multiples of 32"),
        (GGMLType.F32, (), 4, r"\[\] is no shape of F32"),
        (GGMLType.F32, (2, 0), 0, r"\[2, 0\] is no shape of F32"),
    ],
)
def test_a_buffer_that_is_no_such_tensor_is_refused(
    kind: GGMLType, shape: tuple[int, ...], nbytes: int, message: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        Tensor.from_buffer("t", kind, shape, bytes(nbytes))
