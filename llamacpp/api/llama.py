"""`Llama`: one model and one session behind the interface that llama-cpp-python users know."""

from __future__ import annotations

import sys
from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

from llamacpp.api import chat, text
from llamacpp.api.embedding import embed
from llamacpp.api.options import ChatOptions, CompletionOptions
from llamacpp.api.schema import ChatChunk, ChatCompletion, Completion, EmbeddingList, Vector
from llamacpp.api.tokens import TokenLlama

if TYPE_CHECKING:
    if sys.version_info >= (3, 11):
        from typing import Unpack
    else:
        from typing_extensions import Unpack

__all__ = ["Llama"]


class Llama(TokenLlama):
    """A model ready to complete texts, to chat and to embed.

    Names and result shapes are llama-cpp-python's; differences, all on purpose: the context is the
    model's own by default, logprobs need nothing at load, unknown options raise, and options that
    ask for something not done here raise `UnsupportedError`. One thread at a time may use it.

    Args:
        model_path: a GGUF file; of a model in parts, any part.
        n_ctx: positions of the context; 0 or None: what the model was trained for.
        n_batch: tokens of a prompt evaluated at once.
        n_threads: by default the physical cores left by affinity and cgroup quota.
        seed: of the sampling, where a call gives none; calls then differ from each other, but the
            series of them repeats.
        vocab_only: only the vocabulary, of any architecture: `tokenize` and `detokenize` work.
        chat_format: a built-in format's name or Jinja source; by default the file's own template.
        type_k: KV cache type, "f16", "f32" or "q8_0", which takes 0.53 of the memory of f16 and
            needs heads of a multiple of 32.
        type_v: the same as `type_k`.
        pooling_type: what becomes of a text's hidden states in `embed`: "mean", "cls", "last" or
            "none" (1, 2, 3, 0); -1 or None: what the file says, else "mean" for encoders and
            "last" for others.
        use_mmap: False: read the file into private memory instead of mapping it.
        use_mlock: whether the system is asked to keep the weights in memory.
        memory_limit: what the process may hold, bytes or text such as "6G"; weights beyond it are
            read from the file for every pass. "auto": what cgroup and machine leave; None: none.
        prefetch: whether a thread fetches the weights: True, "auto" (unless they are in the page
            cache already) or False (they come as they are touched).
        progress: called as ``progress(done, total)``, in bytes, while a file that is not mapped is
            read; what it raises ends the loading.
        options: llama-cpp-python's others; see `llamacpp.api.options`.

    Raises:
        ModelFileError: the file cannot be used.
        UnsupportedError: the file or an option asks for something not done here.
        TypeError: an option that does not exist.
    """

    @overload
    def create_completion(
        self,
        prompt: str | Sequence[int],
        suffix: None = None,
        max_tokens: int | None = 16,
        *,
        stream: Literal[False] = False,
        **options: Unpack[CompletionOptions],
    ) -> Completion: ...
    @overload
    def create_completion(
        self,
        prompt: str | Sequence[int],
        suffix: None = None,
        max_tokens: int | None = 16,
        *,
        stream: Literal[True],
        **options: Unpack[CompletionOptions],
    ) -> Generator[Completion, None, None]: ...
    @overload
    def create_completion(
        self,
        prompt: str | Sequence[int],
        suffix: None = None,
        max_tokens: int | None = 16,
        *,
        stream: bool,
        **options: Unpack[CompletionOptions],
    ) -> Completion | Generator[Completion, None, None]: ...
    def create_completion(
        self,
        prompt: str | Sequence[int],
        suffix: None = None,
        max_tokens: int | None = 16,
        *,
        stream: bool = False,
        **options: Unpack[CompletionOptions],
    ) -> Completion | Generator[Completion, None, None]:
        """Complete a text.

        Args:
            prompt: the text, in which control tokens count as such, or token ids.
            suffix: must be None: no model run here fills in the middle.
            max_tokens: generate so many at most; None, 0 or less: until the end or a full context.
            stream: give the text piece by piece.
            options: see `llamacpp.api.text.TextOptions`, and `SamplingParams`.

        Returns:
            A `Completion`, or with `stream` an iterator of them, each with a piece of the text; the
            last one tells the reason of the end, and the usage.

        Raises:
            InvalidArgumentError: an option is out of range.
            UnsupportedError: an option asks for something not done here.
            ContextOverflowError: the prompt does not fit.
            SessionBusyError: another call is not finished; with `stream`, raised when iterating.
        """
        chunks = text.create(self, prompt, {"suffix": suffix, "max_tokens": max_tokens, **options})
        return chunks if stream else text.join(chunks)

    __call__ = create_completion

    @overload
    def create_chat_completion(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        stream: Literal[False] = False,
        **options: Unpack[ChatOptions],
    ) -> ChatCompletion: ...
    @overload
    def create_chat_completion(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        stream: Literal[True],
        **options: Unpack[ChatOptions],
    ) -> Generator[ChatChunk, None, None]: ...
    @overload
    def create_chat_completion(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        stream: bool,
        **options: Unpack[ChatOptions],
    ) -> ChatCompletion | Generator[ChatChunk, None, None]: ...
    def create_chat_completion(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        stream: bool = False,
        **options: Unpack[ChatOptions],
    ) -> ChatCompletion | Generator[ChatChunk, None, None]:
        """Answer the last of `messages`.

        Args:
            messages: dicts with "role" and "content", the oldest first.
            stream: give the answer piece by piece.
            options: see `llamacpp.api.chat.AnswerOptions`, and `SamplingParams`.

        Returns:
            A `ChatCompletion`, or with `stream` an iterator of `ChatChunk`.

        Raises:
            As `create_completion`; TemplateError where the model's template fails.
        """
        answer = chat.Answer(self, messages, options)
        return answer.stream() if stream else answer.whole()

    @overload
    def embed(
        self,
        input: str,
        normalize: bool = False,
        truncate: bool = True,
        return_count: Literal[False] = False,
    ) -> Vector: ...
    @overload
    def embed(
        self,
        input: list[str],
        normalize: bool = False,
        truncate: bool = True,
        return_count: Literal[False] = False,
    ) -> list[Vector]: ...
    @overload
    def embed(
        self,
        input: str,
        normalize: bool = False,
        truncate: bool = True,
        *,
        return_count: Literal[True],
    ) -> tuple[Vector, int]: ...
    @overload
    def embed(
        self,
        input: list[str],
        normalize: bool = False,
        truncate: bool = True,
        *,
        return_count: Literal[True],
    ) -> tuple[list[Vector], int]: ...
    def embed(
        self,
        input: str | list[str],
        normalize: bool = False,
        truncate: bool = True,
        return_count: bool = False,
    ) -> Vector | list[Vector] | tuple[Vector | list[Vector], int]:
        """Turn texts into vectors; see `llamacpp.engine.embedder.Embedder`.

        Args:
            input: a text, or several.
            normalize: whether vectors are divided by their length.
            truncate: whether what is beyond the context is left out of a text.
            return_count: whether to tell, as well, how many tokens they were.

        Returns:
            A list of n_embd numbers for a text, and a list of those for several; without pooling
            a text is a list of its tokens' vectors.

        Raises:
            ContextOverflowError: a text is longer than the context, and may not be cut.
            SessionBusyError: another thread is using this object.
        """
        vectors, count = embed(self, input, normalize, truncate)
        found = vectors[0] if isinstance(input, str) else vectors
        return (found, count) if return_count else found

    def create_embedding(self, input: str | list[str], model: str | None = None) -> EmbeddingList:
        """Turn texts into vectors, in the shape of OpenAI's endpoint.

        Args:
            input: a text, or several.
            model: name to report; by default the file's.

        Raises:
            As `embed`.
        """
        vectors, count = embed(self, input, normalize=False, truncate=True)
        return {
            "object": "list",
            "data": [
                {"object": "embedding", "embedding": vector, "index": i}
                for i, vector in enumerate(vectors)
            ],
            "model": self.model_path if model is None else model,
            "usage": {"prompt_tokens": count, "total_tokens": count},
        }
