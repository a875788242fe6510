"""Perplexity of a text, and how far a model's predictions are from those of another one.

Both as llama.cpp defines them, so that figures can be compared: the text is cut into windows of
n_ctx tokens, each evaluated on its own with BOS in the place of its first token; what follows the
first half of a window is scored, so that every prediction has a context of n_ctx / 2 at least.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import numpy.typing as npt

from llamacpp import ops
from llamacpp.engine import Model, Session
from llamacpp.errors import InvalidArgumentError
from llamacpp.format import StringArray

__all__ = ["N_CTX", "Divergence", "Perplexity", "measure_perplexity"]

N_CTX = 512

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Divergence:
    """What separates the predictions of a model q from those of its base p, over all scored tokens.

    Attributes:
        kl: mean of KL(p || q), in nats.
        kl_error: its standard error.
        kl_median, kl_99, kl_max: what half of the tokens, and 99 %, do not exceed, and the most.
        same_top: share of the tokens where both hold the same next token for the most probable.
        same_top_error: its standard error.
        delta_p: mean of q(x) - p(x), x the token that follows.
        delta_p_rms: root of the mean of its square.
        base_ppl: perplexity of the base.
    """

    kl: float
    kl_error: float
    kl_median: float
    kl_99: float
    kl_max: float
    same_top: float
    same_top_error: float
    delta_p: float
    delta_p_rms: float
    base_ppl: float


@dataclass(frozen=True)
class Perplexity:
    """What was found.

    Attributes:
        n_ctx: tokens of a window.
        n_windows: how many.
        n_scored: tokens that were scored.
        ppl: exp of the mean of -ln p(x).
        ppl_error: standard error of `ppl`, by that of the mean.
        divergence: from the base, if there is one.
    """

    n_ctx: int
    n_windows: int
    n_scored: int
    ppl: float
    ppl_error: float
    divergence: Divergence | None


def measure_perplexity(
    model: Model,
    tokens: Sequence[int],
    *,
    n_ctx: int = N_CTX,
    base: Model | None = None,
    cache_type: str = "f16",
    progress: Callable[[int, int, float], object] = lambda done, total, ppl: None,
) -> Perplexity:
    """Score a text.

    Args:
        model: what to run.
        tokens: the text. What is left after the last whole window is not used.
        n_ctx: tokens of a window.
        base: another model of the same vocabulary, evaluated side by side: divergence from it.
        cache_type: of keys and values.
        progress: called after each window: those done, all, and the perplexity so far.

    Raises:
        InvalidArgumentError: the text has less than two windows, `n_ctx` is out of range, or the
            vocabularies differ.
    """
    models = [model] if base is None else [model, base]
    most = min(m.config.n_ctx_train for m in models)
    if not 4 <= n_ctx <= most:
        raise InvalidArgumentError(f"n_ctx must be from 4 to {most}, not {n_ctx}")
    if len(tokens) < 2 * n_ctx:
        raise InvalidArgumentError(
            f"the text has {len(tokens)} tokens; two windows of {n_ctx} are the least: give a"
            " longer text or a smaller n_ctx"
        )
    if base is not None:
        _check_same_vocabulary(model, base)
    sessions = [m.session(n_ctx, cache_type=cache_type) for m in models]
    n_windows = len(tokens) // n_ctx
    scores = [_Scores(), _Scores()]
    pairs = _Pairs()
    for number, window in enumerate(_windows(model, tokens, n_ctx)):
        rows = [_predictions(session, window) for session in sessions]
        targets = window[n_ctx // 2 + 1 :]
        logs = [_log_total(logits) for logits in rows]
        for score, logits, log_total in zip(scores, rows, logs, strict=False):
            score.add(logits, log_total, targets)
        if base is not None:
            pairs.add(rows, logs, targets)
        progress(number + 1, n_windows, scores[0].ppl)
    return Perplexity(
        n_ctx=n_ctx,
        n_windows=n_windows,
        n_scored=scores[0].count,
        ppl=scores[0].ppl,
        ppl_error=scores[0].error,
        divergence=pairs.divergence(scores[1].ppl) if base is not None else None,
    )


def _check_same_vocabulary(model: Model, base: Model) -> None:
    if base.n_vocab != model.n_vocab:
        raise InvalidArgumentError(
            f"the vocabularies have {model.n_vocab} and {base.n_vocab} tokens: these are no"
            " versions of one model"
        )
    ours, theirs = (m.metadata.get("tokenizer.ggml.tokens") for m in (model, base))
    if not isinstance(ours, StringArray) or not isinstance(theirs, StringArray):
        return  # a file without a vocabulary: there is only the size to go by
    for token, (a, b) in enumerate(zip_longest(ours.iter_raw(), theirs.iter_raw())):
        if a != b:
            raise InvalidArgumentError(
                f"the vocabularies differ: token {token} is {a!r} in {model.file.path} and {b!r} in"
                f" {base.file.path}: these are no versions of one model"
            )


def _windows(model: Model, tokens: Sequence[int], n_ctx: int) -> Iterator[list[int]]:
    tokenizer = model.tokenizer
    bos = tokenizer.bos_id if tokenizer is not None and tokenizer.add_bos else None
    for start in range(0, len(tokens) - n_ctx + 1, n_ctx):
        window = list(tokens[start : start + n_ctx])
        yield window if bos is None else [bos, *window[1:]]


def _predictions(session: Session, window: list[int]) -> Float32:
    """Logits (R, n_vocab) of what follows each token of the second half but the last."""
    session.reset()
    n = len(window)
    return session.forward(window, range(n), [0] * n, range(n // 2, n - 1))


def _log_total(logits: Float32) -> Float64:
    """Ln of the sum of exp (R,) of each row."""
    return np.array([ops.log_sum_exp(row) for row in logits])


class _Scores:
    """Adds up -ln p of what follows."""

    def __init__(self) -> None:
        self.count = 0
        self._sum = self._squares = 0.0

    def add(self, logits: Float32, log_total: Float64, targets: Sequence[int]) -> None:
        surprise = log_total - logits[np.arange(len(targets)), targets]
        self.count += len(targets)
        self._sum += float(surprise.sum())
        self._squares += float((surprise * surprise).sum())

    @property
    def ppl(self) -> float:
        return math.exp(self._sum / self.count)

    @property
    def error(self) -> float:
        mean = self._sum / self.count
        variance = max(self._squares / self.count - mean * mean, 0.0)
        return math.sqrt(variance / (self.count - 1)) * self.ppl


class _Pairs:
    """Compares two models token by token: rows of (model, base)."""

    def __init__(self) -> None:
        self._kl: list[float] = []
        self._same: list[bool] = []
        self._delta: list[float] = []

    def add(self, rows: list[Float32], logs: list[Float64], targets: Sequence[int]) -> None:
        for i, target in enumerate(targets):
            q, p = (rows[j][i] - logs[j][i] for j in (0, 1))  # ln of probabilities, float64
            # A term of p = 0 is 0, also where q is 0 as well.
            terms = np.exp(p) * np.subtract(p, q, out=np.zeros_like(p), where=p > -np.inf)
            self._kl.append(max(float(terms.sum()), 0.0))  # rounding may take it below
            self._same.append(int(q.argmax()) == int(p.argmax()))
            self._delta.append(math.exp(q[target]) - math.exp(p[target]))

    def divergence(self, base_ppl: float) -> Divergence:
        kl, delta, same = (np.array(x, dtype=float) for x in (self._kl, self._delta, self._same))
        n, top = len(kl), float(same.mean())
        return Divergence(
            kl=float(kl.mean()),
            kl_error=float(kl.std(ddof=1)) / math.sqrt(n),
            kl_median=float(np.median(kl)),
            kl_99=float(np.quantile(kl, 0.99)),
            kl_max=float(kl.max()),
            same_top=top,
            same_top_error=math.sqrt(top * (1 - top) / (n - 1)),
            delta_p=float(delta.mean()),
            delta_p_rms=math.sqrt(float((delta * delta).mean())),
            base_ppl=base_ppl,
        )
