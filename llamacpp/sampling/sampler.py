"""The chain from a row of logits to the next token, and the state it keeps over one text."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from llamacpp import ops
from llamacpp.errors import InvalidArgumentError, KernelError
from llamacpp.sampling import candidates as cut
from llamacpp.sampling.candidates import Candidates
from llamacpp.sampling.generator import SplitMix64, fresh_seed
from llamacpp.sampling.params import SamplingParams

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from llamacpp.sampling.penalties import DryTracker
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

    What most texts do without (penalties, mirostat, processors) works on NumPy's arrays, and is
    imported when it is asked for.

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
        if params.mirostat_mode:
            from llamacpp.sampling.mirostat import Mirostat

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
            from llamacpp.sampling.penalties import DryTracker

            self._dry = DryTracker(params, piece or (lambda token: b""))
        self._text = array("i")  # the tokens seen
        self._append(prompt)

    def __call__(self, logits: ops.Buffer | NDArray[np.float32]) -> int:
        """Choose a token by `logits` (n_vocab,) float32, which stay as they are.

        Raises InvalidArgumentError for another shape, for NaN or +inf, and if every token is
        forbidden (-inf).
        """
        scores = self._adjust(ops.Buffer.of(logits, self.n_vocab, "the logits"))
        try:
            best = ops.argmax(scores)
        except KernelError:
            best = -1
        highest = scores.ptr[best] if best >= 0 else math.nan
        if not math.isfinite(highest):
            what = "are all -inf: every token is forbidden"
            raise InvalidArgumentError(
                f"the logits {what if highest == -math.inf else 'hold NaN or +inf'}"
            )
        if self.params.temperature == 0.0:
            return best
        if self.params.mirostat_mode:
            return self._mirostat_token(scores, highest)
        chosen = self._truncate(scores, highest)
        if self.params.xtc_probability > 0.0 and (
            self._random.random() < self.params.xtc_probability
        ):
            chosen = cut.xtc(chosen, self.params.xtc_threshold)
        index = cut.draw(chosen, self._random.random(), self.params.temperature)
        return int(chosen.ids[index])

    def accept(self, token: int) -> None:
        """Append `token`, chosen by this sampler or not, to the text that it has seen."""
        self._append((token,))

    def _append(self, tokens: Sequence[int] | NDArray[np.int32]) -> None:
        added = ops.int32("the tokens seen", tokens)
        for token in (min(added), max(added)) if added else ():
            _check_token(token, self.n_vocab, "the text holds token")
        self._text += added
        if self._dry is not None:
            self._dry.accept(_copy(self._text), len(added))

    def _adjust(self, logits: ops.Buffer) -> ops.Buffer:
        """Apply processors, bias, penalties and DRY, to a copy if there is anything to apply."""
        p = self.params
        penalizes = self._penalizes and len(self._text) > 0
        if not (self._processors or p.logit_bias or penalizes or self._dry is not None):
            return logits
        from llamacpp.sampling.penalties import apply_bias, apply_penalties

        seen, scores = _copy(self._text), logits.array[0].copy()
        for processor in self._processors:
            result = processor(seen.copy(), scores)
            name = getattr(processor, "__name__", type(processor).__name__)
            # A copy again: what a processor returns may be an array that it keeps.
            row = ops.Buffer.of(result, self.n_vocab, f"the scores returned by {name}")
            scores = row.array[0].copy()
        apply_bias(scores, p.logit_bias)
        if penalizes:
            recent = seen if p.penalty_last_n < 0 else seen[-p.penalty_last_n :]
            apply_penalties(
                scores, recent, p.repeat_penalty, p.frequency_penalty, p.presence_penalty
            )
        if self._dry is not None:
            self._dry.penalize(scores)
        return ops.Buffer.of(scores)

    def _truncate(self, scores: ops.Buffer, highest: float) -> Candidates:
        p = self.params
        log_total: float | None = None
        lowest = -math.inf
        if p.top_n_sigma > 0:
            lowest = cut.sigma_threshold(scores.array[0], p.top_n_sigma)
        if 0 < p.top_k < self.n_vocab:
            chosen = cut.threshold(cut.top_k(scores, p.top_k), lowest)
        elif lowest > -math.inf:
            chosen = _sorted_above(scores.array[0], lowest)
        elif p.typical_p >= 1.0 and (p.top_p < 1.0 or p.min_p > 0.0):
            log_total = ops.log_sum_exp(scores)
            chosen = self._head(scores, log_total, highest)
            if len(chosen.ids) == self.n_vocab:
                log_total = None  # top-p sums up in float64 itself
        elif p.typical_p >= 1.0 and p.xtc_probability == 0.0:
            # Nothing truncates: the draw needs no order.
            import numpy as np

            ids = np.arange(self.n_vocab, dtype=np.int32)
            return Candidates(ids, scores.array[0].astype(np.float64))
        else:
            chosen = cut.top_k(scores, self.n_vocab)
        chosen = cut.typical_p(chosen, p.typical_p)
        chosen = cut.top_p(chosen, p.top_p, log_total)
        return cut.min_p(chosen, p.min_p)

    def _head(self, scores: ops.Buffer, log_total: float, highest: float) -> Candidates:
        """Return top tokens enough that top-p or min-p cuts within them, mostly without a sort."""
        p = self.params
        head = cut.top_k(scores, _HEAD)
        if p.min_p > 0.0 and head.logits[-1] < highest + math.log(p.min_p):
            return head
        if p.top_p < 1.0 and ops.cumulate(head.logits, shift=log_total)[-1] >= p.top_p:
            return head
        return cut.top_k(scores, self.n_vocab)

    def _mirostat_token(self, scores: ops.Buffer, highest: float) -> int:
        import numpy as np

        from llamacpp.sampling.mirostat import HEAD, zipf_cutoff

        with np.errstate(over="ignore"):
            scaled = (scores.array[0] - np.float32(highest)) / np.float32(self.params.temperature)
        log_total = ops.log_sum_exp(scaled)
        if self.params.mirostat_mode == 1:
            head = cut.top_k(scaled, HEAD)
            k = zipf_cutoff(np.asarray(head.logits), self.n_vocab, self._mirostat.mu)
            chosen = head.head(k) if k <= len(head.ids) else cut.top_k(scaled, k)
        else:
            chosen = _sorted_above(scaled, min(0.0, self._mirostat.lowest_logit(log_total)))
        index = cut.draw(chosen, self._random.random())
        self._mirostat.observe(float(chosen.logits[index]), log_total)
        return int(chosen.ids[index])


def _sorted_above(scores: NDArray[np.float32], lowest: float) -> Candidates:
    """Return the tokens with a score of at least `lowest`, sorted; the maximum has to be one."""
    import numpy as np

    ids = np.flatnonzero(scores >= min(lowest, float(scores.max()))).astype(np.int32)
    chosen = cut.top_k(scores[ids], len(ids))
    return Candidates(ids[chosen.ids], chosen.logits)


def _copy(tokens: array[int]) -> NDArray[np.int32]:
    """Token ids (n,) for NumPy, in memory of their own."""
    import numpy as np

    return np.array(tokens, dtype=np.int32)


def _check_token(token: int, n_vocab: int, what: str) -> None:
    if not 0 <= token < n_vocab:
        raise InvalidArgumentError(
            f"{what} {token}, outside the vocabulary of this model, 0 to {n_vocab - 1}"
        )
