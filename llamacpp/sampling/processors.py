"""What a caller may hook into sampling, by the names that llama-cpp-python uses."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeAlias

from llamacpp.errors import InvalidArgumentError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "LogitsProcessor",
    "LogitsProcessorList",
    "MinTokensLogitsProcessor",
    "StoppingCriteria",
    "StoppingCriteriaList",
]

# (input_ids (n,) int32: prompt and text so far, scores (n_vocab,) float32) -> scores (n_vocab,)
LogitsProcessor: TypeAlias = Callable[
    ["NDArray[np.int32]", "NDArray[np.float32]"], "NDArray[np.float32]"
]
# (input_ids (n,) int32, logits (n_vocab,) float32) -> whether to stop
StoppingCriteria: TypeAlias = Callable[["NDArray[np.int32]", "NDArray[np.float32]"], bool]


class LogitsProcessorList(list[LogitsProcessor]):
    """Logits processors applied one after the other."""

    def __call__(
        self, input_ids: NDArray[np.int32], scores: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return `scores` after all of them."""
        for processor in self:
            scores = processor(input_ids, scores)
        return scores


class StoppingCriteriaList(list[StoppingCriteria]):
    """Stopping criteria, any of which ends the text."""

    def __call__(self, input_ids: NDArray[np.int32], logits: NDArray[np.float32]) -> bool:
        """Tell whether any of them wants to stop."""
        return any(criterion(input_ids, logits) for criterion in self)


class MinTokensLogitsProcessor:
    """Forbids the end of the text before `min_tokens` tokens have been generated.

    It counts from its first call, and anew when the text it is shown is not the last one plus one
    token: one object serves any number of generations, one at a time.
    """

    def __init__(self, min_tokens: int, token_eos: int | Iterable[int]) -> None:
        if min_tokens < 0:
            raise InvalidArgumentError(f"min_tokens is {min_tokens}; it must be 0 or more")
        self.min_tokens = min_tokens
        self._ends = [token_eos] if isinstance(token_eos, int) else list(token_eos)
        self._start = self._length = -1

    def __call__(
        self, input_ids: NDArray[np.int32], scores: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return `scores`, those of the end tokens -inf while the text is too short."""
        if len(input_ids) != self._length + 1 or self._start < 0:
            self._start = len(input_ids)
        self._length = len(input_ids)
        if self._length - self._start < self.min_tokens:
            scores[self._ends] = -math.inf
        return scores
