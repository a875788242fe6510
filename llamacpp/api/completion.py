"""One completion: prompt tokens in, pieces of text out, with stop strings and logprobs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from llamacpp.engine import Session
from llamacpp.engine.generate import Ending
from llamacpp.engine.stop import StopMatcher
from llamacpp.sampling import (
    LogitsProcessor,
    SamplingParams,
    StoppingCriteria,
    TokenLogprobs,
    logprobs,
)
from llamacpp.tokenizer import Tokenizer, TokenStream

__all__ = ["Piece", "Request", "complete", "prompt_logprobs"]

PROMPT_ROWS = 256  # logits of a prompt held at a time when its logprobs are asked for


@dataclass
class Request:
    """What to complete, and how."""

    prompt: list[int]
    max_tokens: int | None
    params: SamplingParams
    stop: Sequence[str | bytes] = ()
    n_logprobs: int | None = None
    processors: Sequence[LogitsProcessor] = ()
    stopping: Sequence[StoppingCriteria] = ()
    continuation: bool = True  # the answer goes on from a text, so a space before it counts


@dataclass
class Piece:
    """Text that is certain by now; the last piece says why it ended."""

    text: str
    tokens: list[TokenLogprobs] = field(default_factory=list)
    n_tokens: int = 0  # generated so far
    finish_reason: Ending | None = None


def complete(session: Session, tokenizer: Tokenizer, request: Request) -> Iterator[Piece]:
    """Generate; the pieces joined are the completion, without any stop string.

    What the session shares with the prompt is not evaluated again.
    """
    chosen: list[TokenLogprobs] = []

    def note(logits: npt.NDArray[np.float32], token: int) -> None:
        if request.n_logprobs is not None:
            chosen.append(logprobs(logits, token, request.n_logprobs))

    stream = TokenStream(tokenizer, continuation=request.continuation)
    matcher = StopMatcher(request.stop)
    tokens = session.generate(
        session.keep_prefix(request.prompt),
        max_tokens=request.max_tokens,
        params=request.params,
        processors=request.processors,
        stopping=request.stopping,
        on_logits=note,
    )
    n_tokens = 0
    reason: Ending | None = None
    with closing(tokens):
        while reason is None:
            try:
                token = next(tokens)
            except StopIteration as end:
                reason = end.value
                text = matcher.feed(stream.flush()) + matcher.flush()
            else:
                n_tokens += 1
                text = matcher.feed(stream.feed(token))
            if matcher.stopped:
                reason = "stop"
            if reason is not None or text:
                yield Piece(text, _take(chosen), n_tokens, reason)


def _take(chosen: list[TokenLogprobs]) -> list[TokenLogprobs]:
    taken = chosen[:]
    chosen.clear()
    return taken


def prompt_logprobs(
    session: Session, prompt: Sequence[int], n: int
) -> Iterator[TokenLogprobs | None]:
    """Log-probabilities of a prompt's own tokens; None for the first, which nothing precedes.

    Evaluates the prompt from the start, a few hundred rows of logits at a time.
    """
    session.rewind(0)
    yield None
    for start in range(0, len(prompt) - 1, PROMPT_ROWS):
        piece = prompt[start : min(start + PROMPT_ROWS, len(prompt) - 1)]
        rows = session.eval(piece, "all")
        if rows is None:
            return
        for i, row in enumerate(rows):
            yield logprobs(row, prompt[start + i + 1], n)
