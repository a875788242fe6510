"""What a machine allows: how fast it reads a model's weights and multiplies 8-bit integers.

Both are probed by kernels of the level in use, with the same threads as a model. They bound what
the model can reach: decoding reads its weights for every token, a prompt multiplies by them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable

from llamacpp import ops
from llamacpp.engine import Model
from llamacpp.measure.work import token_weights
from llamacpp.tensors import Tensor

__all__ = ["int8_peak", "pace", "read_bandwidth", "spans"]

PASSES = 6  # over the weights, half of them in two streams
ENOUGH = 0.05  # seconds for the passes over small weights
TOO_LONG = 2.0  # seconds after which the third and later passes are left out
SAMPLE = 0.005  # seconds that a sample of products takes at least
SAMPLES = 8
GAP = 4096  # bytes between two tensors that are read along


def read_bandwidth(model: Model, n_threads: int) -> float:
    """Bytes per second at which the mapped weights of a token can be read: the best of some passes.

    Each thread reads a part of its own, in every other pass as two far streams, as decoding does.
    Weights that fit into the caches are read at the caches' speed. Weights that are not in the page
    cache are read from the disk first, and at its speed if memory cannot hold them.

    Raises:
        KernelError: `n_threads` is out of range.
        ModelFileError: the file shrank.
    """
    pieces = spans(token_weights(model))
    nbytes, best, spent, passes = sum(n for _, n in pieces), 0.0, 0.0, 0
    while passes < 2 or spent < ENOUGH or (passes < PASSES and spent < TOO_LONG):
        begin = time.perf_counter()
        seconds, _ = ops.probe_read(pieces, 1 + passes % 2, n_threads)
        spent += time.perf_counter() - begin
        best = max(best, nbytes / seconds)
        passes += 1
    return best


def int8_peak(n_threads: int) -> float:
    """Operations per second of the fastest 8-bit dot products that the kernels in use can do.

    A multiplication and an addition are two operations. Operands stay in registers. Where products
    are added in 16 bits (levels `avx2` and `neon`), the weights are of 4 bits, which allow most.

    Raises:
        KernelError: `n_threads` is out of range.
    """
    return max(_int8_samples(n_threads))


def pace(n_threads: int) -> float:
    """Operations per second of the same products at this moment: the mean of some 40 ms.

    Below `int8_peak`, the processors are slower now, or have something else to do.

    Raises:
        KernelError: `n_threads` is out of range.
    """
    return statistics.harmonic_mean(_int8_samples(n_threads))


def _int8_samples(n_threads: int) -> list[float]:
    """Operations per second, sample by sample."""
    rounds, found = 1000, list[float]()
    while len(found) < SAMPLES:
        seconds, products = ops.probe_int8(rounds, n_threads)
        if seconds < SAMPLE:
            rounds *= 2
            continue
        found.append(2 * products / seconds)
    return found


def spans(tensors: Iterable[Tensor]) -> list[tuple[int, int]]:
    """Where tensors lie, as (address, bytes) in order; those that follow each other are one."""
    found: list[tuple[int, int]] = []
    for tensor in sorted(tensors, key=lambda tensor: tensor.address):
        start, end = tensor.address, tensor.address + tensor.nbytes
        if found and start - sum(found[-1]) < GAP:
            start, _ = found.pop()
        found.append((start, end - start))
    return found
