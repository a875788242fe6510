"""One short wrapper per C op: check, call, check.

Ops work on prepared operands: a `Linear` or `Attention` is made once per model, a `Buffer` and the
`Block` of ops that uses it once per session, so that a call costs little more than the C function
behind it.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from llamacpp._native import check, ffi, lib
from llamacpp.buffers import Buffer, Float32Array, Work, int32
from llamacpp.errors import InvalidArgumentError, UnsupportedError
from llamacpp.format.types import GGMLType
from llamacpp.tensors import Tensor

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = [
    "Attention",
    "AttentionShape",
    "Block",
    "Buffer",
    "Linear",
    "Work",
    "argmax",
    "cache_bytes",
    "cumulate",
    "embed",
    "int32",
    "is_supported",
    "linear",
    "log_sum_exp",
    "matrix",
    "probe_int8",
    "probe_read",
    "rope_angles",
    "top_k",
    "vector",
]

STORE, ADD, SWIGLU = lib.LK_STORE, lib.LK_ADD, lib.LK_SWIGLU
ROPE_NONE, ROPE_ADJACENT, ROPE_HALF = lib.LK_ROPE_NONE, lib.LK_ROPE_ADJACENT, lib.LK_ROPE_HALF
F32, F16, Q8_0 = lib.LK_F32, lib.LK_F16, lib.LK_Q8_0


@cache
def is_supported(kind: GGMLType) -> bool:
    """Whether there are kernels for a weight type."""
    return not lib.lk_type_block(int(kind), ffi.new("int32_t *"), ffi.new("int32_t *"))


# ---- prepared operands ------------------------------------------------------------------------


def matrix(tensor: Tensor, bias: Tensor | None = None) -> dict[str, Any]:
    """Describe a 2-D weight (rows of shape[0] values, shape[1] rows) and its bias for C."""
    n_rows = tensor.shape[1]
    if bias is not None and bias.shape != (n_rows,):
        raise InvalidArgumentError(f"{bias.name}: shape {bias.shape} instead of ({n_rows},)")
    return {
        "data": ffi.cast("void *", tensor.address),
        "bias": vector(bias) if bias is not None else ffi.NULL,
        "row_bytes": tensor.row_nbytes,
        "type": int(tensor.type),
        "n_rows": n_rows,
    }


def vector(tensor: Tensor) -> Any:
    """Pointer to a 1-D float32 tensor."""
    if int(tensor.type) != F32:
        raise UnsupportedError(f"{tensor.name}: 1-D tensors must be F32, not {tensor.type.name}")
    return ffi.cast("float *", tensor.address)


class Linear:
    """``y_i = epilogue(W_i rmsnorm(x) + b_i)`` for up to three matrices that share their input.

    Args:
        weights: the W_i, each of shape (k, n_rows_i) in GGUF's order (fastest first).
        biases: the b_i (n_rows_i) or None, as many as weights.
        norm: RMSNorm weight (k) applied to x first.
        eps: epsilon of that norm.
        epilogue: STORE, ADD (y += W x) or SWIGLU (y = silu(W_0 x) * (W_1 x)).
    """

    def __init__(
        self,
        weights: Sequence[Tensor],
        biases: Sequence[Tensor | None] | None = None,
        *,
        norm: Tensor | None = None,
        eps: float = 0.0,
        epilogue: int = STORE,
    ) -> None:
        given = biases or [None] * len(weights)
        self.tensors = [*weights, *(b for b in given if b is not None), *([norm] if norm else [])]
        self.struct = ffi.new(
            "lk_linear *",
            {
                "w": [matrix(w, b) for w, b in zip(weights, given, strict=True)],
                "norm": vector(norm) if norm is not None else ffi.NULL,
                "norm_eps": eps,
                "n_w": len(weights),
                "k": weights[0].shape[0],
                "epilogue": epilogue,
            },
        )
        check(lib.lk_linear_check(self.struct), f"prepare {weights[0].name}")

    def scratch(self, n_tokens: int, n_threads: int) -> int:
        """Bytes of scratch that a call needs."""
        return int(lib.lk_linear_scratch(self.struct, n_tokens, n_threads))


@dataclass(frozen=True)
class AttentionShape:
    """What attention needs to know of a model and its cache; names as in the GGUF keys."""

    n_head: int
    n_kv_head: int
    head_dim_k: int
    head_dim_v: int
    n_rot: int
    rope_kind: int
    cache_type: int
    n_seq: int
    n_ctx: int
    scale: float


class Attention:
    """Causal attention over a KV cache of n_seq sequences and n_kv_head heads."""

    def __init__(self, shape: AttentionShape) -> None:
        self.struct = ffi.new("lk_attention *", dict(vars(shape)))
        check(lib.lk_attention_check(self.struct), "prepare attention")

    def scratch(self, n_tokens: int, n_threads: int) -> int:
        """Bytes of scratch that a call needs."""
        return int(lib.lk_attention_scratch(self.struct, n_tokens, n_threads))


def cache_bytes(cache_type: int, head_dims: tuple[int, int], n: int) -> tuple[int, int]:
    """Bytes that the keys, and the values, of `n` positions of one head take."""
    k_dim, v_dim = head_dims
    return (
        int(lib.lk_cache_keys(cache_type, k_dim, n)),
        int(lib.lk_cache_values(cache_type, v_dim, n)),
    )


class Block:
    """Ops that follow each other, prepared once and run by one call: a transformer block.

    Every method that adds an op takes buffers of which the call's `n` tokens use the first n rows.
    """

    def __init__(self) -> None:
        self._steps: list[dict[str, Any]] = []
        self._struct: Any = ffi.NULL
        self._alive: list[Any] = []  # what the C structs point to
        self._failed = ffi.new("int32_t *")
        self.names: list[str] = []  # of the ops, for messages and profiles
        self.tensors: list[list[Tensor]] = []  # of each op

    def linear(self, op: Linear, x: Buffer, *y: Buffer) -> Block:
        """Add a `Linear`: x (n, k), y_i (n, n_rows_i)."""
        arguments = {"op": op.struct, "x": x.ptr, "y": [buffer.ptr for buffer in y]}
        self._add(op.tensors[0].name, "linear", arguments, (op, x, *y))
        self.tensors.append(op.tensors)
        return self

    def attention(
        self,
        op: Attention,
        qkv: tuple[Buffer, Buffer, Buffer],
        out: Buffer,
        caches: tuple[Any, Any],
    ) -> Block:
        """Add an `Attention`: rotate q and k in place, append to the cache, attend.

        Args:
            op: the prepared shape.
            qkv: q (n, n_head * head_dim_k), k and v (n, n_kv_head * their head size).
            out: (n, n_head * head_dim_v).
            caches: addresses of one layer's keys and values.
        """
        q, k, v = qkv
        arguments = {"op": op.struct, "q": q.ptr, "k": k.ptr, "v": v.ptr, "out": out.ptr}
        arguments |= {"k_cache": caches[0], "v_cache": caches[1]}
        self._add("attention", "attention", arguments, (op, *qkv, out, caches))
        self.tensors.append([])
        return self

    def _add(self, name: str, kind: str, arguments: dict[str, Any], alive: tuple[Any, ...]) -> None:
        number = {"linear": lib.LK_STEP_LINEAR, "attention": lib.LK_STEP_ATTENTION}[kind]
        self._steps.append({"kind": number, kind: arguments})
        self._struct = ffi.new("lk_step[]", self._steps)
        self._alive.extend(alive)
        self.names.append(name)

    def run(self, batch: Any, work: Work) -> None:
        """Run all ops on the tokens of an ``lk_batch *``."""
        status = lib.lk_block_run(self._struct, len(self.names), batch, work.struct, self._failed)
        if status:
            check(status, self.names[self._failed[0]])

    def run_one(self, index: int, batch: Any, work: Work) -> None:
        """Run one of the ops, as `run` does: for those who measure, or wait for weights."""
        step = self._struct + index
        check(lib.lk_block_run(step, 1, batch, work.struct, self._failed), self.names[index])

    def linear_step(self, index: int) -> Any:
        """The prepared call of op `index`, with its input `x`; None if it is no `Linear`."""
        step = self._struct[index]
        return step.linear if step.kind == lib.LK_STEP_LINEAR else None


# ---- calls ------------------------------------------------------------------------------------


def linear(op: Linear, x: Any, y: Any, n_tokens: int, work: Work) -> None:
    """Run a `Linear` of one matrix: ``float *`` x (n_tokens, k), y (n_tokens, n_rows)."""
    to = ffi.new("float *[3]", [y])
    status = lib.lk_linear_run(op.struct, x, to, n_tokens, work.struct)
    if status:
        check(status, f"multiply by {op.tensors[0].name}")


def rope_angles(
    angles: Any, pos: Any, n_tokens: int, inv_freq: array[float], mscale: float = 1.0
) -> None:
    """Fill angles (n_tokens, n_half, 2) with ``mscale * (cos, sin)(pos * inv_freq)``."""
    pointer = ffi.from_buffer("double[]", inv_freq)
    check(lib.lk_rope_angles(angles, pos, n_tokens, pointer, len(inv_freq), mscale), "rope")


def embed(weight: Any, k: int, ids: Any, n_ids: int, y: Any) -> None:
    """Rows `ids` of an embedding matrix (an ``lk_matrix *``) as float32 (n_ids, k)."""
    check(lib.lk_rows(weight, k, ids, n_ids, y), "look up embeddings")


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
