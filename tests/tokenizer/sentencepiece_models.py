"""The `sentencepiece` library as a reference: its models of our vocabularies, and the reverse."""

from __future__ import annotations

import io
import random
import struct
from collections.abc import Iterator
from typing import Any

from gguf_bytes import Value
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
from vocabularies import BYTE, CONTROL, PROSE, UNKNOWN


def model_proto(
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


def train(**options: Any) -> SentencePieceProcessor:
    """A small model of the library's own, of words of `PROSE`."""
    rng = random.Random(1)
    words = PROSE.split()
    sentences = (" ".join(rng.choices(words, k=12)) for _ in range(400))
    out = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=sentences,
        model_writer=out,
        minloglevel=2,
        hard_vocab_limit=False,
        **options,
    )
    return SentencePieceProcessor(model_proto=out.getvalue())


def metadata_of(processor: SentencePieceProcessor, model: str) -> dict[str, Value]:
    """What a GGUF file would say of a model of the library."""
    tokens: list[bytes | str] = []
    scores, types, normalizer = [], [], {}
    for number, value in _fields(processor.serialized_model_proto()):
        assert isinstance(value, bytes)
        if number == 1:
            piece = dict(_fields(value))
            tokens.append(piece[1])  # type: ignore[arg-type]
            scores.append(piece.get(2, 0.0))
            types.append(int(piece.get(3, 1)))
        elif number == 3:
            normalizer = dict(_fields(value))
    metadata: dict[str, Any] = {
        "model": model,
        "tokens": tokens,
        "scores": scores,
        "token_type": types,
        "unknown_token_id": processor.unk_id(),
        "add_space_prefix": bool(normalizer.get(3, 1)),
        "remove_extra_whitespaces": bool(normalizer.get(4, 1)),
    }
    if charsmap := normalizer.get(2):
        metadata["precompiled_charsmap"] = bytearray(charsmap)  # type: ignore[arg-type]
    return metadata


def _fields(data: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """Fields of a protobuf message: numbers, floats, and bytes of whatever else."""
    pos = 0

    def varint() -> int:
        nonlocal pos
        value = shift = 0
        while True:
            pos += 1
            value |= (data[pos - 1] & 0x7F) << shift
            shift += 7
            if data[pos - 1] < 0x80:
                return value

    while pos < len(data):
        tag = varint()
        if tag & 7 == 0:
            yield tag >> 3, varint()
        elif tag & 7 == 5:
            yield tag >> 3, struct.unpack_from("<f", data, pos)[0]
            pos += 4
        else:
            assert tag & 7 == 2
            length = varint()
            yield tag >> 3, data[pos : pos + length]
            pos += length
