"""Byte-level BPE (`tokenizer.ggml.model` = gpt2): GPT-2, Llama 3, Qwen, DeepSeek and many more.

The tables and the encoder are C (csrc/bpe), built from the bytes of the file's header: no Python
object is made per token. Words: Radford et al. 2019; merges: Sennrich et al. 2016.
"""

from __future__ import annotations

import os
from typing import Any

from llamacpp._native import check, ffi, lib
from llamacpp.errors import FormatError, InvalidArgumentError
from llamacpp.format.metadata import Metadata, StringArray
from llamacpp.tokenizer.base import Tokenizer, c_strings, token_types
from llamacpp.tokenizer.pre import pre_tokenizer

__all__ = ["BpeTokenizer"]

_SPACE = "\u2581".encode()
_allocate = ffi.new_allocator(should_clear_after_alloc=False)


class BpeTokenizer(Tokenizer):
    """Byte-level BPE from the tokens and merges of a file.

    Raises:
        FormatError: tokens, types and merges do not fit together.
        UnsupportedError: an unknown pre-tokenizer.
    """

    def __init__(self, metadata: Metadata) -> None:
        gemma = metadata.string("tokenizer.ggml.model") == "gemma4"
        name = "gemma4" if gemma else metadata.string("tokenizer.ggml.pre", "") or "default"
        self._pre = pre_tokenizer(name)
        tokens = metadata.strings("tokenizer.ggml.tokens")
        merges = metadata.strings("tokenizer.ggml.merges")
        types = token_types(metadata, len(tokens))
        unk = metadata.integer("tokenizer.ggml.unknown_token_id", -1)
        options = ffi.new(
            "struct lk_bpe_options *",
            {
                "seed": int.from_bytes(os.urandom(8), "little"),
                "pretok": self._pre.splitter,
                "ignore_merges": self._pre.ignore_merges,
                "characters": self._pre.characters,
                "whole_lines": self._pre.whole_lines,
                "unk_id": unk if unk < len(tokens) else -1,
            },
        )
        self._bpe = _build(tokens, types, merges, options)
        self._offsets = lib.lk_bpe_offsets(self._bpe)
        self._bytes = ffi.buffer(lib.lk_bpe_bytes(self._bpe), self._offsets[len(tokens)])
        super().__init__(metadata, types)
        self.nl_id = self._single(b"\n")

    def token_bytes(self, token: int) -> bytes:
        """Bytes that a token adds to a text; of a control token, its name."""
        self._check_id(token)
        data: bytes = self._bytes[self._offsets[token] : self._offsets[token + 1]]
        return data.replace(_SPACE, b" ") if self._pre.characters else data

    def _single(self, byte: bytes) -> int | None:
        try:
            return self._encode_plain(byte, True)[0]
        except InvalidArgumentError:
            return None

    def _default_adds(self) -> tuple[bool, bool]:
        return self._pre.add_bos, False

    def _encode_plain(self, text: bytes, first: bool) -> list[int]:
        if self._pre.characters:
            text = text.replace(b" ", _SPACE)
        ids = _allocate("int32_t[]", len(text))
        count = ffi.new("size_t *")
        status = lib.lk_bpe_encode(self._bpe, text, len(text), ids, len(text), count)
        if status == lib.LK_ERR_UNSUPPORTED:
            raise InvalidArgumentError(
                "the text holds a byte that this vocabulary has no token for, nor an unknown token"
            )
        check(status, "encoding a text")
        found: list[int] = ffi.unpack(ids, count[0])
        return found


def _build(tokens: StringArray, types: bytes, merges: StringArray, options: Any) -> Any:
    out, bad = ffi.new("lk_bpe **"), ffi.new("size_t *")
    token_strings, merge_strings = c_strings(tokens), c_strings(merges)
    status = lib.lk_bpe_new(token_strings[0], types, merge_strings[0], options, out, bad)
    if status == lib.LK_ERR_ARGUMENT and bad[0] < len(merges):
        raise FormatError(
            f"tokenizer.ggml.merges: entry {bad[0]} ({merges.raw(bad[0])!r}) is no pair of tokens "
            "that makes a token"
        )
    if status == lib.LK_ERR_UNSUPPORTED:
        raise FormatError("the vocabulary's strings are longer than 4 GiB")
    check(status, "building the tokenizer's tables")
    return ffi.gc(out[0], lib.lk_bpe_free)
