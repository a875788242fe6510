"""Byte-level BPE on vocabularies made here, against the definition of the algorithm."""

from __future__ import annotations

import random
import threading
import time
from functools import cache
from typing import Any

import pytest
from gguf_bytes import Value
from hypothesis import given, settings
from hypothesis import strategies as st
from vocabularies import PROSE, bpe_metadata, load, slow_bpe, spell, train_merges

from llamacpp.errors import FormatError, InvalidArgumentError, UnsupportedError
from llamacpp.tokenizer import Tokenizer

regex = pytest.importorskip("regex")
GPT2 = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")


@cache
def merges() -> list[tuple[bytes, bytes]]:
    return train_merges([word.encode() for word in GPT2.findall(PROSE)], 150)


@cache
def tokenizer() -> Tokenizer:
    return load(bpe_metadata(merges()))


def expected(text: str, ignore_merges: bool = False) -> list[bytes]:
    ranks = {pair: rank for rank, pair in enumerate(merges())}
    tokens = {left + right for left, right in merges()}
    out: list[bytes] = []
    for word in (word.encode() for word in GPT2.findall(text)):
        out += [word] if ignore_merges and word in tokens else slow_bpe(word, ranks)
    return out


def scrambled(rng: random.Random) -> str:
    """Pieces of the training text, some cut inside a word, some repeated into long words."""
    cuts = [PROSE[i : i + rng.randint(1, 12)] for i in rng.choices(range(len(PROSE)), k=8)]
    return "".join(cut * rng.choice([1, 1, 1, 9]) for cut in cuts)


def test_tokens_are_those_of_the_definition() -> None:
    rng = random.Random(5)
    for text in [PROSE, *(scrambled(rng) for _ in range(400))]:
        ids = tokenizer().encode(text)
        assert [tokenizer().token_bytes(i) for i in ids] == expected(text)


def test_words_of_any_length_equal_the_definition() -> None:
    # Words from 2 to 120 bytes: both the scan for the lowest rank and the heap.
    rng = random.Random(6)
    for length in range(2, 121):
        word = "".join(rng.choices("theras", k=length))
        assert [tokenizer().token_bytes(i) for i in tokenizer().encode(word)] == expected(word)


def test_a_word_that_is_a_token_is_taken_whole_where_the_file_ignores_merges() -> None:
    # "they" by rank becomes th-e-y pieces that never meet: only the whole word gives the token.
    pairs = [(b"h", b"e"), (b"t", b"h"), (b"he", b"y"), (b"th", b"ey"), (b"e", b"y")]
    by_merges = load(bpe_metadata(pairs, "smaug-bpe"))
    whole = load(bpe_metadata(pairs, "llama-bpe"))
    spelled = [by_merges.token_bytes(i) for i in by_merges.encode("they")]
    assert spelled == [b"t", b"hey"]
    assert whole.decode_bytes(whole.encode("they", add_bos=False)) == b"they"
    assert len(whole.encode("they", add_bos=False)) == 1
    assert whole.add_bos
    assert not by_merges.add_bos


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_any_text_comes_back(text: str) -> None:
    assert tokenizer().decode_bytes(tokenizer().encode(text)) == text.encode()
    assert tokenizer().decode(tokenizer().encode(text)) == text


@settings(max_examples=200, deadline=None)
@given(st.binary())
def test_any_bytes_come_back(data: bytes) -> None:
    assert tokenizer().decode_bytes(tokenizer().encode(data)) == data
    assert tokenizer().decode_bytes(tokenizer().encode(data, parse_special=True), special=True) == (
        data
    )


def test_control_tokens_are_text_unless_they_are_parsed() -> None:
    t = tokenizer()
    bos, eos, eot = t.bos_id, t.eos_id, t.eot_id
    text = "<s>the<|eot_id|>other"
    assert [t.token_bytes(i) for i in t.encode(text)] == expected(text)
    parsed = t.encode(text, parse_special=True)
    assert parsed[0] == bos
    assert parsed.count(eot) == 1  # type: ignore[arg-type]
    assert t.decode(parsed) == "theother"
    assert t.decode(parsed, special=True) == text
    assert t.encode("", add_bos=True, add_eos=True) == [bos, eos]
    assert t.eog_ids == {eos, eot}
    assert t.is_eog(t.special_id("<|eot_id|>"))  # type: ignore[arg-type]
    assert not t.is_eog(0)
    assert t.is_control(bos)  # type: ignore[arg-type]
    assert not t.is_control(0)
    assert t.special_id("nothing") is None


def with_marks(*texts: str, **more: Value) -> Tokenizer:
    """The bytes, the tokens of `bpe_metadata`, and control tokens of these texts."""
    metadata = bpe_metadata([])
    metadata["tokens"] = [*metadata["tokens"], *texts]  # type: ignore[misc]
    metadata["token_type"] = [*metadata["token_type"], *[3] * len(texts)]  # type: ignore[misc]
    return load(metadata | more)


def ends(tokenizer: Tokenizer) -> set[str]:
    return {tokenizer.token_bytes(i).decode() for i in tokenizer.eog_ids}


USUAL = {"</s>", "<|eot_id|>"}


@pytest.mark.parametrize(
    "text",
    [
        "<|im_end|>",
        "<end_of_turn>",
        "<turn|>",
        "<|endoftext|>",
        "<EOT>",
        "[EOT]",
        "[EOS]",
        "<eos>",
        "<|eom_id|>",
        "<|return|>",
        "<|call|>",
        "<|flush|>",
        "[e~[",
        "<|end|>",
        "<|fim_pad|>",
        "<reponame>",
        "<|file_sep|>",
    ],
)
def test_a_control_token_of_a_known_text_ends_generation(text: str) -> None:
    assert ends(with_marks(text)) == USUAL | {text}
    assert ends(with_marks(text, token_type=[1] * 262, eot_token_id=258)) == USUAL


@pytest.mark.parametrize("role", ["eot", "eom", "fim_pad", "fim_rep", "fim_sep"])
def test_a_token_that_the_file_names_ends_generation(role: str) -> None:
    more: dict[str, Value] = {"eot_token_id": 258, f"{role}_token_id": 261}
    assert "<odd>" in ends(with_marks("<odd>", "<|fim_pad|>", **more))
    with pytest.raises(FormatError, match=rf"{role}_token_id is 300"):
        with_marks("<odd>", **(more | {f"{role}_token_id": 300}))


@pytest.mark.parametrize(
    ("texts", "goes_on"),
    [
        (("<|return|>", "<|call|>", "<|end|>"), "<|end|>"),
        (("<|flush|>", "<|calls|>", "<|end|>"), "<|end|>"),
        (("<|tool_response>", "<turn|>"), "</s>"),
    ],
)
def test_what_parts_messages_ends_nothing(texts: tuple[str, ...], goes_on: str) -> None:
    found = ends(with_marks(*texts, eos_token_id=258))
    assert found == (USUAL | set(texts)) - {goes_on}
    assert goes_on in ends(with_marks(*texts[1:], eos_token_id=258))


def test_user_defined_tokens_are_always_matched_and_are_text() -> None:
    t = tokenizer()
    tool, spaced = t.special_id("<tool>"), t.special_id("  <x y>")
    ids = t.encode("a<tool>b  <x y><tool><too")
    assert ids.count(tool) == 2  # type: ignore[arg-type]
    assert ids.count(spaced) == 1  # type: ignore[arg-type]
    assert t.decode(ids) == "a<tool>b  <x y><tool><too"


def test_of_special_tokens_the_leftmost_and_then_the_longest_counts() -> None:
    metadata = bpe_metadata([])
    tokens, types = list(metadata["tokens"]), list(metadata["token_type"])  # type: ignore[arg-type]
    extra = ["aa", "aab", "abb", "b", "aabbbbc"]
    metadata |= {"tokens": tokens + extra, "token_type": types + [4] * len(extra)}
    t = load(metadata)

    def parts(text: str) -> list[bytes]:
        return [t.token_bytes(i) for i in t.encode(text)]

    assert parts("aabb") == [b"aab", b"b"]
    assert parts("aabbbbc") == [b"aabbbbc"]
    assert parts("aabbbb") == [b"aab", b"b", b"b", b"b"]
    assert parts("xabbaa") == [b"x", b"abb", b"aa"]
    assert parts("aaa") == [b"aa", b"a"]


def test_many_special_tokens_equal_a_search_by_regex() -> None:
    rng = random.Random(9)
    names = sorted({"".join(rng.choices("<ab|>", k=rng.randint(2, 6))) for _ in range(120)})
    metadata = bpe_metadata([])
    tokens, types = list(metadata["tokens"]), list(metadata["token_type"])  # type: ignore[arg-type]
    t = load(metadata | {"tokens": tokens + names, "token_type": types + [4] * len(names)})
    longest_first = sorted([*names, "<tool>", "  <x y>"], key=len, reverse=True)
    expression = regex.compile("|".join(map(regex.escape, longest_first)))
    first = t.n_vocab - len(names) - 2
    for _ in range(200):
        text = "".join(rng.choices("<ab|> ", k=rng.randint(1, 60)))
        found = [t.token_bytes(i).decode() for i in t.encode(text) if i >= first]
        assert found == expression.findall(text)


@pytest.mark.parametrize(
    "word",
    [b"a", b"th", b"the other", b" ", b"\n", b"\xff", "你".encode(), b"1", b"=", b"'"],
    ids=repr,
)
def test_a_megabyte_of_one_word_takes_no_more_than_seconds(word: bytes) -> None:
    text = (word.replace(b" ", b"") or word) * (1_000_000 // len(word))
    start = time.process_time()
    ids = tokenizer().encode(text)
    assert time.process_time() - start < 10
    assert tokenizer().decode_bytes(ids) == text


def test_threads_share_a_tokenizer() -> None:
    fresh = load(bpe_metadata(merges()))
    alone = tokenizer().encode(PROSE * 20)
    results: list[Any] = [None] * 4

    def work(i: int) -> None:
        results[i] = [fresh.encode(PROSE * 20) for _ in range(5)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(ids == alone for ids_of_one in results for ids in ids_of_one)


def test_a_file_of_version_1_has_the_same_tokens() -> None:
    metadata = bpe_metadata(merges())
    assert load(metadata, version=1).encode(PROSE) == tokenizer().encode(PROSE)


def test_a_byte_without_a_token_becomes_the_unknown_token_or_an_error() -> None:
    metadata = bpe_metadata([])
    kept = [i for i in range(256) if i != ord("q")]
    tokens = [metadata["tokens"][i] for i in kept] + ["<unk>"]  # type: ignore[index]
    small = {"model": "gpt2", "tokens": tokens, "merges": [], "pre": "gpt-2"}
    small["token_type"] = [1] * 255 + [2]
    with pytest.raises(InvalidArgumentError, match="byte that this vocabulary has no token for"):
        load(small).encode("aqua")
    unknown = load(small | {"unknown_token_id": 255})
    assert unknown.encode("aqua")[1] == 255
    assert unknown.decode(unknown.encode("aqua")) == "aua"
    long = "q" * 50 + "a" * 50
    assert unknown.encode(long).count(255) == 50


def test_of_equal_merges_the_first_counts_and_of_equal_tokens_the_last() -> None:
    pairs = [(b"a", b"b"), (b"b", b"c"), (b"a", b"b")]
    t = load(bpe_metadata(pairs))
    assert [t.token_bytes(i) for i in t.encode("abc")] == [b"ab", b"c"]
    metadata = bpe_metadata(pairs)
    tokens, types = list(metadata["tokens"]), list(metadata["token_type"])  # type: ignore[arg-type]
    t = load(metadata | {"tokens": [*tokens, "ab"], "token_type": [*types, 1]})
    assert t.encode("abc")[0] == len(tokens)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"merges": ["t h", "th"]}, r"entry 1 \(b'th'\) is no pair"),
        ({"merges": ["t h", ""]}, r"entry 1 \(b''\) is no pair"),
        ({"merges": ["a "]}, r"entry 0 \(b'a '\) is no pair"),
        ({"merges": [" b"]}, r"entry 0 \(b' b'\) is no pair"),
        ({"merges": ["a b c"]}, "entry 0"),
        ({"merges": ["t h"] * 40 + ["t zz"]}, "entry 40"),
        ({"merges": ["th e"]}, "is no pair of tokens that makes a token"),
        ({"merges": ["a \u4e2d"]}, "entry 0"),
        ({"merges": [b"a \xff\xfe"]}, "entry 0"),
        ({"token_type": [1] * 3}, "3 entries, but 262 are needed"),
        ({"token_type": [1] * 261 + [7]}, "token 261 is 7"),
        ({"token_type": [1] * 261 + [257]}, "token 261 is 257"),
        ({"bos_token_id": 262}, "bos_token_id is 262, but there are only 262 tokens"),
        ({"padding_token_id": 10**6}, "padding_token_id is 1000000"),
        ({"unknown_token_id": 10**12}, "unknown_token_id is 1000000000000"),
        ({"eos_token_id": "x"}, "must be an integer"),
        ({"tokens": "x"}, "must be an array of strings"),
    ],
)
def test_a_vocabulary_that_contradicts_itself_is_refused(
    change: dict[str, Any], message: str
) -> None:
    metadata = bpe_metadata([(b"t", b"h")])
    with pytest.raises(FormatError, match=message):
        load(metadata | change)


@pytest.mark.parametrize("key", ["tokens", "merges"])
def test_a_file_without_tokens_or_merges_is_refused(key: str) -> None:
    metadata = bpe_metadata([])
    del metadata[key]
    with pytest.raises(FormatError, match=key):
        load(metadata)


def test_a_vocabulary_of_no_tokens_is_refused() -> None:
    with pytest.raises(FormatError, match=r"tokenizer\.ggml\.tokens is empty"):
        load({"model": "gpt2", "pre": "gpt-2", "tokens": [], "merges": []})


def test_what_is_not_known_is_named() -> None:
    with pytest.raises(UnsupportedError, match=r"pre-tokenizer 'no-such'.*gpt-2.*llama-bpe"):
        load(bpe_metadata([], "no-such"))
    with pytest.raises(UnsupportedError, match=r"'rwkv'.*'llama'.*'gpt2'.*'bert'.*'t5'"):
        load({"model": "rwkv"})


def test_ids_and_texts_out_of_range_are_refused() -> None:
    t = tokenizer()
    for bad in (-1, t.n_vocab, 2**40):
        for call in (t.token_bytes, t.is_eog, t.is_control, t.token_type):
            with pytest.raises(InvalidArgumentError, match=f"token id {bad} is out of range"):
                call(bad)
        with pytest.raises(InvalidArgumentError, match="out of range"):
            t.decode([0, bad])
    with pytest.raises(InvalidArgumentError, match="lone surrogate at index 1"):
        t.encode("a\ud800")
    with pytest.raises(InvalidArgumentError, match="must be str or bytes, not int"):
        t.encode(5)  # type: ignore[arg-type]
    metadata = bpe_metadata([])
    del metadata["bos_token_id"], metadata["eos_token_id"]
    bare = load(metadata)
    assert bare.encode("a") == [97]
    with pytest.raises(InvalidArgumentError, match="no BOS token"):
        bare.encode("a", add_bos=True)
    with pytest.raises(InvalidArgumentError, match="no EOS token"):
        bare.encode("a", add_eos=True)


def test_tokens_outside_the_alphabet_are_kept_as_they_are() -> None:
    metadata = bpe_metadata([])
    tokens, types = list(metadata["tokens"]), list(metadata["token_type"])  # type: ignore[arg-type]
    t = load(metadata | {"tokens": [*tokens, "\u4e2d x"], "token_type": [*types, 1]})
    assert t.token_bytes(t.n_vocab - 1) == "\u4e2d x".encode()
    assert t.n_vocab - 1 not in t.encode("\u4e2d x")
    assert t.token_bytes(32) == b" "
    assert spell(b" \n") == "\u0120\u010a"
