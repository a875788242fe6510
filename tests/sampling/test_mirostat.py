"""The arithmetic of Mirostat's first version, and the feedback of both."""

from __future__ import annotations

import math

import numpy as np
import pytest

from llamacpp.sampling.mirostat import Mirostat, zipf_cutoff


def by_the_paper(head: np.ndarray, n_vocab: int, mu: float) -> float:
    probs = np.exp(head) / np.exp(head).sum()
    t = [math.log((i + 2) / (i + 1)) for i in range(len(head) - 1)]
    b = [math.log(probs[i] / probs[i + 1]) for i in range(len(head) - 1)]
    s = sum(x * y for x, y in zip(t, b, strict=True)) / sum(x * x for x in t)
    e = s - 1
    return ((e * 2**mu) / (1 - n_vocab**-e)) ** (1 / s)


@pytest.mark.parametrize("exponent", [0.6, 0.9, 1.2, 2.0])
@pytest.mark.parametrize("mu", [3.0, 6.0, 10.0])
def test_the_cutoff_is_that_of_the_paper(exponent: float, mu: float) -> None:
    head = -exponent * np.log(np.arange(1, 101.0))
    expected = by_the_paper(head, 32000, mu)
    assert zipf_cutoff(head, 32000, mu) == max(1, min(32000, round(expected)))


def test_an_exponent_of_one_takes_the_limit() -> None:
    head = -np.log(np.arange(1, 101.0))
    assert zipf_cutoff(head, 1000, 8.0) == round(2**8 / math.log(1000))


@pytest.mark.parametrize("mu", [-100.0, 0.0, 5.0, 40.0, 1e6])
@pytest.mark.parametrize(
    "head",
    [
        np.zeros(100),
        np.array([0.0]),
        np.array([0.0, -np.inf, -np.inf]),
        np.linspace(0, -1e38, 100),
        np.array([0.0, -1e-300]),
    ],
)
def test_the_cutoff_stays_within_the_vocabulary(head: np.ndarray, mu: float) -> None:
    assert 1 <= zipf_cutoff(head, 500, mu) <= 500


def test_feedback_moves_mu_against_the_error() -> None:
    loop = Mirostat(tau=5.0, eta=0.1)
    assert loop.mu == 10.0
    loop.observe(logit=-7 * math.log(2), log_total=0.0)  # 7 bits: two too many
    assert loop.mu == pytest.approx(9.8)
    assert loop.lowest_logit(0.0) == pytest.approx(-9.8 * math.log(2))
