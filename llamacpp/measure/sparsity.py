"""Could a model be slimmer: how few of its neurons and heads carry the work on a text.

Measured is how few of the terms that a layer adds up hold most of the energy (`measure.terms`), and
what becomes of the model's predictions when the others are left out. That question for models with
ReLU: Liu et al. 2023, "Deja Vu" (arXiv:2310.17157); Mirzadeh et al. 2023, "ReLU Strikes Back"
(arXiv:2310.04564).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from llamacpp.engine import Model
from llamacpp.errors import InvalidArgumentError
from llamacpp.measure.term_masks import Census, keep_any, keep_dynamic, keep_static
from llamacpp.measure.terms import PARTS, Chosen, Float64, Hook, Part, TermBytes, TermRunner

__all__ = ["LEVELS", "Effect", "LayerShares", "Sparsity", "measure_sparsity"]

LEVELS = (0.90, 0.99)  # of the energy that the kept terms hold
WINDOW = 256  # tokens that are evaluated together, from an empty cache

Choice = Literal["dynamic", "static", "random"]
CHOICES: tuple[Choice, ...] = ("dynamic", "static", "random")


@dataclass(frozen=True)
class LayerShares:
    """Of one layer and part: the share of its terms that hold a level of the energy.

    Attributes:
        layer: its number.
        part: "ffn" (neurons) or "heads".
        level: share of the energy.
        dynamic: share of the terms, chosen anew for each token; the mean over tokens.
        static: share of the terms, chosen once for the whole text.
    """

    layer: int
    part: Part
    level: float
    dynamic: float
    static: float


@dataclass(frozen=True)
class Effect:
    """What leaving out the other terms, in all layers at once, does to the next-token predictions.

    Attributes:
        part: "ffn" or "heads".
        level: share of the energy that is kept.
        choice: "dynamic" and "static" as above, but that a dynamic choice goes by what its token
            is when terms were left out before; "random": any terms, of each token in each layer
            exactly as many as hold the level in the whole model.
        kept: share of the terms, over all layers.
        kl: mean of KL(whole || kept), in nats.
        top1: share of the tokens after which both predict the same.
        saved: share of the bytes of weights that a token reads, which belong to the terms left
            out. A dynamic choice is made when gate and up (or the heads) are computed, and saves
            only their columns of ffn_down (attn_output); a static one saves their rows of
            ffn_gate and ffn_up (attn_q, and attn_k and attn_v where no head of a group is kept)
            as well. More cannot be saved: columns do not lie together in a file. None for
            "random".
    """

    part: Part
    level: float
    choice: Choice
    kept: float
    kl: float
    top1: float
    saved: float | None


@dataclass(frozen=True)
class Sparsity:
    """All that was found on a text of `n_tokens` tokens."""

    n_tokens: int
    n_windows: int
    layers: list[LayerShares]
    effects: list[Effect]


def measure_sparsity(
    model: Model,
    tokens: Sequence[int],
    *,
    window: int = WINDOW,
    cache_type: str = "f16",
    seed: int = 0,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> Sparsity:
    """Evaluate a text some times, whole and with parts left out.

    Args:
        model: what to run.
        tokens: the text; cut into windows, each evaluated on its own.
        window: tokens of one, at most the model's context.
        cache_type: of keys and values.
        seed: of the random choices.
        progress: called with the passes over a window that are done, and their number.

    Raises:
        InvalidArgumentError: fewer than two tokens, one that does not exist, or `window` is out of
            range.
        UnsupportedError: the model has no parts of this kind.
    """
    _check(model, tokens, window)
    windows = [tokens[i : i + window] for i in range(0, len(tokens), window)]
    windows = [tokens for tokens in windows if len(tokens) > 1]
    runner = TermRunner(model, min(window, len(tokens)), cache_type)
    census = Census(runner, LEVELS)
    cases = [(part, level, choice) for part in PARTS for level in LEVELS for choice in CHOICES]
    done, total = 0, len(windows) * (2 + len(cases))

    def step() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    for text in windows:
        runner.run(text, census, logits=False)
        step()
    nbytes = {part: TermBytes(model, part) for part in PARTS}
    trials = [_Trial(census, runner, nbytes[case[0]], *case, seed) for case in cases]
    for text in windows:
        whole = _log_softmax(runner.run(text, None))
        step()
        for trial in trials:
            trial.compare(whole, _log_softmax(runner.run(text, trial)))
            step()
    shares = [
        LayerShares(
            layer,
            part,
            level,
            census.dynamic(layer, part, level),
            float(census.static(layer, part, level).mean()),
        )
        for layer, part, level in census.counts
    ]
    n_tokens = sum(len(text) for text in windows)
    return Sparsity(n_tokens, len(windows), shares, [trial.effect() for trial in trials])


def _check(model: Model, tokens: Sequence[int], window: int) -> None:
    if len(tokens) < 2:
        raise InvalidArgumentError(f"the text has {len(tokens)} tokens; 2 are the least")
    if min(tokens) < 0 or max(tokens) >= model.n_vocab:
        raise InvalidArgumentError(f"a token is outside the vocabulary (0..{model.n_vocab - 1})")
    if not 2 <= window <= model.config.n_ctx_train:
        raise InvalidArgumentError(
            f"the window must be from 2 to {model.config.n_ctx_train} tokens, not {window}"
        )


class _Trial:
    """A hook that leaves out terms of one part, and compares what is predicted then."""

    def __init__(
        self,
        census: Census,
        runner: TermRunner,
        nbytes: TermBytes,
        part: Part,
        level: float,
        choice: Choice,
        seed: int,
    ) -> None:
        layers = range(runner.n_layer)
        self._part, self._level, self._choice = part, level, choice
        self._nbytes, self._n_terms = nbytes, runner.terms[part]
        self._static = [census.static(layer, part, level) for layer in layers]
        counts = [census.counts[layer, part, level] for layer in layers]
        hooks: dict[Choice, Hook] = {
            "dynamic": keep_dynamic(level),
            "static": keep_static(self._static),
            "random": keep_any(counts, np.random.default_rng(seed)),
        }
        self._hook = hooks[choice]
        self._kept = np.zeros(runner.n_layer, dtype=np.int64)  # terms of all tokens together
        self._kl: list[Float64] = []
        self._same: list[Chosen] = []

    def __call__(self, layer: int, part: Part, energy: Float64) -> Chosen:
        if part != self._part:
            return np.ones(energy.shape, dtype=bool)
        keep = self._hook(layer, part, energy)
        self._kept[layer] += np.count_nonzero(keep)
        return keep

    def compare(self, whole: Float64, kept: Float64) -> None:
        """Take in the log-probabilities (T, n_vocab) of a window."""
        self._kl.append((np.exp(whole) * (whole - kept)).sum(axis=1))
        self._same.append(whole.argmax(axis=1) == kept.argmax(axis=1))

    def effect(self) -> Effect:
        """What was found."""
        kl, same = np.concatenate(self._kl), np.concatenate(self._same)
        kept = self._kept / len(kl)  # terms of a token, in each layer
        return Effect(
            self._part,
            self._level,
            self._choice,
            float(kept.mean()) / self._n_terms,
            float(kl.mean()),
            float(same.mean()),
            self._saved(kept),
        )

    def _saved(self, kept: Float64) -> float | None:
        if self._choice == "random":
            return None
        if self._choice == "static":
            saved = [self._nbytes.of_terms(i, keep) for i, keep in enumerate(self._static)]
        else:
            saved = [self._nbytes.of_columns(i, self._n_terms - n) for i, n in enumerate(kept)]
        return float(sum(saved)) / self._nbytes.total


def _log_softmax(logits: Float64) -> Float64:
    shifted = logits - logits.max(axis=1, keepdims=True)
    result: Float64 = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result
