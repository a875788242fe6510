"""Rotary position embedding frequencies (Su et al. 2021, RoFormer) and their scalings."""

from __future__ import annotations

import math
from array import array

from llamacpp.errors import FormatError

__all__ = ["inverse_frequencies"]


def inverse_frequencies(
    n_rot: int,
    base: float,
    *,
    linear_factor: float = 1.0,
    divisors: array[float] | None = None,
) -> array[float]:
    """Radians per position of each rotated pair, float64 (n_rot / 2,).

    Args:
        n_rot: rotated dimensions of a head, even.
        base: theta; pair i turns by ``base ** (-2 i / n_rot)``.
        linear_factor: position interpolation (Chen et al. 2023): frequencies divided by it.
        divisors: the file's ``rope_freqs.weight`` (n_rot / 2): Llama 3's long-context scaling,
            worked out by the converter; frequencies are divided by it.

    Raises:
        FormatError: `divisors` has the wrong length or a value that is not positive and finite.
    """
    frequencies = [base ** (-i / n_rot) / linear_factor for i in range(0, n_rot, 2)]
    if divisors is not None:
        if len(divisors) != len(frequencies):
            raise FormatError(
                f"rope_freqs.weight holds {len(divisors)} values instead of {len(frequencies)}"
            )
        if not all(math.isfinite(divisor) and divisor > 0 for divisor in divisors):
            raise FormatError("rope_freqs.weight holds values that are not positive and finite")
        pairs = zip(frequencies, divisors, strict=True)
        frequencies = [frequency / divisor for frequency, divisor in pairs]
    return array("d", frequencies)
