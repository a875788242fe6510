"""What a caller may choose about sampling, checked once, when it is chosen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llamacpp.errors import InvalidArgumentError

__all__ = ["SamplingParams"]

_INF = math.inf

# name: (lowest, highest, lowest is itself allowed); infinities mean "any finite number".
_REALS: dict[str, tuple[float, float, bool]] = {
    "temperature": (0.0, _INF, True),
    "top_p": (0.0, 1.0, True),
    "min_p": (0.0, 1.0, True),
    "typical_p": (0.0, 1.0, True),
    "top_n_sigma": (-_INF, _INF, True),
    "xtc_probability": (0.0, 1.0, True),
    "xtc_threshold": (0.0, 1.0, True),
    "repeat_penalty": (0.0, _INF, False),
    "frequency_penalty": (-_INF, _INF, True),
    "presence_penalty": (-_INF, _INF, True),
    "dry_multiplier": (0.0, _INF, True),
    "dry_base": (1.0, _INF, True),
    "mirostat_tau": (0.0, _INF, False),
    "mirostat_eta": (0.0, _INF, True),
}
_INTEGERS: dict[str, tuple[float, float]] = {
    "top_k": (-_INF, _INF),
    "penalty_last_n": (-1, _INF),
    "dry_allowed_length": (1, _INF),
    "dry_penalty_last_n": (-1, _INF),
    "mirostat_mode": (0, 2),
}


@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """How the next token is chosen. The defaults are those of llama-cpp-python.

    Every stage but temperature and the three truncations is off by default; the value that turns
    one off is given in brackets. `Sampler` documents the order in which they run.

    temperature         logits are divided by it; 0: always the most probable token
    top_k               keep the k most probable tokens [0 or less]
    top_p               keep the smallest set with this much probability [1.0]
    min_p               keep what has at least this fraction of the top probability [0.0]
    typical_p           keep the most typical tokens up to this probability [1.0]
    top_n_sigma         keep logits within n standard deviations of the largest [0 or less]
    xtc_probability     chance, per token, to exclude the top choices [0.0]
    xtc_threshold       ... all but the last of those at least this probable [above 0.5]
    repeat_penalty      divides positive and multiplies negative logits of seen tokens [1.0]
    frequency_penalty   subtracted once for every time that a token was seen [0.0]
    presence_penalty    subtracted once from every token that was seen [0.0]
    penalty_last_n      how many tokens back "seen" reaches; -1: all [0]
    dry_multiplier      scale of the penalty on continuing a repeated sequence [0.0]
    dry_base            growth of that penalty for each token more
    dry_allowed_length  repeats shorter than this cost nothing
    dry_penalty_last_n  how far back repeats are looked for; -1: all [0]
    dry_sequence_breakers  strings over which a repeat does not continue
    mirostat_mode       1 or 2: replaces all truncations by a target surprise [0]
    mirostat_tau        the target, in bits per token
    mirostat_eta        the rate of its feedback
    logit_bias          token id -> number added to its logit; -inf forbids it
    seed                0 to 2^64 - 1; None: a fresh one, readable as `Sampler.seed`

    Raises InvalidArgumentError, naming the parameter, its value and its range.
    """

    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    typical_p: float = 1.0
    top_n_sigma: float = -1.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    repeat_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    penalty_last_n: int = 64
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = -1
    dry_sequence_breakers: tuple[str, ...] = ("\n", ":", '"', "*")
    mirostat_mode: int = 0
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    logit_bias: Mapping[int, float] = field(default_factory=dict, hash=False)
    seed: int | None = None

    def __post_init__(self) -> None:
        for name, (low, high, closed) in _REALS.items():
            _check_real(name, getattr(self, name), low, high, closed)
        for name, (lowest, highest) in _INTEGERS.items():
            _check_integer(name, getattr(self, name), lowest, highest)
        if self.seed is not None:
            _check_integer("seed", self.seed, 0, 2**64 - 1)
        object.__setattr__(self, "dry_sequence_breakers", _breakers(self.dry_sequence_breakers))
        object.__setattr__(self, "logit_bias", _bias(self.logit_bias))


def _range_text(low: float, high: float, closed: bool) -> str:
    if low == -_INF:
        return "a finite number" if high == _INF else f"at most {high:g}"
    if high == _INF:
        return f"a finite number, {'at least' if closed else 'above'} {low:g}"
    return f"from {low:g} to {high:g}"


def _check_real(name: str, value: Any, low: float, high: float, closed: bool) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if (
        not number
        or not math.isfinite(value)
        or not low <= value <= high
        or (value == low and not closed)
    ):
        raise InvalidArgumentError(
            f"{name} is {value!r}; it must be {_range_text(low, high, closed)}"
        )


def _check_integer(name: str, value: Any, low: float, high: float) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        if high == _INF:
            wanted = "an integer" if low == -_INF else f"an integer, at least {low:.0f}"
        else:
            wanted = f"an integer from {int(low)} to {int(high)}"
        raise InvalidArgumentError(f"{name} is {value!r}; it must be {wanted}")


def _breakers(value: Any) -> tuple[str, ...]:
    name = "dry_sequence_breakers"
    if isinstance(value, str) or not isinstance(value, (list, tuple)):
        raise InvalidArgumentError(f"{name} is {value!r}; it must be a list of strings")
    for breaker in value:
        if not isinstance(breaker, str) or not breaker:
            raise InvalidArgumentError(f"{name} holds {breaker!r}; each must be a non-empty string")
    return tuple(value)


def _bias(value: Any) -> dict[int, float]:
    if not isinstance(value, Mapping):
        raise InvalidArgumentError(f"logit_bias is {value!r}; it must map token ids to numbers")
    checked: dict[int, float] = {}
    for token, bias in value.items():
        _check_integer("a token id in logit_bias", token, 0, 2**31 - 1)
        real = isinstance(bias, (int, float)) and not isinstance(bias, bool)
        if not real or math.isnan(bias) or bias == _INF:
            raise InvalidArgumentError(
                f"logit_bias of token {token} is {bias!r}; it must be a number or -inf"
            )
        checked[token] = float(bias)
    return checked
