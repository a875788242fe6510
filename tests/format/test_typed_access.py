"""Metadata read as a type: what is declared otherwise, out of range or no text is refused."""

from __future__ import annotations

import pytest
from gguf_bytes import ARRAY, F32, I32, STRING, BytesSource, array, entry, gguf, model, string

from llamacpp.errors import FormatError
from llamacpp.format.gguf import parse_header
from llamacpp.format.types import ValueType

TYPED = model({"int": 3, "text": "x", "float": 0.5, "flag": True, "words": ["a"], "ids": [1, 2]})


@pytest.mark.parametrize(
    ("method", "arguments", "message"),
    [
        ("integer", ("text",), "'text' must be an integer, but is STRING"),
        ("integer", ("flag",), "'flag' must be an integer, but is BOOL"),
        ("integer", ("float",), "'float' must be an integer, but is FLOAT32"),
        ("integer", ("ids",), "'ids' must be an integer, but is ARRAY of INT32"),
        ("integer", ("absent",), "'absent' is missing"),
        ("number", ("int",), "'int' must be a floating-point number, but is UINT32"),
        ("boolean", ("int",), "'int' must be a boolean, but is UINT32"),
        ("string", ("words",), "'words' must be a string, but is ARRAY of STRING"),
        ("raw", ("int",), "'int' must be a string, but is UINT32"),
        ("strings", ("ids",), "'ids' must be an array of strings, but is ARRAY of INT32"),
        ("strings", ("text",), "'text' must be an array of strings, but is STRING"),
        ("numbers", ("words", F32), "'words' must be an array of FLOAT32, but is ARRAY of STRING"),
        ("numbers", ("ids", F32), "'ids' must be an array of FLOAT32, but is ARRAY of INT32"),
    ],
)
def test_typed_access_checks_the_declared_type(
    method: str, arguments: tuple[str, ...], message: str
) -> None:
    metadata = parse_header(BytesSource(TYPED)).metadata
    with pytest.raises(FormatError, match=message):
        getattr(metadata, method)(*arguments)


def test_typed_access_checks_ranges_and_counts() -> None:
    metadata = parse_header(BytesSource(TYPED)).metadata
    with pytest.raises(FormatError, match="'int' is 3, outside 4 to 9"):
        metadata.integer("int", low=4, high=9)
    with pytest.raises(FormatError, match="'words' has 1 entries, but 2 are needed"):
        metadata.strings("words", length=2)
    with pytest.raises(FormatError, match="'ids' has 2 entries, but 3 are needed"):
        metadata.numbers("ids", I32, length=3)
    negative = parse_header(BytesSource(gguf([entry("n", ValueType.INT32, -5)]))).metadata
    with pytest.raises(FormatError, match="'n' is -5, outside 0 to"):
        negative.integer("n")


def test_undecodable_text_is_refused_where_it_is_read_and_raw_where_asked_for() -> None:
    data = gguf(
        [
            entry("s", STRING, string(b"a\xff")),
            entry("words", ARRAY, array(STRING, ["ok", b"\xe2\x96"])),
        ]
    )
    metadata = parse_header(BytesSource(data)).metadata
    with pytest.raises(FormatError, match=r"metadata 's' is not valid UTF-8 \(byte 1\)"):
        metadata["s"]
    with pytest.raises(FormatError, match="metadata 's' is not valid UTF-8"):
        metadata.string("s")
    assert metadata.raw("s") == b"a\xff"
    words = metadata.strings("words")
    assert words[0] == "ok"
    with pytest.raises(FormatError, match=r"entry 1 of .*metadata 'words' is not valid UTF-8"):
        words[1]
    with pytest.raises(FormatError, match="entry 1 of"):
        list(words)
    assert list(words.iter_raw()) == [b"ok", b"\xe2\x96"]
    assert words.raw(-1) == b"\xe2\x96"
    with pytest.raises(IndexError, match="has 2 entries, no index 2"):
        words.raw(2)
