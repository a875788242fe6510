"""The vocabulary of an old file, as GGUF has it: SentencePiece's pieces, scores and types.

Old files hold what a token adds to a text: a space where the piece has U+2581, one raw byte for a
byte token, nothing of use for `<unk>`, `<s>` and `</s>`. All of LLaMA's vocabularies begin with
these three and the 256 bytes, so a token's type follows from its place.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from llamacpp.format.header import HeaderBytes
from llamacpp.format.metadata import NumericArray, StringArray
from llamacpp.format.types import ValueType

__all__ = ["BOS", "EOS", "UNK", "Vocabulary", "read_vocabulary"]

MAX_TOKEN_BYTES = 4096
MAX_NBYTES = 8 << 20  # LLaMA's 32,000 tokens take half a megabyte

UNK, BOS, EOS = 0, 1, 2
_MARKS = {UNK: (b"<unk>", 2), BOS: (b"<s>", 3), EOS: (b"</s>", 3)}
_NORMAL, _BYTE = 1, 6  # of tokenizer.ggml.token_type
_FIRST_BYTE, _FIRST_PIECE = 3, 259
_SPACE = "\u2581".encode()
_SPACES_SCORE = -1e9  # of pieces of nothing but spaces: they are merged last


class Vocabulary(NamedTuple):
    """Three arrays of equal length: tokenizer.ggml.tokens, scores and token_type."""

    tokens: StringArray
    scores: NumericArray
    types: NumericArray


def read_vocabulary(header: HeaderBytes, count: int, *, scored: bool) -> Vocabulary:
    """Step over `count` tokens: u32 length, bytes and, where `scored`, a f32.

    Raises:
        FormatError: the file ends before, or the numbers are not those of a LLaMA vocabulary.
    """
    smallest = 8 if scored else 4
    if count > min(header.left, MAX_NBYTES) // smallest:
        raise header.error(
            f"it claims {count} tokens, more than its {header.left} remaining bytes or any LLaMA "
            "vocabulary hold"
        )
    start, tokens, scores, types = header.pos, bytearray(), bytearray(), bytearray()
    for token in range(count):
        what = f"token {token}"
        at, nbytes = header.pos, header.take_u32(what)
        if nbytes > MAX_TOKEN_BYTES or at + nbytes - start > MAX_NBYTES:
            raise header.error(
                f"{what} at byte {at} is {nbytes} bytes long, too much for a vocabulary of LLaMA: "
                "the file is damaged, or of another model of 2023, which is not supported"
            )
        piece, kind = _piece(token, bytes(header.take_bytes(nbytes, what)))
        tokens += struct.pack("<I", len(piece)) + piece
        scores += header.take_bytes(4, what) if scored else struct.pack("<f", _rank(token, piece))
        types += struct.pack("<i", kind)
    label = f"{header.name}: the vocabulary"
    return Vocabulary(
        StringArray(memoryview(bytes(tokens)), count, 4, label),
        NumericArray(memoryview(bytes(scores)), ValueType.FLOAT32),
        NumericArray(memoryview(bytes(types)), ValueType.INT32),
    )


def _piece(token: int, text: bytes) -> tuple[bytes, int]:
    """A token's piece and type."""
    if token in _MARKS:
        return _MARKS[token]
    if _FIRST_BYTE <= token < _FIRST_PIECE and len(text) == 1:
        return b"<0x%02X>" % text[0], _BYTE
    return text.replace(b" ", _SPACE), _NORMAL


def _rank(token: int, piece: bytes) -> float:
    """The score that SentencePiece gave: pieces are numbered in the order of their merges."""
    if token < _FIRST_PIECE:
        return 0.0
    return float(_FIRST_PIECE - token) if piece.replace(_SPACE, b"") else _SPACES_SCORE
