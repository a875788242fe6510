"""One completion: prompt tokens in, pieces of text out, with stop strings and logprobs."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from llamacpp import ops
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
    """What to complete, and how.

    Attributes:
        prompt: its tokens.
        max_tokens: generate so many at most; None: until the end or a full context.
        params: how to sample.
        stop: strings that end the text.
        n_logprobs: report logprobs, with so many rivals; None: do not.
        processors: applied to the logits first.
        stopping: asked after each token.
        continuation: the answer goes on from a text, so a space before it counts.
    """

    prompt: list[int]
    max_tokens: int | None
    params: SamplingParams
    stop: Sequence[str | bytes] = ()
    n_logprobs: int | None = None
    processors: Sequence[LogitsProcessor] = ()
    stopping: Sequence[StoppingCriteria] = ()
    continuation: bool = True

    def __post_init__(self) -> None:
        StopMatcher(self.stop)  # refuse bad stop strings before anything is computed


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
    chosen: deque[tuple[int, TokenLogprobs]] = deque()  # with the place where its text begins
    n_written = n_sent = 0  # characters: by the model, and of those to the caller

    def note(logits: ops.Buffer, token: int) -> None:
        if request.n_logprobs is not None:
            chosen.append((n_written, logprobs(logits, token, request.n_logprobs)))

    def take(everything: bool) -> list[TokenLogprobs]:
        taken = []
        while chosen and (everything or chosen[0][0] < n_sent):
            taken.append(chosen.popleft()[1])
        return taken

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
                written = stream.feed(token)
                n_written += len(written)
                text = matcher.feed(written)
            if matcher.stopped:
                reason = "stop"
            n_sent += len(text)
            if reason is not None or text:
                # Tokens of the stop string itself are no part of the text, nor of its logprobs.
                everything = reason is not None and not matcher.stopped
                yield Piece(text, take(everything), n_tokens, reason)


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
        for i, row in enumerate(rows):
            yield logprobs(row, prompt[start + i + 1], n)
