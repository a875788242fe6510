"""SentencePiece-style tokenizers on vocabularies made here."""

from __future__ import annotations

import random
import struct
import time
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor
from sentencepiece_models import metadata_of, model_proto, train
from unicode_3_2 import random_texts
from vocabularies import (
    BYTE,
    CONTROL,
    NORMAL,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    load,
    spm_metadata,
)

from llamacpp.errors import FormatError, InvalidArgumentError
from llamacpp.tokenizer import Tokenizer

SPACE = "\u2581"


@cache
def tokenizer() -> Tokenizer:
    return load(spm_metadata())


def slow_spm(text: str, metadata: dict[str, Any]) -> list[int]:
    """The definition: of all adjacent pairs that make a piece merge the one of best score."""
    ids = {token: i for i, token in enumerate(metadata["tokens"])}
    symbols = list((" " + text).replace(" ", SPACE))
    while True:
        pairs = [left + right for left, right in pairwise(symbols)]
        found = [(-metadata["scores"][ids[p]], i) for i, p in enumerate(pairs) if p in ids]
        if not found:
            break
        _, i = min(found)
        symbols[i : i + 2] = [pairs[i]]
    out = []
    for symbol in symbols:
        unknown = (ids[f"<0x{byte:02X}>"] for byte in symbol.encode())
        out += [ids[symbol]] if symbol in ids else list(unknown)
    return out


def test_tokens_are_those_of_the_definition() -> None:
    metadata = spm_metadata()
    rng = random.Random(1)
    words = ["the", "other", " ", "  ", "in", "é", "你", "好", "q", "\n", "tthhee", "ss", "😁", "▁"]
    for _ in range(300):
        text = "".join(rng.choices(words, k=rng.randint(1, 12)))
        assert tokenizer().encode(text, add_bos=False) == slow_spm(text, metadata), text


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters=SPACE)))
def test_any_text_comes_back(text: str) -> None:
    ids = tokenizer().encode(text)
    assert ids[0] == tokenizer().bos_id
    assert tokenizer().decode(ids) == text
    assert tokenizer().decode(ids, continuation=True) == (" " + text if text else "")
    assert tokenizer().decode_bytes(ids) == (b" " + text.encode() if text else b"")


@settings(max_examples=200, deadline=None)
@given(st.binary())
def test_any_bytes_come_back(data: bytes) -> None:
    data = data.replace(SPACE.encode(), b"")
    ids = tokenizer().encode(data, add_bos=False)
    assert tokenizer().decode_bytes(ids) == (b" " + data if data else b"")


def test_special_tokens_cut_the_text_and_a_space_goes_before_each_part() -> None:
    t = tokenizer()
    tool = t.special_id("[tool]")
    the, other = t.encode("the", add_bos=False), t.encode("other", add_bos=False)
    assert t.encode("the</s>other", parse_special=True) == [1, *the, 2, *other]
    assert t.encode("the[tool]other") == [1, *the, tool, *other]
    assert t.encode("</s>", parse_special=True, add_eos=True) == [1, 2, 2]
    plain = t.encode("the</s>other")
    assert 2 not in plain
    assert t.decode(plain) == "the</s>other"
    assert t.decode([1, *the, 2, *other]) == "the other"
    assert t.decode([1, *the, 2], special=True) == "<s> the</s>"
    assert t.encode("") == [1]
    assert t.decode([1]) == ""


def test_the_file_decides_on_the_space_prefix_and_added_tokens() -> None:
    metadata = spm_metadata()
    bare = load(metadata | {"add_space_prefix": False, "add_bos_token": False})
    assert not bare.add_space_prefix
    assert bare.decode(bare.encode(" the")) == " the"
    assert bare.decode_bytes(bare.encode("the")) == b"the"
    assert bare.encode("the")[0] != 1
    assert bare.encode("the", add_bos=True)[0] == 1
    both = load(metadata | {"add_eos_token": True})
    assert both.encode("the")[0] == 1
    assert both.encode("the")[-1] == 2
    assert both.encode("the", add_eos=False)[-1] != 2


def test_roles_that_the_file_does_not_give_are_found_by_convention() -> None:
    metadata = spm_metadata()
    for key in ("bos_token_id", "eos_token_id", "unknown_token_id"):
        del metadata[key]
    t = load(metadata)
    assert (t.unk_id, t.bos_id, t.eos_id, t.nl_id, t.pad_id) == (0, 1, 2, 13, None)
    assert t.eog_ids == {2}


def test_a_vocabulary_without_bytes_uses_the_unknown_token_or_refuses() -> None:
    tokens = ["<unk>", "<s>", "</s>", SPACE, "a", "b", "ab"]
    metadata: dict[str, Any] = {"model": "llama", "tokens": tokens, "scores": [0.0] * 7}
    metadata["token_type"] = [UNKNOWN, CONTROL, CONTROL, *[NORMAL] * 4]
    assert load(metadata).encode("abq", add_bos=False) == [3, 6, 0]
    assert load(metadata).encode(b"ab\xff", add_bos=False) == [3, 6, 0]
    bare = load(metadata | {"token_type": [NORMAL] * 7})
    assert bare.encode("ab", add_bos=False) == [3, 6]
    for text in ("q", b"\xff"):
        with pytest.raises(InvalidArgumentError, match="no token for, nor an unknown token"):
            bare.encode(text)


def test_names_that_sentencepiece_would_refuse_do_no_harm() -> None:
    metadata = spm_metadata()
    tokens, scores = list(metadata["tokens"]), list(metadata["scores"])  # type: ignore[arg-type]
    types = list(metadata["token_type"])  # type: ignore[arg-type]
    extra = ["", "a\0b", "the", "<unk>", "nothing"]
    t = load(
        metadata
        | {"tokens": tokens + extra, "scores": scores + [-9.0] * len(extra)}
        | {"token_type": [*types, NORMAL, UNUSED, NORMAL, UNKNOWN, CONTROL]}
    )
    assert t.encode("other", add_bos=False) == tokenizer().encode("other", add_bos=False)
    assert t.encode("nothing", parse_special=True)[-1] == t.n_vocab - 1
    assert t.decode(t.encode("the the")) == "the the"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": [0.0] * 3}, "3 entries, but"),
        ({"scores": [1] * 3}, "must be an array of FLOAT32"),
        ({"scores": None}, "scores.* is missing"),
        ({"tokens": None}, "tokens.* is missing"),
        ({"token_type": [0] * 290}, "token 0 is 0"),
        ({"token_type": [BYTE] * 290}, r"token 0 is of type byte, but its text is b'<unk>'"),
        ({"eos_token_id": 400}, "eos_token_id is 400, but there are only 290 tokens"),
        ({"scores": [float("nan")] * 290}, "holds a NaN"),
        ({"add_bos_token": 1}, "must be a boolean"),
    ],
)
def test_a_vocabulary_that_contradicts_itself_is_refused(
    change: dict[str, Any], message: str
) -> None:
    metadata = {k: v for k, v in (spm_metadata() | change).items() if v is not None}
    with pytest.raises(FormatError, match=message):
        load(metadata)


def test_a_piece_may_have_the_name_of_a_byte() -> None:
    metadata = spm_metadata()
    types = list(metadata["token_type"])  # type: ignore[arg-type]
    tokens, scores = list(metadata["tokens"]), list(metadata["scores"])  # type: ignore[arg-type]
    t = load(
        metadata
        | {"tokens": [*tokens, "<0x41>"], "token_type": [*types, NORMAL], "scores": [*scores, 0.0]}
    )
    assert t.encode("A", add_bos=False)[-1] == 3 + 0x41
    assert t.token_bytes(t.n_vocab - 1) == b"<0x41>"


def random_vocabulary(rng: random.Random, all_bytes: bool) -> dict[str, Any]:
    """Pieces of a few characters, many of equal score, some unused."""
    letters = [SPACE, *"abcé你"]
    pieces = {"".join(rng.choices(letters, k=rng.randint(1, 5))) for _ in range(60)}
    pieces |= {letter for letter in letters if letter == SPACE or rng.random() < 0.9}
    words = sorted(pieces)
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)] if all_bytes else []
    types = [NORMAL if w == SPACE else rng.choice((*[NORMAL] * 3, UNUSED)) for w in words]
    return {
        "model": "llama",
        "tokens": ["<unk>", "<s>", "</s>", *bytes_, *words],
        "token_type": [UNKNOWN, CONTROL, CONTROL, *[BYTE] * len(bytes_), *types],
        "scores": [
            *[0.0] * (3 + len(bytes_)), *(float(rng.randint(-9, 2)) for _ in words),
        ],
        "unknown_token_id": 0,
    }  # fmt: skip


@pytest.mark.parametrize("all_bytes", [True, False])
def test_tokens_are_those_of_sentencepiece(all_bytes: bool) -> None:
    rng = random.Random(2)
    for _ in range(60):
        metadata = random_vocabulary(rng, all_bytes)
        tokens = [str(token).encode() for token in metadata["tokens"]]
        kinds = bytes(metadata["token_type"])
        scores = struct.pack(f"<{len(tokens)}f", *metadata["scores"])
        reference = SentencePieceProcessor(
            model_proto=model_proto(tokens, scores, kinds, 0, all_bytes)
        )
        ours = load(metadata)
        for _ in range(60):
            text = "".join(rng.choices([" ", " ", *"aaabbcc", "é", "你", "x", "😁"], k=40))
            want = reference.EncodeAsIds((" " + text).replace(" ", SPACE))
            got = ours.encode(text, add_bos=False)
            assert got == want, (text, metadata)


# How models of this kind differ: what sentencepiece was told when it made them.
VARIANTS: dict[str, dict[str, Any]] = {
    "llama": {"byte_fallback": True},
    "gemma": {
        "byte_fallback": True,
        "add_dummy_prefix": False,
        "user_defined_symbols": [SPACE * n for n in range(2, 9)] + ["\n", "\n\n", "<mask>", "<h1>"],
    },
    "baichuan": {"byte_fallback": True, "add_dummy_prefix": False, "split_digits": True},
    "internlm": {"byte_fallback": False, "add_dummy_prefix": False},
    "no words": {"byte_fallback": True, "split_by_whitespace": False},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_models_of_every_variant_are_read_as_sentencepiece_does(variant: str) -> None:
    reference = train(
        model_type="bpe",
        vocab_size=500,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        **VARIANTS[variant],
    )
    ours = load(metadata_of(reference, "llama"))
    texts = [
        *random_texts(7, 600),
        "a<mask>the<h1> other\n\n\n",
        f"{SPACE * 3}the{SPACE}",
        " " * 99,
    ]
    for text in texts:
        assert ours.encode(text, add_bos=False) == reference.encode(text), text


def test_the_space_before_a_text_may_complete_a_user_defined_token() -> None:
    tokens = ["<unk>", "<s>", "</s>", SPACE, "a", "b", f"{SPACE}ab"]
    t = load(
        {"model": "llama", "tokens": tokens, "scores": [0.0] * 7}
        | {"token_type": [UNKNOWN, CONTROL, CONTROL, *[NORMAL] * 3, USER_DEFINED]}
    )
    assert t.encode("abb", add_bos=False) == [6, 5]
    assert t.encode("b ab", add_bos=False) == [3, 5, 6]


def test_phi_3_has_white_space_in_its_special_tokens() -> None:
    metadata = spm_metadata()
    tokens, types = [*metadata["tokens"]], [*metadata["token_type"]]  # type: ignore[misc]
    first = len(tokens)
    metadata |= {
        "tokens": [*tokens, "<|user|>", "<|end|>", "<|endoftext|>"],
        "token_type": [*types, CONTROL, CONTROL, USER_DEFINED],
        "scores": [*metadata["scores"], 0.0, 0.0, 0.0],  # type: ignore[misc]
    }
    text = "<|user|>\n the<|end|> \n<|endoftext|> the"
    the = tokenizer().encode("the", add_bos=False)
    after_space = tokenizer().encode(" the", add_bos=False)
    phi3 = load(metadata, architecture="phi3")
    assert phi3.encode(text, parse_special=True) == [
        1, first, *the, first + 1, first + 2, *after_space
    ]  # fmt: skip
    assert phi3.encode("\n") == [1, *tokenizer().encode("\n", add_bos=False)]
    plain = tokenizer().encode("\n the", add_bos=False)
    llama = load(metadata).encode("<|user|>\n the", parse_special=True)
    assert llama == [1, first, *plain]


@pytest.mark.parametrize("piece", ["a", " ", "the other ", "é", "\xff", "q"])
def test_a_megabyte_takes_no_more_than_its_share_of_time(piece: str) -> None:
    """Nothing is quadratic: ten times the text takes about ten times as long."""
    data = piece.encode("latin-1" if piece == "\xff" else "utf-8")

    def seconds(n: int) -> float:
        text = data * (n // len(data))
        began = time.process_time()
        tokenizer().encode(text)
        return time.process_time() - began

    assert seconds(1_000_000) < 40 * max(min(seconds(100_000) for _ in range(3)), 0.01)
