"""The regular expressions that the names of `tokenizer.ggml.pre` stand for, as they are published.

Each name has a row of expressions. One after another they are applied to the pieces that the one
before has left; what matches is a piece, and so is what lies between two matches. The syntax is one
that `regex` (version 1) and Oniguruma, which Hugging Face's `tokenizers` use, both read; where the
models ignore the case of contractions, only that of ASCII is meant.
"""

from __future__ import annotations

ANY_CASE = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
SPACES = r"\s+(?!\S)|\s+"

GPT2 = rf"'s|'t|'re|'ve|'m|'ll|'d| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|{SPACES}"

LINES_SPACES = rf"\s*[\r\n]+|{SPACES}"
LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
MARKS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
LLAMA3 = rf"{ANY_CASE}|{LETTERS}|\p{{N}}{{1,3}}|{MARKS}|{LINES_SPACES}"
QWEN2 = rf"{ANY_CASE}|{LETTERS}|\p{{N}}|{MARKS}|{LINES_SPACES}"
QWEN35 = (
    rf"{ANY_CASE}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}|"
    rf" ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{LINES_SPACES}"
)
JAIS2 = (
    rf"{ANY_CASE}|{LETTERS}|\p{{N}}{{1,3}}|{MARKS}|\s*[\r\n]+|"
    r"\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|"
    r"\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}"
)
MINICPM5 = rf"{ANY_CASE}|{LETTERS}|\p{{N}}+|{MARKS}|{LINES_SPACES}"
BAILING = (
    r"'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}|"
    rf" ?[^\s\p{{L}}\p{{N}}]++[\r\n]*|\s*[\r\n]|{SPACES}"
)
SEED_CODER = rf"{ANY_CASE}|{LETTERS}|\p{{N}}{{1}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{LINES_SPACES}"
UFAKZEKA = rf"{LETTERS}|\p{{N}}|{MARKS}|{LINES_SPACES}"
EXAONE_MOE = (
    rf"{ANY_CASE}|[^\r\n\p{{L}}\p{{N}}]?(?:\p{{L}}\p{{M}}*(?: \p{{L}}\p{{M}}*)*)+|\p{{N}}|"
    rf" ?[^\s\p{{L}}\p{{N}}]+[\r\n/]?|\s*[\r\n]|{SPACES}"
)


def capitalized(upper: str, lower: str, suffix: str = "") -> str:
    """Words such as "Word" and "WORD", each with what may stand before and after it."""
    lead = r"[^\r\n\p{L}\p{N}]?"
    return f"{lead}{upper}*{lower}+{suffix}|{lead}{upper}+{lower}*{suffix}"


UPPER, LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
REST = rf" ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{LINES_SPACES}"
GPT4O = rf"{capitalized(f'[{UPPER}]', f'[{LOWER}]', f'{ANY_CASE}?')}|\p{{N}}{{1,3}}|{REST}"
YOUTU = rf"{capitalized(f'[{UPPER}]', f'[{LOWER}]', f'{ANY_CASE}?')}|\p{{N}}|{REST}"
TEKKEN = rf"{capitalized(f'[{UPPER}]', f'[{LOWER}]')}|\p{{N}}|{REST}"
NOT_HAN = r"&&[^\p{Han}]"
KIMI_WORDS = capitalized(f"[{UPPER}{NOT_HAN}]", f"[{LOWER}{NOT_HAN}]", f"{ANY_CASE}?")
KIMI_K2 = rf"[\p{{Han}}]+|{KIMI_WORDS}|\p{{N}}{{1,3}}|{MARKS}|{LINES_SPACES}"

HAN_OR_KANA = r"[\u4E00-\u9FA5\u3040-\u309F\u30A0-\u30FF]+"
DEEPSEEK_WORDS = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|"
    r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+"
)
DEEPSEEK_V3 = rf"{DEEPSEEK_WORDS}[\r\n]*|{LINES_SPACES}"
SPARK = rf"{DEEPSEEK_WORDS}|[\r\n]|{SPACES}"
# What AFMoE's tokenizer does with digits: threes, counted from the right.
THREES = r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))"
AFMOE_EAST = (
    r"[\u4E00-\u9FFF\u3400-\u4DBF\uF900-\uFAFF\u3040-\u309F\u30A0-\u30FF\uFF65-\uFF9F"
    r"\u2F00-\u2FDF\u0E40-\u0E7F\u0E80-\u0EFF\u1780-\u17FF\u1000-\u109F\uAA60-\uAA7F"
    r"\uA9E0-\uA9FF\uAC00-\uD7AF\u1100-\u11FF]+"
)
# Letters of alphabets with case, but not those that Unicode has got since, nor all it had.
DEEPSEEK_LETTERS = (
    r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚ"
    r"Ḁ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝ\u1F5F-\u1F7Dᾀ-ᾴᾶ-ᾼ\u1FBEῂ-ῄῆ-ῌῐ-\u1FD3ῖ-\u1FDBῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u2126ℨ\u212A-ℭ"
    r"ℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+"
)
DEEPSEEK_EAST = r"[\u4E00-\u9FA5\u0800-\u4E00\uAC00-\uD7FF]+"

# Where "\b" stands in the model's file. Oniguruma takes these signs of Latin-1 for parts of words,
# and not the two that join and part letters.
THREES_BEFORE_NO_WORD = (
    r"\d{1,3}(?=(?:\d{3})*(?![\w\u00B2\u00B3\u00B9\u00BC-\u00BE&&[^\u200C\u200D]]))"
)

BLOOM = r" ?[^(\s|.,!?…。，、।۔،)]+"

_ROWS = {
    "default": [r"[\p{P}$+<=>^~|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
    "falcon": [r"[\p{P}$+<=>^~|`]+", GPT2, "[0-9][0-9][0-9]"],
    "gpt-2 phi-2 mpt olmo jais trillion granite-docling gigachat a.x-4.0 mellum modern-bert "
    "exaone4 jina-es jina-de jina-v2-es jina-v2-de jina-v1-en jina-v2-code roberta-bpe": [GPT2],
    "smollm starcoder refact command-r codeshell exaone minerva-7b mellum2": [r"\p{N}", GPT2],
    "chameleon": [
        "<sentinel:[0-9]+>",
        "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
        r"([\t\n]|    |  )",
        r"\p{N}",
        r"[\p{P}!-/:-@\[-`{-~]",
        GPT2,
    ],
    "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano dbrx smaug-bpe "
    "glm4 chatglm-bpe": [LLAMA3],
    "minicpm5": [r"\p{N}{1,3}", MINICPM5],
    "jais-2": [JAIS2],
    "qwen2 deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2": [QWEN2],
    "bailingmoe bailingmoe2 llada-moe": [BAILING],
    "laguna": [r"[^\n]+|[\n]+", QWEN2],
    "qwen35": [QWEN35],
    "ufakzeka": [UFAKZEKA],
    "seed-coder": [SEED_CODER],
    "exaone-moe": [EXAONE_MOE],
    "gpt-4o llama4 kanana2 talkie minimax-m2 granite-embed-multi-97m": [GPT4O],
    "tiny_aya cohere2moe": [THREES_BEFORE_NO_WORD, GPT4O],
    "youtu": [
        r"[\uAC00-\uD7A3\u3131-\u318E]+|"
        r"[\uFF01\u2026\u201C\u201D\u2018\u2019\u2014\uFF1A\uFF1B\uFF0C\u3001-\u303F\uFE30-\uFE4F]+|"
        rf"[\u3105-\u312F]+|{HAN_OR_KANA}",
        YOUTU,
    ],
    "tekken": [TEKKEN],
    "kimi-k2": [KIMI_K2],
    "deepseek-llm": [
        r"[\r\n]",
        DEEPSEEK_LETTERS,
        r"\s?[!-/:-~\uFF01-\uFF0F\uFF1A-\uFF5E\u2018-\u201F\u3000-\u3002]+",
        r"\s+$",
        DEEPSEEK_EAST,
        r"\p{N}+",
    ],
    "deepseek-coder": [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", DEEPSEEK_EAST, r"\p{N}"],
    "deepseek-v3 hunyuan-dense joyai-llm hy_v4": [r"\p{N}{1,3}", HAN_OR_KANA, DEEPSEEK_V3],
    "spark2_5": [r"\p{N}{1,3}", HAN_OR_KANA, SPARK, r"\p{N}"],
    "afmoe": [THREES, AFMOE_EAST, DEEPSEEK_V3],
    "bloom poro-chat gpt3-finnish": [BLOOM],
    "viking": [BLOOM, r"\p{N}"],
    "gemma4 granite-embed-multi-311m sarvam-moe": [r"[^\n]+|[\n]+"],
    "superbpe": [r"\p{N}+", r"(?=(\d{3})+(?!\d))"],
}

EXPRESSIONS: dict[str, list[str]] = {
    name: row for names, row in _ROWS.items() for name in names.split()
}
# One name of each row.
FAMILIES = [names.split()[0] for names in _ROWS]
