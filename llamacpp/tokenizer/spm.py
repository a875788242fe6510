"""SentencePiece-style tokenizers (`tokenizer.ggml.model` = llama): LLaMA 1 and 2, Mistral.

The `sentencepiece` library does the work, on a model made of the pieces, scores and types in the
file. Of its normalisation nothing is used: spaces are escaped and special tokens cut out here, the
way these files' models were converted to expect.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

from llamacpp.errors import FormatError, InvalidArgumentError
from llamacpp.format.metadata import Metadata
from llamacpp.format.types import ValueType
from llamacpp.tokenizer.base import BYTE, CONTROL, UNKNOWN, Tokenizer, token_types

__all__ = ["SentencePieceTokenizer"]

_SPACE = "\u2581".encode()  # how pieces write a space
_BYTE_PIECE = re.compile(rb"<0x([0-9A-F]{2})>")
_NOT_UTF8 = re.compile("([\udc80-\udcff]+)")


class SentencePieceTokenizer(Tokenizer):
    """Pieces merged by score, with bytes as the last resort.

    Raises:
        FormatError: tokens, scores and types do not fit together.
    """

    _default_ids: ClassVar[Mapping[str, int]] = {"unknown": 0, "bos": 1, "eos": 2}

    def __init__(self, metadata: Metadata) -> None:
        tokens = metadata.strings("tokenizer.ggml.tokens")
        self._pieces = list(tokens.iter_raw())
        types = token_types(metadata, len(self._pieces))
        scores = metadata.numbers(
            "tokenizer.ggml.scores", ValueType.FLOAT32, length=len(self._pieces)
        )
        if any(score != score for score in scores.data):
            raise FormatError("tokenizer.ggml.scores holds a NaN")
        self._scores = scores.data.tobytes()
        self._byte_ids = _byte_ids(self._pieces, types)
        self.add_space_prefix = metadata.boolean("tokenizer.ggml.add_space_prefix", True)
        super().__init__(metadata, types)
        self.nl_id = self._byte_ids.get(10)

    def token_bytes(self, token: int) -> bytes:
        """Bytes that a token adds to a text; of a control token, its name."""
        self._check_id(token)
        piece, kind = self._pieces[token], self._types[token]
        if kind == BYTE:
            return bytes([int(piece[3:5], 16)])
        return piece if kind in (CONTROL, UNKNOWN) else piece.replace(_SPACE, b" ")

    def _default_adds(self) -> tuple[bool, bool]:
        return True, False

    @cached_property
    def _processor(self) -> Any:
        from sentencepiece import SentencePieceProcessor

        proto = _model_proto(
            self._pieces, self._scores, self._types, self.unk_id, len(self._byte_ids) == 256
        )
        try:
            return SentencePieceProcessor(model_proto=proto)
        except (RuntimeError, ValueError) as error:
            raise FormatError(f"sentencepiece refuses the file's vocabulary: {error}") from None

    def _encode_plain(self, text: bytes, first: bool) -> list[int]:
        if first and self.add_space_prefix:
            text = b" " + text
        escaped = text.replace(b" ", _SPACE).decode("utf-8", "surrogateescape")
        ids: list[int] = []
        for part in _NOT_UTF8.split(escaped):
            if _NOT_UTF8.match(part):
                ids += (self._byte_id(b) for b in part.encode("utf-8", "surrogateescape"))
            elif part:
                ids += self._processor.EncodeAsIds(part)
        if self.unk_id is None and self.n_vocab in ids:
            raise InvalidArgumentError(
                "the text holds a character that this vocabulary has no token for, "
                "nor an unknown token"
            )
        return ids

    def _byte_id(self, byte: int) -> int:
        token = self._byte_ids.get(byte, self.unk_id)
        return self.n_vocab if token is None else token


def _byte_ids(pieces: list[bytes], types: bytes) -> dict[int, int]:
    """Token of each byte that has one."""
    found: dict[int, int] = {}
    for match in re.finditer(b"%c" % BYTE, types):
        token = match.start()
        name = _BYTE_PIECE.fullmatch(pieces[token])
        if name is None:
            raise FormatError(
                f"token {token} is of type byte, but its text is {pieces[token]!r}, not <0xNN>"
            )
        found[int(name[1], 16)] = token
    return found


def _model_proto(
    pieces: list[bytes], scores: bytes, types: bytes, unk_id: int | None, byte_fallback: bool
) -> bytes:
    """Serialise a sentencepiece ModelProto (sentencepiece_model.proto), fields by number.

    The library insists on one unknown piece, on unique names that are not empty and hold no NUL,
    and on all byte pieces or none. What does not fit becomes a control piece, which no text turns
    into.
    """
    kinds = bytearray(types)
    for i, kind in enumerate(kinds):
        if kind == UNKNOWN or (kind == BYTE and not byte_fallback):
            kinds[i] = CONTROL
    places = {piece: i for i, piece in enumerate(pieces)}  # of equal texts the last counts
    if len(places) < len(pieces) or b"" in places or b"\0" in b"".join(pieces):
        pieces = list(pieces)
        for i, piece in enumerate(pieces):
            if not piece or b"\0" in piece or places[piece] != i:
                pieces[i] = _free_name(places)
                kinds[i] = CONTROL
    if unk_id is None:
        pieces = [*pieces, _free_name(places)]
        scores += bytes(4)
        kinds.append(UNKNOWN)
    else:
        kinds[unk_id] = UNKNOWN

    out = []
    for i, piece in enumerate(pieces):
        # SentencePiece: 1 piece (string), 2 score (float), 3 type (enum, numbered as here)
        body = b"\x0a%b%b\x15%b\x18%c" % (
            _varint(len(piece)),
            piece,
            scores[4 * i : 4 * i + 4],
            kinds[i],
        )
        out.append(b"\x0a%b%b" % (_varint(len(body)), body))  # ModelProto: 1 pieces
    # TrainerSpec (2): 3 model_type = BPE, 35 byte_fallback
    out.append(b"\x12\x05\x18\x02\x98\x02%c" % byte_fallback)
    # NormalizerSpec (3): 3 add_dummy_prefix, 4 remove_extra_whitespaces, 5 escape_whitespaces: off
    out.append(b"\x1a\x06\x18\0\x20\0\x28\0")
    return b"".join(out)


def _free_name(places: dict[bytes, int]) -> bytes:
    """Make up a name that no piece has, and take it."""
    number = len(places)
    while (name := b"<piece %d>" % number) in places:
        number += 1
    places[name] = -1
    return name


def _varint(value: int) -> bytes:
    if value < 0x80:
        return b"%c" % value
    return b"%c%b" % (value & 0x7F | 0x80, _varint(value >> 7))
