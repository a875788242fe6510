"""The candidates for the next token, and the truncations that thin them out.

Every function here is pure: it takes candidates and returns candidates, never fewer than one.
Candidates stand in descending order of logit (ties: lower id first), so that most truncations are
prefixes. Probabilities are the softmax over the candidates handed in, in float64.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from llamacpp import ops

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "Candidates",
    "draw",
    "min_p",
    "sigma_threshold",
    "threshold",
    "top_k",
    "top_p",
    "typical_p",
    "xtc",
]

Int32: TypeAlias = "array[int] | NDArray[np.int32]"
Float64: TypeAlias = "array[float] | NDArray[np.float64]"


class Candidates(NamedTuple):
    """Token ids (n,) int32 with their logits (n,) float64, in descending order of logit.

    Arrays of Python's where that is enough; of NumPy's where it had work to do.
    """

    ids: Int32
    logits: Float64

    def head(self, n: int) -> Candidates:
        """Return the first `n` of them, at least one."""
        n = max(1, n)
        return self if n >= len(self.ids) else Candidates(self.ids[:n], self.logits[:n])


def top_k(logits: ops.Buffer | NDArray[np.float32], k: int) -> Candidates:
    """Return the `k` largest of `logits` (n_vocab,). Fan et al. 2018, arXiv:1805.04833."""
    n = logits.shape[-1]
    return Candidates(*ops.top_k(logits, min(k, n)))


def top_p(c: Candidates, p: float, log_total: float | None = None) -> Candidates:
    """Return the shortest prefix whose probabilities sum to at least `p` (nucleus sampling).

    Holtzman et al. 2019, arXiv:1904.09751. Where `c` is only the head of the set to be truncated,
    `log_total` is log(sum(exp(logits))) over the whole of that set.
    """
    if p >= 1.0:
        return c
    mass = ops.cumulate(c.logits, shift=log_total)
    total = mass[-1] if log_total is None else 1.0
    return c.head(bisect_left(mass, p * total) + 1)


def min_p(c: Candidates, p: float) -> Candidates:
    """Return those with probability >= p * the highest: l_i >= l_max + ln p.

    Nguyen et al. 2024, arXiv:2407.01082.
    """
    return threshold(c, c.logits[0] + math.log(p)) if p > 0.0 else c


def threshold(c: Candidates, lowest: float) -> Candidates:
    """Return those with a logit of at least `lowest`."""
    return c.head(bisect_right(c.logits, -lowest, key=lambda logit: -logit))


def sigma_threshold(logits: NDArray[np.float32], n: float) -> float:
    """Return l_max - n * sigma, sigma the standard deviation of the finite logits (n_vocab,).

    Top-n-sigma, Tang et al. 2024, arXiv:2411.07641: the informative logits stand out from a
    Gaussian bulk, whatever the temperature.
    """
    import numpy as np

    finite = logits[np.isfinite(logits)]
    return float(finite.max() - n * finite.std(dtype=np.float64)) if len(finite) else -math.inf


def typical_p(c: Candidates, p: float) -> Candidates:
    """Return the tokens whose surprise is nearest the entropy, up to a total probability `p`.

    Locally typical sampling, Meister et al. 2022, arXiv:2202.00666: sort by |-ln p_i - H|,
    keep the shortest prefix with a sum of at least `p`.
    """
    if p >= 1.0:
        return c
    import numpy as np

    ids, logits = np.asarray(c.ids, np.int32), np.asarray(c.logits)
    probs = np.exp(logits - logits.max())
    probs /= probs.sum()
    possible = probs > 0.0
    surprise = np.full(len(probs), math.inf)
    surprise[possible] = -np.log(probs[possible])
    entropy = float(np.sum(probs[possible] * surprise[possible]))
    by_typicality = np.argsort(np.abs(surprise - entropy), kind="stable")
    count = int(np.searchsorted(np.cumsum(probs[by_typicality]), p)) + 1
    kept = np.sort(by_typicality[:count])
    return Candidates(ids[kept], logits[kept])


def xtc(c: Candidates, least: float) -> Candidates:
    """Exclude the top choices: drop all tokens with probability >= `least` but the last of them.

    XTC by p-e-w, github.com/oobabooga/text-generation-webui/pull/6335. The caller draws the lot
    that decides whether it applies to this token at all.
    """
    highest = c.logits[0]
    total = ops.cumulate(c.logits)[-1]

    def falls_short(logit: float) -> bool:
        prob = math.exp(logit - highest) / total
        return prob < least or prob == 0.0

    top = bisect_left(c.logits, True, key=falls_short)
    return Candidates(c.ids[top - 1 :], c.logits[top - 1 :]) if top > 1 else c


def draw(c: Candidates, u: float, t: float = 1.0) -> int:
    """Return the index of the candidate that `u` in [0, 1) falls on, by inversion of the CDF.

    The probabilities are those of logits l_i / t, for a temperature t > 0. Only differences of
    logits carry meaning; dividing them, not the logits, keeps a small `t` from overflowing.
    """
    mass = ops.cumulate(c.logits, t=t)
    index = bisect_right(mass, u * mass[-1])
    # u * total may round up to the total itself: then it is the last that has any probability.
    return index if index < len(mass) else bisect_left(mass, mass[-1])
