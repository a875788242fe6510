"""Unigram models, beside the sentencepiece library and Hugging Face's tokenizers."""

from __future__ import annotations

import json
import random
import struct
import time
from functools import cache
from typing import Any

import pytest
import tokenizers
from sentencepiece import SentencePieceProcessor
from sentencepiece_models import metadata_of, train
from unicode_3_2 import random_texts
from vocabularies import CONTROL, NORMAL, PROSE, UNKNOWN, UNUSED, USER_DEFINED, load

from llamacpp.errors import FormatError, InvalidArgumentError
from llamacpp.tokenizer import Tokenizer

SPACE = "\u2581"


@cache
def trained(rule: str, byte_fallback: bool, extra_spaces: bool) -> SentencePieceProcessor:
    return train(
        model_type="unigram",
        vocab_size=500,
        normalization_rule_name=rule,
        byte_fallback=byte_fallback,
        remove_extra_whitespaces=not extra_spaces,
    )


@pytest.mark.parametrize("extra_spaces", [False, True], ids=["collapsed", "kept"])
@pytest.mark.parametrize("byte_fallback", [False, True], ids=["unknown", "bytes"])
@pytest.mark.parametrize("rule", ["nmt_nfkc", "nmt_nfkc_cf", "nfkc", "identity"])
def test_tokens_are_those_of_sentencepiece(
    rule: str, byte_fallback: bool, extra_spaces: bool
) -> None:
    reference = trained(rule, byte_fallback, extra_spaces)
    ours = load(metadata_of(reference, "t5"))
    for text in random_texts(1, 500):
        assert ours.encode(text, add_eos=False) == reference.encode(text), text


def test_every_character_becomes_what_sentencepiece_makes_of_it() -> None:
    reference = trained("nmt_nfkc", True, False)
    ours = load(metadata_of(reference, "t5"))
    codes = [chr(code) for code in range(0x30000) if not 0xD800 <= code < 0xE000]
    for first in range(0, len(codes), 40):
        text = " a".join(codes[first : first + 40])
        assert ours.encode(text, add_eos=False) == reference.encode(text), hex(first)


def test_tokens_are_those_of_hugging_face() -> None:
    theirs = tokenizers.Tokenizer(tokenizers.models.Unigram())
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(split=False)
    trainer = tokenizers.trainers.UnigramTrainer(
        vocab_size=300, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False
    )
    rng = random.Random(2)
    words = PROSE.split()
    theirs.train_from_iterator([" ".join(rng.choices(words, k=8)) for _ in range(300)], trainer)
    count = theirs.get_vocab_size()
    tokens = [theirs.id_to_token(i) for i in range(count)]
    scores = [float(score) for _, score in json.loads(theirs.to_str())["model"]["vocab"]]
    ours = load(
        {"model": "t5", "tokens": tokens, "scores": scores, "unknown_token_id": 0}
        | {"token_type": [UNKNOWN, *[NORMAL] * (count - 1)]}
    )
    for text in random_texts(3, 500):
        text = text.lstrip(f" {SPACE}")  # theirs puts no space before a space
        assert ours.encode(text, add_eos=False) == theirs.encode(text).ids, text


def small(**change: Any) -> Tokenizer:
    tokens = ["<pad>", "</s>", "<unk>", SPACE, "a", "b", "ab", f"{SPACE}a", "bb", "<x>"]
    metadata: dict[str, Any] = {
        "model": "t5",
        "tokens": tokens,
        "scores": [0.0, 0.0, 0.0, -3.0, -4.0, -4.0, -5.0, -4.5, -6.0, 0.0],
        "token_type": [CONTROL, CONTROL, UNKNOWN, *[NORMAL] * 5, UNUSED, USER_DEFINED],
        "remove_extra_whitespaces": True,
    }
    return load({k: v for k, v in (metadata | change).items() if v is not None})


def test_the_best_sum_wins_and_special_tokens_are_cut_out() -> None:
    t = small()
    assert (t.bos_id, t.eos_id, t.unk_id, t.pad_id, t.add_bos, t.add_eos) == (
        None, 1, 2, 0, False, True,
    )  # fmt: skip
    assert t.encode("ab") == [3, 6, 1]  # -3 - 5 against -4.5 - 4
    assert t.encode(" a  ab ") == [7, 3, 6, 1]
    assert t.encode("abb", add_eos=False) == [3, 6, 5]  # bb is unused
    assert t.encode("a<x>a", add_eos=False) == [7, 9, 7]
    assert t.encode("a</s>a", parse_special=True, add_eos=False) == [7, 1, 7]
    assert 1 not in t.encode("a</s>a", add_eos=False)
    assert t.encode("qwé", add_eos=False) == [3, 2]  # one for all unknown in a row
    assert t.encode("", add_eos=False) == t.encode("   ", add_eos=False) == []
    assert t.decode(t.encode("ab a")) == "ab a"
    assert small(add_space_prefix=False).encode("ab", add_eos=False) == [6]
    assert small(remove_extra_whitespaces=None).encode(" a", add_eos=False) == [3, 7]
    with pytest.raises(InvalidArgumentError, match="no token for, nor an unknown token"):
        small(token_type=[CONTROL, CONTROL, *[NORMAL] * 8]).encode("q")


def test_any_scores_and_any_bytes_give_tokens() -> None:
    rng = random.Random(4)
    specials = [float("inf"), float("-inf"), 3e38, -3e38, 0.0, -1.0]
    for _ in range(50):
        t = small(scores=[rng.choice(specials) for _ in range(10)])
        for _ in range(20):
            ids = t.encode(bytes(rng.choices(b"ab \xe2\x96\x81\xff", k=20)))
            assert all(0 <= i < t.n_vocab for i in ids)


def charsmap(units: list[int], texts: bytes) -> bytearray:
    return bytearray(struct.pack(f"<I{len(units)}I", 4 * len(units), *units) + texts)


@pytest.mark.parametrize(
    "broken",
    [
        b"\1\0\0",
        struct.pack("<I", 3) + b"abc",
        struct.pack("<I", 8) + bytes(4),
        charsmap([0], b"not ended"),
        charsmap([0], b"x" * 2000 + b"\0"),
    ],
    ids=["short", "odd", "beyond", "no NUL", "huge text"],
)
def test_a_broken_charsmap_is_refused(broken: bytes) -> None:
    with pytest.raises(FormatError, match="precompiled_charsmap is broken"):
        small(precompiled_charsmap=bytearray(broken))


def test_a_charsmap_that_points_anywhere_does_no_harm() -> None:
    rng = random.Random(5)
    real = metadata_of(trained("nmt_nfkc", False, False), "t5")["precompiled_charsmap"]
    assert isinstance(real, bytearray)
    texts = [text.encode() for text in random_texts(6, 100)]
    for _ in range(10):
        units = [rng.getrandbits(32) for _ in range(rng.choice((0, 1, 300)))]
        damaged = bytearray(real)
        for _ in range(2000):
            damaged[rng.randrange(4, len(real) - 1)] = rng.randrange(256)
        for data in (charsmap(units, b"a\0bc\0"), damaged):
            try:
                t = small(precompiled_charsmap=data)
            except FormatError:  # a text that became too long
                continue
            for text in texts:
                assert t.encode(text)[-1] == 1


def test_the_type_of_the_charsmap_may_be_signed() -> None:
    metadata = metadata_of(trained("nmt_nfkc", False, False), "t5")
    unsigned = load(metadata)
    rules = metadata["precompiled_charsmap"]
    assert isinstance(rules, bytearray)
    signed = load(metadata | {"precompiled_charsmap": memoryview(rules).cast("b")})
    assert signed.encode("ﬁne") == unsigned.encode("ﬁne") == unsigned.encode("fine")


@pytest.mark.parametrize("piece", ["a", " ", "ab ", "\ufdfa", "q", "\xff"])
def test_a_megabyte_takes_no_more_than_its_share_of_time(piece: str) -> None:
    data = piece.encode("latin-1" if piece == "\xff" else "utf-8")
    ours = load(metadata_of(trained("nmt_nfkc", False, False), "t5"))

    def seconds(n: int) -> float:
        text = data * (n // len(data))
        began = time.process_time()
        ours.encode(text)
        return time.process_time() - began

    assert seconds(1_000_000) < 40 * max(min(seconds(100_000) for _ in range(3)), 0.01)
