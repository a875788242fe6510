"""Words and ids against Hugging Face's `tokenizers`, of the same vocabulary and expressions."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import pairwise

import pytest
import tokenizers
from expressions import EXPRESSIONS, FAMILIES, GPT4O
from gguf_bytes import Value
from random_texts import text_maker
from test_split_words import split
from tokenizers import normalizers, pre_tokenizers
from tokenizers.models import BPE
from vocabularies import PROSE, bpe_metadata, load, train_merges

from llamacpp.tokenizer.pre import PRE_TOKENIZERS


def isolating(expressions: list[str]) -> list[object]:
    return [
        pre_tokenizers.Split(tokenizers.Regex(expression), "isolated") for expression in expressions
    ]


# As the models' tokenizer.json has them, where that is not a row of expressions.
BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
EACH_DIGIT = pre_tokenizers.Digits(individual_digits=True)
OF_THE_MODELS = {
    "gpt-2": [BYTES],
    "smollm": [EACH_DIGIT, BYTES],
    "tiny_aya": isolating([r"\d{1,3}(?=(?:\d{3})*\b)", GPT4O]),
    "deepseek-coder": [*isolating(EXPRESSIONS["deepseek-coder"][:-1]), EACH_DIGIT],
}


@pytest.mark.parametrize("pre", FAMILIES)
def test_words_equal_those_of_hugging_face(pre: str) -> None:
    make_text = text_maker(random.Random(pre + "words"))
    theirs = pre_tokenizers.Sequence(isolating(EXPRESSIONS[pre]))
    for _ in range(300):
        text = make_text()
        expected = [piece.encode() for piece, _ in theirs.pre_tokenize_str(text)]
        assert split(text.encode(), pre) == expected, ascii(text)


@pytest.mark.parametrize("pre", OF_THE_MODELS)
def test_words_equal_those_of_the_models_own_steps(pre: str) -> None:
    make_text = text_maker(random.Random(pre + "model"))
    theirs = pre_tokenizers.Sequence(OF_THE_MODELS[pre])
    for _ in range(300):
        text = make_text()
        expected = [text[start:end] for _, (start, end) in theirs.pre_tokenize_str(text)]
        assert [word.decode() for word in split(text.encode(), pre)] == expected, ascii(text)


OF_CHARACTERS = [name for name, pre in PRE_TOKENIZERS.items() if pre.characters]


@cache
def merges() -> list[tuple[bytes, bytes]]:
    """Merges that go across every boundary, so that a word cut elsewhere gives other ids."""
    return train_merges([PROSE.encode(), "你好，世界 12345  x/\n'S ABCdef.'".encode() * 3], 200)


@pytest.mark.parametrize("pre", [pre for pre in EXPRESSIONS if pre not in OF_CHARACTERS])
def test_ids_equal_those_of_hugging_face(pre: str) -> None:
    metadata = bpe_metadata(merges(), pre)
    vocabulary = {token: i for i, token in enumerate(metadata["tokens"])}  # type: ignore[arg-type]
    pairs = [tuple(merge.split(" ")) for merge in metadata["merges"]]  # type: ignore[union-attr]
    theirs = tokenizers.Tokenizer(
        BPE(vocabulary, pairs, ignore_merges=PRE_TOKENIZERS[pre].ignore_merges)
    )
    theirs.pre_tokenizer = pre_tokenizers.Sequence(
        [*isolating(EXPRESSIONS[pre]), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    ours = load(metadata)
    rng = random.Random(pre + "ids")
    make_text = text_maker(rng)
    for _ in range(60 if pre in FAMILIES else 10):
        start = rng.randrange(len(PROSE))
        text = PROSE[start : start + rng.randint(1, 80)] + make_text()
        assert ours.encode(text, add_bos=False) == theirs.encode(text).ids, ascii(text)


def characters_metadata(pre: str) -> dict[str, Value]:
    """Bytes, characters, and merges of both words and line feeds, as Gemma 4's vocabulary has."""
    corpus = [
        list(word) for word in (PROSE * 2 + "\n\n\n\n").replace(" ", "\u2581").splitlines(True)
    ]
    pairs: list[tuple[str, str]] = [("\n", "\n"), ("\n\n", "\n\n"), ("\n\n", "\n")]
    while len(pairs) < 150:
        seen = Counter(p for word in corpus for p in pairwise(word) if "\n" not in p)
        pairs.append(max(seen, key=lambda p: (seen[p], p)))
        corpus = [list(merged(word, pairs[-1])) for word in corpus]
    special = ["<pad>", "</s>", "<s>", "<unk>"]
    chars = sorted(set(PROSE.replace(" ", "\u2581")))
    pieces = list(dict.fromkeys([*chars, *(a + b for a, b in pairs)]))
    return {
        "model": "gpt2",
        "pre": pre,
        "tokens": [*special, *(f"<0x{b:02X}>" for b in range(256)), *pieces],
        "token_type": [3, 3, 3, 2, *[6] * 256, *[1] * len(pieces)],
        "merges": [f"{a} {b}" for a, b in pairs],
        "bos_token_id": 2,
        "eos_token_id": 1,
        "unknown_token_id": 3,
    }


def merged(word: list[str], pair: tuple[str, str]) -> Iterator[str]:
    i = 0
    while i < len(word):
        both = tuple(word[i : i + 2]) == pair
        yield "".join(word[i : i + 1 + both])
        i += 1 + both


@pytest.mark.parametrize("model", ["gpt2", "gemma4"])
@pytest.mark.parametrize("pre", OF_CHARACTERS)
def test_ids_of_characters_equal_those_of_hugging_face(pre: str, model: str) -> None:
    metadata = characters_metadata(pre) | {"model": model}
    vocabulary = {token: i for i, token in enumerate(metadata["tokens"])}  # type: ignore[arg-type]
    pairs = [tuple(merge.split(" ")) for merge in metadata["merges"]]  # type: ignore[union-attr]
    theirs = tokenizers.Tokenizer(BPE(vocabulary, pairs, byte_fallback=True, unk_token="<unk>"))
    theirs.normalizer = normalizers.Replace(" ", "\u2581")
    theirs.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    ours = load(metadata)
    rng = random.Random(pre + "characters")
    make_text = text_maker(rng)
    for _ in range(300):
        start = rng.randrange(len(PROSE))
        text = PROSE[start : start + rng.randint(1, 80)] + make_text() + "\n" * rng.randint(0, 6)
        ids = ours.encode(text)
        assert ids == theirs.encode(text).ids, ascii(text)
        assert ours.decode(ids) == text.replace("\u2581", " ")


def test_line_feeds_that_are_a_token_are_taken_whole_where_the_name_says_so() -> None:
    for pre in OF_CHARACTERS:
        metadata = characters_metadata(pre)
        metadata["tokens"] = [*metadata["tokens"], "\n" * 9]  # type: ignore[misc]
        metadata["token_type"] = [*metadata["token_type"], 1]  # type: ignore[misc]
        n = len(load(metadata).encode("\n" * 9))
        assert (n == 1) == PRE_TOKENIZERS[pre].whole_lines


@pytest.mark.parametrize("data", [b"\xff", b"a\xe4", b"\xe4\xbd b", b"\xf0\x9f", b" \x80x"])
def test_bytes_that_are_no_text_come_back(data: bytes) -> None:
    ours = load(characters_metadata("gemma4"))
    assert ours.decode_bytes(ours.encode(data)) == data
