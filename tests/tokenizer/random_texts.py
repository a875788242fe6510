"""Random texts in which every kind of character meets every other."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable
from functools import cache

import pytest
from tokenizers import Regex
from tokenizers.pre_tokenizers import Split

regex = pytest.importorskip("regex")

# Both the interpreter's and the regex module's Unicode know these characters.
ASSIGNED = [
    chr(c) for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co")
]

WORDS = ["word", " Word", "WORD", "wORD", "ABCdef", "été", "ΑΒΓδ", "ab12", "x y", "Ა", "ǅ", "ʰ"]
NUMBERS = ["123", "4567890", "1234567", " 1", "1234 ", "12½345", "½", "a1234b", "١٢٣٤"]
CONTRACTIONS = ["'s", "'T", "'re", "'RE", "'Ve", "'ll", "'lL", "'", "''", "'x", "'l", "'r"]
SPACES = [" ", "  ", "    ", "\n", "\n\n", "\r\n", "\t", " \n", "\n ", "\x1c", "\u3000"]
MARKS = ["//", "/\n", "!foo", "_bar", " .", "(", "|", "।", "\u0301", "\u0301\u0301", "e\u0301 f"]
EAST = ["你好", "かな", "カナ", "한국", "ㄅㄆ", "，。", "！…", "あDあD", "〇", "々", "⺀", "ไทย"]
CHAMELEON = ["IMGIMGABZ", "IMGIMGZ", "IMGIMGABCDEZ", "<sentinel:12>", "<sentinel:>", "<sentinel:1"]
COLLECTIONS = [WORDS, NUMBERS, CONTRACTIONS, SPACES, MARKS, EAST, CHAMELEON]


@cache
def undisputed() -> list[str]:
    """Characters whose category the interpreter, the regex module and Oniguruma agree on."""
    kept = set(ASSIGNED) - set("\u200c\u200d")  # parts of words to one, not to the other
    text = "".join(ASSIGNED)
    for category in sorted({unicodedata.category(char) for char in ASSIGNED}):
        name = rf"\p{{{category}}}"
        known = {char for char in ASSIGNED if unicodedata.category(char) == category}
        split = Split(Regex(f"[^{name}]"), "removed").pre_tokenize_str(text)
        kept -= known ^ set(regex.findall(name, text))
        kept -= known ^ set("".join(piece for piece, _ in split))
    return sorted(kept)


@cache
def kinds() -> list[list[str]]:
    """Spaces, numbers, marks, letters, and the signs of ASCII; and all characters."""
    by_kind: dict[str, list[str]] = {}
    for char in undisputed():
        by_kind.setdefault(unicodedata.category(char)[0], []).append(char)
    spaces = [c for c in undisputed() if regex.match(r"\s", c)]
    signs = list("$+<=>^~|`'.,!-_/\\#")
    letters = by_kind["L"] + by_kind["M"]
    return [spaces, by_kind["N"], by_kind["P"] + by_kind["S"], letters, signs, undisputed()]


def text_maker(rng: random.Random) -> Callable[[], str]:
    """Make a function that makes texts."""

    def part() -> str:
        if rng.random() < 0.6:
            return rng.choice(rng.choice(COLLECTIONS))
        if rng.random() < 0.05:
            return rng.choice(" \n\t") * rng.choice([*range(1, 40), 511, 512, 513, 514, 1500])
        return "".join(rng.choices(rng.choice(kinds()), k=rng.randint(1, 4)))

    return lambda: "".join(part() for _ in range(rng.randint(1, 12)))
