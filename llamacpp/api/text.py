"""Text completions: options, chunks, and chunks joined into one result."""

from __future__ import annotations

import time
import uuid
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from llamacpp.api.completion import Piece, Request, complete, prompt_logprobs
from llamacpp.api.options import check_options
from llamacpp.api.schema import Completion, CompletionLogprobs
from llamacpp.errors import InvalidArgumentError
from llamacpp.sampling import LogitsProcessor, SamplingParams, StoppingCriteria, TokenLogprobs
from llamacpp.tokenizer import Tokenizer

if TYPE_CHECKING:
    from llamacpp.api.llama import Llama

__all__ = ["TextOptions", "create", "join", "split_options"]

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
    logits_processor: LogitsProcessor | Sequence[LogitsProcessor] | None = None
    stopping_criteria: StoppingCriteria | Sequence[StoppingCriteria] | None = None

    def __post_init__(self) -> None:
        if self.max_tokens is not None and not isinstance(self.max_tokens, int):
            raise InvalidArgumentError(f"max_tokens is {self.max_tokens!r}; it must be an integer")
        if self.logprobs is not None and not (
            isinstance(self.logprobs, int) and self.logprobs >= 0
        ):
            raise InvalidArgumentError(f"logprobs is {self.logprobs!r}; it must be 0 or more")

    def request(self, prompt: list[int], params: SamplingParams) -> Request:
        """The request that these options make of a prompt."""
        stop = self.stop or ()
        return Request(
            prompt=prompt,
            max_tokens=self.max_tokens if (self.max_tokens or 0) > 0 else None,
            params=params,
            stop=[stop] if isinstance(stop, (str, bytes)) else list(stop),
            n_logprobs=self.logprobs,
            processors=_as_list(self.logits_processor),
            stopping=_as_list(self.stopping_criteria),
        )


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


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
        tokens = tokenizer.encode(prompt, parse_special=True)
        shown = prompt
    else:
        tokens = list(prompt)
        shown = tokenizer.decode(tokens)
    if not tokens:
        raise InvalidArgumentError("the prompt is empty, and this model has no BOS token")
    request = options.request(tokens, llama.sampling_params(sampling))
    request.continuation = bool(shown)
    return _chunks(llama, options, request, shown)


def _chunks(
    llama: Llama, options: TextOptions, request: Request, shown: str
) -> Generator[Completion, None, None]:
    header = {
        "id": f"cmpl-{uuid.uuid4()}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": options.model or llama.model_path,
    }

    def chunk(piece: Piece, logprobs: CompletionLogprobs | None) -> Completion:
        choice = {
            "text": piece.text,
            "index": 0,
            "logprobs": logprobs,
            "finish_reason": piece.finish_reason,
        }
        n_prompt, n_new = len(request.prompt), piece.n_tokens
        usage = {
            "prompt_tokens": n_prompt,
            "completion_tokens": n_new,
            "total_tokens": n_prompt + n_new,
        }
        last = {"usage": usage} if piece.finish_reason else {}
        return {**header, "choices": [choice], **last}  # type: ignore[typeddict-item]

    log = None
    if options.logprobs is not None:
        log = _Log(llama.tokenizer, offset=0 if options.echo else len(shown))
    if options.echo:
        of_prompt = None
        if log is not None and options.logprobs is not None:
            known = list(prompt_logprobs(llama.session, request.prompt, options.logprobs))
            of_prompt = log.entries(zip(request.prompt, known, strict=True), first=True)
        yield chunk(Piece(shown), of_prompt)
    for piece in complete(llama.session, llama.tokenizer, request):
        entries = log.entries((t.token, t) for t in piece.tokens) if log is not None else None
        yield chunk(piece, entries)


class _Log:
    """Writes log-probabilities in the shape of a text completion, keeping the text offset."""

    def __init__(self, tokenizer: Tokenizer, offset: int) -> None:
        self._tokenizer = tokenizer
        self._offset = offset

    def _text(self, token: int, first: bool = False) -> str:
        return self._tokenizer.decode([token], special=True, continuation=not first)

    def entries(
        self, tokens: Iterable[tuple[int, TokenLogprobs | None]], first: bool = False
    ) -> CompletionLogprobs:
        log: CompletionLogprobs = {
            "tokens": [],
            "text_offset": [],
            "token_logprobs": [],
            "top_logprobs": [],
        }
        for token, known in tokens:
            text = self._text(token)
            log["tokens"].append(text)
            log["text_offset"].append(self._offset)
            log["token_logprobs"].append(known.logprob if known else None)
            log["top_logprobs"].append({self._text(t): p for t, p in known.top} if known else None)
            # Control tokens are no part of the text; a first space was put there by the tokenizer.
            self._offset += len(self._tokenizer.decode([token], continuation=not first))
            first = first and self._tokenizer.is_control(token)
        return log


def join(chunks: Iterator[Completion]) -> Completion:
    """All chunks as one result."""
    merged: Completion | None = None
    for chunk in chunks:
        if merged is None:
            merged = chunk
            continue
        old, new = merged["choices"][0], chunk["choices"][0]
        old["text"] += new["text"]
        old["finish_reason"] = new["finish_reason"]
        if old["logprobs"] is not None and new["logprobs"] is not None:
            for name, values in new["logprobs"].items():
                old["logprobs"][name] += values  # type: ignore[literal-required]
        if "usage" in chunk:
            merged["usage"] = chunk["usage"]
    if merged is None:
        raise InvalidArgumentError("there was nothing to complete")
    return merged
