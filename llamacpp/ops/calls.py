"""One short wrapper per C function: check, call, check."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llamacpp._native import check, ffi, lib
from llamacpp.buffers import Buffer, Float32Array, Work
from llamacpp.ops.operands import Linear, Norm, norm_struct

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = [
    "add",
    "argmax",
    "cumulate",
    "embed",
    "linear",
    "log_sum_exp",
    "normalise",
    "probe_int8",
    "probe_read",
    "rope_angles",
    "scale",
    "softcap",
    "top_k",
]


def linear(op: Linear, x: Any, y: Any, n_tokens: int, work: Work) -> None:
    """Run a `Linear` of one matrix: ``float *`` x (n_tokens, k), y (n_tokens, n_rows)."""
    to = ffi.new("float *[3]", [y])
    status = lib.lk_linear_run(op.struct, x, to, n_tokens, work.struct)
    if status:
        check(status, f"multiply by {op.tensors[0].name}")


def normalise(norm: Norm, x: Any, y: Any, n_tokens: int, work: Work) -> None:
    """Rows of ``float *`` x (n_tokens, n), normalised, to y of the same shape; y may be x."""
    n = norm.weight.shape[0]
    check(lib.lk_norm_run(norm_struct(norm), x, y, n, n_tokens, work.struct), norm.weight.name)


def rope_angles(
    angles: Any, pos: Any, n_tokens: int, inv_freq: array[float], mscale: float = 1.0
) -> None:
    """Fill angles (n_tokens, n_half, 2) with ``mscale * (cos, sin)(pos * inv_freq)``."""
    pointer = ffi.from_buffer("double[]", inv_freq)
    check(lib.lk_rope_angles(angles, pos, n_tokens, pointer, len(inv_freq), mscale), "rope")


def embed(weight: Any, k: int, ids: Any, n_ids: int, y: Any) -> None:
    """Rows `ids` of an embedding matrix (an ``lk_matrix *``) as float32 (n_ids, k)."""
    check(lib.lk_rows(weight, k, ids, n_ids, y), "look up embeddings")


def scale(x: Any, n: int, factor: float) -> None:
    """Multiply the n values at ``float *`` x by a factor."""
    check(lib.lk_scale(x, n, factor), "scale")


def add(x: Any, y: Any, n: int) -> None:
    """Add the n values at ``float *`` y to those at x."""
    check(lib.lk_add(x, y, n), "add")


def softcap(x: Any, n: int, cap: float) -> None:
    """Replace each of the n values at ``float *`` x by ``cap * tanh(x / cap)``."""
    check(lib.lk_softcap(x, n, cap), "cap")


def _row(x: Buffer | Float32Array) -> tuple[Any, int]:
    """A row of logits for C: its address, and how many they are."""
    row = Buffer.of(x)
    return row.ptr, row.shape[1]


def argmax(x: Buffer | Float32Array) -> int:
    """Lowest index of the maximum of x (n,).

    Raises:
        KernelError: x holds a NaN or is empty.
    """
    index = ffi.new("int32_t *")
    check(lib.lk_argmax(*_row(x), index), "argmax")
    return int(index[0])


def top_k(x: Buffer | Float32Array, k: int) -> tuple[array[int], array[float]]:
    """Indices (int32) and values (float64) of the k largest of x (n,), ties by lower index.

    Raises:
        KernelError: k is outside 1..n, or x holds a NaN.
    """
    row, n = _row(x)
    room = max(k, 1) if k <= n else 1  # what is out of range is refused before it is written
    indices, values = array("i", bytes(4 * room)), array("d", bytes(8 * room))
    out = ffi.from_buffer("int32_t[]", indices), ffi.from_buffer("double[]", values)
    check(lib.lk_top_k(row, n, k, *out), "top-k")
    return indices, values


def log_sum_exp(x: Buffer | Float32Array) -> float:
    """``log(sum(exp(x)))`` of x (n,), in double.

    Raises:
        KernelError: x is empty, holds a NaN or +inf, or nothing but -inf.
    """
    result = ffi.new("double *")
    check(lib.lk_log_sum_exp(*_row(x), result), "log-sum-exp")
    return float(result[0])


def cumulate(
    logits: array[float] | npt.NDArray[np.float64], *, shift: float | None = None, t: float = 1.0
) -> array[float]:
    """Partial sums (n,) of ``exp((logits - shift) / t)``; shift None: the largest of the logits.

    Raises:
        KernelError: there are none, or t is not positive.
    """
    mass = array("d", bytes(8 * len(logits)))
    given, out = (ffi.from_buffer("double[]", x) for x in (logits, mass))
    at = ffi.NULL if shift is None else ffi.new("double *", shift)
    check(lib.lk_cumulate(given, len(logits), at, t, out), "softmax")
    return mass


def probe_read(
    spans: Sequence[tuple[int, int]], n_streams: int, n_threads: int
) -> tuple[float, int]:
    """Read memory once, each thread one part of it.

    Args:
        spans: (address, bytes) of each piece of readable memory.
        n_streams: 1, or 2: each thread reads both halves of its part at once.
        n_threads: threads to use.

    Returns:
        Seconds that it took, and the XOR of all 64-bit little-endian words of each span.

    Raises:
        KernelError: no spans, an empty one, or a number out of range.
        ModelFileError: mapped pages went away: their file shrank.
    """
    structs = ffi.new("lk_span[]", [(ffi.cast("void *", start), n) for start, n in spans])
    seconds, value = ffi.new("double *"), ffi.new("uint64_t *")
    check(
        lib.lk_probe_read(structs, len(spans), n_streams, n_threads, seconds, value),
        "probe reading",
    )
    return float(seconds[0]), int(value[0])


def probe_int8(rounds: int, n_threads: int) -> tuple[float, float]:
    """Multiply and add 8-bit integers in registers, as fast as the kernels in use can.

    Args:
        rounds: on each thread; a round takes some nanoseconds.
        n_threads: threads to use.

    Returns:
        Seconds that it took, and the multiply-adds of all threads together.

    Raises:
        KernelError: a number is out of range.
    """
    seconds, products = ffi.new("double *"), ffi.new("double *")
    check(lib.lk_probe_int8(rounds, n_threads, seconds, products), "probe multiplying")
    return float(seconds[0]), float(products[0])
