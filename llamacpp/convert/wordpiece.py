"""Vocabularies of BERT and its like: WordPiece of a tokenizer.json, or of a vocab.txt."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llamacpp.errors import FormatError, ModelFileError, UnsupportedError
from llamacpp.format.encode import Value

__all__ = ["finish_wordpiece", "wordpiece", "wordpiece_of_lines"]

NORMAL, CONTROL, UNUSED = 1, 3, 5  # of tokenizer.ggml.token_type
_STARTS = "\u2581"  # GGUF's mark of a piece that starts a word,
_GOES_ON = "##"  # and BERT's of one that does not
# Tokens with a role: the key in GGUF, which spells one so, and the text.
_ROLES = {
    "cls": "[CLS]",
    "seperator": "[SEP]",
    "unknown": "[UNK]",
    "padding": "[PAD]",
    "mask": "[MASK]",
}


def wordpiece(path: Path, described: Mapping[str, Any]) -> dict[str, Any]:
    """The vocabulary of a tokenizer.json.

    Raises:
        UnsupportedError: it is not BERT's kind of WordPiece.
    """
    model = described["model"]
    ids: dict[str, int] = model["vocab"]
    tokens = [f"[PAD{i}]" for i in range(max(ids.values(), default=-1) + 1)]
    types = [UNUSED] * len(tokens)
    for text, token in ids.items():
        tokens[token], types[token] = text, NORMAL
    normalizer = described.get("normalizer") or {}
    cut = described.get("pre_tokenizer") or {}
    if (
        model.get("continuing_subword_prefix", _GOES_ON) != _GOES_ON
        or normalizer.get("type") != "BertNormalizer"
        or not normalizer.get("clean_text", True)
        or not normalizer.get("handle_chinese_chars", True)
        or cut.get("type") != "BertPreTokenizer"
    ):
        raise UnsupportedError(f"{path}: is WordPiece, but not as BERT has it")
    return _found(tokens, types, normalizer.get("lowercase"), normalizer.get("strip_accents"))


def wordpiece_of_lines(path: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The vocabulary of a vocab.txt: a token a line.

    Raises:
        ModelFileError: it cannot be read, or (FormatError) holds no tokens.
    """
    try:
        tokens = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except OSError as error:
        raise ModelFileError(f"{path}: cannot read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: is no UTF-8: {error}") from None
    types = [CONTROL if text in _ROLES.values() else NORMAL for text in tokens]
    return _found(tokens, types, settings.get("do_lower_case", True), settings.get("strip_accents"))


def _found(
    tokens: list[str], types: list[int], lowercase: object, strip_accents: object
) -> dict[str, Any]:
    lower = lowercase is not False
    return {
        "model": "bert",
        "tokens": tokens,
        "token_type": types,
        "normalizer.lowercase": lower,
        "normalizer.strip_accents": lower if strip_accents is None else bool(strip_accents),
    }


def finish_wordpiece(
    config: Mapping[str, Any], tokens: list[str], types: list[int]
) -> dict[str, Value]:
    """Mark the pieces in GGUF's way, in place; return the keys of tokens with a role."""
    found: dict[str, Value] = {
        f"tokenizer.ggml.{role}_token_id": tokens.index(text)
        for role, text in _ROLES.items()
        if text in tokens
    }
    found["tokenizer.ggml.token_type_count"] = int(config.get("type_vocab_size", 2))
    for i, text in enumerate(tokens):
        if types[i] != CONTROL:
            goes_on = text.startswith(_GOES_ON) and len(text) > len(_GOES_ON)
            tokens[i] = text.removeprefix(_GOES_ON) if goes_on else _STARTS + text
    return found
