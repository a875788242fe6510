"""Encoded documents, and batches of them.

Documents of like length stand side by side, each alone in its row and starting at position 0,
as when the model is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from .chat import Turn
from .vocabulary import IGNORED, Encoder

Batch = tuple[torch.Tensor, torch.Tensor]
"""(tokens, targets), each (documents, longest) int64; padding targets IGNORED."""

SORTED_TOGETHER = 512  # documents that are ordered by length before they are cut into batches


@dataclass(frozen=True)
class Encoded:
    """Documents end to end: document i is `tokens[starts[i] : starts[i + 1]]`."""

    tokens: NDArray[np.int16]
    targets: NDArray[np.int16]
    starts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def batch(self, pick: NDArray[np.int64]) -> Batch:
        """The documents numbered in `pick`, padded to the longest."""
        lengths = self.starts[pick + 1] - self.starts[pick]
        shape = (len(pick), int(lengths.max()))
        tokens, targets = np.zeros(shape, np.int64), np.full(shape, IGNORED, np.int64)
        for row, (document, length) in enumerate(zip(pick, lengths, strict=True)):
            here = slice(self.starts[document], self.starts[document + 1])
            tokens[row, :length], targets[row, :length] = self.tokens[here], self.targets[here]
        return torch.from_numpy(tokens), torch.from_numpy(targets)


def encode(corpus: Iterable[list[Turn]], encoder: Encoder, n_ctx: int) -> Encoded:
    """Inputs and next-token targets of every document that fits the context."""
    tokens: list[int] = []
    targets: list[int] = []
    starts = [0]
    for turns in corpus:
        ids, counted = encoder.document(turns)
        if len(ids) - 1 <= n_ctx:
            tokens += ids[:-1]
            targets += [t if c else IGNORED for t, c in zip(ids[1:], counted[1:], strict=True)]
            starts.append(len(tokens))
    return Encoded(np.array(tokens, np.int16), np.array(targets, np.int16), np.array(starts))


def batches(documents: Encoded, n_tokens: int, multiple: int, seed: int) -> Iterator[Batch]:
    """Endless shuffled batches of about `n_tokens`, the number of documents a `multiple`."""
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(len(documents))
        for first in range(0, len(order), SORTED_TOGETHER):
            window = order[first : first + SORTED_TOGETHER]
            lengths = documents.starts[window + 1] - documents.starts[window]
            window = window[np.argsort(-lengths, kind="stable")]
            cuts = []
            start = 0
            while start < len(window):
                longest = documents.starts[window[start] + 1] - documents.starts[window[start]]
                size = max(1, n_tokens // int(longest) // multiple) * multiple
                cuts.append(window[start : start + size])
                start += size
            for i in rng.permutation(len(cuts)):
                if len(cuts[i]) % multiple == 0:
                    yield documents.batch(cuts[i])
