"""Texts to vectors, as lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llamacpp.api.schema import Vector

if TYPE_CHECKING:
    from llamacpp.api.llama import Llama

__all__ = ["embed"]


def embed(
    llama: Llama, input: str | list[str], normalize: bool, truncate: bool
) -> tuple[list[Vector], int]:
    """The vectors of a text, or of several, and the number of their tokens."""
    embedder = llama.embedder
    texts = [input] if isinstance(input, str) else input
    tokens = [embedder.tokens(text, truncate) for text in texts]
    vectors: list[Vector] = [v.tolist() for v in embedder.embed_tokens(tokens, normalize=normalize)]
    return vectors, sum(map(len, tokens))
