"""`Llama`: one model and one session behind the interface that llama-cpp-python users know."""

from __future__ import annotations

import os
import random
from collections.abc import Generator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, overload

from llamacpp.api import chat, text
from llamacpp.api.options import cache_type, check_options
from llamacpp.api.schema import ChatChunk, ChatCompletion, Completion
from llamacpp.chat import ChatFormat, ChatTemplate
from llamacpp.engine import Model, Session, state
from llamacpp.engine.generate import Ending
from llamacpp.errors import InvalidArgumentError, LlamaError
from llamacpp.format import ModelFile
from llamacpp.sampling import Sampler, SamplingParams
from llamacpp.tokenizer import Tokenizer, load_tokenizer

__all__ = ["Llama"]

RANDOM_SEEDS = (None, -1, 0xFFFFFFFF)  # all of them mean "a fresh one" there


class Llama:
    """A model ready to complete texts and to chat.

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
        type_k: KV cache type, "f16" or "f32".
        type_v: the same as `type_k`.
        options: llama-cpp-python's others; see `llamacpp.api.options`.

    Raises:
        ModelFileError: the file cannot be used.
        UnsupportedError: the file or an option asks for something not done here.
        TypeError: an option that does not exist.
    """

    def __init__(
        self,
        model_path: str | os.PathLike[str],
        *,
        n_ctx: int | None = 0,
        n_batch: int = 512,
        n_threads: int | None = None,
        seed: int | None = None,
        vocab_only: bool = False,
        chat_format: str | ChatTemplate | ChatFormat | None = None,
        type_k: int | str | None = None,
        type_v: int | str | None = None,
        **options: Any,
    ) -> None:
        check_options("Llama", options)
        kind = cache_type(type_k, type_v)
        self.model_path = os.fspath(model_path)
        self._model: Model | None = None
        self._session: Session | None = None
        self._chat_format = chat_format
        self.set_seed(seed)
        if vocab_only:
            self._file: ModelFile | None = ModelFile(model_path)
            self._tokenizer = load_tokenizer(self._file.metadata)
            return
        self._model = Model.open(model_path, n_threads=n_threads)
        self._file = self._model.file
        self._session = self._model.session(n_ctx or None, n_batch=n_batch, cache_type=kind)
        self._tokenizer = self._model.tokenizer

    # ---- text ---------------------------------------------------------------------------------

    @overload
    def create_completion(
        self, prompt: str | Sequence[int], *, stream: Literal[False] = False, **options: Any
    ) -> Completion: ...
    @overload
    def create_completion(
        self, prompt: str | Sequence[int], *, stream: Literal[True], **options: Any
    ) -> Generator[Completion, None, None]: ...
    @overload
    def create_completion(
        self, prompt: str | Sequence[int], *, stream: bool, **options: Any
    ) -> Completion | Generator[Completion, None, None]: ...
    def create_completion(
        self, prompt: str | Sequence[int], *, stream: bool = False, **options: Any
    ) -> Completion | Generator[Completion, None, None]:
        """Complete a text; see `llamacpp.api.text.TextOptions` for the options.

        Returns:
            A `Completion`, or with `stream` an iterator of them, each with a piece of the text.

        Raises:
            InvalidArgumentError: an option is out of range.
            ContextOverflowError: the prompt does not fit.
            SessionBusyError: another call is not finished.
        """
        chunks = text.create(self, prompt, options)
        return chunks if stream else text.join(chunks)

    __call__ = create_completion

    @overload
    def create_chat_completion(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        stream: Literal[False] = False,
        **options: Any,
    ) -> ChatCompletion: ...
    @overload
    def create_chat_completion(
        self, messages: Sequence[Mapping[str, Any]], *, stream: Literal[True], **options: Any
    ) -> Generator[ChatChunk, None, None]: ...
    @overload
    def create_chat_completion(
        self, messages: Sequence[Mapping[str, Any]], *, stream: bool, **options: Any
    ) -> ChatCompletion | Generator[ChatChunk, None, None]: ...
    def create_chat_completion(
        self, messages: Sequence[Mapping[str, Any]], *, stream: bool = False, **options: Any
    ) -> ChatCompletion | Generator[ChatChunk, None, None]:
        """Answer the last of `messages`; see `llamacpp.api.chat.ChatOptions` for the options.

        Returns:
            A `ChatCompletion`, or with `stream` an iterator of `ChatChunk`.

        Raises:
            As `create_completion`; TemplateError where the model's template fails.
        """
        answer = chat.Answer(self, messages, options)
        return answer.stream() if stream else answer.whole()

    # ---- tokens -------------------------------------------------------------------------------

    def tokenize(self, text: bytes | str, add_bos: bool = True, special: bool = False) -> list[int]:
        """Token ids of a text; `special` reads control tokens in it as such."""
        bos = add_bos and self.tokenizer.add_bos
        return self.tokenizer.encode(text, add_bos=bos, add_eos=False, parse_special=special)

    def detokenize(
        self,
        tokens: Iterable[int],
        prev_tokens: Sequence[int] | None = None,
        special: bool = False,
    ) -> bytes:
        """Bytes of tokens; after `prev_tokens` a leading space belongs to the text."""
        data = self.tokenizer.decode_bytes(tokens, special=special)
        if self.tokenizer.add_space_prefix and not prev_tokens:
            data = data.removeprefix(b" ")
        return data

    def eval(self, tokens: Sequence[int]) -> None:
        """Append tokens to the session."""
        self.session.eval(tokens)

    def sample(self, **options: Any) -> int:
        """Choose a token to follow what was evaluated; options as `SamplingParams`."""
        logits = self.session.logits
        if logits is None:
            raise InvalidArgumentError("evaluate some tokens first")
        sampler = Sampler(
            self.sampling_params(options),
            self.n_vocab(),
            prompt=self.session.tokens,
            piece=self._tokenizer.token_bytes if self._tokenizer else None,
        )
        return sampler(logits)

    def generate(
        self, tokens: Sequence[int], *, reset: bool = True, **options: Any
    ) -> Generator[int, None, Ending]:
        """Yield tokens that follow `tokens`, end-of-generation tokens included.

        With `reset` the session becomes `tokens`, keeping the prefix that it shares; without, they
        are appended. Options as `SamplingParams`.
        """
        rest = self.session.keep_prefix(tokens) if reset else list(tokens)
        params = self.sampling_params(options)
        return self.session.generate(rest, params=params, stop_at_end=False)

    def sampling_params(self, options: Mapping[str, Any]) -> SamplingParams:
        """`SamplingParams` of some options; without a seed, the next of this object's series."""
        given = {name: value for name, value in options.items() if value is not None}
        if given.get("seed") in RANDOM_SEEDS:
            given["seed"] = self._seeds.getrandbits(63)
        if isinstance(given.get("logit_bias"), Mapping):
            given["logit_bias"] = {int(t): float(b) for t, b in given["logit_bias"].items()}
        return SamplingParams(**given)

    def set_seed(self, seed: int | None) -> None:
        """Restart the series of seeds that calls without one use."""
        self._seeds = random.Random(None if seed in RANDOM_SEEDS else seed)

    def reset(self) -> None:
        """Forget everything that was evaluated."""
        self.session.reset()

    def save_state(self) -> bytes:
        """The session as bytes: tokens, KV cache, logits; checksummed, bound to this model."""
        with self.session.exclusive():
            return b"".join(state.write_state(self.session))

    def load_state(self, saved: bytes) -> None:
        """Return to what `save_state` saved.

        Raises:
            StateError: the bytes are damaged, or belong to another model or cache type.
        """
        with self.session.exclusive():
            state.read_state(self.session, saved)

    # ---- what it is ---------------------------------------------------------------------------

    @property
    def model(self) -> Model:
        """The model."""
        self._check_open()
        if self._model is None:
            raise LlamaError("this model was opened with vocab_only=True")
        return self._model

    @property
    def session(self) -> Session:
        """The session: KV cache and tokens."""
        if self._session is None:
            self._check_open()
            raise LlamaError("this model was opened with vocab_only=True")
        return self._session

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer."""
        self._check_open()
        if self._tokenizer is None:
            raise InvalidArgumentError(f"{self.model_path} has no tokenizer: use token ids")
        return self._tokenizer

    @property
    def chat_format(self) -> ChatFormat:
        """How conversations are written."""
        if not isinstance(self._chat_format, ChatFormat):
            self._chat_format = self.model.chat_format(self._chat_format)
        return self._chat_format

    @property
    def metadata(self) -> dict[str, str]:
        """The file's metadata as text; arrays are left out."""
        scalars = (str, int, float)
        items = self._check_open().metadata.items()
        return {key: str(value) for key, value in items if isinstance(value, scalars)}

    def n_ctx(self) -> int:
        """Positions of the context."""
        return self.session.n_ctx

    def n_vocab(self) -> int:
        """Number of tokens."""
        return self.tokenizer.n_vocab if self._model is None else self.model.n_vocab

    def n_embd(self) -> int:
        """Width of the embedding."""
        return self.model.config.n_embd

    def token_bos(self) -> int:
        """Token that begins a text; -1 if there is none."""
        return _or_none(self.tokenizer.bos_id)

    def token_eos(self) -> int:
        """Token that ends a text; -1 if there is none."""
        return _or_none(self.tokenizer.eos_id)

    def token_nl(self) -> int:
        """Token of a line feed; -1 if there is none."""
        return _or_none(self.tokenizer.nl_id)

    def close(self) -> None:
        """Let go of the model; the object cannot be used any more."""
        if self._model is not None:
            self._model.close()
        if self._file is not None:
            self._file.close()
        self._model = self._session = self._file = self._tokenizer = None

    def _check_open(self) -> ModelFile:
        if self._file is None:
            raise LlamaError("this model was closed")
        return self._file

    def __enter__(self) -> Llama:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _or_none(token: int | None) -> int:
    return -1 if token is None else token
