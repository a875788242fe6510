"""Mirostat: a feedback loop that holds the surprise of the text at a target.

Basu et al. 2020, arXiv:2007.14966. Surprise is -log2 of the probability that the model, after
temperature, gave the token; mu is the ceiling on it that the loop moves.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["HEAD", "Mirostat", "zipf_cutoff"]

HEAD = 100  # version 1 estimates the Zipf exponent from this many of the top tokens
_LN2 = math.log(2.0)


def zipf_cutoff(head: NDArray[np.float64], n_vocab: int, mu: float) -> int:
    """Return k of Mirostat 1: how many top tokens keep the expected surprise at `mu` bits.

    `head` holds the top logits, descending. The exponent of p_i ~ i^-s is the least-squares
    s = sum(t_i b_i) / sum(t_i^2), t_i = ln((i+1)/i), b_i = ln(p_i / p_{i+1}); then with e = s - 1,
    k = (e 2^mu / (1 - N^-e))^(1/s), worked in logarithms, where nothing overflows.
    """
    head = head[np.isfinite(head)]
    if len(head) < 2 or n_vocab < 2:
        return 1
    ranks = np.arange(1, len(head), dtype=np.float64)
    t = np.log1p(1.0 / ranks)
    s = float(np.dot(t, head[:-1] - head[1:]) / np.dot(t, t))
    log_n = math.log(n_vocab)
    # The limit of (1 - N^-e) / e at e = 0 is ln N.
    e = s - 1.0
    if abs(e) * log_n < 1e-12:
        log_sum = math.log(log_n)
    elif e > 0.0:
        log_sum = math.log(-math.expm1(-e * log_n) / e)
    else:
        log_sum = -e * log_n + math.log(-math.expm1(e * log_n) / -e)
    log_k_times_s = mu * _LN2 - log_sum
    if log_k_times_s <= 0.0:
        return 1
    if log_k_times_s >= s * log_n:
        return n_vocab
    return max(1, round(math.exp(log_k_times_s / s)))


class Mirostat:
    """The state of the loop: `mu`, which starts at twice the target."""

    def __init__(self, tau: float, eta: float) -> None:
        self.tau = tau
        self.eta = eta
        self.mu = 2.0 * tau

    def lowest_logit(self, log_total: float) -> float:
        """Return the logit of a token of surprise mu: the cut of Mirostat 2."""
        return log_total - self.mu * _LN2

    def observe(self, logit: float, log_total: float) -> None:
        """Move mu by the error of the chosen token: mu -= eta * (surprise - tau)."""
        self.mu -= self.eta * ((log_total - logit) / _LN2 - self.tau)
