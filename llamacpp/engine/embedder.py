"""Texts as vectors: the hidden states of a model, pooled."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from llamacpp import ops
from llamacpp.buffers import Float32Array, Integers
from llamacpp.engine.pooling import choose_pooling
from llamacpp.errors import (
    ContextOverflowError,
    InvalidArgumentError,
    LlamaError,
    SessionBusyError,
)
from llamacpp.format import ModelFile
from llamacpp.models.cache import KVCache
from llamacpp.models.layers import Batch, Network, Workspace
from llamacpp.tokenizer import Tokenizer

__all__ = ["Embedder"]

MAX_SEQUENCES = 64  # that share a pass
MAX_CACHE = 1 << 34  # bytes of address space for keys and values: of memory, what is used is taken


class _Text(NamedTuple):
    number: int
    tokens: array[int]


class Embedder:
    """Turns texts, or tokens, into vectors. Made by `Model.embedder`.

    Several texts share a pass; none sees anything of another. Nothing is kept between calls but
    memory to work in. One thread at a time.

    Args:
        network: what to run.
        file: what its weights are mapped from; checked for changes before each call.
        n_threads: threads to use.
        tokenizer: gives the model's tokenizer, or None for a model without.
        n_ctx: tokens of a text at most; by default what the model was trained for.
        n_batch: tokens that share a pass; a text that is longer is a pass of its own.
        pooling: what is made of the hidden states of a text's tokens, after the last norm: their
            "mean", that of the first token ("cls") or of the "last" one; "none": all of them. By
            default what the file says, else "mean" for encoders and "last" for others, whose last
            token alone has seen the whole text.

    Raises:
        InvalidArgumentError: a value is out of range.
        UnsupportedError: the file asks for another way of pooling.
    """

    def __init__(
        self,
        network: Network,
        file: ModelFile,
        n_threads: int,
        tokenizer: Callable[[], Tokenizer | None],
        *,
        n_ctx: int | None = None,
        n_batch: int = 512,
        pooling: str | None = None,
    ) -> None:
        n_ctx = network.config.n_ctx_train if n_ctx is None else n_ctx
        for name, value in (("n_ctx", n_ctx), ("n_batch", n_batch)):
            if not 1 <= value < 1 << 31:
                raise InvalidArgumentError(f"{name} must be from 1 to {2**31 - 1}, not {value}")
        network.embedding.check_context(n_ctx)
        self.network = network
        self.file = file
        self.n_ctx, self.n_batch, self.n_threads = n_ctx, n_batch, n_threads
        self.pooling = choose_pooling(network, pooling)
        self._tokenizer = tokenizer
        self._space: Workspace | None = None
        self._owner = threading.Lock()

    @property
    def n_embd(self) -> int:
        """Size of a vector."""
        return self.network.config.n_embd

    def embed(
        self,
        texts: Sequence[str | Integers],
        *,
        normalize: bool = True,
        truncate: bool = False,
    ) -> list[Float32Array]:
        """Embed texts.

        Args:
            texts: strings, with which the vocabulary's own special tokens go, or token ids, which
                are taken as they are.
            normalize: whether vectors are divided by their length (L2); 0 stays 0.
            truncate: whether what is beyond `n_ctx` tokens is left out of a text.

        Returns:
            A vector float32 (n_embd,) for each text; without pooling, (T, n_embd) for T tokens.

        Raises:
            InvalidArgumentError: a text without tokens, an id outside the vocabulary, or a string
                for a model that has no tokenizer.
            ContextOverflowError: a text is longer than `n_ctx`; nothing was evaluated.
            SessionBusyError: another thread is using this object.
            ModelFileError: the file has changed.
        """
        if isinstance(texts, str):
            raise InvalidArgumentError("give a list of texts, of one text too")
        return self.embed_tokens([self.tokens(t, truncate) for t in texts], normalize=normalize)

    def tokens(self, text: str | Integers, truncate: bool = False) -> array[int]:
        """The tokens of a text, int32, as `embed` takes them.

        Raises:
            As `embed`.
        """
        end: int | None = None
        if isinstance(text, str):
            tokenizer = self._tokenizer()
            if tokenizer is None:
                raise InvalidArgumentError(
                    f"{self.file.path} has no tokenizer: give token ids instead of text"
                )
            ids = array("i", tokenizer.encode(text))
            end = tokenizer.eos_id if tokenizer.add_eos else None
        else:
            ids = ops.int32("tokens", text)
        if len(ids) > self.n_ctx:
            if not truncate:
                raise ContextOverflowError(
                    f"a text of {len(ids)} tokens is longer than the context of {self.n_ctx}:"
                    " shorten it, or ask for truncate"
                )
            del ids[self.n_ctx :]
            if end is not None:
                ids[-1] = end
        if not len(ids):
            raise InvalidArgumentError("a text without tokens has no embedding")
        n_vocab = self.network.n_vocab
        if min(ids) < 0 or max(ids) >= n_vocab:
            bad = next(token for token in ids if not 0 <= token < n_vocab)
            raise InvalidArgumentError(f"token {bad} is outside the vocabulary (0..{n_vocab - 1})")
        return ids

    def embed_tokens(
        self, texts: Sequence[array[int]], *, normalize: bool = True
    ) -> list[Float32Array]:
        """Do as `embed`, of what `tokens` gave."""
        with self._exclusive():
            self.file.check_unchanged()
            found: list[Float32Array] = [np.empty(0, np.float32)] * len(texts)
            for group in self._groups(texts):
                rows = self._evaluate(group)
                for text, states in zip(group, rows, strict=True):
                    vector = _pooled(states, self.pooling)
                    found[text.number] = _normalised(vector) if normalize else vector
            return found

    def _groups(self, texts: Sequence[array[int]]) -> Iterator[list[_Text]]:
        """Texts that share a pass: long ones first, so that those of a pass are of a length."""
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        group: list[_Text] = []
        n_tokens = 0
        for number in order:
            tokens = texts[number]
            if group and (n_tokens + len(tokens) > self.n_batch or len(group) == self._n_seq()):
                yield group
                group, n_tokens = [], 0
            group.append(_Text(number, tokens))
            n_tokens += len(tokens)
        if group:
            yield group

    def _evaluate(self, group: list[_Text]) -> list[Float32Array]:
        """Hidden states (T, n_embd) of each text, in one pass."""
        batch = Batch(*(array("i") for _ in range(4)))
        wanted = []  # how many of a text's rows
        for seq, text in enumerate(group):
            first, n = len(batch.tokens), len(text.tokens)
            batch.tokens.extend(text.tokens)
            batch.pos.extend(range(n))
            batch.seq.extend([seq] * n)
            rows = range(first, first + n)
            rows = {"cls": rows[:1], "last": rows[-1:]}.get(self.pooling, rows)
            batch.rows.extend(rows)
            wanted.append(len(rows))
        out = ops.Buffer(len(batch.rows), self.n_embd)
        self.network.hidden(batch, self._room(len(batch.tokens)), out.ptr, lambda: None)
        return np.split(out.array, np.cumsum(wanted)[:-1])

    def _room(self, n_tokens: int) -> Workspace:
        """Memory to evaluate so many tokens in, kept until more is needed.

        Raises:
            LlamaError: there is not enough.
        """
        if self._space is None or self._space.n_batch < n_tokens:
            self._space = None  # before the larger one is there
            n_batch = max(n_tokens, min(self.n_batch, self.n_ctx * MAX_SEQUENCES))
            try:
                self._space = Workspace(self.network, self._cache(), n_batch, self.n_threads)
            except MemoryError as error:
                raise LlamaError(
                    f"there is no memory to work on {n_batch} tokens at once ({error}); ask for a"
                    " smaller n_batch, or n_ctx and truncate"
                ) from error
        return self._space

    def _cache(self) -> KVCache:
        """Keys and values, of one layer after the other: a pass holds all of a text."""
        c = self.network.config
        return KVCache(
            n_layer=1,
            n_seq=self._n_seq(),
            n_kv_head=c.n_kv_head,
            n_ctx=self.n_ctx,
            head_dims=(c.head_dim_k, c.head_dim_v),
            cache_type="f32",
        )

    def _n_seq(self) -> int:
        """Texts that may share a pass."""
        c = self.network.config
        sizes = ops.cache_bytes(ops.F32, (c.head_dim_k, c.head_dim_v), self.n_ctx)
        return max(1, min(MAX_SEQUENCES, self.n_batch, MAX_CACHE // (c.n_kv_head * sum(sizes))))

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        if not self._owner.acquire(blocking=False):
            raise SessionBusyError("this embedder is in use by another thread: use one per thread")
        try:
            yield
        finally:
            self._owner.release()


def _pooled(states: Float32Array, pooling: str) -> Float32Array:
    """What is made of hidden states (T, n_embd), or the one that counts (1, n_embd)."""
    if pooling == "none":
        return states
    mean: npt.NDArray[np.float64] = states.mean(axis=0, dtype=np.float64)  # of one: itself
    return mean.astype(np.float32)


def _normalised(vectors: Float32Array) -> Float32Array:
    """Vectors (..., n_embd) of length 1, but those of length 0."""
    length = np.sqrt(np.square(vectors, dtype=np.float64).sum(axis=-1, keepdims=True))
    return (vectors / np.where(length > 0, length, 1)).astype(np.float32)
