"""The hand-written pre-tokenizers against the regular expressions they stand for."""

from __future__ import annotations

import random
import time
import unicodedata
from itertools import pairwise

import pytest
from expressions import EXPRESSIONS, FAMILIES
from random_texts import ASSIGNED, text_maker

from llamacpp._native import check, ffi, lib
from llamacpp.tokenizer.pre import PRE_TOKENIZERS

regex = pytest.importorskip("regex")


def split_by_regex(text: str, pre: str) -> list[str]:
    """Apply each expression to the pieces of the one before; what lies between matches stays."""
    pieces = [text]
    for expression in EXPRESSIONS[pre]:
        cut = []
        for piece in pieces:
            ends = [0]
            for match in regex.finditer(expression, piece, regex.V1):
                ends += [match.start(), match.end()]
            ends.append(len(piece))
            cut += [piece[start:end] for start, end in pairwise(ends) if end > start]
        pieces = cut
    return pieces


def split(data: bytes, pre: str) -> list[bytes]:
    ends, count = ffi.new("size_t[]", len(data)), ffi.new("size_t *")
    splitter = PRE_TOKENIZERS[pre].splitter
    check(lib.lk_bpe_split(splitter, data, len(data), ends, len(data), count), "split")
    return [data[start:end] for start, end in pairwise([0, *ffi.unpack(ends, count[0])])]


def test_every_name_has_its_expressions() -> None:
    assert set(EXPRESSIONS) == set(PRE_TOKENIZERS)
    assert {pre.splitter for pre in PRE_TOKENIZERS.values()} == set(range(lib.LK_N_PRETOKS))


@pytest.mark.parametrize("pre", EXPRESSIONS)
def test_words_equal_those_of_the_regular_expressions(pre: str) -> None:
    make_text = text_maker(random.Random(pre))
    for _ in range(1000 if pre in FAMILIES else 50):
        text = make_text()
        expected = [word.encode() for word in split_by_regex(text, pre)]
        assert split(text.encode(), pre) == expected, ascii(text)


def test_every_assigned_character_has_the_class_of_its_category() -> None:
    # "x?1", "x?a" and "x?." tell letters, numbers, spaces and the rest apart.
    for char in ASSIGNED:
        data = char.encode()
        kind = unicodedata.category(char)[0]
        if regex.match(r"\s", char):
            expected = [b"x", b"?", b"1", b"x", b"?a"]
        elif kind == "L":
            expected = [b"x?", b"1", b"x?a"]
        elif kind == "N":
            expected = [b"x", b"?1", b"x", b"?", b"a"]
        else:
            expected = [b"x", b"?", b"1", b"x", b"?a"]
        words = split(b"x" + data + b"1", "llama-bpe") + split(b"x" + data + b"a", "llama-bpe")
        if char in "\r\n":
            expected[-1:] = [b"?", b"a"]
        assert words == [word.replace(b"?", data) for word in expected], hex(ord(char))


@pytest.mark.parametrize("pre", FAMILIES)
def test_words_of_any_bytes_join_to_the_bytes(pre: str) -> None:
    rng = random.Random(3)
    chunks = [b"\xff", b"\xc3", b"\xe2\x96", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80"]
    chunks += [b"a", b" ", b"1", b"'s", b"\n", "é".encode(), "\u3000".encode(), b"\xf0\x9f\x98"]
    for _ in range(2000):
        data = b"".join(rng.choices(chunks, k=rng.randint(0, 12)))
        words = split(data, pre)
        assert b"".join(words) == data
        assert all(words)


@pytest.mark.parametrize("pre", FAMILIES)
def test_a_byte_that_is_no_utf8_is_a_character_of_no_class(pre: str) -> None:
    # U+007F is as little as that byte: no letter, mark, number, sign or space.
    data = b"ab\xffcd \xff\xfe! 12\xff3 \xff\n\xe4\xbd\xa0\xff"
    assert split(data, pre) == split_like(data.translate(BAD_TO_DEL), pre, data)


BAD_TO_DEL = bytes(0x7F if byte in (0xFE, 0xFF) else byte for byte in range(256))


def split_like(similar: bytes, pre: str, data: bytes) -> list[bytes]:
    """Cut `data` where `similar`, of the same length, is cut."""
    ends = [0]
    for word in split(similar, pre):
        ends.append(ends[-1] + len(word))
    return [data[start:end] for start, end in pairwise(ends)]


REPEATED = [" ", "a", "A", "1", "\n", "\r\n", "\u0301", "1a", " \n", "  x", "あD", "D\u0301", "½"]
REPEATED += ["'", "!", "!a", "\u3000", "\u3000a", "你", "々", "<sentinel:0", "IMGIMGA", "\x00 "]


@pytest.mark.parametrize("pre", FAMILIES)
def test_a_megabyte_is_split_in_linear_time(pre: str) -> None:
    # Walking a run again for each of its words would take minutes to hours for most of these.
    for part in [*(part.encode() for part in REPEATED), b"\xff"]:
        data = part * (1_000_000 // len(part)) + b"x"
        ends, count = ffi.new("size_t[]", len(data)), ffi.new("size_t *")
        start = time.process_time()
        splitter = PRE_TOKENIZERS[pre].splitter
        check(lib.lk_bpe_split(splitter, data, len(data), ends, len(data), count), "split")
        assert time.process_time() - start < 5, part
        assert ends[count[0] - 1] == len(data)
