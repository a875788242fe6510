"""What a file's name for its pre-tokenizer means, beside how it cuts a text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from vocabularies import bpe_metadata, load

from llamacpp.errors import UnsupportedError
from llamacpp.tokenizer.pre import PRE_TOKENIZERS

PAGE = Path(__file__).parents[2] / "docs" / "tokenizers.md"


def documented() -> dict[str, tuple[bool, bool]]:
    """Of each name, whether it takes tokens whole and whether it adds a BOS token."""
    table = re.search(r"<!-- pre-.*begin -->(.*)<!-- pre-", PAGE.read_text(encoding="utf-8"), re.S)
    assert table
    rows = [row.strip("| ").split(" | ") for row in table[1].strip().splitlines()[2:]]
    assert all(set(row[2:]) <= {"yes", "no"} for row in rows)
    return {name: (row[2] == "yes", row[3] == "yes") for row in rows for name in row[0].split(", ")}


def test_the_page_lists_every_name_and_its_defaults() -> None:
    assert documented() == {
        name: (pre.ignore_merges, pre.add_bos) for name, pre in PRE_TOKENIZERS.items()
    }


@pytest.mark.parametrize("name", [n for n, pre in PRE_TOKENIZERS.items() if not pre.characters])
def test_a_file_gets_the_defaults_of_its_name(name: str) -> None:
    # By rank "they" becomes t-hey: only a word that is taken whole is one token.
    pairs = [(b"h", b"e"), (b"t", b"h"), (b"he", b"y"), (b"th", b"ey"), (b"e", b"y")]
    tokenizer = load(bpe_metadata(pairs, name))
    whole, bos = documented()[name]
    ids = tokenizer.encode("they")
    assert (ids[0] == tokenizer.bos_id) == bos
    assert [tokenizer.token_bytes(i) for i in ids[bos:]] == ([b"they"] if whole else [b"t", b"hey"])
    assert load(bpe_metadata(pairs, name) | {"add_bos_token": not bos}).add_bos != bos


def test_a_file_that_names_none_is_cut_by_default() -> None:
    metadata = bpe_metadata([(b"1", b"2"), (b"a", b"!")], "")
    without = {key: value for key, value in metadata.items() if key != "pre"}
    for tokenizer in (load(metadata), load(without)):
        assert len(tokenizer.encode("1212")) == 3
        assert len(tokenizer.encode("a!")) == 2


@pytest.mark.parametrize("name", ["whitespace", "no-such", "GPT-2"])
def test_a_name_that_is_not_known_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedError, match=rf"pre-tokenizer '{name}'.*afmoe, .*youtu"):
        load(bpe_metadata([], name))
