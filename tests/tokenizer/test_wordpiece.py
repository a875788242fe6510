"""WordPiece, beside Hugging Face's tokenizers."""

from __future__ import annotations

import random
from functools import cache
from typing import Any

import pytest
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, trainers
from unicode_3_2 import CHARACTERS, random_texts
from vocabularies import CONTROL, NORMAL, PROSE, USER_DEFINED, load

from llamacpp.errors import InvalidArgumentError
from llamacpp.tokenizer import Tokenizer, TokenStream

SPACE = "\u2581"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@cache
def trained(lowercase: bool = True, strip_accents: bool | None = None) -> tokenizers.Tokenizer:
    theirs = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    theirs.normalizer = normalizers.BertNormalizer(lowercase=lowercase, strip_accents=strip_accents)
    theirs.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=400, special_tokens=SPECIAL, show_progress=False, min_frequency=1
    )
    rng = random.Random(1)
    words = [*PROSE.split(), *map(chr, range(33, 127)), *"ΣςσΑאבضक한あア中㐀豈。，！ＡＢ"]
    lines = [" ".join(rng.choices(words, k=8)) for _ in range(400)]
    theirs.train_from_iterator(lines, trainer)
    return theirs


def spelled(token: str) -> str:
    """As files spell it."""
    if token in SPECIAL:
        return token
    return token[2:] if token.startswith("##") and len(token) > 2 else SPACE + token


def metadata(theirs: tokenizers.Tokenizer, in_file: bool = True) -> dict[str, Any]:
    tokens = [theirs.id_to_token(i) for i in range(theirs.get_vocab_size())]
    return {
        "model": "bert",
        "tokens": list(map(spelled, tokens)) if in_file else tokens,
        "token_type": [CONTROL if token in SPECIAL else NORMAL for token in tokens],
        "unknown_token_id": 1,
        "cls_token_id": 2,
        "seperator_token_id": 3,
        "padding_token_id": 0,
    }


def bare(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text, add_bos=False, add_eos=False)


@pytest.mark.parametrize("in_file", [True, False], ids=["U+2581", "##"])
def test_tokens_are_those_of_hugging_face(in_file: bool) -> None:
    theirs = trained()
    ours = load(metadata(theirs, in_file))
    known = sorted({c for token in theirs.get_vocab() for c in token})
    unknown = 0
    for text in random_texts(1, 600) + random_texts(2, 600, known):
        want = theirs.encode(text).ids
        assert bare(ours, text) == want, text
        unknown += 1 in want
    assert 100 < unknown < 1100


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("strip_accents", [True, False])
def test_case_and_accents_are_as_the_file_says(lowercase: bool, strip_accents: bool) -> None:
    theirs = trained(lowercase, strip_accents)
    options = {"normalizer.lowercase": lowercase, "normalizer.strip_accents": strip_accents}
    ours = load(metadata(theirs) | options)
    for text in [*random_texts(3, 300), "Größe NAÏVE über CAFÉ", "ΣΑΣ İ ǆ"]:
        assert bare(ours, text) == theirs.encode(text).ids, text


@pytest.mark.parametrize("lowercase", [True, False])
def test_accents_go_with_case_where_the_file_does_not_say(lowercase: bool) -> None:
    theirs = trained(lowercase)
    ours = load(metadata(theirs) | {"normalizer.lowercase": lowercase})
    for text in [*random_texts(4, 100), "Größe NAÏVE über CAFÉ café"]:
        assert bare(ours, text) == theirs.encode(text).ids, text


def test_every_character_becomes_what_hugging_face_makes_of_it() -> None:
    theirs = trained()
    ours = load(metadata(theirs))
    for char in CHARACTERS:
        text = f"the{char}other {char}"
        assert bare(ours, text) == theirs.encode(text).ids, hex(ord(char))


def test_special_tokens_frame_the_text() -> None:
    t = load(metadata(trained()))
    assert (t.bos_id, t.eos_id, t.unk_id, t.pad_id, t.nl_id) == (2, 3, 1, 0, None)
    the = bare(t, "the")
    assert t.encode("the") == [2, *the, 3]
    assert t.encode("", add_eos=False) == [2]
    assert t.encode("the[MASK]the", parse_special=True) == [2, *the, 4, *the, 3]
    assert 4 not in t.encode("the[MASK]the")
    other = load(metadata(trained()) | {"add_bos_token": False, "add_sep_token": False})
    assert other.encode("the") == the


def test_roles_that_the_file_does_not_give_are_found_by_name() -> None:
    full = metadata(trained())
    t = load({key: value for key, value in full.items() if not key.endswith("_id")})
    assert (t.bos_id, t.eos_id, t.unk_id, t.pad_id) == (2, 3, 1, 0)


def test_words_come_back() -> None:
    t = load(metadata(trained()))
    ids = t.encode("The  Größe, gathered")
    assert t.decode(ids) == "the große , gathered"
    assert t.decode(ids, special=True) == "[CLS] the große , gathered[SEP]"
    assert t.decode(bare(t, "the"), continuation=True) == " the"
    stream = TokenStream(t)
    assert "".join(stream.pieces(ids)) == t.decode(ids)


def test_a_word_is_unknown_as_a_whole_and_if_it_is_too_long() -> None:
    tokens = [*SPECIAL, f"{SPACE}a", "b", "bb", "", SPACE, f"{SPACE}a", "<tool>"]
    full = {
        "model": "bert",
        "tokens": tokens,
        "token_type": [*[CONTROL] * 5, *[NORMAL] * 6, USER_DEFINED],
    }
    t = load(full)
    assert bare(t, "abbb b abq") == [10, 7, 6, 1, 1]  # of equal tokens the last counts
    assert bare(t, "a" + "b" * 99) == [10, *[7] * 49, 6]
    assert bare(t, "a" + "b" * 100) == [1]
    assert bare(t, "a<tool>a") == [10, 11, 10]
    assert bare(t, "a\x00b\u200b\ufffdb") == [10, 7]
    assert t.encode(b"a\xffb", add_bos=False, add_eos=False) == [10, 6]
    nameless = load(full | {"tokens": [*"vwxyz", *tokens[5:]]})
    with pytest.raises(InvalidArgumentError, match="the word 'q', which this vocabulary"):
        bare(nameless, "q")


def test_tokens_that_are_no_utf8_do_no_harm() -> None:
    tokens: list[Any] = [*SPECIAL, f"{SPACE}a".encode(), b"\xff\xe2", b""]
    t = load({"model": "bert", "tokens": tokens, "token_type": [*[CONTROL] * 5, *[NORMAL] * 3]})
    assert bare(t, "a") == [5]
    assert t.token_bytes(6) == b"\xff\xe2"
