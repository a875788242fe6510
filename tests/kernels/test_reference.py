"""The scalar kernels, which specify all others, against float64 NumPy and gguf-py.

Bounds are those of checkasm/check.h: a float32 sum of n terms is within (n + c) 2^-24 sum|term|.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scalar_kernels import (
    PANEL,
    AttnTile,
    Kernel,
    Tile,
    act_values,
    cache_of,
    codes_of,
    load_scalar_kernels,
    quantised,
    run_dot,
    tile_of,
)

gguf = pytest.importorskip("gguf")

U = 2.0**-24
TYPES = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K",
         "IQ4_NL", "IQ4_XS", "MXFP4", "TQ1_0", "TQ2_0", "IQ3_XXS", "IQ3_S",
         "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ1_S", "IQ1_M")  # fmt: skip
FLOATS = ("F32", "F16", "BF16")
ZERO = {"Q4_0": 8, "Q5_0": 16, "Q8_0": 128, "Q3_K": 4, "Q6_K": 32,
        "MXFP4": 12}  # fmt: skip
WITH_MIN = {"Q4_1", "Q5_1", "Q2_K", "Q4_K", "Q5_K"}
GROUP_16 = {"Q2_K", "Q3_K", "Q6_K", "IQ2_XS", "IQ2_S", "IQ1_M"}
# Where a block holds its half floats: those must be finite for the block to mean anything.
HALVES = {
    "Q4_0": (0,),
    "Q4_1": (0, 2),
    "Q5_0": (0,),
    "Q5_1": (0, 2),
    "Q8_0": (0,),
    "Q2_K": (80, 82),
    "Q3_K": (108,),
    "Q4_K": (0, 2),
    "Q5_K": (0, 2),
    "Q6_K": (208,),
    "IQ4_NL": (0,),
    "IQ4_XS": (0,),
    "TQ1_0": (52,),
    "TQ2_0": (64,),
    "IQ3_XXS": (0,),
    "IQ3_S": (0,),
    "IQ2_XXS": (0,),
    "IQ2_XS": (0,),
    "IQ2_S": (0,),
    "IQ1_S": (0,),
    "IQ1_M": (54,),  # spread, but its upper bits are there
    "MXFP4": (),  # an exponent, which is set below
}

# Their dots read activations by halves.
HALVES_TYPES = {"Q4_0", "Q4_1", "Q5_0", "Q5_1", "IQ4_NL", "MXFP4"}


@pytest.fixture(scope="module")
def scalar() -> Callable[[str], Kernel]:
    return load_scalar_kernels()


def rng() -> np.random.Generator:
    return np.random.default_rng(2)


def slot(prefix: str, kind: str) -> str:
    return f"{prefix}_{kind.replace('Q', 'q') if kind.startswith('Q') else kind.lower()}"


def random_rows(kind: str, rows: int, k: int) -> np.ndarray:
    """Rows of blocks: random bytes, half floats finite, of either sign and widely spread."""
    length, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    blocks = rng().integers(0, 256, (rows, k // length, size), dtype=np.uint8)
    for at in HALVES.get(kind, ()):
        blocks[..., at + 1] &= 0xBF  # magnitudes below 2
    if kind == "MXFP4":
        blocks[..., 0] = 112 + blocks[..., 0] % 16
    if kind not in HALVES:  # the weights themselves
        values = (rng().standard_normal((rows, k)) * 3).astype(np.float32)
        if kind == "F32":
            return values.view(np.uint8)
        halves = values.astype(np.float16) if kind == "F16" else values.view(np.uint16)[:, 1::2]
        return np.ascontiguousarray(halves).view(np.uint8)
    return np.ascontiguousarray(blocks.reshape(rows, -1))


def dequantize(kind: str, rows: np.ndarray) -> np.ndarray:
    out = gguf.quants.dequantize(rows, gguf.GGMLQuantizationType[kind])
    return np.asarray(out, dtype=np.float32).reshape(rows.shape[0], -1)


def unpacked(scalar: Callable[[str], Kernel], kind: str, w: np.ndarray, k: int) -> tuple[Any, ...]:
    """(q, scale, min) of one row in float64, scale and min repeated for each element."""
    group = 16 if kind in GROUP_16 else 32
    q, start = np.zeros((k // 4, 16, 4), np.int8), np.zeros((k // group, 16), np.int32)
    scale, low = np.zeros((2, k // group, 16), np.float32)
    tile = tile_of(q, start, scale, low)
    scalar(slot("unpack", kind))(ctypes.addressof(tile), w, 0, k, 1)
    per_element = [np.repeat(a[:, 0].astype(np.float64), group) for a in (scale, low)]
    return q[:, 0, :].reshape(-1).astype(np.float64), *per_element


@pytest.mark.parametrize("kind", TYPES + FLOATS)
def test_rows_equal_ggufs_dequantisation_exactly(
    scalar: Callable[[str], Kernel], kind: str
) -> None:
    w = random_rows(kind, 1, 2048)
    y = np.zeros(2048, np.float32)
    scalar(slot("row", kind))(y, w, 2048)
    np.testing.assert_array_equal(y, dequantize(kind, w)[0])


def test_rows_equal_ggufs_dequantisation_at_every_exponent(
    scalar: Callable[[str], Kernel],
) -> None:
    w = rng().integers(0, 256, (256, 17), dtype=np.uint8)
    w[:, 0] = np.arange(256)
    w[:, 1:] = np.where(w[:, :1] > 250, w[:, 1:] & 0x99, w[:, 1:])  # 12 is beyond float32 there
    y = np.zeros(256 * 32, np.float32)
    scalar("row_mxfp4")(y, w, 256 * 32)
    np.testing.assert_array_equal(y, dequantize("MXFP4", w.reshape(1, -1))[0])


@pytest.mark.parametrize("kind", TYPES)
def test_unpacked_tiles_stand_for_the_same_weights(
    scalar: Callable[[str], Kernel], kind: str
) -> None:
    k, group = 512, 16 if kind in GROUP_16 else 32
    w = random_rows(kind, 11, k)
    q, start = np.full((k // 4, 16, 4), 99, np.int8), np.full((k // group, 16), 99, np.int32)
    scale, low = np.full((2, k // group, 16), np.nan, np.float32)
    tile = tile_of(q, start, scale, low)
    scalar(slot("unpack", kind))(ctypes.addressof(tile), w, w.shape[1], k, 11)
    for a in (q, start, scale):  # rows that are missing
        np.testing.assert_array_equal(a[:, 11:], np.repeat(a[:, :1], 5, axis=1))
    sums = q.astype(np.int32).reshape(k // group, -1, 16, 4).sum(axis=(1, 3))
    np.testing.assert_array_equal(start, -128 * sums)
    codes = q.transpose(1, 0, 2).reshape(16, k)[:11].astype(np.float64)
    scales = np.repeat(scale.T[:11].astype(np.float64), group, axis=1)
    lows = np.zeros_like(scales)
    if kind in WITH_MIN:
        np.testing.assert_array_equal(low[:, 11:], np.repeat(low[:, :1], 5, axis=1))
        lows = np.repeat(low.T[:11].astype(np.float64), group, axis=1)
    bound = 2 * U * (abs(scales * codes) + abs(lows))  # of gguf-py's own float32 arithmetic
    assert (abs(scales * codes - lows - dequantize(kind, w)) <= bound).all()


def test_quantised_activations_are_the_nearest_codes(scalar: Callable[[str], Kernel]) -> None:
    k = 4096 - 96
    x = (rng().standard_normal(k) * np.exp(rng().standard_normal(k) * 3)).astype(np.float32)
    x[64:96] = 0
    for order in (0, 1):
        row = quantised(scalar, x, order)
        q = codes_of(row, k, order).reshape(-1, 32)
        d, s32 = (row[name].reshape(-1)[: k // 32].astype(np.float64) for name in ("d", "s32"))
        s16 = row["s16"].reshape(-1, 2)[: k // 32]
        blocks = x.astype(np.float64).reshape(-1, 32)
        assert abs(q).max() == 127
        np.testing.assert_allclose(d, abs(blocks).max(axis=1) / 127, rtol=U)
        # Half a code, and the two roundings of x * (127 / max|x|), which is at most 127.
        error = abs(blocks - d[:, None] * q)
        assert (error <= (0.5 + 127 * 3 * U) * d[:, None]).all()
        np.testing.assert_allclose(s32, d * q.sum(axis=1), rtol=U)
        np.testing.assert_allclose(s16, d[:, None] * q.reshape(-1, 2, 16).sum(axis=2), rtol=U)
        rest = k % 256
        assert not codes_of(row, 256 * len(row), order)[k:].any()
        assert not any(row[-1][name][rest // 32 :].any() for name in ("d", "s32"))
        assert not row[-1]["s16"][rest // 16 :].any()


@pytest.mark.parametrize("kind", TYPES)
def test_quantised_dots_match_float64(scalar: Callable[[str], Kernel], kind: str) -> None:
    k, rows = 1024, 5
    w, order = random_rows(kind, rows, k), int(kind in HALVES_TYPES)
    x = quantised(scalar, rng().standard_normal(k).astype(np.float32), order)
    a = act_values(x, k, order)
    y = run_dot(scalar(slot("dot", kind)), w, x, 0, k, 1)[0]
    for r in range(rows):
        q, scale, low = unpacked(scalar, kind, w[r], k)
        zero = ZERO.get(kind, 0 if kind.startswith("Q") else 128)
        exact = np.dot(scale * q - low, a)
        terms = abs(scale) * (q + 2 * zero) + abs(low)
        n_terms = 2 * k / (16 if kind in GROUP_16 else 32)
        assert abs(float(y[r]) - exact) <= (n_terms + 6) * U * np.dot(terms, abs(a))


@pytest.mark.parametrize("kind", FLOATS)
def test_float_dots_match_float64(scalar: Callable[[str], Kernel], kind: str) -> None:
    k, rows = 515, 3
    w = random_rows(kind, rows, k)
    x = rng().standard_normal((2, k)).astype(np.float32)
    y = run_dot(scalar(slot("dot", kind)), w, x, 4 * k, k, 2)
    weights = dequantize(kind, w).astype(np.float64)
    bound = (k + 1) * U * (abs(x.astype(np.float64)) @ abs(weights.T))
    assert (abs(y - x.astype(np.float64) @ weights.T) <= bound).all()


def test_a_column_of_a_panel_holds_the_codes_of_a_row(scalar: Callable[[str], Kernel]) -> None:
    k = 256
    panel, x = np.zeros(k // 32, PANEL), rng().standard_normal(k).astype(np.float32)
    scalar("panel_q8")(panel, 5, x, k)
    (row,) = quantised(scalar, x, 0)
    np.testing.assert_array_equal(panel["q"][:, 5].reshape(-1), row["q"].astype(np.int32) + 128)
    np.testing.assert_array_equal(panel["d"][:, 5], row["d"])
    np.testing.assert_array_equal(panel["s32"][:, 5], row["s32"])
    np.testing.assert_array_equal(panel["s16"][:, :, 5].reshape(-1), row["s16"])


@pytest.mark.parametrize(
    ("name", "bottom", "top"),
    [("g32", -8, 7), ("g32", -128, 127), ("g32_min", 0, 31), ("g16", -32, 31), ("g16_min", 0, 3)],
)
def test_tile_products_match_float64(
    scalar: Callable[[str], Kernel], name: str, bottom: int, top: int
) -> None:
    k, rows, group, random = 256, 32, int(name[1:3]), rng()
    q = random.integers(bottom, top + 1, (2, k // 4, 16, 4), dtype=np.int8)
    scale, low = random.standard_normal((2, 2, k // group, 16)).astype(np.float32)
    sums = q.astype(np.int32).reshape(2, k // group, -1, 16, 4).sum(axis=(2, 4))
    start = np.ascontiguousarray(-128 * sums, np.int32)
    has_min = name.endswith("min")
    tiles = (Tile * 2)(*[
        tile_of(q[t], start[t], scale[t], low[t] if has_min else None) for t in range(2)
    ])  # fmt: skip
    panel = np.zeros(k // 32, PANEL)
    a = random.standard_normal((12, k)).astype(np.float32)
    for c in range(12):
        scalar("panel_q8")(panel, c, a[c], k)
    y = np.ones((12, rows), np.float32)
    scalar(f"gemm_{name}")(y, rows, ctypes.addressof(tiles), panel, k, rows, 12, 1)

    w = q.transpose(0, 2, 1, 3).reshape(rows, k).astype(np.float64)
    scales, lows = (
        np.repeat(t.transpose(0, 2, 1).reshape(rows, -1).astype(np.float64), group, axis=1)
        for t in (scale, low)
    )
    lows *= has_min
    codes = panel["q"].astype(np.float64).transpose(1, 0, 2).reshape(12, k) - 128
    a64 = codes * np.repeat(panel["d"].T.astype(np.float64), 32, axis=1)
    exact = 1 + a64 @ (scales * w - lows).T
    terms = 1 + abs(a64) @ (abs(scales * w) + abs(lows)).T
    assert (abs(y - exact) <= (2 * k / group + 6) * U * terms).all()


@pytest.mark.parametrize("softcap", [0.0, 4.0])
@pytest.mark.parametrize("kind", ["f32", "f16", "q8_0"])
def test_attention_over_tiles_is_softmax_attention(
    scalar: Callable[[str], Kernel], kind: str, softcap: float
) -> None:
    n_q, dk, dv, random = 3, 64, 32, rng()
    q = random.standard_normal((n_q, dk)).astype(np.float32)
    k, v = (random.standard_normal((150, n)).astype(np.float32) for n in (dk, dv))
    blocks, rows, k, v = cache_of(kind, k, v)
    m, total = np.full(n_q, -np.inf, np.float32), np.zeros(n_q, np.float32)
    acc = np.zeros((n_q, dv), np.float32)
    first, last = np.array([0, 5, 70]), np.array([150, 128, 97])  # positions each query sees
    for start in range(0, 150, 64):
        n_pos = min(64, 150 - start)
        skipped, seen = (np.clip(at - start, 0, n_pos).astype(np.int32) for at in (first, last))
        arrays = (q, blocks[start // 16 :], rows[start:], seen, skipped, m, total, acc)
        addresses = [a.ctypes.data for a in arrays]
        tile = AttnTile(*addresses, dk, n_q, n_pos, dk, dv, softcap)
        scalar(f"attn_{kind}")(ctypes.addressof(tile))
    for i in range(n_q):
        keys, values = (a[first[i] : last[i]].astype(np.float64) for a in (k, v))
        scores = keys @ q[i].astype(np.float64)
        if softcap:
            scores = softcap * np.tanh(scores / softcap)
        weights = np.exp(scores - scores.max())
        exact = weights @ values / weights.sum()
        score_error = (dk + 1) * U * (abs(keys) @ abs(q[i])).max()
        relative = 4 * score_error + (150 + 40) * U
        bound = relative * 2 * (weights @ abs(values)) / weights.sum()
        assert (abs(acc[i].astype(np.float64) / total[i] - exact) <= bound).all()


def test_norm_rotation_and_activation_match_float64(scalar: Callable[[str], Kernel]) -> None:
    n = 1000
    x, w, up = (rng().standard_normal((3, n)) * 4).astype(np.float32)
    x64, w64, up64 = (a.astype(np.float64) for a in (x, w, up))
    y = np.zeros(n, np.float32)
    scalar("rmsnorm")(y, x, w, n, 1e-5)
    eps = float(np.float32(1e-5))
    np.testing.assert_allclose(y, w64 * x64 / np.sqrt((x64**2).mean() + eps), rtol=4 * U)
    scalar("layernorm")(y, x, w, up, n, 1e-5)
    normal = (x64 - x64.mean()) / np.sqrt(x64.var() + eps)
    np.testing.assert_allclose(y, w64 * normal + up64, rtol=0, atol=4 * U * 64)
    scalar("geglu")(y, x, up, n)
    gelu = x64 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x64 + 0.044715 * x64**3))) / 2
    np.testing.assert_allclose(y, gelu * up64, rtol=4 * U, atol=1e-13)
    scalar("gelu_erf")(y, x, n)
    phi = np.array([math.erfc(-value / math.sqrt(2)) / 2 for value in x64])
    np.testing.assert_allclose(y, x64 * phi, rtol=2 * U)
    capped = x.copy()
    scalar("softcap")(capped, n, 3.0)
    np.testing.assert_allclose(capped, 3 * np.tanh(x64 / 3), rtol=8 * U)
    scalar("swiglu")(y, x, up, n)
    np.testing.assert_allclose(y, x64 / (1 + np.exp(-x64)) * up64, rtol=12 * U)
    angle = rng().uniform(-3, 3, n // 2)
    cs = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    turn = cs[:, 0].astype(np.float64) + 1j * cs[:, 1].astype(np.float64)
    pairs = {
        "rope_adjacent": x64[0::2] + 1j * x64[1::2],
        "rope_half": x64[: n // 2] + 1j * x64[n // 2 :],
    }
    for name, pair in pairs.items():
        turned, exact = x.copy(), pair * turn
        scalar(name)(turned, cs, n)
        real, imag = (
            (turned[0::2], turned[1::2]) if name == "rope_adjacent" else np.split(turned, 2)
        )
        bound = 3 * U * 2 * abs(pair)
        assert (abs(real - exact.real) <= bound).all()
        assert (abs(imag - exact.imag) <= bound).all()


def test_reductions_match_float64(scalar: Callable[[str], Kernel]) -> None:
    x = (rng().standard_normal(999) * 5).astype(np.float32)
    assert scalar("max")(x, 999) == x.max()
    exact = np.exp(x.astype(np.float64) - float(x.max())).sum()
    assert scalar("sum_exp")(x, 999, float(x.max())) == pytest.approx(exact, rel=8 * U)
    x[500] = np.nan
    assert np.isnan(scalar("max")(x, 999))


def test_halves_convert_as_numpy_does(scalar: Callable[[str], Kernel]) -> None:
    halves = np.arange(65536, dtype=np.uint16)
    y = np.zeros(65536, np.float32)
    scalar("f16_to_f32")(y, halves, 65536)
    np.testing.assert_array_equal(y, halves.view(np.float16).astype(np.float32))
    x = rng().integers(0, 2**32, 200_000, dtype=np.uint64).astype(np.uint32).view(np.float32)
    x[:65536] = np.nextafter(y, np.float32(1), dtype=np.float32)
    back = np.zeros(x.size, np.uint16)
    scalar("f32_to_f16")(back, x, x.size)
    with np.errstate(over="ignore", invalid="ignore"):
        np.testing.assert_array_equal(back.view(np.float16), x.astype(np.float16))


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 1000, 1024])
def test_reading_gives_the_exclusive_or_of_all_words(
    scalar: Callable[[str], Kernel], n: int
) -> None:
    memory = rng().integers(0, 256, n, dtype=np.uint8)
    words = np.concatenate([memory, np.zeros(-n % 8, np.uint8)]).view("<u8")
    for n_streams in (1, 2):
        value = scalar("probe_read")(memory, n, n_streams)
        assert value == int(np.bitwise_xor.reduce(words, initial=0))


def test_multiplying_gives_the_sum_of_all_rounds(scalar: Callable[[str], Kernel]) -> None:
    a, w = rng().integers(0, 128, 32, dtype=np.uint8), rng().integers(-8, 9, 32, dtype=np.int8)
    dot, total = int(a.astype(int) @ w.astype(int)), np.zeros(1, np.uint32)
    for rounds in (0, 1, 1_000_000):
        products = scalar("probe_int8")(a, w, rounds, total)
        assert products % 32 == 0
        assert int(total[0]) == rounds * dot * (products // 32) % 2**32
