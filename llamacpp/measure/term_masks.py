"""Which terms to keep: the fewest that hold a level of the energy, or as many others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from llamacpp.measure.terms import PARTS, Chosen, Float64, Hook, Part, TermRunner

__all__ = ["Census", "keep_any", "keep_dynamic", "keep_static", "smallest"]

Counts = npt.NDArray[np.int64]


def smallest(energy: Float64, level: float) -> Chosen:
    """The fewest terms of each row (T, n) that hold `level` of its energy; ties by lower index."""
    order = np.argsort(-energy, axis=1, kind="stable")
    held = np.cumsum(np.take_along_axis(energy, order, axis=1), axis=1)
    before = held - np.take_along_axis(energy, order, axis=1)  # what those ahead of it hold
    keep = np.empty(energy.shape, dtype=bool)
    np.put_along_axis(keep, order, before < level * held[:, -1:], axis=1)
    return keep


class Census:
    """A hook that counts terms over a text, and leaves out none.

    Args:
        runner: what it will be called by.
        levels: shares of the energy.

    Attributes:
        counts: by layer, part and level, and of each window in turn: how few terms of each of its
            tokens (T,) hold the level.
    """

    def __init__(self, runner: TermRunner, levels: Sequence[float]) -> None:
        self._levels = levels
        self._terms = runner.terms
        layers = range(runner.n_layer)
        self._energy = {(i, p): np.zeros(runner.terms[p]) for i in layers for p in PARTS}
        self.counts: dict[tuple[int, Part, float], list[Counts]] = {
            (i, p, level): [] for i in layers for p in PARTS for level in levels
        }

    def __call__(self, layer: int, part: Part, energy: Float64) -> Chosen:
        """As a `Hook`."""
        for level in self._levels:
            self.counts[layer, part, level].append(smallest(energy, level).sum(axis=1))
        total = energy.sum(axis=1, keepdims=True)  # every token counts the same
        self._energy[layer, part] += np.divide(
            energy, total, out=np.zeros_like(energy), where=total > 0
        ).sum(axis=0)
        return np.ones(energy.shape, dtype=bool)

    def dynamic(self, layer: int, part: Part, level: float) -> float:
        """Share of the terms that hold `level` of the energy of a token; the mean over tokens."""
        return float(np.concatenate(self.counts[layer, part, level]).mean()) / self._terms[part]

    def static(self, layer: int, part: Part, level: float) -> Chosen:
        """The fewest terms (n,) that hold `level` of the energy of the whole text."""
        keep: Chosen = smallest(self._energy[layer, part][None, :], level)[0]
        return keep


def keep_dynamic(level: float) -> Hook:
    """The fewest terms of each token, by the energy that is seen when others are left out."""
    return lambda layer, part, energy: smallest(energy, level)


def keep_static(masks: Sequence[Chosen]) -> Hook:
    """The same terms (n,) of a layer for all tokens."""
    return lambda layer, part, energy: np.broadcast_to(masks[layer], energy.shape)


def keep_any(counts: Sequence[Sequence[Counts]], rng: np.random.Generator) -> Hook:
    """So many terms for each token (T,) of a layer and window, but any; the windows in turn."""
    windows = [iter(of_layer) for of_layer in counts]

    def keep(layer: int, part: Part, energy: Float64) -> Chosen:
        first = np.arange(energy.shape[1]) < next(windows[layer])[:, None]
        chosen: Chosen = rng.permuted(first, axis=1)
        return chosen

    return keep
