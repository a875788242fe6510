"""The ops that sampling and models call, at their edges."""

from __future__ import annotations

import mmap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from llamacpp import ops
from llamacpp._native import ffi, lib
from llamacpp.errors import (
    InvalidArgumentError,
    KernelError,
    ModelFileError,
    UnsupportedError,
)
from llamacpp.format.types import GGMLType
from llamacpp.tensors import Tensor

SIZES = (1, 2, 15, 16, 17, 4095, 4096, 4097, 10000)


def rows(seed: int, n: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    normal = rng.standard_normal(n).astype(np.float32)
    ties = rng.integers(-3, 3, n).astype(np.float32)
    forbidden = np.where(rng.random(n) < 0.5, -np.inf, normal).astype(np.float32)
    forbidden[-1] = 0.0
    return [normal, ties, forbidden, np.zeros(n, np.float32), -1e30 * np.ones(n, np.float32)]


@pytest.mark.parametrize("n", SIZES)
def test_argmax_is_the_lowest_index_of_the_maximum(n: int) -> None:
    for x in (*rows(n, n), np.full(n, -np.inf, np.float32)):
        assert ops.argmax(x) == int(x.argmax())


@pytest.mark.parametrize("n", SIZES)
def test_top_k_sorts_by_value_then_index(n: int) -> None:
    for x in rows(n, n):
        order = np.lexsort((np.arange(n), -x))
        for k in {1, min(2, n), min(40, n), n}:
            indices, values = ops.top_k(x, k)
            assert indices.tolist() == order[:k].tolist()
            assert values.tolist() == x[order[:k]].tolist()


@pytest.mark.parametrize("n", SIZES)
def test_log_sum_exp_matches_float64(n: int) -> None:
    for x in rows(n, n):
        with np.errstate(divide="ignore"):
            want = np.logaddexp.reduce(x.astype(np.float64))
        assert ops.log_sum_exp(x) == pytest.approx(want, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("at", [0, 20, 4999])
def test_nan_is_refused(at: int) -> None:
    x = np.zeros(5000, np.float32)
    x[at] = np.nan
    for call in (ops.argmax, ops.log_sum_exp, lambda x: ops.top_k(x, 3)):
        with pytest.raises(KernelError):
            call(x)


def test_sizes_out_of_range_are_refused() -> None:
    x = np.zeros(4, np.float32)
    for k in (0, 5):
        with pytest.raises(KernelError, match="top-k"):
            ops.top_k(x, k)
    for call in (ops.argmax, ops.log_sum_exp):
        with pytest.raises(KernelError):
            call(x[:0])
    for n_threads in (0, -1, 257):
        with pytest.raises(InvalidArgumentError, match=r"n_threads must be 1\.\.256"):
            ops.Work(n_threads)


def tensor(kind: GGMLType, *shape: int) -> Tensor:
    n = int(np.prod(shape[1:], dtype=int)) * kind.row_nbytes(shape[0])
    return Tensor.from_buffer("w", kind, shape, bytes(n))


def test_embedding_ids_are_checked_in_c_too() -> None:
    weight = ffi.new("lk_matrix *", ops.matrix(tensor(GGMLType.F32, 8, 3)))
    out = ops.Buffer(1, 8)
    for bad in (-1, 3):
        with pytest.raises(KernelError, match="look up embeddings"):
            ops.embed(weight, 8, ffi.new("int32_t[]", [bad]), 1, out.ptr)


def test_products_that_do_not_fit_together_are_refused() -> None:
    f32, small = tensor(GGMLType.F32, 64, 4), tensor(GGMLType.F32, 32, 4)
    with pytest.raises(KernelError, match="prepare w"):
        ops.Linear([f32, small])  # two inputs
    with pytest.raises(KernelError, match="prepare w"):
        ops.Linear([f32, tensor(GGMLType.F32, 64, 5)], epilogue=ops.SWIGLU)
    with pytest.raises(KernelError, match="prepare w"):
        ops.Linear([f32, f32], epilogue=ops.ADD)
    with pytest.raises(InvalidArgumentError, match="shape"):
        ops.Linear([f32], [tensor(GGMLType.F32, 5)])
    with pytest.raises(UnsupportedError, match="must be F32"):
        ops.Linear([f32], norm=ops.Norm(tensor(GGMLType.F16, 64), 1e-5))


def test_an_op_refuses_scratch_that_is_too_small() -> None:
    op = ops.Linear([tensor(GGMLType.Q4_0, 64, 40)])
    x, y = ops.Buffer(20, 64), ops.Buffer(20, 40)
    work = ops.Work(2)
    with pytest.raises(KernelError, match=r"scratch|memory"):
        ops.linear(op, x.ptr, y.ptr, 20, work)
    work.reserve(op.scratch(20, 2))
    x.array[:] = 1
    ops.linear(op, x.ptr, y.ptr, 20, work)
    assert not y.array.any()


def test_attention_refuses_positions_outside_the_cache() -> None:
    shape = ops.AttentionShape(2, 1, 8, 8, 8, ops.ROPE_ADJACENT, ops.F32, 1, 4, 1.0)
    op, work = ops.Attention(shape), ops.Work(1)
    work.reserve(op.scratch(1, 1))
    q, k, v, out, angles = (ops.Buffer(1, 16) for _ in range(5))
    for buffer in (q, k, v, angles):
        buffer.array[:] = 0
    cache = ops.Buffer(2, 32)
    caches = (ffi.cast("void *", cache.ptr), ffi.cast("void *", cache.ptr + 32))
    block = ops.Block().attention(op, (q, k, v), out, caches, angles)
    for pos, seq in ((4, 0), (-1, 0), (0, 1), (0, -1)):
        places = ffi.new("int32_t[]", [pos]), ffi.new("int32_t[]", [seq])
        batch = ffi.new("lk_batch *", [*places, 1])
        for run in (block.run, lambda *args: block.run_one(0, *args)):
            with pytest.raises(KernelError, match="attention"):
                run(batch, work)


def test_a_block_runs_its_ops_in_order_and_names_the_one_that_failed() -> None:
    first = ops.Linear([tensor(GGMLType.F32, 8, 8)])  # zero weights, no scratch needed
    second = ops.Linear([replace(tensor(GGMLType.Q4_0, 64, 40), name="other")])
    x, y, z = ops.Buffer(4, 64), ops.Buffer(4, 64), ops.Buffer(4, 40)
    block = ops.Block().linear(first, x, y).linear(second, y, z)
    batch, work = ffi.new("lk_batch *", {"n_tokens": 4}), ops.Work(1)
    x.array[:] = 0
    y.array[:] = z.array[:] = 7
    with pytest.raises(KernelError, match="other"):
        block.run(batch, work)
    assert not y.array.reshape(-1)[:32].any()
    work.reserve(second.scratch(4, 1))
    block.run(batch, work)
    assert not z.array.any()


def test_every_supported_type_agrees_with_the_format_about_its_blocks() -> None:
    n, nbytes = ffi.new("int32_t *"), ffi.new("int32_t *")
    supported = [kind for kind in GGMLType if ops.is_supported(kind)]
    assert len(supported) == 13
    for kind in supported:
        assert lib.lk_type_block(int(kind), n, nbytes) == 0
        assert (n[0], nbytes[0]) == tuple(kind.block)


@pytest.mark.parametrize("n_threads", [1, 2, 3, 7])
@pytest.mark.parametrize("n_streams", [1, 2])
def test_a_probe_reads_every_byte_once(n_threads: int, n_streams: int) -> None:
    rng = np.random.default_rng(n_threads)
    pieces = [rng.integers(0, 256, n, dtype=np.uint8) for n in (1, 64, 5000, 63, 100_003)]
    padded = [np.concatenate([piece, np.zeros(-len(piece) % 8, np.uint8)]) for piece in pieces]
    want = int(np.bitwise_xor.reduce(np.concatenate(padded).view("<u8")))
    spans = [(piece.ctypes.data, len(piece)) for piece in pieces]
    seconds, value = ops.probe_read(spans, n_streams, n_threads)
    assert value == want
    assert seconds > 0


def test_a_probe_multiplies_on_every_thread() -> None:
    products = {n: ops.probe_int8(100, n)[1] for n in (1, 2, 5)}
    assert products[1] >= 100 * 32
    assert products[2] == 2 * products[1]
    assert products[5] == 5 * products[1]
    seconds, more = ops.probe_int8(1000, 1)
    assert more == 10 * products[1]
    assert seconds > 0


def test_probes_refuse_what_makes_no_sense() -> None:
    memory = np.zeros(64, np.uint8)
    good = (memory.ctypes.data, 64)
    for spans, n_streams, n_threads in (
        ([], 1, 1), ([good, (good[0], 0)], 1, 1), ([(0, 64)], 1, 1),
        ([good], 0, 1), ([good], 3, 1), ([good], 1, 0), ([good], 1, 257),
    ):  # fmt: skip
        with pytest.raises(KernelError, match="probe reading"):
            ops.probe_read(spans, n_streams, n_threads)
    for rounds, n_threads in ((0, 1), (1, 0), (1, 257)):
        with pytest.raises(KernelError, match="probe multiplying"):
            ops.probe_int8(rounds, n_threads)


def test_a_probe_survives_a_file_that_shrinks(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(100_000))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapping:
        view = np.frombuffer(mapping, np.uint8)
        spans = [(view.ctypes.data, len(view))]
        assert ops.probe_read(spans, 2, 2)[1] == 0
        file.truncate(10)
        with pytest.raises(ModelFileError, match="shrank"):
            ops.probe_read(spans, 2, 2)
        del view
