"""The hooks, under the names that llama-cpp-python's users know."""

from __future__ import annotations

import numpy as np
import pytest

from llamacpp.errors import InvalidArgumentError
from llamacpp.sampling import (
    LogitsProcessorList,
    MinTokensLogitsProcessor,
    Sampler,
    SamplingParams,
    StoppingCriteriaList,
)

IDS = np.array([1, 2], np.int32)
ROW = np.zeros(4, np.float32)


def test_a_list_of_processors_applies_them_in_turn() -> None:
    chain = LogitsProcessorList([lambda ids, s: s + 1, lambda ids, s: s * 3])
    assert chain(IDS, ROW).tolist() == [3.0] * 4
    assert LogitsProcessorList()(IDS, ROW) is ROW


def test_a_list_of_criteria_stops_if_any_does() -> None:
    assert not StoppingCriteriaList()(IDS, ROW)
    assert not StoppingCriteriaList([lambda ids, s: False])(IDS, ROW)
    assert StoppingCriteriaList([lambda ids, s: False, lambda ids, s: len(ids) == 2])(IDS, ROW)


@pytest.mark.parametrize("ends", [3, [3, 2]])
def test_the_end_is_forbidden_until_enough_tokens(ends: int | list[int]) -> None:
    processor = MinTokensLogitsProcessor(3, ends)
    logits = np.array([0.0, 1.0, 2.0, 9.0], np.float32)
    for _ in range(2):  # the second text counts anew
        sampler = Sampler(SamplingParams(temperature=0), 4, prompt=[0, 0], processors=[processor])
        out = []
        for _ in range(5):
            out.append(sampler(logits))
            sampler.accept(out[-1])
        early = 2 if ends == 3 else 1
        assert out == [early] * 3 + [3, 3]


def test_a_negative_minimum_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="min_tokens is -1"):
        MinTokensLogitsProcessor(-1, 0)
