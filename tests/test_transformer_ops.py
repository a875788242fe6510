"""The ops of layers: epilogues and norms of products, residuals, windows and caps of attention."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type

from llamacpp import ops
from llamacpp._native import ffi
from llamacpp.errors import InvalidArgumentError, KernelError
from llamacpp.format.types import GGMLType
from llamacpp.tensors import Tensor
from tests.random_models import random_blocks

pytestmark = pytest.mark.usefixtures("level")

K, ROWS = 256, 333
TOKENS = (1, 3, 6, 20)  # dots of one and of few, skinny products, tiles


def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def vector(name: str, values: np.ndarray) -> Tensor:
    return Tensor.from_buffer(name, GGMLType.F32, values.shape, values.tobytes())


def matrix(name: str, kind: Type, rows: int, k: int = K) -> Tensor:
    random = np.random.default_rng(len(name))
    if kind == Type.F32:
        data = (random.standard_normal((rows, k)) / np.sqrt(k)).astype(np.float32)
    else:
        data = random_blocks(random, kind, rows, k, k**-0.5)
    return Tensor.from_buffer(name, GGMLType(int(kind)), (k, rows), data.tobytes())


def run(block: ops.Block, n_tokens: int, n_threads: int = 2, **places: Any) -> None:
    work = ops.Work(n_threads)
    work.reserve(block.scratch(n_tokens, n_threads))
    block.run(ffi.new("lk_batch *", {"n_tokens": n_tokens, **places}), work)


def product(op: ops.Linear, x: np.ndarray, *columns: int) -> list[np.ndarray]:
    given, out = ops.Buffer(*x.shape), [ops.Buffer(len(x), n) for n in columns]
    given.array[:] = x
    run(ops.Block().linear(op, given, *out), len(x))
    return [y.array for y in out]


def gelu(x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float64)
    return x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2


def silu(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float64) / (1 + np.exp(-x.astype(np.float64)))


def swiglu_oai(gate: np.ndarray, up: np.ndarray) -> np.ndarray:
    gate = np.minimum(gate, 7).astype(np.float64)
    return silu(1.702 * gate) / 1.702 * (np.clip(up, -7, 7).astype(np.float64) + 1)


@pytest.mark.parametrize("n", TOKENS)
@pytest.mark.parametrize("kind", [Type.F32, Type.Q4_0, Type.Q8_0, Type.Q6_K], ids=lambda t: t.name)
def test_activations_are_those_of_the_plain_products(kind: Type, n: int) -> None:
    up, gate = matrix("up", kind, ROWS), matrix("gate", kind, ROWS)
    bias = vector("bias", rng().standard_normal(ROWS).astype(np.float32))
    x = 4 * rng().standard_normal((n, K)).astype(np.float32)
    (w_up,) = product(ops.Linear([up], [bias]), x, ROWS)
    (w_gate,) = product(ops.Linear([gate]), x, ROWS)
    for epilogue, want in (
        (ops.GELU, gelu(w_up)),
        (ops.GEGLU, gelu(w_gate) * w_up),
        (ops.SWIGLU, silu(w_gate) * w_up),
        (ops.SWIGLU_OAI, swiglu_oai(w_gate, w_up)),
    ):
        alone = epilogue == ops.GELU
        op = ops.Linear(
            [up] if alone else [gate, up], [bias] if alone else [None, bias], epilogue=epilogue
        )
        (got,) = product(op, x, ROWS)
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("n", TOKENS)
def test_layer_norms_come_before_products(n: int) -> None:
    random = rng()
    w = matrix("w", Type.F32, ROWS)
    x = (3 + random.standard_normal((n, K))).astype(np.float32)
    weight, bias = random.standard_normal((2, K)).astype(np.float32)
    norm = ops.Norm(vector("norm", weight), 1e-5, ops.NORM_LAYER, vector("norm.bias", bias))
    (got,) = product(ops.Linear([w], norm=norm), x, ROWS)
    x64 = x.astype(np.float64)
    normal = (x64 - x64.mean(1, keepdims=True)) / np.sqrt(x64.var(1, keepdims=True) + 1e-5)
    values = np.frombuffer(w.data, np.float32).reshape(ROWS, K).astype(np.float64)
    np.testing.assert_allclose(got, (normal * weight + bias) @ values.T, rtol=0, atol=2e-5)


@pytest.mark.parametrize("n", [1, 5, 40])
def test_parts_of_a_matrix_are_its_rows(n: int) -> None:
    whole = matrix("whole", Type.Q8_0, 96)
    bias = vector("bias", rng().standard_normal(96).astype(np.float32))
    x = rng().standard_normal((n, K)).astype(np.float32)
    (want,) = product(ops.Linear([whole], [bias]), x, 96)
    cuts = (0, 40), (40, 24), (64, 32)
    op = ops.Linear([whole.part(*cut) for cut in cuts], [bias.part(*cut) for cut in cuts])
    np.testing.assert_array_equal(np.hstack(product(op, x, 40, 24, 32)), want)
    assert op.tensors == [whole, bias]
    assert whole.part(3, 2).address == whole.address + 3 * whole.row_nbytes
    for begin, count in ((-1, 2), (0, 0), (90, 7)):
        with pytest.raises(InvalidArgumentError, match="no part"):
            whole.part(begin, count)


@pytest.mark.parametrize("n", [1, 50])
def test_residuals_are_normalised_scaled_and_added(n: int) -> None:
    random = rng()
    x0, y0 = random.standard_normal((2, n, K)).astype(np.float32)
    weight = random.standard_normal(K).astype(np.float32)
    norms = {None: y0.astype(np.float64)}
    norms[ops.Norm(vector("norm", weight), 1e-6)] = (
        weight
        * y0.astype(np.float64)
        / np.sqrt((y0.astype(np.float64) ** 2).mean(1) + 1e-6)[:, None]
    )
    for norm, normal in norms.items():
        x, y = ops.Buffer(n, K), ops.Buffer(n, K)
        x.array[:], y.array[:] = x0, y0
        run(ops.Block().residual(ops.Residual(K, norm=norm, scale=0.3), y, x), n)
        np.testing.assert_allclose(x.array, x0 + 0.3 * normal, rtol=0, atol=2e-6)
        gate = ops.Buffer(n, 1)
        gate.array[:] = 3 * rng().standard_normal((n, 1))
        x.array[:], y.array[:] = x0, y0
        run(ops.Block().residual(ops.Residual(K, norm=norm, scale=0.3), y, x, gate), n)
        share = 0.3 / (1 + np.exp(-gate.array.astype(np.float64)))
        np.testing.assert_allclose(x.array, x0 + share * normal, rtol=0, atol=2e-6)


def test_operands_that_make_no_sense_are_refused() -> None:
    w, norm = matrix("w", Type.F32, 8), vector("norm", np.ones(K, np.float32))
    with pytest.raises(KernelError, match="prepare w"):
        ops.Linear([w, w], epilogue=ops.GELU)
    with pytest.raises(KernelError, match="prepare w"):
        ops.Linear([w], epilogue=ops.GEGLU)
    with pytest.raises(KernelError, match="prepare w"):
        ops.Linear([w], norm=ops.Norm(norm, 1e-5, kind=7))
    with pytest.raises(KernelError, match="prepare a residual"):
        ops.Residual(0)
    with pytest.raises(InvalidArgumentError, match="not of the shape"):
        ops.Linear([w], norm=ops.Norm(norm, 1e-5, ops.NORM_LAYER, norm.part(0, 8)))
    with pytest.raises(KernelError, match="cap"):
        ops.softcap(ffi.new("float[4]"), 4, 0.0)


# ---- attention ----------------------------------------------------------------------------------

DIM, N_KV, GROUP = 32, 2, 2


class Attention:
    """A layer's attention over its cache, for one sequence, on queries, keys and values."""

    def __init__(
        self,
        n: int,
        *,
        n_threads: int = 2,
        cache: int = ops.F32,
        sinks: np.ndarray | None = None,
        **options: Any,
    ) -> None:
        random = rng()
        self.sinks = sinks
        self.n, self.n_threads = n, n_threads
        self.shape = ops.AttentionShape(
            N_KV * GROUP, N_KV, DIM, DIM, 0, ops.ROPE_NONE, cache, 1, n, DIM**-0.5, **options
        )
        self.q = 3 * random.standard_normal((n, N_KV * GROUP, DIM)).astype(np.float32)
        self.k, self.v = random.standard_normal((2, n, N_KV, DIM)).astype(np.float32)
        sizes = ops.cache_bytes(cache, (DIM, DIM), n)
        self.caches = [ops.Buffer(N_KV, size // 4) for size in sizes]

    def run(self, begin: int, end: int) -> np.ndarray:
        """Outputs (end - begin, heads * DIM) of some tokens, appended to the cache."""
        n = end - begin
        q, out = ops.Buffer(n, N_KV * GROUP * DIM), ops.Buffer(n, N_KV * GROUP * DIM)
        k, v = ops.Buffer(n, N_KV * DIM), ops.Buffer(n, N_KV * DIM)
        for buffer, values in ((q, self.q), (k, self.k), (v, self.v)):
            buffer.array[:] = values[begin:end].reshape(n, -1)
        caches = [ffi.cast("void *", cache.ptr) for cache in self.caches]
        op = ops.Attention(
            self.shape, sinks=None if self.sinks is None else vector("sinks", self.sinks)
        )
        block = ops.Block().attention(op, (q, k, v), out, tuple(caches))
        pos, seq = ffi.new("int32_t[]", list(range(begin, end))), ffi.new("int32_t[]", n)
        run(block, n, self.n_threads, pos=pos, seq=seq)
        return out.array

    def want(self, window: int, softcap: float = 0.0) -> np.ndarray:
        """All outputs in float64."""
        k, v = (np.repeat(a.astype(np.float64), GROUP, axis=1) for a in (self.k, self.v))
        scores = np.einsum("ihd,jhd->hij", self.q, k) * DIM**-0.5
        if softcap:
            scores = softcap * np.tanh(scores / softcap)
        distance = np.subtract.outer(np.arange(self.n), np.arange(self.n))
        scores[:, (distance < 0) | (distance >= (window or self.n))] = -np.inf
        if self.sinks is not None:
            sinks = np.broadcast_to(self.sinks[:, None, None], (*scores.shape[:2], 1))
            scores = np.concatenate([scores, sinks], axis=-1)
        p = np.exp(scores - scores.max(-1, keepdims=True))
        p = (p / p.sum(-1, keepdims=True))[:, :, : self.n]
        return np.einsum("hij,jhd->ihd", p, v).reshape(self.n, -1)


@pytest.mark.parametrize(("window", "softcap"), [(0, 1.5), (1, 0.0), (16, 0.0), (70, 2.0)])
def test_attention_sees_its_window_and_caps_scores(window: int, softcap: float) -> None:
    attention = Attention(200, window=window, softcap=softcap)
    got = attention.run(0, 200)
    np.testing.assert_allclose(got, attention.want(window, softcap), rtol=0, atol=2e-5)


@pytest.mark.parametrize("window", [0, 30])
def test_sinks_take_their_share_of_the_softmax(window: int) -> None:
    sinks = np.array([0.5, 90, -90, 3], np.float32)  # beyond all scores, far below, and between
    attention = Attention(100, window=window, sinks=sinks)
    want = attention.want(window)
    np.testing.assert_allclose(attention.run(0, 99), want[:99], rtol=0, atol=2e-5)
    np.testing.assert_allclose(attention.run(99, 100), want[99:], rtol=0, atol=2e-5)
    with pytest.raises(InvalidArgumentError, match="not of the shape"):
        ops.Attention(attention.shape, sinks=vector("sinks", sinks[:3]))


@pytest.mark.parametrize("window", [1, 100, 1024, 1500])
def test_a_window_gives_the_same_bits_however_it_is_cut(window: int) -> None:
    n = 2300
    whole = Attention(n, window=window, n_threads=1).run(0, n)
    for n_threads in (2, 5):
        attention = Attention(n, window=window, n_threads=n_threads)
        pieces = [attention.run(0, 1000), attention.run(1000, 2290)]
        pieces += [attention.run(t, t + 1) for t in range(2290, n)]
        np.testing.assert_array_equal(np.concatenate(pieces), whole)


@pytest.mark.parametrize("cache", [ops.F32, ops.F16])
@pytest.mark.parametrize("window", [1, 40, 500])
def test_what_a_token_does_not_see_is_not_read(window: int, cache: int) -> None:
    n = 1700
    attention = Attention(n, window=window, cache=cache)
    attention.run(0, n - 1)
    plain = Attention(n, window=window, cache=cache)
    plain.run(0, n - 1)
    dtype = np.float32 if cache == ops.F32 else np.float16
    keys, values = (c.array.view(dtype).reshape(N_KV, -1) for c in attention.caches)
    blind = n - window  # positions that the last token does not see
    keys[:, : blind // 16 * 16 * DIM] = np.nan
    values[:, : blind * DIM] = np.nan
    np.testing.assert_array_equal(attention.run(n - 1, n), plain.run(n - 1, n))
