"""Rows of floats, encoded by ours and decoded by the `gguf` package."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt

from llamacpp import ops
from llamacpp._native import ffi
from llamacpp.format import GGMLType, ModelFile
from llamacpp.quantize.encode import encode
from llamacpp.tensors import Tensor, map_tensors

Array = npt.NDArray[np.float32]
T = GGMLType
BLOCK_TYPES = (
    T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0, T.Q2_K, T.Q3_K, T.Q4_K, T.Q5_K, T.Q6_K, T.IQ4_NL,
    T.IQ4_XS, T.MXFP4, T.TQ1_0, T.TQ2_0, T.IQ3_S, T.IQ3_XXS, T.IQ2_S,
    T.IQ2_XS, T.IQ2_XXS, T.IQ1_M, T.IQ1_S,
)  # fmt: skip


def tensor_of(x: np.ndarray, kind: GGMLType = T.F32, name: str = "some.weight") -> Tensor:
    """Values (..., columns) as a tensor; of F16 as it is, of BF16 by the upper halves of floats."""
    data = x.astype(np.float16 if kind == T.F16 else np.float32)
    stored = data.view(np.uint16)[..., 1::2] if kind == T.BF16 else data
    buffer = np.ascontiguousarray(stored).view(np.uint8).reshape(-1).data
    return Tensor.from_buffer(name, kind, x.shape[::-1], buffer)


def encoded(
    x: np.ndarray | Tensor, kind: GGMLType, importance: Array | None = None, n_threads: int = 2
) -> npt.NDArray[np.uint8]:
    """Bytes (rows, row bytes); importance (columns,) or (matrices, columns)."""
    tensor = x if isinstance(x, Tensor) else tensor_of(x)
    weights = None if importance is None else importance.reshape(-1, tensor.shape[0])
    pieces = [bytes(p) for p in encode(tensor, kind, ops.Work(n_threads), weights)]
    return np.frombuffer(b"".join(pieces), np.uint8).reshape(tensor.n_rows, -1)


def decoded(data: npt.NDArray[np.uint8], kind: GGMLType) -> npt.NDArray[np.float64]:
    return gguf.quants.dequantize(data, gguf.GGMLQuantizationType(kind)).astype(np.float64)


def rmse(x: Array, data: npt.NDArray[np.uint8], kind: GGMLType, w: Array | None = None) -> float:
    """Root of the mean squared error, each weighted by that of its column."""
    error = (decoded(data, kind) - x) ** 2
    weights = np.ones(x.shape[-1]) if w is None else w.astype(np.float64)
    return float(np.sqrt((error * weights).mean() / weights.mean()))


def values_of(path: Path, suffix: str) -> Array:
    """All matrices of a model whose name ends so, as float32 rows."""
    with ModelFile(path) as file:
        found = [t for name, t in map_tensors(file).items() if name.endswith(suffix)]
        rows = []
        for tensor in found:
            out = ops.Buffer(tensor.n_rows, tensor.shape[0])
            matrix = ffi.new("lk_matrix *", ops.matrix(tensor))
            ids = ffi.new("int32_t[]", list(range(tensor.n_rows)))
            ops.embed(matrix, tensor.shape[0], ids, tensor.n_rows, out.ptr)
            rows.append(out.array.copy())
    return np.concatenate(rows)
