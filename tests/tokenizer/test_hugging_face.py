"""Words and ids against Hugging Face's `tokenizers`, of the same vocabulary and expressions."""

from __future__ import annotations

import random
from functools import cache

import pytest
import tokenizers
from expressions import EXPRESSIONS, FAMILIES, GPT4O
from random_texts import text_maker
from test_split_words import split
from tokenizers import pre_tokenizers
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


@cache
def merges() -> list[tuple[bytes, bytes]]:
    """Merges that go across every boundary, so that a word cut elsewhere gives other ids."""
    return train_merges([PROSE.encode(), "你好，世界 12345  x/\n'S ABCdef.'".encode() * 3], 200)


@pytest.mark.parametrize("pre", EXPRESSIONS)
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
