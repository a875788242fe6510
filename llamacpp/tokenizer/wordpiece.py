"""WordPiece (`tokenizer.ggml.model` = bert): BERT, BGE, E5, Nomic Embed and other encoders.

A text's words are cut as BERT does (Devlin et al. 2019, arXiv:1810.04805): no control characters,
no accents, lower case, punctuation marks and Chinese characters by themselves. Each word becomes,
from left to right, the longest pieces there are (Wu et al. 2016, arXiv:1609.08144), or the unknown
token if that leads nowhere. All rules are those of Hugging Face's `tokenizers`.

This is Python, since encoders read short texts.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from llamacpp.errors import InvalidArgumentError
from llamacpp.format.metadata import Metadata
from llamacpp.tokenizer.base import (
    CONTROL,
    NORMAL,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    Tokenizer,
    token_types,
)

__all__ = ["WordPieceTokenizer"]

_STARTS = "\u2581".encode()  # how files mark a piece that starts a word,
_GOES_ON = b"##"  # and how BERT's own vocabularies mark one that does not
_MAX_WORD = 100  # characters; longer words are unknown

# Roles by the keys that files of encoders use, and by the names that BERT's tokens have.
_KEYS = {"bos": ("cls", "bos"), "eos": ("seperator", "eos")}  # spelled so in the files
_NAMES = {"bos": b"[CLS]", "eos": b"[SEP]", "unknown": b"[UNK]", "padding": b"[PAD]"}

# Those of BERT's own code; blocks that Unicode has added since are not among them.
_CHINESE = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF),
    (0x2F800, 0x2FA1F),
)


class _Clean(dict[int, str | None]):
    """For `str.translate`: white space is a space, Chinese characters stand by themselves."""

    def __missing__(self, code: int) -> str | None:
        char = chr(code)
        new: str | None = char
        if char in "\t\n\r":
            new = " "
        elif char == "\ufffd" or unicodedata.category(char) in ("Cc", "Cf", "Co", "Cs"):
            new = None
        elif char.isspace():
            new = " "
        elif any(first <= code <= last for first, last in _CHINESE):
            new = f" {char} "
        self[code] = new
        return new


class _Letters(dict[int, str | None]):
    """For `str.translate`: case and accents, and punctuation marks that stand by themselves."""

    def __init__(self, lowercase: bool, strip_accents: bool) -> None:
        super().__init__()
        self._lowercase = lowercase
        self._strip_accents = strip_accents

    def __missing__(self, code: int) -> str | None:
        char = chr(code)
        category = unicodedata.category(char)
        new: str | None = char.lower() if self._lowercase else char
        if category == "Mn" and self._strip_accents:
            new = None
        elif category[0] == "P" or (code < 128 and category[0] == "S"):
            new = f" {char} "
        self[code] = new
        return new


_clean = _Clean()


class WordPieceTokenizer(Tokenizer):
    """WordPiece from the tokens of a file, spelled with U+2581 or with ##.

    The text of a token that starts a word begins with a space. `encode` loses case, accents and
    the width of white space, so `decode` gives words, not the text that they came from.
    """

    add_space_prefix = True

    def __init__(self, metadata: Metadata) -> None:
        self._tokens = metadata.strings("tokenizer.ggml.tokens")
        types = token_types(metadata, len(self._tokens))
        texts = list(self._tokens.iter_raw())
        goes_on = sum(text.startswith(_GOES_ON) and len(text) > 2 for text in texts)
        self._marks_starts = sum(text.startswith(_STARTS) for text in texts) > goes_on
        self._first: dict[str, int] = {}  # pieces that start a word,
        self._inner: dict[str, int] = {}  # and those that go on
        for token, (text, kind) in enumerate(zip(texts, types, strict=True)):
            if kind in (NORMAL, USER_DEFINED, UNUSED):
                piece, is_first = self._spelled(text)
                pieces = self._first if is_first else self._inner
                pieces[piece.decode("utf-8", "surrogateescape")] = token
        self._longest = max(map(len, (*self._first, *self._inner)), default=0)
        lowercase = metadata.boolean("tokenizer.ggml.normalizer.lowercase", True)
        self._strip_accents = metadata.boolean("tokenizer.ggml.normalizer.strip_accents", lowercase)
        self._letters = _Letters(lowercase, self._strip_accents)
        self._types = types
        super().__init__(metadata, types)
        self.nl_id = None

    def token_bytes(self, token: int) -> bytes:
        """Bytes that a token adds to a text; of a control token, its name."""
        self._check_id(token)
        text = self._tokens.raw(token)
        if self._types[token] in (CONTROL, UNKNOWN):
            return text
        piece, is_first = self._spelled(text)
        # A user-defined token is found wherever its text is, in a word or not.
        return b" " + piece if is_first and self._types[token] != USER_DEFINED else piece

    def _spelled(self, text: bytes) -> tuple[bytes, bool]:
        """Text of a piece, and whether it starts a word."""
        if self._marks_starts:
            return text.removeprefix(_STARTS), text.startswith(_STARTS)
        goes_on = text.startswith(_GOES_ON)
        return (text[2:], False) if goes_on else (text, True)

    def _named(self, metadata: Metadata, name: str, texts: Sequence[bytes] = ()) -> int | None:
        for key in _KEYS.get(name, ()):
            if f"tokenizer.ggml.{key}_token_id" in metadata:
                return super()._named(metadata, key)
        return super()._named(metadata, name, (_NAMES[name],) if name in _NAMES else texts)

    def _added(self, metadata: Metadata) -> tuple[bool, bool]:
        bos = metadata.boolean("tokenizer.ggml.add_bos_token", True)
        sep = metadata.boolean("tokenizer.ggml.add_sep_token", True)
        return bos and self.bos_id is not None, sep and self.eos_id is not None

    def _encode_plain(self, text: bytes, first: bool) -> list[int]:
        clean = text.decode("utf-8", "replace").translate(_clean)
        if self._strip_accents:
            clean = unicodedata.normalize("NFD", clean)
        return [i for word in clean.translate(self._letters).split() for i in self._pieces(word)]

    def _pieces(self, word: str) -> list[int]:
        ids: list[int] = []
        pieces, start = self._first, 0
        while start < len(word) <= _MAX_WORD:
            for end in range(min(len(word), start + self._longest), start, -1):
                token = pieces.get(word[start:end])
                if token is not None:
                    break
            else:
                break
            ids.append(token)
            pieces, start = self._inner, end
        if start == len(word):
            return ids
        if self.unk_id is None:
            raise InvalidArgumentError(
                f"the text holds the word {word!r}, which this vocabulary has no tokens for, "
                "nor an unknown token"
            )
        return [self.unk_id]
