"""Text from tokens as they come: never half a character."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llamacpp.tokenizer.base import Tokenizer

__all__ = ["TokenStream", "Utf8Stream"]

_Decoder = codecs.getincrementaldecoder("utf-8")


class Utf8Stream:
    """Incremental UTF-8: the pieces joined equal `bytes.decode("utf-8", "replace")` of it all."""

    def __init__(self) -> None:
        self._decoder = _Decoder("replace")

    def feed(self, data: bytes) -> str:
        """Take bytes in; give the characters that are whole now."""
        return self._decoder.decode(data)

    def flush(self) -> str:
        """End the text: U+FFFD for a character cut short, otherwise nothing."""
        return self._decoder.decode(b"", True)

    @property
    def pending(self) -> int:
        """Bytes held back because their character is not whole yet."""
        return len(self._decoder.getstate()[0])


class TokenStream:
    """Text of tokens that come one by one; the pieces joined equal `tokenizer.decode(ids)`.

    Args:
        tokenizer: gives each token's bytes.
        special: write control tokens out instead of leaving them out.
        continuation: the tokens go on from a text, so that a space they start with is kept.
    """

    def __init__(
        self, tokenizer: Tokenizer, *, special: bool = False, continuation: bool = False
    ) -> None:
        self._tokenizer = tokenizer
        self._special = special
        self._strip = tokenizer.add_space_prefix and not continuation
        self._utf8 = Utf8Stream()

    def feed(self, token: int) -> str:
        """Take a token; give the characters that are whole now.

        Raises:
            InvalidArgumentError: there is no such token.
        """
        data = self._tokenizer.decode_bytes([token], special=self._special)
        if data and self._strip:
            data = data.removeprefix(b" ")
            self._strip = False
        return self._utf8.feed(data)

    def flush(self) -> str:
        """End the text: U+FFFD for a character cut short, otherwise nothing."""
        return self._utf8.flush()

    def pieces(self, tokens: Iterable[int]) -> Iterator[str]:
        """Text of each token that completes some, and of the end."""
        for token in tokens:
            if piece := self.feed(token):
                yield piece
        if piece := self.flush():
            yield piece
