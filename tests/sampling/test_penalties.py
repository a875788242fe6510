"""Bias, repetition penalties and DRY against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamacpp.sampling import SamplingParams
from llamacpp.sampling.penalties import (
    DryTracker,
    apply_bias,
    apply_penalties,
    suffix_matches,
)


def test_bias_is_added_and_may_forbid() -> None:
    row = np.array([1.0, -2.0, 3.0], np.float32)
    apply_bias(row, {0: 0.5, 2: -np.inf})
    assert row.tolist() == [1.5, -2.0, -np.inf]


@pytest.mark.parametrize("repeat", [1.0, 1.3, 0.7])
@pytest.mark.parametrize(("frequency", "presence"), [(0.0, 0.0), (0.4, 0.0), (-0.3, 1.5)])
def test_penalties_follow_their_formula(repeat: float, frequency: float, presence: float) -> None:
    rng = np.random.default_rng(3)
    row = rng.normal(0, 2, 40).astype(np.float32)
    row[5] = -np.inf
    row[6] = 0.0
    recent = rng.integers(0, 12, 30).astype(np.int32)
    expected = row.astype(np.float64)
    for token in range(40):
        count = recent.tolist().count(token)
        if count:
            v = expected[token]
            expected[token] = v / repeat if v > 0 else v * repeat
            expected[token] -= count * frequency + presence
    apply_penalties(row, recent, repeat, frequency, presence)
    assert row == pytest.approx(expected.astype(np.float32), rel=1e-6)


def naive_matches(tokens: list[int]) -> list[int]:
    out = []
    for end in range(len(tokens)):
        n = 0
        while n <= end and tokens[end - n] == tokens[-1 - n]:
            n += 1
        out.append(n)
    return out


@given(st.lists(st.integers(0, 2), max_size=60))
def test_suffix_matches_equal_the_quadratic_definition(tokens: list[int]) -> None:
    assert suffix_matches(np.array(tokens, np.int32)).tolist() == naive_matches(tokens)


def test_suffix_matches_of_one_repeated_token_take_linear_time() -> None:
    n = 20_000  # the quadratic definition would compare 200 million tokens
    assert suffix_matches(np.zeros(n, np.int32)).tolist() == list(range(1, n + 1))


def naive_dry(tokens: list[int], params: SamplingParams, breakers: set[int]) -> dict[int, float]:
    """Straight from the description: for each earlier place, compare backwards."""
    reach = params.dry_penalty_last_n
    window = tokens if reach < 0 else tokens[-reach:]
    best: dict[int, int] = {}
    for follower in range(1, len(window)):
        n = 0
        while n < follower:
            a, b = window[follower - 1 - n], window[-1 - n]
            if a != b or b in breakers:
                break
            n += 1
        token = window[follower]
        if n >= params.dry_allowed_length and token not in breakers:
            best[token] = max(best.get(token, 0), n)
    return {
        token: params.dry_multiplier * params.dry_base ** (n - params.dry_allowed_length)
        for token, n in best.items()
    }


def dry_result(tracker: DryTracker, n_vocab: int) -> dict[int, float]:
    row = np.zeros(n_vocab, np.float32)
    tracker.penalize(row)
    return {int(i): float(-row[i]) for i in np.flatnonzero(row)}


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(0, 3), max_size=40),
    st.integers(0, 40),
    st.integers(1, 4),
    st.sampled_from([-1, 1, 2, 5, 17]),
)
def test_dry_equals_the_quadratic_reference(
    tokens: list[int], prompt: int, allowed: int, reach: int
) -> None:
    params = SamplingParams(
        dry_multiplier=0.8,
        dry_allowed_length=allowed,
        dry_penalty_last_n=reach,
        dry_sequence_breakers=("\n",),
    )
    tracker = DryTracker(params, lambda token: b" x\n" if token == 3 else b"ab")
    prompt = min(prompt, len(tokens))
    text = np.array(tokens, np.int32)
    tracker.accept(text[:prompt], prompt)
    for n in range(prompt, len(tokens) + 1):
        if n > prompt:
            tracker.accept(text[:n], 1)
        expected = naive_dry(tokens[:n], params, {3})
        assert dry_result(tracker, 5) == pytest.approx(expected, rel=1e-6)


def test_a_breaker_may_be_spread_over_tokens() -> None:
    pieces = {0: b"go", 1: b"EN", 2: b"D.", 3: b"?"}
    params = SamplingParams(dry_multiplier=1.0, dry_base=2.0, dry_sequence_breakers=("END", "\n"))
    text = np.array([0, 0, 3, 1, 2, 0, 0], np.int32)
    tracker = DryTracker(params, pieces.__getitem__)
    tracker.accept(text, len(text))
    # After the breaker ends in token 2 there are two tokens, and token 3 followed them before.
    assert dry_result(tracker, 4) == {3: 1.0}
    whole = np.array([0, 3, 1, 2, 3, 0, 3, 1], np.int32)
    tracker = DryTracker(params, pieces.__getitem__)
    tracker.accept(whole, len(whole))
    # The run 0 3 1 is known, but the token that followed it would complete the breaker: no penalty.
    assert dry_result(tracker, 4) == {}
    tracker = DryTracker(
        SamplingParams(dry_multiplier=1.0, dry_base=2.0, dry_sequence_breakers=()),
        pieces.__getitem__,
    )
    tracker.accept(whole, len(whole))
    assert dry_result(tracker, 4) == {2: 2.0}


def test_a_very_long_repeat_stays_finite() -> None:
    params = SamplingParams(dry_multiplier=1e30, dry_sequence_breakers=())
    tracker = DryTracker(params, lambda token: b"")
    text = np.zeros(5000, np.int32)
    tracker.accept(text, len(text))
    row = np.zeros(2, np.float32)
    tracker.penalize(row)
    assert np.isfinite(row).all()
    assert row[0] < -1e38
