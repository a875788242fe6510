"""Chat completions: messages through the model's template, answers in OpenAI's shapes."""

from __future__ import annotations

import time
import uuid
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from llamacpp.api.completion import Piece, complete
from llamacpp.api.options import Processors, StopRules
from llamacpp.api.prompt import check_room, text_tokens
from llamacpp.api.schema import (
    ChatChunk,
    ChatCompletion,
    ChatLogprobs,
    ChatTokenLogprob,
    Delta,
    FinishReason,
    TopLogprob,
)
from llamacpp.api.text import TextOptions, split_options
from llamacpp.errors import InvalidArgumentError
from llamacpp.sampling import TokenLogprobs

if TYPE_CHECKING:
    from llamacpp.api.llama import Llama

__all__ = ["Answer", "AnswerOptions"]

TEMPERATURE = 0.2  # of answers, where the caller gives none


@dataclass
class AnswerOptions:
    """Options of a chat completion, beside those of `SamplingParams` (temperature: 0.2).

    Attributes:
        max_tokens: generate so many at most; None, 0 or less: until the answer ends or the context
            is full.
        stop: strings that end the answer, beside the format's own.
        logprobs: report the log-probability of each token.
        top_logprobs: ... and of this many best ones.
        tools: for the template; the answer is text, and calls in it are left to the caller.
        model: name to report as `model`.
        logits_processor: callables (ids, logits) -> logits.
        stopping_criteria: callables (ids, logits) -> bool.
    """

    max_tokens: int | None = None
    stop: str | Sequence[str] | None = ()
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: Sequence[Mapping[str, Any]] | None = None
    model: str | None = None
    logits_processor: Processors = None
    stopping_criteria: StopRules = None


class Answer:
    """One answer: everything is checked and rendered when it is made, generated when asked for."""

    def __init__(
        self, llama: Llama, messages: Sequence[Mapping[str, Any]], given: Mapping[str, Any]
    ) -> None:
        own, sampling = split_options(
            "create_chat_completion", given, (field.name for field in fields(AnswerOptions))
        )
        options = AnswerOptions(**own)
        if options.top_logprobs and not options.logprobs:
            raise InvalidArgumentError("top_logprobs needs logprobs=True")
        if sampling.get("temperature") is None:
            sampling["temperature"] = TEMPERATURE
        form = llama.chat_format
        tokens = text_tokens(llama.tokenizer, form.render(messages, tools=options.tools))
        check_room(llama.session, len(tokens))
        stop = options.stop or ()
        text = TextOptions(
            max_tokens=options.max_tokens,
            stop=[*([stop] if isinstance(stop, str) else stop), *form.stop],
            logprobs=(options.top_logprobs or 0) if options.logprobs else None,
            logits_processor=options.logits_processor,
            stopping_criteria=options.stopping_criteria,
        )
        self._llama = llama
        # What follows the template's last word begins a text of its own.
        params = llama.sampling_params(sampling)
        self._request = text.request(tokens, params, continuation=False)
        self._model = options.model or llama.model_path
        self._id = f"chatcmpl-{uuid.uuid4()}"
        self._created = int(time.time())

    def _pieces(self) -> Iterator[Piece]:
        return complete(self._llama.session, self._llama.tokenizer, self._request)

    def stream(self) -> Generator[ChatChunk, None, None]:
        """The answer as it comes: the role, pieces of content, the reason it ended."""
        yield self._chunk({"role": "assistant"})
        for piece in self._pieces():
            if piece.text or piece.tokens:
                yield self._chunk({"content": piece.text}, self._logprobs(piece.tokens))
            if piece.finish_reason:
                yield self._chunk({}, None, piece.finish_reason)

    def _chunk(
        self,
        delta: Delta,
        logprobs: ChatLogprobs | None = None,
        finish_reason: FinishReason | None = None,
    ) -> ChatChunk:
        return {
            "id": self._id,
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._model,
            "choices": [
                {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
            ],
        }

    def whole(self) -> ChatCompletion:
        """The whole answer."""
        pieces = list(self._pieces())
        last = pieces[-1]
        n_prompt, n_new = len(self._request.prompt), last.n_tokens
        return {
            "id": self._id,
            "object": "chat.completion",
            "created": self._created,
            "model": self._model,
            "choices": [
                {
                    "index": 0,
                    "message": {
                        "role": "assistant",
                        "content": "".join(piece.text for piece in pieces),
                    },
                    "logprobs": self._logprobs([t for piece in pieces for t in piece.tokens]),
                    "finish_reason": last.finish_reason or "stop",
                }
            ],
            "usage": {
                "prompt_tokens": n_prompt,
                "completion_tokens": n_new,
                "total_tokens": n_prompt + n_new,
            },
        }

    def _logprobs(self, tokens: Sequence[TokenLogprobs]) -> ChatLogprobs | None:
        if self._request.n_logprobs is None:
            return None
        content: list[ChatTokenLogprob] = []
        for known in tokens:
            top = [self._entry(token, p) for token, p in known.top]
            content.append({**self._entry(known.token, known.logprob), "top_logprobs": top})
        return {"content": content}

    def _entry(self, token: int, logprob: float) -> TopLogprob:
        data = self._llama.tokenizer.token_bytes(token)
        return {"token": data.decode("utf-8", "replace"), "bytes": list(data), "logprob": logprob}
