"""The hand-written pre-tokenizers against the regular expressions they stand for."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable
from itertools import pairwise

import pytest

from llamacpp._native import check, ffi, lib
from llamacpp.tokenizer.pre import PRE_TOKENIZERS

regex = pytest.importorskip("regex")

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CL100K = (
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|%s|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
EXPRESSIONS = {
    "gpt-2": [GPT2],
    "llama-bpe": [CL100K % r"\p{N}{1,3}"],
    "qwen2": [CL100K % r"\p{N}"],
    "smollm": [r"\p{N}", GPT2],
    "default": [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"],
}


def split_by_regex(text: str, pre: str) -> list[str]:
    """Apply each expression to the pieces of the one before; what lies between matches stays."""
    pieces = [text]
    for expression in EXPRESSIONS[pre]:
        cut = []
        for piece in pieces:
            ends = [0]
            for match in regex.finditer(expression, piece):
                ends += [match.start(), match.end()]
            ends.append(len(piece))
            cut += [piece[start:end] for start, end in pairwise(ends) if end > start]
        pieces = cut
    return pieces


def split(data: bytes, pre: str) -> list[bytes]:
    ends, count = ffi.new("size_t[]", len(data)), ffi.new("size_t *")
    check(lib.lk_bpe_split(PRE_TOKENIZERS[pre].splitter, data, len(data), ends, len(data), count), "split")
    return [data[start:end] for start, end in pairwise([0, *ffi.unpack(ends, count[0])])]


# Both the interpreter's and the regex module's Unicode know these characters.
ASSIGNED = [
    chr(c) for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co")
]


def make_generators(rng: random.Random) -> list[Callable[[], str]]:
    by_kind: dict[str, list[str]] = {}
    for char in ASSIGNED:
        by_kind.setdefault(unicodedata.category(char)[0], []).append(char)
    spaces = [c for c in ASSIGNED if regex.match(r"\s", c)]
    tails = ["'s", "'T", "'re", "'RE", "'Ve", "'ll", "'lL", "'", "''", "'x", "'l", "'r"]
    return [
        lambda: rng.choice(tails),
        lambda: rng.choice(["word", " Word", "été", "ab12", "123", "4567890", " 1", "١٢٣٤"]),
        lambda: rng.choice([" ", "  ", "    ", "\n", "\n\n", "\r\n", "\t", " \n", "\n ", "\x1c"]),
        lambda: "".join(rng.choices(spaces, k=rng.randint(1, 4))),
        lambda: "".join(rng.choices(by_kind["N"], k=rng.randint(1, 5))),
        lambda: "".join(rng.choices(by_kind["P"] + by_kind["S"], k=rng.randint(1, 4))),
        lambda: "".join(rng.choices(by_kind["L"] + by_kind["M"], k=rng.randint(1, 4))),
        lambda: "".join(rng.choices("$+<=>^~|`'.,!-_/\\#", k=rng.randint(1, 4))),
        lambda: rng.choice(ASSIGNED),
    ]


@pytest.mark.parametrize("pre", EXPRESSIONS)
def test_words_equal_those_of_the_regular_expressions(pre: str) -> None:
    rng = random.Random(7)
    generators = make_generators(rng)
    for _ in range(1000):
        text = "".join(rng.choice(generators)() for _ in range(rng.randint(1, 12)))
        expected = [word.encode() for word in split_by_regex(text, pre)]
        assert split(text.encode(), pre) == expected, repr(text)


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


@pytest.mark.parametrize("pre", EXPRESSIONS)
def test_words_of_any_bytes_join_to_the_bytes(pre: str) -> None:
    rng = random.Random(3)
    chunks = [b"\xff", b"\xc3", b"\xe2\x96", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80"]
    chunks += [b"a", b" ", b"1", b"'s", b"\n", "é".encode(), "\u3000".encode(), b"\xf0\x9f\x98"]
    for _ in range(2000):
        data = b"".join(rng.choices(chunks, k=rng.randint(0, 12)))
        words = split(data, pre)
        assert b"".join(words) == data
        assert all(words)


@pytest.mark.parametrize("pre", ["gpt-2", "llama-bpe", "qwen2"])
def test_a_byte_that_is_no_utf8_is_a_character_of_no_class(pre: str) -> None:
    assert split(b"ab\xffcd \xff\xfe!", pre) == split_like(b"ab\x01cd \x01\x01!", pre)


def split_like(data: bytes, pre: str) -> list[bytes]:
    """Words of `data`, cut where U+0001 stands for the bad bytes, with those bytes put back."""
    bad = iter([b"\xff", b"\xff", b"\xfe"])
    words = split(data, pre)
    return [b"".join(next(bad) if c == 1 else bytes([c]) for c in word) for word in words]
