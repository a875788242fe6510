"""The `sentencepiece` library as a reference: a model of its kind made of a vocabulary of ours."""

from __future__ import annotations

from vocabularies import BYTE, CONTROL, UNKNOWN


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
