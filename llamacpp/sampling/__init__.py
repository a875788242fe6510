"""From logits to the next token: pure functions, a chain of them, and a seeded generator.

`SamplingParams` says what is wanted, `Sampler` does it for one text. Everything is plain data or a
plain callable; nothing here knows about models or text.
"""

from __future__ import annotations

from llamacpp.sampling.logprobs import TokenLogprobs, logprobs
from llamacpp.sampling.params import SamplingParams
from llamacpp.sampling.processors import (
    LogitsProcessor,
    LogitsProcessorList,
    MinTokensLogitsProcessor,
    StoppingCriteria,
    StoppingCriteriaList,
)
from llamacpp.sampling.sampler import Sampler

__all__ = [
    "LogitsProcessor",
    "LogitsProcessorList",
    "MinTokensLogitsProcessor",
    "Sampler",
    "SamplingParams",
    "StoppingCriteria",
    "StoppingCriteriaList",
    "TokenLogprobs",
    "logprobs",
]
