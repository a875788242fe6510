"""A session: a context that generates, and that can be saved."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from llamacpp.buffers import Integers
from llamacpp.engine.context import Context
from llamacpp.engine.generate import Ending, generate
from llamacpp.format import ModelFile
from llamacpp.models.layers import Network
from llamacpp.tokenizer import Tokenizer

__all__ = ["Session"]


class Session(Context):
    """One user of a model: evaluates, generates, forgets, is saved. Made by `Model.session`.

    Args:
        network: what to run.
        file: what its weights are mapped from.
        n_threads: threads to use.
        tokenizer: gives the model's tokenizer, or None for a model without.
        options: see `Context`.
    """

    def __init__(
        self,
        network: Network,
        file: ModelFile,
        n_threads: int,
        tokenizer: Callable[[], Tokenizer | None],
        **options: Any,
    ) -> None:
        super().__init__(network, file, n_threads, **options)
        self._tokenizer = tokenizer

    def generate(self, tokens: Integers = (), **options: Any) -> Generator[int, None, Ending]:
        """Append `tokens`, then yield sampled tokens one by one.

        The options are those of `llamacpp.engine.generate.generate`.
        """
        return generate(self, self._tokenizer(), tokens, **options)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write sequence 0 (tokens, keys and values, logits) to a file, in full or not at all.

        Raises:
            ModelFileError: the file cannot be written.
        """
        from llamacpp.engine import state

        with self.exclusive():
            state.write_file(self, Path(path))

    def load(self, path: str | os.PathLike[str]) -> None:
        """Replace sequence 0 by one that `save` wrote.

        Raises:
            StateError: the file is damaged, belongs to another model or cache type, or does not
                fit into this context; the session is as it was.
            ModelFileError: the file cannot be read.
        """
        from llamacpp.engine import state

        with self.exclusive():
            state.read_file(self, Path(path))

    def save_bytes(self) -> bytes:
        """What `save` writes, as bytes."""
        from llamacpp.engine import state

        with self.exclusive():
            return b"".join(state.write_state(self))

    def load_bytes(self, saved: bytes) -> None:
        """Do as `load`, from bytes."""
        from llamacpp.engine import state

        with self.exclusive():
            state.read_state(self, saved)
