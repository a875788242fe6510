"""Incremental UTF-8: never half a character, and in the end what decoding at once gives."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from vocabularies import load, spm_metadata

from llamacpp.tokenizer import TokenStream, Utf8Stream, load_tokenizer

WHOLE = [b"a", b" ", "é".encode(), "你".encode(), "😁".encode()]
BROKEN = [b"\xff", b"\xc3", b"\xe2\x82", b"\xf0\x9f", b"\xf0\x9f\x98", b"\xed\xa0\x80", b"\x80"]
LIVELY = st.sampled_from([*WHOLE, *BROKEN, b"\xc0\xaf", b"\xf5", b"\xf4\x90"])


@given(st.lists(st.one_of(LIVELY, st.binary(max_size=4))))
def test_pieces_join_to_the_whole_decoded(chunks: list[bytes]) -> None:
    stream = Utf8Stream()
    pieces = [stream.feed(chunk) for chunk in chunks]
    pieces.append(stream.flush())
    assert "".join(pieces) == b"".join(chunks).decode("utf-8", "replace")


@given(st.text())
def test_a_byte_at_a_time_gives_whole_characters_as_soon_as_they_are(text: str) -> None:
    stream = Utf8Stream()
    seen = ""
    for end, byte in enumerate(text.encode(), 1):
        piece = stream.feed(bytes([byte]))
        assert "\ufffd" not in piece or "\ufffd" in text
        seen += piece
        assert seen == text.encode()[:end].decode("utf-8", "ignore")
        assert stream.pending == end - len(seen.encode())
    assert stream.flush() == ""


def test_a_character_cut_short_comes_out_at_the_end_as_a_replacement() -> None:
    stream = Utf8Stream()
    assert stream.feed("😁".encode()[:3]) == ""
    assert stream.pending == 3
    assert stream.flush() == "\ufffd"


@given(st.text(max_size=20), st.booleans(), st.booleans())
def test_tokens_one_by_one_give_what_decode_gives(
    text: str, special: bool, continuation: bool
) -> None:
    tokenizer = _TOKENIZER
    ids = tokenizer.encode(text, add_eos=True)
    stream = TokenStream(tokenizer, special=special, continuation=continuation)
    pieces = [stream.feed(token) for token in ids]
    assert "".join(pieces) + stream.flush() == tokenizer.decode(
        ids, special=special, continuation=continuation
    )
    again = TokenStream(tokenizer, special=special, continuation=continuation)
    assert list(again.pieces(ids)) == [piece for piece in pieces if piece]


def test_a_file_without_a_tokenizer_has_none() -> None:
    from gguf_bytes import BytesSource, model

    from llamacpp.format.gguf import parse_header

    for metadata in ({}, {"tokenizer.ggml.model": "none"}):
        assert load_tokenizer(parse_header(BytesSource(model(metadata))).metadata) is None


_TOKENIZER = load(spm_metadata())
