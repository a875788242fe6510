"""What every tokenizer has: special tokens, their place in a text, and bytes back from ids."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from llamacpp._native import check, ffi, lib
from llamacpp.errors import FormatError, InvalidArgumentError
from llamacpp.format.metadata import Metadata, NumericArray, StringArray
from llamacpp.format.types import ValueType

__all__ = [
    "BYTE",
    "CONTROL",
    "NORMAL",
    "UNKNOWN",
    "UNUSED",
    "USER_DEFINED",
    "Tokenizer",
    "c_strings",
    "token_types",
]

# tokenizer.ggml.token_type
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)

# Control tokens that end a turn, and those that end generation in any other way.
_END_OF_TURN = (
    b"<|eot_id|>",
    b"<|im_end|>",
    b"<|end|>",
    b"<end_of_turn>",
    b"<|endoftext|>",
    b"<|end_of_turn|>",
    b"<end_of_utterance>",
    b"<EOT>",
    b"_<EOT>",
    b"[EOT]",
    b"<turn|>",
)
_END_OF_GENERATION = frozenset(
    (
        *_END_OF_TURN,
        *(b"</s>", b"<eos>", b"[EOS]", b"<|eom_id|>", b"<|end_of_text|>"),
        *(b"<|return|>", b"<|call|>", b"<|calls|>", b"<|flush|>", b"<|tool_response>", b"[e~["),
        "<｜end▁of▁sentence｜>".encode(),
    )
)
# Where all of the first are there, the second ends nothing: gpt-oss, Solar Open, Gemma 4.
_GOES_ON = (
    ((b"<|return|>", b"<|call|>"), b"<|end|>"),
    ((b"<|flush|>", b"<|calls|>"), b"<|end|>"),
    ((b"<|tool_response>",), b"</s>"),
)
# After filling in the middle of a file: padding, the next repository, the next file.
_FIM_ENDS = {
    "fim_pad": (b"<|fim_pad|>", b"<fim-pad>", b"<fim_pad>", b"<PAD>", b"[PAD]"),
    "fim_rep": (b"<|fim_repo|>", b"<|repo_name|>", b"<fim-repo>", b"<REPO>", b"<reponame>"),
    "fim_sep": (b"<|file_sep|>",),
}


def token_types(metadata: Metadata, n_vocab: int) -> bytes:
    """One `tokenizer.ggml.token_type` per token, as bytes; all normal where the file has none.

    Raises:
        FormatError: a wrong count, or a type outside 1 to 6.
    """
    key = "tokenizer.ggml.token_type"
    array: NumericArray | None = metadata.numbers(key, ValueType.INT32, None, length=n_vocab)
    if array is None:
        return bytes([NORMAL]) * n_vocab
    raw: bytes = array.data.tobytes()
    types: bytes = raw[::4]
    if types.strip(b"\1\2\3\4\5\6") or any(raw[i::4].strip(b"\0") for i in (1, 2, 3)):
        bad = next(i for i, kind in enumerate(array) if not NORMAL <= kind <= BYTE)
        raise FormatError(f"{key} of token {bad} is {array[bad]}; known are 1 (normal) to 6 (byte)")
    return types


def c_strings(array: StringArray) -> tuple[Any, Any]:
    """What C sees of a string array, and what keeps its bytes alive."""
    data = ffi.from_buffer("uint8_t[]", array.data)
    strings = ffi.new(
        "struct lk_strings *", (data, array.data.nbytes, len(array), array.length_width)
    )
    return strings, data


class _Matcher:
    """Finds special tokens in a text: the leftmost, and of those the longest."""

    def __init__(self, texts: dict[bytes, int]) -> None:
        ordered = sorted(texts)
        ends = [0]
        for text in ordered:
            ends.append(ends[-1] + len(text))
        out = ffi.new("lk_specials **")
        ids = [texts[text] for text in ordered]
        status = lib.lk_specials_new(
            b"".join(ordered), ffi.new("size_t[]", ends), ffi.new("int32_t[]", ids), len(ids), out
        )
        check(status, "indexing the special tokens")
        self._specials = ffi.gc(out[0], lib.lk_specials_free)

    def partition(self, text: bytes) -> Iterator[bytes | int]:
        """Cut a text into special tokens (ids) and what lies between them (never empty)."""
        start, end = ffi.new("size_t *"), ffi.new("size_t *")
        data = ffi.from_buffer(text)
        pos = 0
        while pos < len(text):
            token = lib.lk_specials_find(self._specials, data, len(text), pos, start, end)
            if token < 0:
                yield text[pos:] if pos else text
                return
            if start[0] > pos:
                yield text[pos : start[0]]
            yield int(token)
            pos = end[0]


class Tokenizer(ABC):
    """A vocabulary and the way text becomes its tokens. Immutable; any thread may use it.

    Attributes:
        n_vocab: number of tokens; ids are 0 to n_vocab - 1.
        bos_id, eos_id, eot_id, eom_id, unk_id, pad_id, nl_id: ids of the tokens that begin a text,
            end it, end a turn, end a message, stand for what is unknown, pad a batch, and are
            a line feed; None where the vocabulary has no such token.
        add_bos, add_eos: whether `encode` adds them when it is not told.
        add_space_prefix: whether `encode` puts a space before a text, as SentencePiece does.
    """

    n_vocab: int
    add_space_prefix: bool = False
    nl_id: int | None
    _default_ids: ClassVar[Mapping[str, int]] = {}  # where the file names none and the type fits
    _strips_after: frozenset[int] = frozenset()  # special tokens that take white space after them

    def __init__(self, metadata: Metadata, types: bytes) -> None:
        """Read the special tokens; the vocabulary itself must be there already."""
        self.n_vocab = len(types)
        self._types = types
        if self.n_vocab == 0:
            raise FormatError("tokenizer.ggml.tokens is empty")
        special = (m.start() for m in re.finditer(rb"[\2\3\4]", types))
        self._special = {self.token_bytes(i): i for i in special}
        self._special.pop(b"", None)
        self._user_defined = {t: i for t, i in self._special.items() if types[i] == USER_DEFINED}
        self._matchers = (_Matcher(self._user_defined), _Matcher(self._special))

        self.bos_id = self._named(metadata, "bos")
        self.eos_id = self._named(metadata, "eos")
        self.unk_id = self._named(metadata, "unknown")
        self.pad_id = self._named(metadata, "padding")
        self.eom_id = self._named(metadata, "eom", (b"<|eom_id|>",))
        self.eot_id = self._named(metadata, "eot", _END_OF_TURN)
        self.eog_ids = self._ends(metadata)
        self.add_bos, self.add_eos = self._added(metadata)

    def encode(
        self,
        text: str | bytes,
        *,
        add_bos: bool | None = None,
        add_eos: bool | None = None,
        parse_special: bool = False,
    ) -> list[int]:
        """Turn a text into token ids.

        Args:
            text: characters, or bytes of UTF-8; bytes that are no UTF-8 are encoded as they are.
            add_bos: begin with the BOS token; None: as the file says.
            add_eos: end with the EOS token; None: as the file says.
            parse_special: read control tokens such as `<|eot_id|>` as such. Off, they are plain
                text, so that what a user types cannot forge them. User-defined tokens always count.

        Raises:
            InvalidArgumentError: a token to add is not in the vocabulary, the text holds a lone
                surrogate, or bytes that the vocabulary cannot express.
        """
        ids: list[int] = []
        if self.add_bos if add_bos is None else add_bos:
            ids.append(self._required(self.bos_id, "BOS", "add_bos"))
        first = True
        for part in self._matchers[parse_special].partition(_utf8(text)):
            if isinstance(part, int):
                ids.append(part)
                first = True
                continue
            if ids and first and ids[-1] in self._strips_after:
                part = part.lstrip()
            if part:
                ids += self._encode_plain(part, first)
                first = False
        if self.add_eos if add_eos is None else add_eos:
            ids.append(self._required(self.eos_id, "EOS", "add_eos"))
        return ids

    def decode(
        self, ids: Iterable[int], *, special: bool = False, continuation: bool = False
    ) -> str:
        """Turn token ids into text; bytes that are no UTF-8 become U+FFFD.

        Args:
            ids: the tokens.
            special: write control tokens out instead of leaving them out.
            continuation: the tokens go on from a text. Otherwise the space that `encode` puts
                before a text (`add_space_prefix`) is taken off again.

        Raises:
            InvalidArgumentError: there is no such token.
        """
        data = self.decode_bytes(ids, special=special)
        if self.add_space_prefix and not continuation:
            data = data.removeprefix(b" ")
        return data.decode("utf-8", "replace")

    def decode_bytes(self, ids: Iterable[int], *, special: bool = False) -> bytes:
        """Exact bytes of the tokens, one after another; control tokens only if `special`.

        Raises:
            InvalidArgumentError: there is no such token.
        """
        parts = []
        for token in ids:
            data = self.token_bytes(token)
            if special or self._types[token] not in (CONTROL, UNKNOWN):
                parts.append(data)
        return b"".join(parts)

    def is_control(self, token: int) -> bool:
        """Whether a token stands for something other than text.

        Raises:
            InvalidArgumentError: there is no such token.
        """
        return self.token_type(token) == CONTROL

    def is_eog(self, token: int) -> bool:
        """Whether a model that gives this token has ended: its turn, its message or its text.

        Raises:
            InvalidArgumentError: there is no such token.
        """
        self._check_id(token)
        return token in self.eog_ids

    def token_type(self, token: int) -> int:
        """1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte.

        Raises:
            InvalidArgumentError: there is no such token.
        """
        self._check_id(token)
        return self._types[token]

    def special_id(self, text: str) -> int | None:
        """Id of the control, unknown or user-defined token of this text, if there is one."""
        return self._special.get(text.encode("utf-8", "surrogatepass"))

    @abstractmethod
    def token_bytes(self, token: int) -> bytes:
        """Bytes that a token adds to a text; of a control token, its name.

        Raises:
            InvalidArgumentError: there is no such token.
        """

    @abstractmethod
    def _encode_plain(self, text: bytes, first: bool) -> list[int]:
        """Encode text without special tokens; `first`: at the start or after a special token."""

    def _check_id(self, token: int) -> None:
        if not 0 <= token < self.n_vocab:
            raise InvalidArgumentError(
                f"token id {token} is out of range: the vocabulary has {self.n_vocab} tokens"
            )

    def _required(self, token: int | None, name: str, argument: str) -> int:
        if token is None:
            raise InvalidArgumentError(
                f"this vocabulary has no {name} token; pass {argument}=False"
            )
        return token

    def _named(self, metadata: Metadata, name: str, texts: Sequence[bytes] = ()) -> int | None:
        """Id that the metadata gives a role, or else the first control token of these texts."""
        key = f"tokenizer.ggml.{name}_token_id"
        token = metadata.integer(key, None)
        if token is not None and token >= self.n_vocab:
            raise FormatError(f"{key} is {token}, but there are only {self.n_vocab} tokens")
        if token is None:
            found = [self._special.get(text) for text in texts] + [self._default_ids.get(name)]
            token = next((i for i in found if i is not None and self._is_mark(i)), None)
        return token

    def _is_mark(self, token: int) -> bool:
        return token < self.n_vocab and self._types[token] in (CONTROL, UNKNOWN)

    def _ends(self, metadata: Metadata) -> frozenset[int]:
        """Tokens after which nothing is generated: those that the file names, and known texts."""
        marks = {text for text, i in self._special.items() if self._types[i] == CONTROL}
        known = marks & _END_OF_GENERATION
        ends = {self.eot_id, self.eom_id, *(self._special[text] for text in known)}
        ends.update(self._named(metadata, name, texts) for name, texts in _FIM_ENDS.items())
        for texts, goes_on in _GOES_ON:
            if known.issuperset((*texts, goes_on)):
                ends.discard(self._special[goes_on])
        return frozenset(i for i in (*ends, self.eos_id) if i is not None)

    def _default_adds(self) -> tuple[bool, bool]:
        """Whether BOS and EOS are added where the file does not say."""
        return False, False

    def _added(self, metadata: Metadata) -> tuple[bool, bool]:
        bos, eos = self._default_adds()
        bos = metadata.boolean("tokenizer.ggml.add_bos_token", bos)
        eos = metadata.boolean("tokenizer.ggml.add_eos_token", eos)
        return bos and self.bos_id is not None, eos and self.eos_id is not None


def _utf8(text: str | bytes) -> bytes:
    if isinstance(text, bytes):
        return text
    if not isinstance(text, str):
        raise InvalidArgumentError(f"text must be str or bytes, not {type(text).__name__}")
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(
            f"the text holds a lone surrogate at index {error.start}; to encode arbitrary bytes, "
            "pass bytes"
        ) from None
