"""The scalar kernels as Python functions, and the layouts that they share with C (kernels.h)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
from kernel_builds import build, native_compiler

P, I, Z, F = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t, ctypes.c_float  # noqa: E741
SIGNATURES: dict[str, tuple[Any, ...]] = {
    "act": (None, P, P, I, I),
    "dot": (None, P),
    "row": (None, P, P, I),
    "panel": (None, P, I, P, I),
    "unpack": (None, P, P, Z, I, I),
    "gemm": (None, P, Z, P, P, I, I, I, I),
    "skinny": (None, P, Z, P, Z, P, I, I, I, I),
    "attn": (None, P),
    "rmsnorm": (None, P, P, P, I, F),
    "layernorm": (None, P, P, P, P, I, F),
    "rope": (None, P, P, I),
    "swiglu": (None, P, P, P, I),
    "geglu": (None, P, P, P, I),
    "gelu_erf": (None, P, P, I),
    "softcap": (None, P, I, F),
    "f32": (None, P, P, I),
    "f16": (None, P, P, I),
    "max": (F, P, I),
    "sum": (ctypes.c_double, P, I, F),
    "probe_read": (ctypes.c_uint64, P, Z, I),
    "probe_int8": (ctypes.c_int64, P, P, ctypes.c_int64, P),
}


class Tile(ctypes.Structure):
    _fields_ = [
        ("q", P), ("start", P), ("scale", P), ("min", P), ("q_max", ctypes.c_int32),
    ]  # fmt: skip


def tile_of(q: np.ndarray, start: np.ndarray, scale: np.ndarray, low: np.ndarray | None) -> Tile:
    addresses = [a.ctypes.data for a in (q, start, scale)]
    return Tile(*addresses, None if low is None else low.ctypes.data, int(abs(q).max()))


class AttnTile(ctypes.Structure):
    _fields_ = [
        *[(name, P) for name in ("q", "k", "v", "n_seen", "n_skipped", "m", "l", "acc")],
        ("q_stride", ctypes.c_ssize_t),
        *[(name, ctypes.c_int32) for name in ("n_q", "n_pos", "head_dim_k", "head_dim_v")],
        ("softcap", F),
    ]


class Dot(ctypes.Structure):
    _fields_ = [
        ("w", P * 2), ("y", P * 2), ("x", P), ("w_stride", Z), ("x_stride", Z),
        ("y_stride", ctypes.c_ssize_t), ("k", I), ("rows", I), ("cols", I),
    ]  # fmt: skip


# A record of 256 activations, and where element i of it lies (csrc/kernels.h).
ACT = np.dtype([("q", "i1", 256), ("d", "f4", 8), ("s32", "f4", 8), ("s16", "f4", 16)])
IN_ORDER = np.arange(256)
BY_HALVES = IN_ORDER.reshape(2, 4, 2, 16).transpose(0, 2, 1, 3).reshape(256).argsort()

# A step of 32 elements of a panel (csrc/kernels.h).
PANEL = np.dtype(
    [("q", "u1", (12, 32)), ("d", "f4", 12), ("s32", "f4", 12), ("s16", "f4", (2, 12))]
)


Kernel = Callable[..., Any]


def load_scalar_kernels() -> Callable[[str], Kernel]:
    """Scalar kernels by slot name; array arguments are passed by address."""
    lib = ctypes.CDLL(str(build("libkernels.so", compiler=native_compiler())))
    lib.lk_kernel_name.restype = ctypes.c_char_p
    lib.lk_kernel_at.restype = P
    slots = {lib.lk_kernel_name(i).decode(): i for i in range(lib.lk_n_kernels())}

    def find(name: str) -> Kernel:
        signature = SIGNATURES.get(name) or SIGNATURES[name.split("_")[0]]
        kernel = ctypes.CFUNCTYPE(*signature)(lib.lk_kernel_at(slots[name], 0))

        def call(*args: Any) -> Any:
            return kernel(*[a.ctypes.data if isinstance(a, np.ndarray) else a for a in args])

        return call

    return find


def quantised(scalar: Callable[[str], Kernel], x: np.ndarray, order: int) -> np.ndarray:
    """The records of a row; its first len(x) q in the order of elements."""
    row = np.full((len(x) + 255) // 256, 7, ACT)
    scalar("act_q8")(row, x, len(x), order)
    return row


def codes_of(row: np.ndarray, k: int, order: int) -> np.ndarray:
    return row["q"][:, BY_HALVES if order else IN_ORDER].reshape(-1)[:k].astype(np.float64)


def act_values(row: np.ndarray, k: int, order: int) -> np.ndarray:
    """d q in float64: what a quantised row stands for."""
    d = row["d"].reshape(-1)[: k // 32].astype(np.float64)
    return codes_of(row, k, order) * np.repeat(d, 32)


def run_dot(
    kernel: Kernel, w: np.ndarray, x: np.ndarray, x_stride: int, k: int, cols: int
) -> np.ndarray:
    """All rows of w (rows, bytes), in two streams and an odd row, times the columns of x."""
    rows, stride = w.shape
    y = np.zeros((cols, rows), np.float32)

    def run(first: int, n: int, far: int) -> None:
        starts = [first] + ([far] if far else [])
        dot = Dot(
            (P * 2)(*[w.ctypes.data + r * stride for r in starts]),
            (P * 2)(*[y.ctypes.data + 4 * r for r in starts]),
            x.ctypes.data, stride, x_stride, rows, k, n, cols,
        )  # fmt: skip
        kernel(ctypes.addressof(dot))

    half = rows // 2
    run(0, half, half)
    if rows % 2:
        run(rows - 1, 1, 0)
    return y


def key_blocks(k: np.ndarray) -> np.ndarray:
    """Keys (positions, dim) as blocks of 16 positions, transposed; positions to a multiple."""
    padded = np.concatenate([k, np.full((-len(k) % 16, k.shape[1]), 99, k.dtype)])
    return np.ascontiguousarray(padded.reshape(-1, 16, k.shape[1]).transpose(0, 2, 1))


def cache_of(
    kind: str, k: np.ndarray, v: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Key blocks and value rows in a cache type, and the values they stand for."""
    if kind != "q8_0":
        dtype = {"f32": np.float32, "f16": np.float16}[kind]
        k, v = k.astype(dtype), v.astype(dtype)
        return key_blocks(k), v, k, v
    import gguf

    rows = [gguf.quants.quantize(x, gguf.GGMLQuantizationType.Q8_0) for x in (k, v)]
    meant = [gguf.quants.dequantize(x, gguf.GGMLQuantizationType.Q8_0) for x in rows]
    blocks = rows[0].reshape(len(k), -1, 34)
    groups = []
    for g in range(blocks.shape[1]):  # a group: (blocks, 32, 16) codes, then 16 scales
        codes, scales = key_blocks(blocks[:, g, 2:]), key_blocks(blocks[:, g, :2].copy())
        halves = scales.transpose(0, 2, 1).reshape(len(codes), -1)
        groups.append(np.concatenate([codes.reshape(len(codes), -1), halves], axis=1))
    return np.ascontiguousarray(np.stack(groups, axis=1)), rows[1], *meant
