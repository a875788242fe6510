"""NumPy stand-ins with the meaning of the compiled helpers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def top_k(logits: NDArray[np.float32], k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return ids and values of the k largest, descending; ties by lower id."""
    ids = np.argsort(-logits, kind="stable")[:k].astype(np.int32)
    return ids, logits[ids]


def argmax(logits: NDArray[np.float32]) -> int:
    """Return the lowest id of the largest."""
    return int(np.argmax(logits))


def log_sum_exp(logits: NDArray[np.float32]) -> float:
    """Return log(sum(exp(logits)))."""
    top = float(logits.max())
    return top + float(np.log(np.sum(np.exp(logits.astype(np.float64) - top))))
