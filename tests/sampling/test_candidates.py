"""Truncations against definitions written out token by token, in plain Python floats."""

from __future__ import annotations

import math
from collections import Counter
from itertools import accumulate, pairwise

import numpy as np
import pytest

from llamacpp.sampling import candidates as cut
from llamacpp.sampling.candidates import Candidates
from llamacpp.sampling.generator import SplitMix64, fresh_seed

RNG = np.random.default_rng(20230310)

ROWS = {
    "random": RNG.normal(0, 3, 300),
    "steep": np.linspace(40, -40, 77),
    "ties": np.repeat([1.0, 5.0, -2.0, 5.0], 9),
    "all equal": np.full(50, 2.5),
    "some forbidden": np.where(np.arange(60) % 3 == 0, -np.inf, RNG.normal(0, 1, 60)),
    "one possible": np.where(np.arange(9) == 4, 0.0, -np.inf),
    "one token": np.array([-7.0]),
    "zeros of both signs": np.array([0.0, -0.0, 1e-45, -1e-45, -0.0, 0.0]),
    "more than the heap takes": np.round(RNG.normal(0, 3, 2000), 1),
    "huge": np.array([3e38, 1e38, -3e38, 0.0, 3e38]),
}
LOGITS = pytest.mark.parametrize("row", [v.astype(np.float32) for v in ROWS.values()], ids=ROWS)


def ranked(row: np.ndarray) -> list[tuple[int, float]]:
    return sorted(((i, float(v)) for i, v in enumerate(row)), key=lambda pair: (-pair[1], pair[0]))


def softmax(pairs: list[tuple[int, float]]) -> list[float]:
    top = max(value for _, value in pairs)
    weights = [math.exp(value - top) for _, value in pairs]
    return [w / math.fsum(weights) for w in weights]


def shortest(probs: list[float], p: float) -> int:
    """Length of the shortest prefix with a sum of at least p."""
    for n in range(1, len(probs)):
        if math.fsum(probs[:n]) >= p:
            return n
    return len(probs)


def everything(row: np.ndarray) -> Candidates:
    return cut.top_k(row, len(row))


def ids(c: Candidates) -> list[int]:
    return [int(i) for i in c.ids]


@LOGITS
@pytest.mark.parametrize("k", [1, 2, 7, 512, 513, 10**9])
def test_top_k_keeps_the_k_largest_in_order(row: np.ndarray, k: int) -> None:
    kept = cut.top_k(row, k)
    assert ids(kept) == [i for i, _ in ranked(row)][:k]
    assert kept.logits.tolist() == [v for _, v in ranked(row)][:k]


@LOGITS
@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.93, 1.0])
def test_top_p_keeps_the_shortest_prefix_of_that_mass(row: np.ndarray, p: float) -> None:
    pairs = ranked(row)
    expected = len(pairs) if p == 1.0 else shortest(softmax(pairs), p)
    kept = len(cut.top_p(everything(row), p).ids)
    # Where a partial sum equals p but for rounding, either side of it is right.
    assert abs(kept - expected) <= (1 if row.tolist() == [row[0]] * len(row) else 0)


@LOGITS
def test_top_p_of_a_head_with_the_whole_mass_is_top_p_of_the_whole(row: np.ndarray) -> None:
    whole = cut.top_p(everything(row), 0.4)
    total = float(row.max()) + math.log(
        math.fsum(math.exp(float(v) - float(row.max())) for v in row)
    )
    head = cut.top_k(row, len(whole.ids))
    assert ids(cut.top_p(head, 0.4, total)) == ids(whole)


@LOGITS
@pytest.mark.parametrize("p", [0.0, 0.05, 0.5, 1.0])
def test_min_p_keeps_what_is_near_the_top(row: np.ndarray, p: float) -> None:
    pairs = ranked(row)
    if p == 0.0:
        expected = [i for i, _ in pairs]
    else:
        expected = [i for i, v in pairs if v >= pairs[0][1] + math.log(p)]
    assert ids(cut.min_p(everything(row), p)) == expected


@LOGITS
@pytest.mark.parametrize("p", [0.0, 0.2, 0.77])
def test_typical_p_keeps_the_tokens_nearest_the_entropy(row: np.ndarray, p: float) -> None:
    pairs = ranked(row)
    probs = softmax(pairs)
    entropy = -math.fsum(q * math.log(q) for q in probs if q > 0)
    off = [abs(-math.log(q) - entropy) if q > 0 else math.inf for q in probs]
    # Equal distances from the entropy may be ordered either way: compare the distances kept.
    order = sorted(range(len(pairs)), key=lambda i: (round(off[i], 9), i))
    count = shortest([probs[i] for i in order], p)
    kept = cut.typical_p(everything(row), p)
    place = {token: i for i, (token, _) in enumerate(pairs)}
    got = sorted(round(off[place[i]], 9) for i in ids(kept))
    assert abs(len(got) - count) <= (1 if len(set(row.tolist())) < 5 else 0)
    shared = min(len(got), count)
    assert got[:shared] == pytest.approx([round(off[i], 9) for i in order[:shared]], abs=2e-9)
    assert ids(kept) == [i for i, _ in pairs if i in set(ids(kept))]


@LOGITS
@pytest.mark.parametrize("least", [0.0, 0.02, 0.3, 0.51])
def test_xtc_drops_all_but_the_last_of_the_top_choices(row: np.ndarray, least: float) -> None:
    pairs = ranked(row)
    top = [i for i, q in enumerate(softmax(pairs)) if q >= least and q > 0]
    expected = pairs[top[-1] :] if top else pairs
    assert ids(cut.xtc(everything(row), least)) == [i for i, _ in expected]


@LOGITS
@pytest.mark.parametrize("n", [0.5, 1.0, 3.0])
def test_sigma_threshold_counts_standard_deviations_from_the_top(row: np.ndarray, n: float) -> None:
    finite = [float(v) for v in row if math.isfinite(v)]
    mean = math.fsum(finite) / len(finite)
    # Scaled, for the squares of huge logits exceed float64's precision, not its range.
    sigma = math.sqrt(math.fsum((v - mean) ** 2 for v in finite) / len(finite))
    assert cut.sigma_threshold(row, n) == pytest.approx(max(finite) - n * sigma, rel=1e-9)


@LOGITS
@pytest.mark.parametrize("t", [1e-30, 0.3, 1.0, 4.0])
def test_temperature_scales_differences(row: np.ndarray, t: float) -> None:
    pairs = ranked(row)
    probs = softmax([(i, (v - pairs[0][1]) / t) for i, v in pairs])
    bounds = [0.0, *accumulate(probs)]
    for index, (low, high) in enumerate(pairwise(bounds)):
        if high - low > 1e-9:  # what is less may fall to a neighbour by rounding
            assert cut.draw(everything(row), (low + high) / 2, t) == index


def test_threshold_keeps_what_equals_it_and_never_nothing() -> None:
    c = everything(np.array([1.0, 3.0, 3.0, 2.0], np.float32))
    assert ids(cut.threshold(c, 3.0)) == [1, 2]
    assert ids(cut.threshold(c, 99.0)) == [1]
    assert ids(cut.threshold(c, -math.inf)) == [1, 2, 3, 0]


def test_draw_inverts_the_distribution_exactly_at_its_edges() -> None:
    c = everything(np.log(np.array([0.5, 0.25, 0.25], np.float32)))
    below = math.nextafter(1.0, 0.0)
    assert [cut.draw(c, u) for u in (0.0, 0.499, 0.501, 0.749, 0.751, below)] == [0, 0, 1, 1, 2, 2]


def test_draw_never_takes_an_impossible_candidate() -> None:
    c = Candidates(np.arange(4, dtype=np.int32), np.array([-np.inf, 0.0, 0.0, -np.inf]))
    draws = {cut.draw(c, u) for u in (0.0, 0.25, 0.5, 0.75, math.nextafter(1.0, 0.0))}
    assert draws == {1, 2}


def test_draws_follow_the_distribution() -> None:
    row = RNG.normal(0, 1, 12).astype(np.float32)
    c = everything(row)
    random = SplitMix64(11)
    n = 20_000
    counts = Counter(cut.draw(c, random.random()) for _ in range(n))
    expected = [n * p for p in softmax(ranked(row))]
    chi2 = sum((counts[i] - e) ** 2 / e for i, e in enumerate(expected))
    assert chi2 < 31.26  # the 0.999 quantile at 11 degrees of freedom


def test_the_generator_gives_the_published_stream() -> None:
    random = SplitMix64(1234567)
    assert [random.next() for _ in range(5)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def test_the_generator_gives_floats_below_one_from_the_upper_bits() -> None:
    assert SplitMix64(1234567).random() == (6457827717110365317 >> 11) / 2**53
    random = SplitMix64(5)
    values = [random.random() for _ in range(10_000)]
    assert 0.0 <= min(values) < 0.001 < 0.999 < max(values) < 1.0


def test_fresh_seeds_differ_and_fit_32_bits() -> None:
    seeds = {fresh_seed() for _ in range(50)}
    assert len(seeds) > 45
    assert all(0 <= seed < 2**32 - 1 for seed in seeds)
