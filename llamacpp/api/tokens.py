"""One model and one session behind names that llama-cpp-python users know: tokens in and out."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from llamacpp.api.options import (
    Processors,
    SamplingOptions,
    StopRules,
    as_list,
    cache_type,
    check_options,
    pooling_name,
)
from llamacpp.chat import ChatFormat, ChatTemplate
from llamacpp.engine import Model, Session
from llamacpp.engine.generate import Ending
from llamacpp.engine.pooling import POOLINGS
from llamacpp.errors import InvalidArgumentError, LlamaError
from llamacpp.format import ModelFile
from llamacpp.sampling import Sampler, SamplingParams
from llamacpp.tokenizer import Tokenizer, load_tokenizer

if TYPE_CHECKING:
    if sys.version_info >= (3, 11):
        from typing import Unpack
    else:
        from typing_extensions import Unpack

    from llamacpp.engine.embedder import Embedder

__all__ = ["TokenLlama"]

RANDOM_SEEDS = (None, -1, 0xFFFFFFFF)  # all of them mean "a fresh one" there
_Self = TypeVar("_Self", bound="TokenLlama")


class TokenLlama:
    """What `Llama` can do with tokens."""

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
        pooling_type: int | str | None = -1,
        use_mmap: bool = True,
        use_mlock: bool = False,
        memory_limit: int | str | None = "auto",
        prefetch: bool | Literal["auto"] = "auto",
        progress: Callable[[int, int], object] | None = None,
        **options: Any,
    ) -> None:
        given = dict(locals())
        check_options("Llama", options)
        kind = cache_type(type_k, type_v)
        self.model_path = os.fspath(model_path)
        self._options = options | {
            name: given[name] for name in given if name not in ("self", "model_path", "options")
        }
        self._model: Model | None = None
        self._session: Session | None = None
        self._embedder: Embedder | None = None
        self._tokenizer: Tokenizer | None = None
        self._chat_format = chat_format
        self.set_seed(seed)
        if vocab_only:
            self._file: ModelFile | None = ModelFile(model_path)
            return
        self._model = Model.open(
            model_path, n_threads=n_threads, memory_limit=memory_limit, prefetch=prefetch,
            mlock=use_mlock, use_mmap=use_mmap, progress=progress, n_ctx=n_ctx or None,
        )  # fmt: skip
        self._file = self._model.file
        if self._model.network.output is None:  # an encoder, which does not generate
            self._embedder = self._new_embedder()
        else:
            self._session = self._model.session(n_ctx or None, n_batch=n_batch, cache_type=kind)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle path and options, never weights: who unpickles it opens the file again."""
        return _reopen, (type(self), os.path.abspath(self.model_path), self._options)  # noqa: PTH100

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

    def sample(
        self,
        *,
        temp: float | None = None,
        logits_processor: Processors = None,
        **options: Unpack[SamplingOptions],
    ) -> int:
        """Choose a token to follow what was evaluated; the session stays as it is.

        Args:
            temp: the same as `temperature`.
            logits_processor: callables (ids, logits) -> logits.
            options: see `SamplingParams`. Mirostat's memory begins anew at each call.

        Raises:
            InvalidArgumentError: nothing was evaluated, or an option is out of range.
        """
        params = self.sampling_params(_with_temp(options, temp))
        session = self.session
        logits = session.logits
        if logits is None:
            raise InvalidArgumentError("evaluate some tokens first")
        tokenizer = self.model.tokenizer
        sampler = Sampler(
            params,
            self.n_vocab(),
            prompt=session.tokens,
            processors=as_list(logits_processor),
            piece=tokenizer.token_bytes if tokenizer else None,
        )
        return sampler(logits)

    def generate(
        self,
        tokens: Sequence[int],
        *,
        reset: bool = True,
        temp: float | None = None,
        logits_processor: Processors = None,
        stopping_criteria: StopRules = None,
        **options: Unpack[SamplingOptions],
    ) -> Generator[int, None, Ending]:
        """Yield tokens that follow `tokens`, end-of-generation tokens included.

        It goes on until the context is full, a criterion stops it, or the caller leaves.

        Args:
            tokens: ids.
            reset: the session becomes `tokens`, keeping the prefix that it shares; otherwise they
                are appended.
            temp: the same as `temperature`.
            logits_processor: callables (ids, logits) -> logits.
            stopping_criteria: callables (ids, logits) -> bool, asked after each token.
            options: see `SamplingParams`.
        """
        params, session = self.sampling_params(_with_temp(options, temp)), self.session

        def run() -> Generator[int, None, Ending]:
            rest = session.keep_prefix(tokens) if reset else tokens
            return (
                yield from session.generate(
                    rest,
                    params=params,
                    processors=as_list(logits_processor),
                    stopping=as_list(stopping_criteria),
                    stop_at_end=False,
                )
            )

        return run()

    def sampling_params(self, options: Mapping[str, Any]) -> SamplingParams:
        """`SamplingParams` of some options; without a seed, the next of this object's series."""
        given = {name: value for name, value in options.items() if value is not None}
        if given.get("seed") in RANDOM_SEEDS:
            given["seed"] = self._seeds.getrandbits(63)
        bias = given.get("logit_bias")
        if isinstance(bias, Mapping):  # JSON has only strings for keys
            given["logit_bias"] = {_as_id(token): value for token, value in bias.items()}
        return SamplingParams(**given)

    def set_seed(self, seed: int | None) -> None:
        """Restart the series of seeds that calls without one use."""
        self._seeds = random.Random(None if seed in RANDOM_SEEDS else seed)

    def reset(self) -> None:
        """Forget everything that was evaluated."""
        self.session.reset()

    def save_state(self) -> bytes:
        """The session as bytes: tokens, KV cache, logits; checksummed, bound to this model."""
        return self.session.save_bytes()

    def load_state(self, saved: bytes) -> None:
        """Return to what `save_state` saved.

        Raises:
            StateError: the bytes are damaged, or belong to another model or cache type.
        """
        self.session.load_bytes(saved)

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
        # An encoder has none: asked for one, it tells what to do instead.
        return self.model.session() if self._session is None else self._session

    @property
    def embedder(self) -> Embedder:
        """What `embed` works with."""
        if self._embedder is None:
            self._embedder = self._new_embedder()
        return self._embedder

    def _new_embedder(self) -> Embedder:
        n_ctx, n_batch, kind = (self._options[k] for k in ("n_ctx", "n_batch", "pooling_type"))
        return self.model.embedder(n_ctx or None, n_batch=n_batch, pooling=pooling_name(kind))

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer."""
        metadata = self._check_open().metadata
        if self._tokenizer is None:
            model = self._model
            self._tokenizer = load_tokenizer(metadata) if model is None else model.tokenizer
        if self._tokenizer is None:
            raise InvalidArgumentError(
                f"{self.model_path} has no tokenizer: work on token ids, with eval() and generate()"
            )
        return self._tokenizer

    @property
    def chat_format(self) -> ChatFormat:
        """How conversations are written."""
        if not isinstance(self._chat_format, ChatFormat):
            self._chat_format = self.model.chat_format(self._chat_format)
        return self._chat_format

    @property
    def metadata(self) -> dict[str, str]:
        """The file's metadata as text: true and false for booleans; arrays are left out."""
        text = {}
        for key, value in self._check_open().metadata.items():
            if isinstance(value, bool):
                text[key] = "true" if value else "false"
            elif isinstance(value, (str, int, float)):
                text[key] = str(value)
        return text

    def n_ctx(self) -> int:
        """Positions of the context."""
        return self.session.n_ctx if self._session else self.embedder.n_ctx

    def n_vocab(self) -> int:
        """Number of tokens."""
        return self.tokenizer.n_vocab if self._model is None else self._model.n_vocab

    def n_embd(self) -> int:
        """Width of the embedding."""
        return self.model.config.n_embd

    def pooling_type(self) -> int:
        """What becomes of a text's hidden states, by llama.cpp's number."""
        return POOLINGS.index(self.embedder.pooling)

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
        self._model = self._session = self._file = self._tokenizer = self._embedder = None

    def _check_open(self) -> ModelFile:
        if self._file is None:
            raise LlamaError("this model was closed")
        return self._file

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _with_temp(options: Mapping[str, Any], temp: float | None) -> Mapping[str, Any]:
    return options if temp is None else {**options, "temperature": temp}


def _as_id(token: Any) -> Any:
    return int(token) if isinstance(token, str) and token.isdecimal() else token


def _or_none(token: int | None) -> int:
    return -1 if token is None else token


def _reopen(kind: type[_Self], path: str, options: dict[str, Any]) -> _Self:
    return kind(path, **options)
