"""SentencePiece-style tokenizers (`tokenizer.ggml.model` = llama): LLaMA 1 and 2, Gemma, Phi-3.

Kudo and Richardson 2018, arXiv:1808.06226, its BPE: pieces merged by score, with bytes as the last
resort. Tables and encoder are C (csrc/bpe), built from the bytes of the file's header. Of the
normalisation that SentencePiece offers nothing is used: special tokens are cut out and spaces put
before here, the way these files' models were converted to expect. Gemma's have no such space, and
runs of spaces as user-defined tokens; Phi-3's drop white space after most control tokens.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, ClassVar

from llamacpp._native import check, ffi, lib
from llamacpp.errors import FormatError, InvalidArgumentError
from llamacpp.format.metadata import Metadata
from llamacpp.format.types import ValueType
from llamacpp.tokenizer.base import Tokenizer, c_strings, token_types

__all__ = ["SPACE", "SentencePieceTokenizer"]

SPACE = "\u2581".encode()  # how pieces write a space

# Phi-3's tokenizer.json: white space after a special token is part of it, but for these.
_PHI3 = frozenset(("phi3", "phimoe"))
_KEEPS_SPACE_AFTER = ("<unk>", "<s>", "<|endoftext|>")


class SentencePieceTokenizer(Tokenizer):
    """Pieces merged by score, with bytes as the last resort.

    Raises:
        FormatError: tokens, scores and types do not fit together.
    """

    _default_ids: ClassVar[Mapping[str, int]] = {"unknown": 0, "bos": 1, "eos": 2}

    def __init__(self, metadata: Metadata) -> None:
        tokens = metadata.strings("tokenizer.ggml.tokens")
        types = token_types(metadata, len(tokens))
        scores = metadata.numbers("tokenizer.ggml.scores", ValueType.FLOAT32, length=len(tokens))
        strings, values = c_strings(tokens), scores.data.tobytes()
        out, bad = ffi.new("lk_spm **"), ffi.new("size_t *")
        seed = int.from_bytes(os.urandom(8), "little")
        status = lib.lk_spm_new(
            strings[0], types, ffi.from_buffer("float[]", values), seed, out, bad
        )
        if status == lib.LK_ERR_ARGUMENT and bad[0] < len(tokens):
            number = bad[0]
            if scores[number] != scores[number]:
                raise FormatError(f"tokenizer.ggml.scores holds a NaN, of token {number}")
            text = tokens.raw(number)
            raise FormatError(
                f"token {number} is of type byte, but its text is {text!r}, not <0xNN>"
            )
        check(status, "building the tokenizer's tables")
        self._spm = ffi.gc(out[0], lib.lk_spm_free)
        self._offsets = lib.lk_spm_offsets(self._spm)
        self._bytes = ffi.buffer(lib.lk_spm_bytes(self._spm), self._offsets[len(tokens)])
        self.add_space_prefix = metadata.boolean("tokenizer.ggml.add_space_prefix", True)
        super().__init__(metadata, types)
        if metadata.string("general.architecture", "") in _PHI3:
            kept = {self.special_id(text) for text in _KEEPS_SPACE_AFTER}
            self._strips_after = frozenset(self._special.values()) - kept
        newline = lib.lk_spm_byte_id(self._spm, 10)
        self.nl_id = newline if newline >= 0 else None

    def token_bytes(self, token: int) -> bytes:
        """Bytes that a token adds to a text; of a control token, its name."""
        self._check_id(token)
        data: bytes = self._bytes[self._offsets[token] : self._offsets[token + 1]]
        return data

    def _default_adds(self) -> tuple[bool, bool]:
        return True, False

    def _encode_plain(self, text: bytes, first: bool) -> list[int]:
        text = self._normalized(text, first)
        if not self._user_defined:
            return self._encode_pieces(text)
        ids = []  # what is normal now may hold user-defined tokens, which go before all pieces
        for part in self._matchers[False].partition(text):
            ids += [part] if isinstance(part, int) else self._encode_pieces(part)
        return ids

    def _normalized(self, text: bytes, first: bool) -> bytes:
        """Text as the pieces spell it; `first`: at the start or after a special token."""
        text = text.replace(SPACE, b" ")
        return b" " + text if first and self.add_space_prefix else text

    def _encode_pieces(self, text: bytes) -> list[int]:
        ids = ffi.new("int32_t[]", len(text))
        count = ffi.new("size_t *")
        unknown = -1 if self.unk_id is None else self.unk_id
        status = self._encode_into(text, unknown, ids, count)
        if status == lib.LK_ERR_UNSUPPORTED:
            raise InvalidArgumentError(
                "the text holds a character that this vocabulary has no token for, "
                "nor an unknown token"
            )
        check(status, "encoding a text")
        found: list[int] = ffi.unpack(ids, count[0])
        return found

    def _encode_into(self, text: bytes, unknown: int, ids: Any, count: Any) -> int:
        """Write a text's pieces to `ids`, int32 (len(text)), how many to `count`; C's status."""
        status: int = lib.lk_spm_encode(self._spm, unknown, text, len(text), ids, len(text), count)
        return status
