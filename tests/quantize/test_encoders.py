"""The encoders: errors within bounds, the same bits every time, and what cannot be stored."""

from __future__ import annotations

from collections.abc import Iterator

import gguf
import numpy as np
import pytest
from encoding import BLOCK_TYPES, decoded, encoded, rmse, tensor_of
from random_models import random_blocks

from llamacpp import _native
from llamacpp.errors import FormatError
from llamacpp.format import GGMLType as T

# Largest error on gaussian values of unit size: what a uniform quantizer of so many levels that is
# scaled to groups of so many values comes to, rounded up.
BOUNDS = {
    T.Q4_0: 0.09, T.Q4_1: 0.08, T.Q5_0: 0.045, T.Q5_1: 0.04, T.Q8_0: 0.006, T.Q2_K: 0.31,
    T.Q3_K: 0.16, T.Q4_K: 0.075, T.Q5_K: 0.038, T.Q6_K: 0.019, T.IQ4_NL: 0.085, T.IQ4_XS: 0.085,
    T.MXFP4: 0.12, T.TQ1_0: 0.46, T.TQ2_0: 0.46, T.IQ3_S: 0.14, T.IQ3_XXS: 0.19, T.IQ2_S: 0.25,
    T.IQ2_XS: 0.3, T.IQ2_XXS: 0.345, T.IQ1_M: 0.435, T.IQ1_S: 0.47,
}  # fmt: skip
LATTICES = (T.IQ3_S, T.IQ3_XXS, T.IQ2_S, T.IQ2_XS, T.IQ2_XXS, T.IQ1_M, T.IQ1_S)
STEP = 0.2  # from 5 to the values of MXFP4 next to it
each_type = pytest.mark.parametrize("kind", BLOCK_TYPES, ids=lambda t: t.name)


def gaussian(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)


@pytest.fixture(params=_native.available_levels())
def level(request: pytest.FixtureRequest) -> Iterator[str]:
    before = _native.active_level()
    _native.set_level(request.param)
    yield request.param
    _native.set_level(before)


@each_type
def test_errors_keep_within_bounds_whatever_the_scale(kind: T) -> None:
    x = gaussian(16, 1024)
    for scale in (1e-2, 1.0, 300.0):
        assert rmse(scale * x, encoded(scale * x, kind), kind) <= BOUNDS[kind] * scale


@each_type
def test_importance_lowers_the_error_that_it_weighs(kind: T) -> None:
    rng = np.random.default_rng(1)
    x, w = gaussian(16, 1024), (rng.gamma(0.3, size=1024) + 1e-3).astype(np.float32)
    assert rmse(x, encoded(x, kind, w), kind, w) < rmse(x, encoded(x, kind), kind, w)


@each_type
def test_bits_depend_on_neither_threads_nor_level(kind: T, level: str) -> None:
    x, w = gaussian(33, 768), np.abs(gaussian(1, 768, 1))[0]
    before = _native.active_level()
    assert before == level
    ours = [encoded(x, kind, w, n_threads) for n_threads in (1, 2, 5)]
    _native.set_level("scalar")
    reference = encoded(x, kind, w, 1)
    assert all((one == reference).all() for one in ours)


@each_type
def test_special_rows(kind: T) -> None:
    zero = np.zeros((3, 512), np.float32)
    assert not decoded(encoded(zero, kind), kind).any()
    tiny = np.full((1, 512), 1e-40, np.float32)
    assert abs(decoded(encoded(tiny, kind), kind)).max() < 1e-7
    for value in (1.0, -0.75, 60000.0, -60000.0):
        x = np.full((2, 512), value, np.float32)
        error = abs(decoded(encoded(x, kind), kind) - value).max()
        assert error <= (STEP if kind == T.MXFP4 else 0.01) * abs(value), value


@each_type
def test_a_spike_among_small_values_keeps_its_size(kind: T) -> None:
    x = 1e-3 * gaussian(1, 512)
    x[0, 100] = 5.0
    got = decoded(encoded(x, kind), kind)
    assert abs(got[0, 100] - 5.0) <= (STEP if kind == T.MXFP4 else 0.05) * 5.0


@pytest.mark.parametrize("kind", LATTICES, ids=lambda t: t.name)
def test_points_of_a_lattice_are_found_again(kind: T) -> None:
    blocks = random_blocks(np.random.default_rng(3), gguf.GGMLQuantizationType(kind), 4, 512, 1.0)
    x = decoded(blocks, kind).astype(np.float32)
    assert rmse(x, encoded(x, kind), kind) <= 0.05  # of values of unit size


@pytest.mark.parametrize(
    "kind", [k for k in BLOCK_TYPES if k not in LATTICES], ids=lambda t: t.name
)
def test_values_on_a_grid_come_back_as_they_were(kind: T) -> None:
    rng = np.random.default_rng(2)
    if kind in (T.IQ4_NL, T.IQ4_XS):
        values = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113]
    elif kind == T.MXFP4:
        values = [-12, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 12]
    elif kind in (T.TQ1_0, T.TQ2_0):
        values = [-1, 0, 1]
    else:
        n = {T.Q2_K: 4, T.Q3_K: 8, T.Q6_K: 64, T.Q8_0: 255}.get(
            kind, 32 if "5" in kind.name else 16
        )
        lowest = {T.Q4_0: -8, T.Q5_0: -16, T.Q3_K: -4, T.Q6_K: -32, T.Q8_0: -127}.get(kind, 0)
        values = [*range(lowest, lowest + n)]
    x = rng.choice(values, (4, 512)).astype(np.float32)
    x.reshape(4, -1, 16)[:, :, :2] = values[0], values[-1]  # every group spans the grid
    assert abs(decoded(encoded(x / 64, kind), kind) - x / 64).max() <= 1e-3 * abs(x).max() / 64


@pytest.mark.parametrize("kind", [*BLOCK_TYPES, T.F16, T.BF16, T.F32], ids=lambda t: t.name)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused_by_name_and_place(kind: T, bad: float) -> None:
    x = gaussian(40, 512)
    x[17, 300] = x[30, 2] = bad
    with pytest.raises(FormatError, match=r"'some.weight'.*element 300 of row 17 is -?(nan|inf)"):
        encoded(x, kind)


@pytest.mark.parametrize("kind", [*BLOCK_TYPES, T.F16], ids=lambda t: t.name)
def test_what_half_floats_cannot_scale_is_refused(kind: T) -> None:
    x = np.full((1, 512), 1e38, np.float32)
    with pytest.raises(FormatError, match=r"1e\+38, too large"):
        encoded(x, kind)


@pytest.mark.parametrize("source", [T.F16, T.BF16], ids=lambda t: t.name)
@each_type
def test_sources_of_16_bits_are_read_exactly(kind: T, source: T) -> None:
    x = gaussian(5, 512)
    bits = x.view(np.uint32) & np.uint32(0xFFFF0000)
    exact = x.astype(np.float16).astype(np.float32) if source == T.F16 else bits.view(np.float32)
    assert (encoded(tensor_of(x, source), kind) == encoded(exact, kind)).all()


def test_floats_are_rounded_to_nearest_even() -> None:
    x = gaussian(7, 96)
    x[0, :3] = 1.00390625, 1.01171875, 65504.0
    assert (encoded(x, T.F16).view(np.float16) == x.astype(np.float16)).all()
    assert (decoded(encoded(x, T.F32), T.F32) == x).all()
    got = encoded(x, T.BF16).view(np.uint16).astype(np.uint32) << 16
    assert got.view(np.float32)[0, :2].tolist() == [1.0, 1.015625]
    assert abs(got.view(np.float32) / x - 1).max() <= 2**-8


def test_each_matrix_of_experts_has_its_own_importance() -> None:
    x = gaussian(12, 256)
    w = np.abs(gaussian(3, 256, 1))
    together = encoded(tensor_of(x.reshape(3, 4, 256)), T.Q4_K, w)
    apart = [encoded(x[4 * i : 4 * i + 4], T.Q4_K, w[i]) for i in range(3)]
    assert (together == np.concatenate(apart)).all()


def test_pieces_give_the_bytes_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    x = gaussian(50, 256)
    whole = encoded(x, T.Q6_K)
    monkeypatch.setattr("llamacpp.quantize.encode.PIECE_NBYTES", 7 * 1024)
    assert (encoded(x, T.Q6_K) == whole).all()
