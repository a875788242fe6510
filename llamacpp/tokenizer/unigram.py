"""SentencePiece's unigram models (`tokenizer.ggml.model` = t5): T5, XLM-RoBERTa, BGE-M3.

Kudo 2018, arXiv:1804.10959: of all ways to cut a text into pieces, the one of the greatest sum of
scores. Normalisation and encoder are C (csrc/bpe/normalize.c, unigram.c).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from llamacpp._native import check, ffi, lib
from llamacpp.errors import FormatError
from llamacpp.format.metadata import Metadata
from llamacpp.format.types import ValueType
from llamacpp.tokenizer.spm import SPACE, SentencePieceTokenizer

__all__ = ["UnigramTokenizer"]

_CHARSMAP = "tokenizer.ggml.precompiled_charsmap"


class UnigramTokenizer(SentencePieceTokenizer):
    """Pieces of the greatest sum of scores, of a text normalised by the file's rules.

    Raises:
        FormatError: tokens, scores and types do not fit together, or the rules are no charsmap.
    """

    _default_ids: ClassVar[Mapping[str, int]] = {"eos": 1, "unknown": 2, "padding": 0}

    def __init__(self, metadata: Metadata) -> None:
        super().__init__(metadata)
        scores = metadata.numbers("tokenizer.ggml.scores", ValueType.FLOAT32)
        out = ffi.new("lk_unigram **")
        values = ffi.from_buffer("float[]", scores.data.tobytes())
        check(lib.lk_unigram_new(self._spm, values, out), "building the tokenizer's trie")
        self._unigram = ffi.gc(out[0], lib.lk_unigram_free)
        self._charsmap = ffi.from_buffer("uint8_t[]", _charsmap(metadata))
        self._normalizer = ffi.new(
            "struct lk_normalizer *",
            {
                "charsmap": self._charsmap,
                "n_charsmap": len(self._charsmap),
                "add_space_prefix": self.add_space_prefix,
                "remove_extra_spaces": metadata.boolean(
                    "tokenizer.ggml.remove_extra_whitespaces", False
                ),
            },
        )
        if lib.lk_normalizer_check(self._normalizer) != lib.LK_OK:
            raise FormatError(f"{_CHARSMAP} is broken: its trie and texts do not fit in it")

    def _default_adds(self) -> tuple[bool, bool]:
        return False, True

    def _normalized(self, text: bytes, first: bool) -> bytes:
        count = ffi.new("size_t *")
        room = 2 * len(text) + 1
        while True:
            out = ffi.new("uint8_t[]", room)
            status = lib.lk_normalize(self._normalizer, text, len(text), out, room, count)
            check(status, "normalising a text")
            if count[0] <= room:
                data: bytes = ffi.buffer(out, count[0])[:]
                return data.replace(SPACE, b" ")
            room = count[0]

    def _encode_into(self, text: bytes, unknown: int, ids: Any, count: Any) -> int:
        status: int = lib.lk_unigram_encode(
            self._unigram, unknown, text, len(text), ids, len(text), count
        )
        return status


def _charsmap(metadata: Metadata) -> bytes:
    """Bytes of the rules, which files declare as INT8 or UINT8; empty where there are none."""
    kind = ValueType.UINT8
    value = metadata.get(_CHARSMAP)
    if getattr(value, "element_type", None) is ValueType.INT8:
        kind = ValueType.INT8
    array = metadata.numbers(_CHARSMAP, kind, None)
    return b"" if array is None else array.data.tobytes()
