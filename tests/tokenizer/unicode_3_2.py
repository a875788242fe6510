"""Texts to compare tokenizers on: words of the vocabulary's language, spaces, all of Unicode."""

from __future__ import annotations

import random
import unicodedata

from vocabularies import PROSE

# Of Unicode 3.2, which all libraries know the same way.
CHARACTERS = [
    chr(code)
    for code in range(0x30000)
    if unicodedata.ucd_3_2_0.category(chr(code)) not in ("Cn", "Cs")
    and unicodedata.category(chr(code)) == unicodedata.ucd_3_2_0.category(chr(code))
]
SPACES = [" ", " ", " ", "  ", "    ", "\n", "\t", "\r\n", "\u3000", "\xa0", "\u200b", "\u2028"]
WORDS = [
    *PROSE.split(),
    "ﬁne",
    "ＡＢＣ",
    "①②",
    "é",
    "e\u0301",
    "ΣΑΣ",
    "İstanbul",
    "ǆ",
    "한국어",
    "😁👍🏽",
]


def random_texts(seed: int, count: int, characters: list[str] | None = None) -> list[str]:
    """Texts of up to 20 parts."""
    rng = random.Random(seed)
    characters = characters or CHARACTERS
    parts = [
        lambda: rng.choice(WORDS),
        lambda: rng.choice(WORDS).upper(),
        lambda: rng.choice(SPACES),
        lambda: "".join(rng.choices(characters, k=rng.randint(1, 6))),
        lambda: chr(rng.randint(33, 126)) * rng.randint(1, 5),
    ]
    return ["".join(rng.choice(parts)() for _ in range(rng.randint(1, 20))) for _ in range(count)]
