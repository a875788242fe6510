"""The candidates for the next token, and the truncations that thin them out.

Every function here is pure: it takes candidates and returns candidates, never fewer than one.
Candidates stand in descending order of logit (ties: lower id first), so that most truncations are
prefixes. Probabilities are the softmax over the candidates handed in, in float64.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llamacpp import ops

__all__ = [
    "Candidates",
    "draw",
    "min_p",
    "probabilities",
    "sigma_threshold",
    "temperature",
    "threshold",
    "top_k",
    "top_p",
    "typical_p",
    "xtc",
]

# Up to here the compiled heap is faster than sorting all tokens.
_HEAP_MAX = 512


class Candidates(NamedTuple):
    """Token ids (n,) int32 with their logits (n,) float64, in descending order of logit."""

    ids: NDArray[np.int32]
    logits: NDArray[np.float64]

    def head(self, n: int) -> Candidates:
        """Return the first `n` of them, at least one."""
        n = max(1, n)
        return self if n >= len(self.ids) else Candidates(self.ids[:n], self.logits[:n])


def probabilities(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return softmax(logits): exp(l_i - max) / sum_j exp(l_j - max)."""
    weights: NDArray[np.float64] = np.exp(logits - logits.max())
    weights /= weights.sum()
    return weights


def top_k(logits: NDArray[np.float32], k: int) -> Candidates:
    """Return the `k` largest of `logits` (n_vocab,). Fan et al. 2018, arXiv:1805.04833."""
    if k > _HEAP_MAX:
        return _ranked(logits).head(k)
    ids, values = ops.top_k(logits, min(k, len(logits)))
    return Candidates(ids, values.astype(np.float64))


def _ranked(logits: NDArray[np.float32]) -> Candidates:
    """Return all tokens in order.

    NumPy sorts integers with vector instructions, but not indices by a float: so each logit becomes
    an integer of the same order, with the token's id below it. 3 ms for 150,000 tokens, not 40.
    """
    bits = (logits + np.float32(0.0)).view(np.int32)  # the sum turns -0.0 into 0.0
    ascending = bits ^ ((bits >> 31) & 0x7FFFFFFF)  # sign and magnitude to two's complement
    keys = (~ascending).astype(np.int64) << 32 | np.arange(len(logits))
    keys.sort()
    ids = (keys & 0xFFFFFFFF).astype(np.int32)
    return Candidates(ids, logits[ids].astype(np.float64))


def top_p(c: Candidates, p: float, log_total: float | None = None) -> Candidates:
    """Return the shortest prefix whose probabilities sum to at least `p` (nucleus sampling).

    Holtzman et al. 2019, arXiv:1904.09751. Where `c` is only the head of the set to be truncated,
    `log_total` is log(sum(exp(logits))) over the whole of that set.
    """
    if p >= 1.0:
        return c
    if log_total is None:
        mass = np.cumsum(probabilities(c.logits))
    else:
        mass = np.cumsum(np.exp(c.logits - log_total))
    return c.head(int(np.searchsorted(mass, p)) + 1)


def min_p(c: Candidates, p: float) -> Candidates:
    """Return those with probability >= p * the highest: l_i >= l_max + ln p.

    Nguyen et al. 2024, arXiv:2407.01082.
    """
    return threshold(c, c.logits[0] + math.log(p)) if p > 0.0 else c


def threshold(c: Candidates, lowest: float) -> Candidates:
    """Return those with a logit of at least `lowest`."""
    return c.head(int(np.searchsorted(-c.logits, -lowest, side="right")))


def sigma_threshold(logits: NDArray[np.float32], n: float) -> float:
    """Return l_max - n * sigma, sigma the standard deviation of the finite logits (n_vocab,).

    Top-n-sigma, Tang et al. 2024, arXiv:2411.07641: the informative logits stand out from a
    Gaussian bulk, whatever the temperature.
    """
    finite = logits[np.isfinite(logits)]
    return float(finite.max() - n * finite.std(dtype=np.float64)) if len(finite) else -math.inf


def typical_p(c: Candidates, p: float) -> Candidates:
    """Return the tokens whose surprise is nearest the entropy, up to a total probability `p`.

    Locally typical sampling, Meister et al. 2022, arXiv:2202.00666: sort by |-ln p_i - H|,
    keep the shortest prefix with a sum of at least `p`.
    """
    if p >= 1.0:
        return c
    probs = probabilities(c.logits)
    possible = probs > 0.0
    surprise = np.full(len(probs), math.inf)
    surprise[possible] = -np.log(probs[possible])
    entropy = float(np.sum(probs[possible] * surprise[possible]))
    by_typicality = np.argsort(np.abs(surprise - entropy), kind="stable")
    count = int(np.searchsorted(np.cumsum(probs[by_typicality]), p)) + 1
    kept = np.sort(by_typicality[:count])
    return Candidates(c.ids[kept], c.logits[kept])


def xtc(c: Candidates, least: float) -> Candidates:
    """Exclude the top choices: drop all tokens with probability >= `least` but the last of them.

    XTC by p-e-w, github.com/oobabooga/text-generation-webui/pull/6335. The caller draws the lot
    that decides whether it applies to this token at all.
    """
    probs = probabilities(c.logits)
    top = int(np.count_nonzero((probs >= least) & (probs > 0.0)))
    return Candidates(c.ids[top - 1 :], c.logits[top - 1 :]) if top > 1 else c


def temperature(c: Candidates, t: float) -> Candidates:
    """Return the candidates with logits l_i / t, for t > 0.

    Only differences of logits carry meaning; dividing them, not the logits, keeps a small `t` from
    overflowing.
    """
    with np.errstate(over="ignore"):
        return Candidates(c.ids, (c.logits - c.logits.max()) / t)


def draw(c: Candidates, u: float) -> int:
    """Return the index of the candidate that `u` in [0, 1) falls on, by inversion of the CDF."""
    mass = np.cumsum(np.exp(c.logits - c.logits.max()))
    index = int(np.searchsorted(mass, u * mass[-1], side="right"))
    # u * total may round up to the total itself: then it is the last that has any probability.
    return index if index < len(mass) else int(np.searchsorted(mass, mass[-1]))
