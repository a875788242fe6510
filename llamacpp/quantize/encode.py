"""Rows of a tensor as rows of another type: the C encoders, a piece at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from llamacpp import ops
from llamacpp._native import check, ffi, lib
from llamacpp.buffers import Work
from llamacpp.errors import FormatError, UnsupportedError
from llamacpp.format import GGMLType
from llamacpp.tensors import Tensor

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["PIECE_NBYTES", "encode"]

PIECE_NBYTES = 16 << 20  # of the source, encoded at a time, unless a row is longer


def encode(
    tensor: Tensor,
    kind: GGMLType,
    work: Work,
    importance: npt.NDArray[np.float32] | None = None,
) -> Iterator[memoryview]:
    """Encode a tensor some rows at a time.

    Each block gets the scales with the smallest sum of squared errors that a search over candidates
    and least-squares fits finds (csrc/quantize/groups.h). The bits do not depend on the number
    of threads, nor on the level of kernels.

    Args:
        tensor: of any type that can run.
        kind: the type wanted; rows must be whole blocks of it.
        work: how many threads to use, and their scratch.
        importance: float32 (matrices, columns), not negative: the mean square of each column's
            input, for each matrix of the tensor; by default 1. A squared error weighs
            ``importance * sqrt(mean(x^2) + x^2)``, x being the row.

    Yields:
        The encoded bytes; each piece is valid until the next.

    Raises:
        FormatError: a value is NaN or infinite, or too large for `kind`.
        UnsupportedError: there is no decoder, or no encoder, for a type.
        ModelFileError: the file became shorter while it was read.
    """
    for one in (tensor.type, kind):
        if not ops.is_supported(one):
            raise UnsupportedError(f"tensor {tensor.name!r}: {one.name} is not supported")
    columns, rows = tensor.shape[0], tensor.shape[1] if len(tensor.shape) > 1 else 1
    out_nbytes = kind.row_nbytes(columns)
    step = min(max(PIECE_NBYTES // tensor.row_nbytes, 1), rows)
    work.reserve(lib.lk_quantize_scratch(columns, work.n_threads))
    out = ffi.new("uint8_t[]", step * out_nbytes)
    bad = ffi.new("int64_t *")
    matrix = ffi.new("lk_matrix *", {"type": int(tensor.type), "row_bytes": tensor.row_nbytes})
    for first in range(0, tensor.n_rows, rows):  # each matrix has importances of its own
        weights = ffi.NULL if importance is None else ffi.from_buffer(
            "float[]", importance[first // rows])  # fmt: skip
        for row in range(first, first + rows, step):
            n = matrix.n_rows = min(step, first + rows - row)
            matrix.data = ffi.cast("void *", tensor.address + row * tensor.row_nbytes)
            check(
                lib.lk_quantize_rows(matrix, columns, int(kind), weights, out, work.struct, bad),
                f"tensor {tensor.name!r}",
            )
            if bad[0] >= 0:
                raise _refusal(tensor, kind, row + bad[0] // columns, bad[0] % columns)
            yield memoryview(ffi.buffer(out, n * out_nbytes))


def _refusal(tensor: Tensor, kind: GGMLType, row: int, column: int) -> FormatError:
    """What to say of a value that cannot be stored."""
    rows = ffi.new(
        "lk_matrix *",
        {"data": ffi.cast("void *", tensor.address + row * tensor.row_nbytes),
         "row_bytes": tensor.row_nbytes, "type": int(tensor.type), "n_rows": 1},
    )  # fmt: skip
    values = ops.Buffer(1, tensor.shape[0])
    ops.embed(rows, tensor.shape[0], ffi.new("int32_t[]", [0]), 1, values.ptr)
    value = values.ptr[column]
    why = "too large for it" if math.isfinite(value) else "no number to store"
    return FormatError(
        f"tensor {tensor.name!r} cannot be stored as {kind.name}: element {column} of row {row} is "
        f"{value:g}, {why}; is the file damaged?"
    )
