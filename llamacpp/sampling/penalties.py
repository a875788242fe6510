"""Changes to single logits before any truncation: bias, penalties on repetition, DRY.

These work in place on a (n_vocab,) float32 array that belongs to the sampler, and touch only the
tokens concerned.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from llamacpp.sampling.params import SamplingParams

__all__ = ["DryTracker", "apply_bias", "apply_penalties", "suffix_matches"]

# No penalty needs to be larger than what a float32 logit can express.
_FLOAT_MAX = float(np.finfo(np.float32).max)
_LOG_MAX = math.log(_FLOAT_MAX)


def apply_bias(logits: NDArray[np.float32], bias: Mapping[int, float]) -> None:
    """Add `bias[id]` to each logit it names; -inf forbids the token."""
    for token, value in bias.items():
        logits[token] += value


def apply_penalties(
    logits: NDArray[np.float32],
    recent: NDArray[np.int32],
    repeat: float,
    frequency: float,
    presence: float,
) -> None:
    """Penalise every token that occurs in `recent`, count(t) > 0 times.

    First l_t = l_t / repeat if l_t > 0, else l_t * repeat (after CTRL, Keskar et al. 2019,
    arXiv:1909.05858, with the sign case that keeps a negative logit from being rewarded); then
    l_t -= count(t) * frequency + presence (the definition of OpenAI's API).
    """
    ids, counts = np.unique(recent, return_counts=True)
    seen = logits[ids].astype(np.float64)
    seen = np.where(seen > 0.0, seen / repeat, seen * repeat)
    with np.errstate(over="ignore"):
        logits[ids] = seen - (counts * frequency + presence)


def suffix_matches(tokens: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return, for each position i, how long the run ending at i equals the end of `tokens`.

    (n,) int32; the last entry, the end against itself, is n. This is the Z-function (Gusfield,
    "Algorithms on Strings, Trees and Sequences", 1.3) of the reversed tokens: linear time.
    """
    reverse = tokens[::-1].tolist()
    n = len(reverse)
    z = [n] * min(n, 1) + [0] * (n - 1)
    left = right = 0  # the match found so far that reaches furthest: [left, right)
    for i in range(1, n):
        length = min(right - i, z[i - left]) if i < right else 0
        while i + length < n and reverse[length] == reverse[i + length]:
            length += 1
        z[i] = length
        if i + length > right:
            left, right = i, i + length
    return np.array(z[::-1], dtype=np.int32)


class DryTracker:
    """DRY ("don't repeat yourself") by p-e-w, text-generation-webui/pull/5677.

    If the last n tokens have occurred before, then the token that followed them there is about to
    lengthen the repeat: its logit is lowered by multiplier * base^(n - allowed_length). No repeat
    reaches over a sequence breaker, nor back beyond the last `dry_penalty_last_n` tokens.

    The matches of every earlier position with the end of the text are kept from token to token:
    appending t makes match[i] = match[i-1] + 1 where token[i] == t, else 0. That is one pass of
    vector operations over the window, and no search.
    """

    def __init__(self, params: SamplingParams, piece: Callable[[int], bytes]) -> None:
        self._params = params
        self._piece = piece
        self._breakers = [breaker.encode() for breaker in params.dry_sequence_breakers]
        self._longest = max(map(len, self._breakers), default=0)
        self._tail = b""  # the end of the text: as much as an unfinished breaker can take up
        self._since_breaker = 0  # tokens
        self._window = np.zeros(0, np.int32)
        self._matches = np.zeros(0, np.int32)

    def accept(self, tokens: NDArray[np.int32], added: int) -> None:
        """Follow `tokens`, the whole text, after `added` of them were appended."""
        if added == 0:
            return
        reach = self._params.dry_penalty_last_n
        self._window = tokens if reach < 0 else tokens[-reach:]
        if added == 1:
            matches = np.concatenate((np.ones(1, np.int32), self._matches + 1))
            matches = matches[-len(self._window) :]
            matches[self._window != self._window[-1]] = 0
            self._matches = matches
        else:
            self._matches = suffix_matches(self._window)
        for token in tokens[-added:].tolist():
            self._since_breaker = 0 if self._breaks(token) else self._since_breaker + 1
            if self._longest > 1:
                self._tail = (self._tail + self._piece(token))[1 - self._longest :]

    def penalize(self, logits: NDArray[np.float32]) -> None:
        """Lower, in place, the logits (n_vocab,) of the tokens that would lengthen a repeat."""
        allowed = self._params.dry_allowed_length
        if self._since_breaker < allowed or len(self._window) < 2:
            return
        # A match inside the window is no longer than the window before its end.
        lengths = np.minimum(self._matches[:-1], np.arange(1, len(self._window)))
        lengths = np.minimum(lengths, self._since_breaker)
        hits = np.flatnonzero(lengths >= allowed)
        if len(hits) == 0:
            return
        ids, slots = np.unique(self._window[hits + 1], return_inverse=True)
        longest = np.zeros(len(ids))
        np.maximum.at(longest, slots, lengths[hits])
        free = np.array([self._breaks(token) for token in ids.tolist()])
        base = self._params.dry_base
        exponent = longest - allowed
        if base > 1.0:
            exponent = np.minimum(exponent, _LOG_MAX / math.log(base))
        penalty = np.minimum(self._params.dry_multiplier * base**exponent, _FLOAT_MAX)
        penalty[free] = 0.0
        with np.errstate(over="ignore"):
            logits[ids] = logits[ids].astype(np.float64) - penalty

    def _breaks(self, token: int) -> bool:
        """Tell whether a breaker ends within `token`, were it appended to the text."""
        if not self._breakers:
            return False
        piece = self._piece(token)
        return any(
            breaker in (self._tail[1 - len(breaker) :] if len(breaker) > 1 else b"") + piece
            for breaker in self._breakers
        )
