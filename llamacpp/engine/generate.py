"""The decode loop: prefill, then sample, yield, evaluate, token by token."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from llamacpp import ops
from llamacpp.buffers import Integers
from llamacpp.engine.context import Context
from llamacpp.errors import InvalidArgumentError
from llamacpp.sampling import LogitsProcessor, Sampler, SamplingParams, StoppingCriteria
from llamacpp.tokenizer import Tokenizer

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Ending", "generate"]

Ending: TypeAlias = Literal["stop", "length"]


def generate(
    context: Context,
    tokenizer: Tokenizer | None,
    tokens: Integers = (),
    *,
    max_tokens: int | None = None,
    params: SamplingParams | None = None,
    processors: Sequence[LogitsProcessor] = (),
    stopping: Sequence[StoppingCriteria] = (),
    stop_at_end: bool = True,
    progress: Callable[[int, int], object] | None = None,
    on_logits: Callable[[ops.Buffer, int], object] | None = None,
) -> Generator[int, None, Ending]:
    """Append `tokens` to a context, then yield sampled tokens.

    The context belongs to the generator until it ends or is closed. Every token yielded is part of
    the context; the last one is evaluated by whatever uses the context next.

    Args:
        context: what to continue; with no `tokens`, from its last logits.
        tokenizer: tells which tokens end a text, and their bytes; None: no token does.
        tokens: the prompt, or what is new in it.
        max_tokens: stop after so many; in any case when the context is full.
        params: how to sample; None: `SamplingParams()`.
        processors: callables (ids, scores) -> scores, applied to the logits first.
        stopping: callables (ids, logits) -> bool, asked after each token.
        stop_at_end: stop at an end-of-generation token, which is not yielded.
        progress: see `Context.eval`.
        on_logits: called with (row of logits, token) for each token chosen, before it is yielded.

    Returns:
        As a generator does: "length" where `max_tokens` or the context ended it, else "stop".

    Raises:
        InvalidArgumentError: nothing to continue from, or a parameter out of range.
        ContextOverflowError: the prompt does not fit.
    """
    if max_tokens is not None and max_tokens < 0:
        raise InvalidArgumentError(f"max_tokens must not be negative, not {max_tokens}")
    ends = tokenizer.is_eog if stop_at_end and tokenizer is not None else None
    with context.exclusive():
        if len(tokens) or context.last_row is None:
            context.append(tokens, "last", progress)
        sampler = Sampler(
            params or SamplingParams(),
            context.network.n_vocab,
            prompt=context.tokens,
            processors=processors,
            piece=tokenizer.token_bytes if tokenizer is not None else None,
        )
        return (yield from _decode(context, sampler, max_tokens, ends, list(stopping), on_logits))


def _decode(
    context: Context,
    sampler: Sampler,
    max_tokens: int | None,
    ends: Callable[[int], bool] | None,
    stopping: list[StoppingCriteria],
    on_logits: Callable[[ops.Buffer, int], object] | None,
) -> Generator[int, None, Ending]:
    produced = 0
    while max_tokens is None or produced < max_tokens:
        logits: Any = context.last_row
        token = sampler(logits)
        if ends is not None and ends(token):
            return "stop"
        sampler.accept(token)
        if on_logits is not None:
            on_logits(logits, token)
        if context.n_past >= context.n_ctx:
            return "length"
        context.accept(token)
        produced += 1
        yield token
        if stopping and _any_stops(stopping, context.tokens, logits.array[0]):
            return "stop"
        if produced != max_tokens:
            context.flush()
    return "length"


def _any_stops(
    stopping: list[StoppingCriteria], tokens: list[int], logits: npt.NDArray[np.float32]
) -> bool:
    import numpy as np

    return any(stop(np.array(tokens), logits) for stop in stopping)
