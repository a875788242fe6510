"""The chain from a row of logits to the next token, and the state it keeps over one text."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llamacpp import ops
from llamacpp.errors import InvalidArgumentError
from llamacpp.sampling import candidates as cut
from llamacpp.sampling.candidates import Candidates
from llamacpp.sampling.generator import SplitMix64, fresh_seed
from llamacpp.sampling.mirostat import HEAD, Mirostat, zipf_cutoff
from llamacpp.sampling.params import SamplingParams
from llamacpp.sampling.penalties import DryTracker, apply_bias, apply_penalties
from llamacpp.sampling.processors import LogitsProcessor

__all__ = ["Sampler"]

# Tokens that mostly hold all that top-p or min-p keep of a whole vocabulary.
_HEAD = 256


class Sampler:
    """Chooses tokens for one text: `token = sampler(logits)`, then `sampler.accept(token)`.

    The stages, in order; one that is off costs nothing:

    1. logits processors, 2. logit bias, 3. repeat, frequency and presence penalties, 4. DRY;
    5. temperature 0: the most probable token (the lowest id among equals), and no more stages;
    6. mirostat: temperature, truncation at the surprise mu, draw, and no more stages;
    7. top-n-sigma, 8. top-k, 9. typical-p, 10. top-p, 11. min-p, 12. XTC, 13. temperature, 14. draw

    `n_vocab` is the length of a row of logits. `prompt` counts as text already seen: by the
    penalties, DRY and the processors. `piece` gives the bytes of a token; DRY needs it to
    find its sequence breakers. `seed` is the one in use, also where the parameters left it open.

    Raises InvalidArgumentError for token ids outside the vocabulary, or DRY without `piece`.
    """

    def __init__(
        self,
        params: SamplingParams,
        n_vocab: int,
        *,
        prompt: Sequence[int] | NDArray[np.int32] = (),
        processors: Sequence[LogitsProcessor] = (),
        piece: Callable[[int], bytes] | None = None,
    ) -> None:
        for token in params.logit_bias:
            _check_token(token, n_vocab, "logit_bias names token")
        self.params = params
        self.n_vocab = n_vocab
        self.seed = fresh_seed() if params.seed is None else params.seed
        self._random = SplitMix64(self.seed)
        self._processors = list(processors)
        self._mirostat = Mirostat(params.mirostat_tau, params.mirostat_eta)
        self._penalizes = params.penalty_last_n != 0 and (
            (params.repeat_penalty, params.frequency_penalty, params.presence_penalty) != (1, 0, 0)
        )
        self._dry: DryTracker | None = None
        if params.dry_multiplier > 0.0 and params.dry_penalty_last_n != 0:
            if piece is None and params.dry_sequence_breakers:
                raise InvalidArgumentError(
                    "DRY needs the text of tokens to find its sequence breakers: pass piece=, "
                    "or dry_sequence_breakers=() for a model without a tokenizer"
                )
            self._dry = DryTracker(params, piece or (lambda token: b""))
        self._text = np.zeros(256, np.int32)  # the first _length entries are the tokens seen
        self._length = 0
        self._append(np.asarray(prompt, dtype=np.int64))

    def __call__(self, logits: NDArray[np.float32]) -> int:
        """Choose a token by `logits` (n_vocab,) float32, which stay as they are.

        Raises InvalidArgumentError for another shape, for NaN or +inf, and if every token is
        forbidden (-inf).
        """
        scores = self._adjust(_row(logits, self.n_vocab, "the logits"))
        highest = float(scores.max())  # NaN, if there is one
        if not math.isfinite(highest):
            what = "are all -inf: every token is forbidden"
            raise InvalidArgumentError(
                f"the logits {what if highest == -math.inf else 'hold NaN or +inf'}"
            )
        if self.params.temperature == 0.0:
            return ops.argmax(scores)
        if self.params.mirostat_mode:
            return self._mirostat_token(scores, highest)
        chosen = self._truncate(scores, highest)
        if self.params.xtc_probability > 0.0 and (
            self._random.random() < self.params.xtc_probability
        ):
            chosen = cut.xtc(chosen, self.params.xtc_threshold)
        chosen = cut.temperature(chosen, self.params.temperature)
        return int(chosen.ids[cut.draw(chosen, self._random.random())])

    def accept(self, token: int) -> None:
        """Append `token`, chosen by this sampler or not, to the text that it has seen."""
        self._append(np.array([token], dtype=np.int64))

    def _append(self, tokens: NDArray[np.int64]) -> None:
        for token in tokens[(tokens < 0) | (tokens >= self.n_vocab)][:1].tolist():
            _check_token(token, self.n_vocab, "the text holds token")
        end = self._length + len(tokens)
        if end > len(self._text):
            grown = np.zeros(max(end, 2 * len(self._text)), np.int32)
            grown[: self._length] = self._text[: self._length]
            self._text = grown
        self._text[self._length : end] = tokens
        self._length = end
        if self._dry is not None:
            self._dry.accept(self._text[:end], len(tokens))

    def _adjust(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Apply processors, bias, penalties and DRY, to a copy if there is anything to apply."""
        seen = self._text[: self._length]
        bias = self.params.logit_bias
        penalizes = self._penalizes and len(seen) > 0
        if not (self._processors or bias or penalizes or self._dry is not None):
            return scores
        scores = scores.copy()
        for processor in self._processors:
            result = processor(seen.copy(), scores)
            name = getattr(processor, "__name__", type(processor).__name__)
            # A copy again: what a processor returns may be an array that it keeps.
            scores = _row(result, self.n_vocab, f"the scores returned by {name}").copy()
        apply_bias(scores, bias)
        if penalizes:
            p = self.params
            recent = seen if p.penalty_last_n < 0 else seen[-p.penalty_last_n :]
            apply_penalties(
                scores, recent, p.repeat_penalty, p.frequency_penalty, p.presence_penalty
            )
        if self._dry is not None:
            self._dry.penalize(scores)
        return scores

    def _truncate(self, scores: NDArray[np.float32], highest: float) -> Candidates:
        p = self.params
        log_total: float | None = None
        lowest = cut.sigma_threshold(scores, p.top_n_sigma) if p.top_n_sigma > 0 else -math.inf
        if 0 < p.top_k < self.n_vocab:
            chosen = cut.threshold(cut.top_k(scores, p.top_k), lowest)
        elif lowest > -math.inf:
            chosen = _sorted_above(scores, lowest)
        elif p.typical_p >= 1.0 and (p.top_p < 1.0 or p.min_p > 0.0):
            log_total = ops.log_sum_exp(scores)
            chosen = self._head(scores, log_total, highest)
            if len(chosen.ids) == self.n_vocab:
                log_total = None  # top-p sums up in float64 itself
        elif p.typical_p >= 1.0 and p.xtc_probability == 0.0:
            # Nothing truncates: the draw needs no order.
            return Candidates(np.arange(self.n_vocab, dtype=np.int32), scores.astype(np.float64))
        else:
            chosen = cut.top_k(scores, self.n_vocab)
        chosen = cut.typical_p(chosen, p.typical_p)
        chosen = cut.top_p(chosen, p.top_p, log_total)
        return cut.min_p(chosen, p.min_p)

    def _head(self, scores: NDArray[np.float32], log_total: float, highest: float) -> Candidates:
        """Return top tokens enough that top-p or min-p cuts within them, mostly without a sort."""
        p = self.params
        head = cut.top_k(scores, _HEAD)
        if p.min_p > 0.0 and head.logits[-1] < highest + math.log(p.min_p):
            return head
        if p.top_p < 1.0 and np.exp(head.logits - log_total).sum() >= p.top_p:
            return head
        return cut.top_k(scores, self.n_vocab)

    def _mirostat_token(self, scores: NDArray[np.float32], highest: float) -> int:
        with np.errstate(over="ignore"):
            scaled = (scores - np.float32(highest)) / np.float32(self.params.temperature)
        log_total = ops.log_sum_exp(scaled)
        if self.params.mirostat_mode == 1:
            head = cut.top_k(scaled, HEAD)
            k = zipf_cutoff(head.logits, self.n_vocab, self._mirostat.mu)
            chosen = head.head(k) if k <= len(head.ids) else cut.top_k(scaled, k)
        else:
            chosen = _sorted_above(scaled, min(0.0, self._mirostat.lowest_logit(log_total)))
        index = cut.draw(chosen, self._random.random())
        self._mirostat.observe(float(chosen.logits[index]), log_total)
        return int(chosen.ids[index])


def _sorted_above(scores: NDArray[np.float32], lowest: float) -> Candidates:
    """Return the tokens with a score of at least `lowest`, sorted; the maximum has to be one."""
    ids = np.flatnonzero(scores >= min(lowest, float(scores.max()))).astype(np.int32)
    chosen = cut.top_k(scores[ids], len(ids))
    return Candidates(ids[chosen.ids], chosen.logits)


def _row(values: ArrayLike, n_vocab: int, what: str) -> NDArray[np.float32]:
    row = np.ascontiguousarray(values, dtype=np.float32)
    if row.shape != (n_vocab,):
        raise InvalidArgumentError(f"{what} have shape {row.shape}; ({n_vocab},) is expected")
    return row


def _check_token(token: int, n_vocab: int, what: str) -> None:
    if not 0 <= token < n_vocab:
        raise InvalidArgumentError(
            f"{what} {token}, outside the vocabulary of this model, 0 to {n_vocab - 1}"
        )
