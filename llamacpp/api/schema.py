"""Shapes of results, as OpenAI's endpoints define them."""

from __future__ import annotations

from typing import Literal, TypeAlias, TypedDict

from llamacpp.engine.generate import Ending as FinishReason

__all__ = [
    "ChatChoice",
    "ChatChunk",
    "ChatChunkChoice",
    "ChatCompletion",
    "ChatLogprobs",
    "ChatMessage",
    "ChatTokenLogprob",
    "Completion",
    "CompletionChoice",
    "CompletionLogprobs",
    "Delta",
    "Embedding",
    "EmbeddingList",
    "EmbeddingUsage",
    "FinishReason",
    "TopLogprob",
    "Usage",
    "Vector",
]

Vector: TypeAlias = list[float] | list[list[float]]  # of a text; of its tokens, without pooling


class Usage(TypedDict):
    """Tokens of a request."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class CompletionLogprobs(TypedDict):
    """Natural logarithms of probabilities, one entry per token."""

    tokens: list[str]
    text_offset: list[int]  # where the token's text begins, counted from the prompt's start
    token_logprobs: list[float | None]  # None for a first token, which nothing precedes
    top_logprobs: list[dict[str, float] | None]


class CompletionChoice(TypedDict):
    """One continuation."""

    text: str
    index: int
    logprobs: CompletionLogprobs | None
    finish_reason: FinishReason | None


class _CompletionBase(TypedDict):
    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]


class Completion(_CompletionBase, total=False):
    """A completion, or a piece of a streamed one (which has no `usage`)."""

    usage: Usage


class TopLogprob(TypedDict):
    """A token that could have been chosen."""

    token: str
    bytes: list[int]
    logprob: float


class ChatTokenLogprob(TopLogprob):
    """The token that was chosen, and its best rivals."""

    top_logprobs: list[TopLogprob]


class ChatLogprobs(TypedDict):
    """Log-probabilities of an answer's tokens."""

    content: list[ChatTokenLogprob]


class ChatMessage(TypedDict):
    """A message of a conversation."""

    role: str
    content: str


class ChatChoice(TypedDict):
    """One answer."""

    index: int
    message: ChatMessage
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason


class ChatCompletion(TypedDict):
    """An answer in a conversation."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


class Delta(TypedDict, total=False):
    """What a chunk adds to the message."""

    role: str
    content: str


class ChatChunkChoice(TypedDict):
    """A piece of one answer."""

    index: int
    delta: Delta
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason | None


class ChatChunk(TypedDict):
    """A piece of a streamed answer."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChatChunkChoice]


class Embedding(TypedDict):
    """A text as a vector."""

    object: Literal["embedding"]
    embedding: Vector
    index: int


class EmbeddingUsage(TypedDict):
    """Tokens of a request."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(TypedDict):
    """Texts as vectors."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage
