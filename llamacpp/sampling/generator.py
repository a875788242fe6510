"""The seeded source of randomness: SplitMix64, in Python integers.

The same seed has to give the same text on every platform, Python and NumPy. NumPy promises a
stable stream for its bit generators but not for `Generator.random` (NEP 19), and Python promises
one for `random.random` only. One draw a token costs a microsecond either way, so the ten lines
that leave nothing to a promise are here.
"""

from __future__ import annotations

import os

__all__ = ["SplitMix64", "fresh_seed"]

_MASK = (1 << 64) - 1


class SplitMix64:
    """Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.

    A Weyl sequence over 64 bits, each step scrambled by a bijection; period 2^64.
    """

    def __init__(self, seed: int) -> None:
        self.state = seed & _MASK

    def next(self) -> int:
        """Return the next 64 random bits."""
        self.state = (self.state + 0x9E3779B97F4A7C15) & _MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        return z ^ (z >> 31)

    def random(self) -> float:
        """Return a float in [0, 1): the upper 53 bits of `next`, so every value is exact."""
        return (self.next() >> 11) * 2.0**-53


def fresh_seed() -> int:
    """Return a seed from the system's entropy, short enough to be written down and typed again.

    Below 2^32 - 1, a number that llama-cpp-python's users know as the mark for "random".
    """
    return int.from_bytes(os.urandom(16), "little") % (2**32 - 1)
