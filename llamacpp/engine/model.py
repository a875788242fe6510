"""A model: an open file, its network and its tokenizer. Immutable; any thread may use it."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from llamacpp.engine.loading import SWEEP_TOKENS, Loading, load_within, mapped_in_order
from llamacpp.engine.session import Session
from llamacpp.engine.threads import default_threads
from llamacpp.errors import InvalidArgumentError, ModelFileError
from llamacpp.format import Metadata, ModelFile
from llamacpp.models.config import Config
from llamacpp.residency import Prefetch, are_resident
from llamacpp.tensors import Tensor
from llamacpp.tokenizer import Tokenizer, load_tokenizer

if TYPE_CHECKING:
    from llamacpp.chat import ChatFormat, ChatTemplate
    from llamacpp.memory import MemoryReport

__all__ = ["Model"]


class Model:
    """An opened model, its weights used where the page cache holds them.

    Opening costs the header: no weight is read and no vocabulary string is decoded. The tokenizer
    is built on first use. Sessions made from one model may run in different threads.
    """

    def __init__(
        self, file: ModelFile, n_threads: int | None = None, loading: Loading | None = None
    ) -> None:
        self._file: ModelFile | None = file
        self.n_threads = default_threads() if n_threads is None else n_threads
        loading = loading or Loading()
        self.network, self.plan = load_within(file, loading)
        self._loading = loading
        self._prefetch: Prefetch | None = None
        if loading.prefetch is True or loading.mlock:
            self.fetch_ahead()

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], *, n_threads: int | None = None, **loading: Any
    ) -> Model:
        """Open a GGUF file, of a model in parts any part; or a `ggjt` file of 2023.

        Args:
            path: the file.
            n_threads: threads that its sessions use; by default the physical cores left by
                affinity and cgroup quota.
            loading: how the weights come into memory: see `Loading`.

        Raises:
            ModelFileError: a file is missing, unreadable, or (FormatError) not as it should be.
            UnsupportedError: an architecture, weight type or option that we do not run, or a file
                of 2023 that has to be converted.
            InvalidArgumentError: an option is out of range, or the limit too low for the model.
        """
        options = Loading(**loading)
        file = ModelFile(path, use_mmap=options.use_mmap, progress=options.progress)
        try:
            return cls(file, n_threads, options)
        except BaseException:
            file.close()
            raise

    @property
    def file(self) -> ModelFile:
        """The open file.

        Raises:
            ModelFileError: the model was closed.
        """
        if self._file is None:
            raise ModelFileError("the model is closed")
        return self._file

    @property
    def metadata(self) -> Metadata:
        """The file's key-value pairs."""
        return self.file.metadata

    @property
    def config(self) -> Config:
        """The hyperparameters."""
        return self.network.config

    @property
    def n_vocab(self) -> int:
        """Number of tokens, and of logits."""
        return self.network.n_vocab

    @property
    def weights(self) -> dict[str, Tensor]:
        """The tensors in use, by name."""
        return self.network.weights

    @cached_property
    def tokenizer(self) -> Tokenizer | None:
        """The file's tokenizer, or None: then the model works on token ids."""
        return load_tokenizer(self.metadata)

    def chat_format(self, chat_format: str | ChatTemplate | ChatFormat | None = None) -> ChatFormat:
        """How conversations are written for this model.

        Args:
            chat_format: the name of a built-in format, Jinja source, or a format; None: the file's
                own template, else what its vocabulary suggests.

        Raises:
            InvalidArgumentError: there is no format of that name, or the model has no tokenizer.
        """
        from llamacpp.chat import resolve

        tokenizer, metadata = self.tokenizer, self.metadata
        if tokenizer is None:
            raise InvalidArgumentError("a model without a tokenizer cannot hold a conversation")
        key = "tokenizer.chat_template"
        named = {
            name.removeprefix(key + "."): metadata.string(name)
            for name in metadata
            if name.startswith(key + ".")
        }
        texts = [
            "" if token is None else tokenizer.token_bytes(token).decode("utf-8", "replace")
            for token in (tokenizer.bos_id, tokenizer.eos_id)
        ]
        return resolve(
            metadata.string(key, None),
            named,
            chat_format,
            bos_token=texts[0],
            eos_token=texts[1],
            has_token=lambda text: (
                len(tokenizer.encode(text, add_bos=False, add_eos=False, parse_special=True)) == 1
            ),
        )

    @property
    def copied_weight_bytes(self) -> int:
        """Bytes that hold weights anywhere but in the mapped file; without a limit of memory, 0.

        With one, those of the window are counted, through which the weights beyond it pass.
        """
        window = self.network.window
        spans = [(p.mapping.address, p.mapping.address + p.mapping.nbytes) for p in self.file.parts]
        passing = window.tensors if window else {}
        return (window.nbytes if window else 0) + sum(
            tensor.nbytes
            for tensor in self.weights.values()
            if tensor.name not in passing
            and not any(low <= tensor.address <= high - tensor.nbytes for low, high in spans)
        )

    def memory_report(self) -> MemoryReport:
        """What this process holds in memory, and what of each tensor the page cache holds.

        Raises:
            ModelFileError: the model was closed.
        """
        from llamacpp.memory import memory_report

        return memory_report(self.file)

    def session(
        self, n_ctx: int | None = None, *, n_threads: int | None = None, **options: Any
    ) -> Session:
        """Start a session.

        Args:
            n_ctx: positions a sequence can hold; by default what the model was trained for.
            n_threads: by default the model's.
            options: see `Context`.

        Raises:
            InvalidArgumentError: a value is out of range.
        """
        threads = self.n_threads if n_threads is None else n_threads
        if self._loading.prefetch == "auto" and not are_resident(mapped_in_order(self.network)):
            self.fetch_ahead()
        if self.network.window is not None:
            options.setdefault("n_batch", SWEEP_TOKENS)
        return Session(
            self.network, self.file, threads, lambda: self.tokenizer, n_ctx=n_ctx, **options
        )

    def fetch_ahead(self) -> None:
        """Let a thread bring the mapped weights into memory in the order of use, once."""
        if self._prefetch is None:
            lock, at_once = self._loading.mlock, self._loading.prefetch is True
            tensors = mapped_in_order(self.network, experts=lock or at_once)
            self._prefetch = Prefetch(tensors, lock=lock)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle path and options, never weights: who unpickles it opens the file again."""
        return _reopen, (self.file.path.absolute(), self.n_threads, self._loading)

    def close(self) -> None:
        """Let go of the file. Running sessions keep the mapping alive until they end."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _reopen(path: Path, n_threads: int, loading: Loading) -> Model:
    return Model.open(path, n_threads=n_threads, **vars(loading))
