"""Log-probabilities of a token and of its best rivals, from a row of logits."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from llamacpp import ops
from llamacpp.errors import InvalidArgumentError, KernelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["TokenLogprobs", "logprobs"]


class TokenLogprobs(NamedTuple):
    """ln p of the chosen token, and the (id, ln p) of the most probable ones, best first."""

    token: int
    logprob: float
    top: list[tuple[int, float]]


def logprobs(logits: ops.Buffer | NDArray[np.float32], token: int, n: int = 0) -> TokenLogprobs:
    """Return ln softmax(logits) for `token` and the `n` most probable tokens.

    `logits` (n_vocab,) float32 as the model gave them. Within 1e-6: the exponentials are float32,
    their sum and everything after it float64.
    Raises InvalidArgumentError for a token outside the vocabulary, a negative `n`, or logits that
    define no distribution.
    """
    row = ops.Buffer.of(logits)
    n_vocab = row.shape[1]
    if not 0 <= token < n_vocab:
        raise InvalidArgumentError(f"token {token} is outside the vocabulary of {n_vocab}")
    if n < 0:
        raise InvalidArgumentError(f"the number of logprobs is {n}; it must be 0 or more")
    try:
        log_total = ops.log_sum_exp(row)
    except KernelError:
        raise InvalidArgumentError("the logits hold NaN or +inf, or are all -inf") from None
    top: list[tuple[int, float]] = []
    if n:
        ids, values = ops.top_k(row, min(n, n_vocab))
        top = [(i, v - log_total) for i, v in zip(ids, values, strict=True)]
    return TokenLogprobs(token, row.ptr[token] - log_total, top)
