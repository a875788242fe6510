"""Rotary position embeddings (Su et al. 2021, RoFormer): frequencies and their scalings."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass

from llamacpp.errors import FormatError
from llamacpp.models.config import Config, RopeScaling
from llamacpp.models.weights import Weights

__all__ = ["Rope", "inverse_frequencies", "load_rope"]


@dataclass(frozen=True, eq=False)
class Rope:
    """How some layers of a model rotate queries and keys.

    Attributes:
        kind: which pairs are rotated, ops.ROPE_ADJACENT or ROPE_HALF.
        n_rot: how many dimensions of a head, from the first on.
        inv_freq: radians per position of each pair, float64 (n_rot / 2,).
        magnitude: factor of the length of rotated vectors.
        long_inv_freq: what counts instead in contexts longer than `n_ctx_orig`; None: the same.
        n_ctx_orig: the context that the model was trained for at first.
    """

    kind: int
    n_rot: int
    inv_freq: array[float]
    magnitude: float = 1.0
    long_inv_freq: array[float] | None = None
    n_ctx_orig: int = 0

    def frequencies(self, n_ctx: int) -> array[float]:
        """Radians per position in a context of up to `n_ctx` positions."""
        if self.long_inv_freq is not None and n_ctx > self.n_ctx_orig:
            return self.long_inv_freq
        return self.inv_freq


def load_rope(config: Config, weights: Weights, kind: int) -> Rope:
    """The rotation that the metadata of a model, and its tables of divisors, describe.

    ``rope_freqs.weight`` are Llama 3's divisors, ``rope_factors_{long,short}.weight`` those of
    LongRoPE (Ding et al. 2024), both of shape (n_rot / 2).

    Raises:
        FormatError: a table has the wrong length or values that make no sense.
    """
    n_rot, base, scaling = config.n_rot, config.rope_base, config.rope_scaling
    magnitude = scaling.attn_factor
    if scaling.kind == "yarn":
        frequencies = yarn_frequencies(n_rot, base, scaling)
        magnitude *= 1.0 + 0.1 * math.log(scaling.factor)
        return Rope(kind, n_rot, frequencies, magnitude)

    def divided(name: str) -> array[float]:
        table = weights.values(name, n_rot // 2)
        factor = scaling.factor if scaling.kind == "linear" else 1.0
        return inverse_frequencies(n_rot, base, linear_factor=factor, divisors=table, name=name)

    if "rope_factors_short.weight" in weights or "rope_factors_long.weight" in weights:
        short, long = divided("rope_factors_short.weight"), divided("rope_factors_long.weight")
        return Rope(kind, n_rot, short, magnitude, long, scaling.n_ctx_orig)
    return Rope(kind, n_rot, divided("rope_freqs.weight"), magnitude)


def inverse_frequencies(
    n_rot: int,
    base: float,
    *,
    linear_factor: float = 1.0,
    divisors: array[float] | None = None,
    name: str = "rope_freqs.weight",
) -> array[float]:
    """Radians per position of each rotated pair, float64 (n_rot / 2,).

    Args:
        n_rot: rotated dimensions of a head, even.
        base: theta; pair i turns by ``base ** (-2 i / n_rot)``.
        linear_factor: position interpolation (Chen et al. 2023): frequencies divided by it.
        divisors: a table of the file (n_rot / 2), worked out by the converter; frequencies are
            divided by it.
        name: of the table, for messages.

    Raises:
        FormatError: `divisors` has the wrong length or a value that is not positive and finite.
    """
    frequencies = [base ** (-i / n_rot) / linear_factor for i in range(0, n_rot, 2)]
    if divisors is not None:
        if len(divisors) != len(frequencies):
            raise FormatError(f"{name} holds {len(divisors)} values instead of {len(frequencies)}")
        if not all(math.isfinite(divisor) and divisor > 0 for divisor in divisors):
            raise FormatError(f"{name} holds values that are not positive and finite")
        pairs = zip(frequencies, divisors, strict=True)
        frequencies = [frequency / divisor for frequency, divisor in pairs]
    return array("d", frequencies)


def yarn_frequencies(n_rot: int, base: float, scaling: RopeScaling) -> array[float]:
    """Radians per position of each rotated pair, by YaRN (Peng et al. 2023, section 3.2).

    Pairs that turn often within the original context keep their frequency, those that turn less
    than once are interpolated, and those between are blended along a ramp.
    """

    def pair_that_turns(times: float) -> float:
        wavelength = scaling.n_ctx_orig / (2 * math.pi * times)
        return n_rot * math.log(wavelength) / (2 * math.log(base))

    first, last = pair_that_turns(scaling.beta_fast), pair_that_turns(scaling.beta_slow)
    if scaling.truncate:
        first, last = math.floor(first), math.ceil(last)
    low, high = max(first, 0), min(last, n_rot - 1)
    blended = []
    for i, frequency in enumerate(inverse_frequencies(n_rot, base)):
        ramp = min(max((i - low) / max(high - low, 0.001), 0.0), 1.0)
        blended.append(frequency * (1 - ramp) + frequency / scaling.factor * ramp)
    return array("d", blended)
