"""Log-probabilities against a float64 log-softmax."""

from __future__ import annotations

import math

import numpy as np
import pytest

from llamacpp.errors import InvalidArgumentError
from llamacpp.sampling import logprobs

# An exponential is off by at most 2 ulp (2^-22), and by its argument's rounding, 2^-24 |x - max|,
# whose mean under the softmax is below ln(n_vocab) <= 12.
BOUND = 2.0**-22 + 12 * 2.0**-24


def test_logprobs_are_the_log_softmax_of_the_row() -> None:
    logits = np.random.default_rng(2).normal(0, 4, 1000).astype(np.float32)
    logits[17] = -np.inf
    wide = logits.astype(np.float64)
    expected = wide - (wide.max() + math.log(math.fsum(np.exp(wide - wide.max()))))
    got = logprobs(logits, 123, 5)
    assert got.token == 123
    assert got.logprob == pytest.approx(expected[123], abs=BOUND)
    best = np.argsort(-expected, kind="stable")[:5]
    assert [i for i, _ in got.top] == best.tolist()
    assert [v for _, v in got.top] == pytest.approx(expected[best].tolist(), abs=BOUND)
    assert logprobs(logits, 17).logprob == -math.inf
    assert logprobs(logits, 17).top == []


def test_more_rivals_than_tokens_give_all_tokens() -> None:
    got = logprobs(np.zeros(3, np.float32), 0, 20)
    assert got.top == [(i, pytest.approx(-math.log(3), abs=BOUND)) for i in range(3)]


@pytest.mark.parametrize(
    ("row", "token", "n", "message"),
    [
        ([0.0, 0.0], 2, 0, "token 2 is outside the vocabulary of 2"),
        ([0.0, 0.0], -1, 0, "token -1 is outside"),
        ([0.0, 0.0], 0, -1, "the number of logprobs is -1"),
        ([0.0, math.nan], 0, 0, "hold NaN"),
        ([-math.inf, -math.inf], 0, 0, "all -inf"),
    ],
)
def test_what_has_no_logprob_is_refused(row: list[float], token: int, n: int, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        logprobs(np.array(row, np.float32), token, n)
