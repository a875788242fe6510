"""Generate csrc/bpe/unicode.inc: the sets of characters that the pre-tokenizers' expressions use.

Run `python tools/unicode_tables.py > csrc/bpe/unicode.inc` when a set is added or Unicode grows.
The `regex` package tells which characters belong to a set. Characters that belong to the same sets
are one class; the tables lead from a code point to its class, and from the class to the sets.
"""

from __future__ import annotations

import regex

BLOCK = 256
# Surrogates stand for nothing: no text that is UTF-8 holds one.
CODES = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]

UPPER, LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"

# Letters with case, as DeepSeek LLM's tokenizer.json lists them: neither all of them, nor those of
# one version of Unicode.
DEEPSEEK_LETTER = r"""
    A-Z a-z \xB5 \xC0-\xD6 \xD8-\xF6 \xF8-\u01BA \u01BC-\u01BF \u01C4-\u0293 \u0295-\u02AF
    \u0370-\u0373 \u0376 \u0377 \u037B-\u037D \u037F \u0386 \u0388-\u038A \u038C \u038E-\u03A1
    \u03A3-\u03F5 \u03F7-\u0481 \u048A-\u052F \u0531-\u0556 \u10A0-\u10C5 \u13A0-\u13F5
    \u13F8-\u13FD \u1C90-\u1CBA \u1CBD-\u1CBF \u1D00-\u1D2B \u1D6B-\u1D77 \u1D79-\u1D9A
    \u1E00-\u1F15 \u1F18-\u1F1D \u1F20-\u1F45 \u1F48-\u1F4D \u1F50-\u1F57 \u1F59 \u1F5B \u1F5D
    \u1F5F-\u1F7D \u1F80-\u1FB4 \u1FB6-\u1FBC \u1FBE \u1FC2-\u1FC4 \u1FC6-\u1FCC \u1FD0-\u1FD3
    \u1FD6-\u1FDB \u1FE0-\u1FEC \u1FF2-\u1FF4 \u1FF6-\u1FFC \u2102 \u2107 \u210A-\u2113 \u2115
    \u2119-\u211D \u2124 \u2126 \u2128 \u212A-\u212D \u212F-\u2134 \u2139 \u213C-\u213F
    \u2145-\u2149 \u214E \u2183 \u2184 \u2C00-\u2C7B \u2C7E-\u2CE4 \u2CEB-\u2CEE \u2CF2 \u2CF3
    \uA640-\uA66D \uA680-\uA69B \uA722-\uA76F \uA771-\uA787 \uA78B-\uA78E \uAB70-\uABBF
    \uFB00-\uFB06 \uFB13-\uFB17 \uFF21-\uFF3A \uFF41-\uFF5A \U00010400-\U0001044F
    \U000104B0-\U000104D3 \U000104D8-\U000104FB \U00010C80-\U00010CB2 \U00010CC0-\U00010CF2
    \U000118A0-\U000118DF \U0001E900-\U0001E943"""

# Names in C, and what one character of the set matches.
SETS = {
    "LETTER": r"\p{L}",
    "MARK": r"\p{M}",
    "NUMBER": r"\p{N}",
    "DIGIT": r"\d",
    "PUNCTUATION": r"\p{P}",
    "SYMBOL": r"\p{S}",
    "SPACE": r"\s",
    "BLANK": r"[ ]",
    "NEWLINE": r"[\r\n]",
    "LINE_FEED": r"\n",
    "TAB": r"\t",
    "SLASH": r"/",
    "BACKTICK": r"`",
    "ASCII_LETTER": r"[A-Za-z]",
    "ASCII_DIGIT": r"[0-9]",
    "ASCII_MARK": r"[!-/:-@\[-`{-~]",
    # As Oniguruma has it, which cuts the words of the models with a \b.
    "WORD": r"[[\w\u00B2\u00B3\u00B9\u00BC-\u00BE]--[\u200C\u200D]]",
    # Letters that may begin a word such as "Word", and those that may end it.
    "UPPER": rf"[{UPPER}]",
    "LOWER": rf"[{LOWER}]",
    "HAN": r"\p{Han}",
    "UPPER_NOT_HAN": rf"[[{UPPER}]--\p{{Han}}]",
    "LOWER_NOT_HAN": rf"[[{LOWER}]--\p{{Han}}]",
    "OTHER": r"[^\s\p{L}\p{N}]",
    "OTHER_NOT_MARK": r"[^\s\p{L}\p{M}\p{N}]",
    # What may stand before the letters of a word, in cl100k's and in DeepSeek V3's expression.
    "BEFORE_LETTER": r"[^\r\n\p{L}\p{N}]",
    "NO_MARK_BEFORE_LETTER": r"[^\r\n\p{L}\p{P}\p{S}]",
    "DEFAULT_MARK": r"[\p{P}$+<=>^~|]",
    "BLOOM_WORD": r"[^(\s|.,!?\u2026\u3002\uFF0C\u3001\u0964\u06D4\u060C)]",
    "DEEPSEEK_LETTER": f"[{''.join(DEEPSEEK_LETTER.split())}]",
    "DEEPSEEK_MARK": r"[!-/:-~\uFF01-\uFF0F\uFF1A-\uFF5E\u2018-\u201F\u3000-\u3002]",
    "DEEPSEEK_EAST": r"[\u4E00-\u9FA5\u0800-\u4E00\uAC00-\uD7FF]",
    "HAN_OR_KANA": r"[\u4E00-\u9FA5\u3040-\u309F\u30A0-\u30FF]",
    "AFMOE_EAST": r"[\u4E00-\u9FFF\u3400-\u4DBF\uF900-\uFAFF\u3040-\u30FF\uFF65-\uFF9F\u2F00-\u2FDF"
    r"\u0E40-\u0EFF\u1780-\u17FF\u1000-\u109F\uAA60-\uAA7F\uA9E0-\uA9FF\uAC00-\uD7AF\u1100-\u11FF]",
    "HANGUL": r"[\uAC00-\uD7A3\u3131-\u318E]",
    "EAST_MARK": r"[\uFF01\u2026\u201C\u201D\u2018\u2019\u2014\uFF1A\uFF1B\uFF0C\u3001-\u303F"
    r"\uFE30-\uFE4F]",
    "BOPOMOFO": r"[\u3105-\u312F]",
}


def sets_of_codes() -> list[int]:
    """Of each code point, one bit for each set that it belongs to."""
    text = "".join(map(chr, CODES))
    bits = [0] * 0x110000
    for k, expression in enumerate(SETS.values()):
        for match in regex.finditer(f"(?V1){expression}", text):
            bits[ord(match.group())] |= 1 << k
    return bits


def table(name: str, kind: str, values: list[str]) -> str:
    """Lay out one C array."""
    lines, line = [], "   "
    for value in values:
        if len(line) + len(f" {value},") > 100:
            lines.append(line)
            line = "   "
        line += f" {value},"
    body = "\n".join([*lines, line])
    return f"static const {kind} {name}[{len(values)}] = {{\n{body}\n}};"


def main() -> None:
    classes: dict[int, int] = {}
    by_code = [classes.setdefault(bits, len(classes)) for bits in sets_of_codes()]
    index: list[int] = []
    blocks: dict[tuple[int, ...], int] = {}
    for start in range(0, len(by_code), BLOCK):
        block = tuple(by_code[start : start + BLOCK])
        index.append(blocks.setdefault(block, len(blocks)))
    assert len(SETS) <= 64
    assert max(len(classes), len(blocks)) <= 256
    print("// clang-format off")
    print(f"/* Sets of characters, of Unicode as regex {regex.__version__} has it; generated by")
    print("   tools/unicode_tables.py. Code point c is in those whose bits are set in")
    print(f"   unicode_sets[unicode_class[unicode_block[c / {BLOCK}] * {BLOCK} + c % {BLOCK}]]. */")
    for k, name in enumerate(SETS):
        print(f"#define {name} (UINT64_C(1) << {k})")
    print("#ifdef UNICODE_TABLES")
    print(table("unicode_block", "uint8_t", [str(block) for block in index]))
    print(table("unicode_class", "uint8_t", [str(c) for block in blocks for c in block]))
    print(table("unicode_sets", "uint64_t", [f"0x{bits:X}" for bits in classes]))
    print("#endif")
    print("// clang-format on")


if __name__ == "__main__":
    main()
