"""Text completions: options, chunks, and chunks joined into one result."""

from __future__ import annotations

import time
import uuid
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from llamacpp.api.completion import Piece, Request, complete, prompt_logprobs
from llamacpp.api.options import Processors, StopRules, as_list, check_options
from llamacpp.api.prompt import check_room, checked_ids, text_tokens
from llamacpp.api.schema import Completion, CompletionLogprobs
from llamacpp.errors import InvalidArgumentError
from llamacpp.sampling import SamplingParams, TokenLogprobs
from llamacpp.tokenizer import Tokenizer, TokenStream
from llamacpp.tokenizer.base import CONTROL, UNKNOWN, USER_DEFINED

if TYPE_CHECKING:
    from llamacpp.api.llama import Llama

__all__ = ["TextOptions", "create", "join", "split_options"]

SPECIAL = (CONTROL, UNKNOWN, USER_DEFINED)
SAMPLING = frozenset(field.name for field in fields(SamplingParams))


@dataclass
class TextOptions:
    """Options of a completion, beside those of `SamplingParams`.

    Attributes:
        max_tokens: generate so many at most; None, 0 or less: until the end or a full context.
        stop: strings that end the text and are not part of it.
        echo: begin the text with the prompt.
        logprobs: report the log-probability of each token and of this many best ones; with
            `echo` those of the prompt as well.
        model: name to report as `model`.
        logits_processor: callables (ids, logits) -> logits.
        stopping_criteria: callables (ids, logits) -> bool.
    """

    max_tokens: int | None = 16
    stop: str | Sequence[str] | None = ()
    echo: bool = False
    logprobs: int | None = None
    model: str | None = None
    logits_processor: Processors = None
    stopping_criteria: StopRules = None

    def __post_init__(self) -> None:
        if self.max_tokens is not None and not isinstance(self.max_tokens, int):
            raise InvalidArgumentError(f"max_tokens is {self.max_tokens!r}; it must be an integer")
        if self.logprobs is not None and not (
            isinstance(self.logprobs, int) and self.logprobs >= 0
        ):
            raise InvalidArgumentError(
                f"logprobs is {self.logprobs!r}; it must be an integer, 0 or more"
            )

    def request(self, prompt: list[int], params: SamplingParams, *, continuation: bool) -> Request:
        """The request that these options make of a prompt."""
        stop = self.stop or ()
        return Request(
            prompt=prompt,
            max_tokens=self.max_tokens if (self.max_tokens or 0) > 0 else None,
            params=params,
            stop=[stop] if isinstance(stop, (str, bytes)) else list(stop),
            n_logprobs=self.logprobs,
            processors=as_list(self.logits_processor),
            stopping=as_list(self.stopping_criteria),
            continuation=continuation,
        )


def split_options(
    function: str, options: Mapping[str, Any], own: Iterable[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part options into those of the function and those of sampling; refuse all others."""
    own = frozenset(own)
    mine = {name: value for name, value in options.items() if name in own}
    sampling = {name: value for name, value in options.items() if name in SAMPLING - own}
    rest = {n: v for n, v in options.items() if n not in mine and n not in sampling}
    check_options(function, rest)
    return mine, sampling


def create(
    llama: Llama, prompt: str | Sequence[int], given: Mapping[str, Any]
) -> Generator[Completion, None, None]:
    """Check everything now; give a generator of chunks that does the work."""
    own, sampling = split_options(
        "create_completion", given, (field.name for field in fields(TextOptions))
    )
    options, tokenizer = TextOptions(**own), llama.tokenizer
    if isinstance(prompt, str):
        tokens, shown = text_tokens(tokenizer, prompt), prompt
    else:
        tokens = checked_ids(prompt, tokenizer.n_vocab)
        shown = tokenizer.decode(tokens)
    check_room(llama.session, len(tokens))
    params = llama.sampling_params(sampling)
    request = options.request(tokens, params, continuation=bool(shown))
    return _chunks(llama, options, request, shown, spelt_out=isinstance(prompt, str))


def _chunks(
    llama: Llama, options: TextOptions, request: Request, shown: str, *, spelt_out: bool
) -> Generator[Completion, None, None]:
    completion_id, created = f"cmpl-{uuid.uuid4()}", int(time.time())
    n_prompt = len(request.prompt)

    def chunk(piece: Piece, logprobs: CompletionLogprobs | None) -> Completion:
        made: Completion = {
            "id": completion_id,
            "object": "text_completion",
            "created": created,
            "model": options.model or llama.model_path,
            "choices": [
                {
                    "text": piece.text,
                    "index": 0,
                    "logprobs": logprobs,
                    "finish_reason": piece.finish_reason,
                }
            ],
        }
        if piece.finish_reason:
            made["usage"] = {
                "prompt_tokens": n_prompt,
                "completion_tokens": piece.n_tokens,
                "total_tokens": n_prompt + piece.n_tokens,
            }
        return made

    session, tokenizer, n = llama.session, llama.tokenizer, options.logprobs
    if options.echo:
        log = None
        if n is not None:
            tokens = request.prompt
            known = list(zip(tokens, prompt_logprobs(session, tokens, n), strict=True))
            bos = tokenizer.decode(tokens[:1], special=True)
            if tokens[0] == tokenizer.bos_id and not (spelt_out and shown.startswith(bos)):
                known = known[1:]  # no part of the text
            log = _Log(tokenizer, 0, spelt_out=spelt_out).entries(known)
        yield chunk(Piece(shown), log)
    logger = _Log(tokenizer, len(shown), continuation=request.continuation)
    for piece in complete(session, tokenizer, request):
        log = logger.entries((t.token, t) for t in piece.tokens) if n is not None else None
        yield chunk(piece, log)


class _Log:
    """Writes log-probabilities in the shape of a text completion.

    Keeps count of the characters, so that each token knows where its own begin. With `spelt_out`
    the tokens come from a text in which control tokens were written out; the tokenizer puts a space
    of its own (`add_space_prefix`) after each of those as well.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        offset: int,
        *,
        spelt_out: bool = False,
        continuation: bool = False,
    ) -> None:
        self._tokenizer = tokenizer
        self._offset = offset
        self._spelt_out = spelt_out
        self._begin(continuation)

    def _begin(self, continuation: bool) -> None:
        self._begun = continuation
        self._stream = TokenStream(
            self._tokenizer, special=self._spelt_out, continuation=continuation
        )

    def _text(self, token: int) -> str:
        return self._tokenizer.decode([token], special=True, continuation=self._begun)

    def entries(self, tokens: Iterable[tuple[int, TokenLogprobs | None]]) -> CompletionLogprobs:
        """What is known of `tokens`, which follow those of the last call."""
        log: CompletionLogprobs = {
            "tokens": [],
            "text_offset": [],
            "token_logprobs": [],
            "top_logprobs": [],
        }
        for token, known in tokens:
            log["tokens"].append(self._text(token))
            log["text_offset"].append(self._offset)
            log["token_logprobs"].append(known.logprob if known else None)
            log["top_logprobs"].append(self._top(known) if known else None)
            self._offset += len(self._stream.feed(token))
            if self._spelt_out and self._tokenizer.token_type(token) in SPECIAL:
                self._begin(continuation=False)
            elif not self._tokenizer.is_control(token):
                self._begun = True
        return log

    def _top(self, known: TokenLogprobs) -> dict[str, float]:
        """The best tokens by text; of those that read the same, the best."""
        top: dict[str, float] = {}
        for token, logprob in known.top:
            top.setdefault(self._text(token), logprob)
        return top


def join(chunks: Iterator[Completion]) -> Completion:
    """All chunks as one result."""
    merged = next(chunks)
    choice = merged["choices"][0]
    texts = [choice["text"]]
    for chunk in chunks:
        new = chunk["choices"][0]
        texts.append(new["text"])
        choice["finish_reason"] = new["finish_reason"]
        if choice["logprobs"] is not None and new["logprobs"] is not None:
            for name, values in new["logprobs"].items():
                choice["logprobs"][name] += values  # type: ignore[literal-required]
        if "usage" in chunk:
            merged["usage"] = chunk["usage"]
    choice["text"] = "".join(texts)
    return merged
