"""From the tokenizer of a Hugging Face model to the keys ``tokenizer.*``."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from llamacpp.convert.checkpoint import read_json
from llamacpp.convert.wordpiece import finish_wordpiece, wordpiece, wordpiece_of_lines
from llamacpp.errors import FormatError, ModelFileError, UnsupportedError
from llamacpp.format.encode import Value

__all__ = ["read_vocabulary"]

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # tokenizer.ggml.token_type
_ADDED_SCORE = -1000.0  # no merge makes an added token

_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_GPT4O_LETTERS = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+%s"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*%s"
)
_SUFFIX = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# The expression of a tokenizer.json -> its name in GGUF.
_EXPRESSIONS = {
    _LLAMA3: "llama-bpe",
    _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}"): "qwen2",
    _GPT4O_LETTERS % (_SUFFIX, _SUFFIX) + r"|\p{N}{1,3}" + _TAIL: "gpt-4o",
    _GPT4O_LETTERS % ("", "") + r"|\p{N}" + _TAIL: "tekken",
}


def read_vocabulary(
    folder: Path, config: Mapping[str, Any], n_vocab: int, pre: str | None
) -> dict[str, Value]:
    """Tokens, types, scores or merges, special ids and chat template.

    Raises:
        ModelFileError: there is no tokenizer, or (FormatError) it is damaged.
        UnsupportedError: it is of a kind that is not known here.
    """
    settings = _optional(folder / "tokenizer_config.json")
    described = _optional(folder / "tokenizer.json")
    if (folder / "tokenizer.model").exists():
        found = _sentencepiece(folder / "tokenizer.model")
    elif described:
        found = _described(folder / "tokenizer.json", described, pre)
    elif (folder / "vocab.txt").exists():
        found = wordpiece_of_lines(folder / "vocab.txt", settings)
    else:
        raise ModelFileError(
            f"{folder}: holds neither tokenizer.json nor tokenizer.model, nor vocab.txt"
        )
    tokens, types = found["tokens"], found["token_type"]
    for token, text, kind in _added(folder, described, settings):
        if not 0 <= token < n_vocab:
            raise FormatError(f"{folder}: the added token {token} is beyond the {n_vocab} rows")
        missing = token + 1 - len(tokens)
        tokens += [f"[PAD{len(tokens) + i}]" for i in range(missing)]
        types += [UNUSED] * missing
        tokens[token], types[token] = text, kind
    if len(tokens) > n_vocab:
        raise FormatError(
            f"{folder}: the tokenizer has {len(tokens)} tokens, but the embedding {n_vocab} rows"
        )
    first = len(tokens)
    tokens += [f"[PAD{i}]" for i in range(first, n_vocab)]
    types += [UNUSED] * (n_vocab - first)
    if "scores" in found:
        found["scores"] += [_ADDED_SCORE] * (n_vocab - len(found["scores"]))
    keys = {f"tokenizer.ggml.{key}": value for key, value in found.items()}
    keys |= _special(folder, config, settings, described, tokens)
    if found["model"] == "bert":
        keys |= finish_wordpiece(config, tokens, types)
    return keys | _templates(folder, settings)


# ---- the two kinds ------------------------------------------------------------------------------


def _sentencepiece(path: Path) -> dict[str, Any]:
    """A ModelProto (sentencepiece_model.proto): pieces 1, trainer 2, normalizer 3."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path}: cannot read: {error.strerror}") from error
    tokens: list[str] = []
    types: list[int] = []
    scores: list[float] = []
    trainer: dict[int, Any] = {}
    normalizer: dict[int, Any] = {}
    try:
        for field, value in _fields(data):
            if field == 1:
                piece = dict(_fields(value))
                tokens.append(piece.get(1, b"").decode("utf-8"))
                scores.append(struct.unpack("<f", piece.get(2, bytes(4)))[0])
                types.append(int(piece.get(3, NORMAL)))
            elif field in (2, 3):
                {2: trainer, 3: normalizer}[field].update(_fields(value))
    except (ValueError, IndexError, AttributeError, TypeError, struct.error) as error:
        raise FormatError(f"{path}: is no SentencePiece model: {error}") from None
    if not tokens:
        raise FormatError(f"{path}: is no SentencePiece model: it has no pieces")
    if trainer.get(3, 1) != 2:
        raise UnsupportedError(
            f"{path}: is of SentencePiece's unigram kind, which is not supported"
        )
    found = {"model": "llama", "tokens": tokens, "token_type": types, "scores": scores}
    return found | {"add_space_prefix": bool(normalizer.get(3, 1))}


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Fields of a message of protocol buffers: numbers, bytes, and four or eight of them raw."""
    pos = 0

    def varint() -> int:
        nonlocal pos
        value = shift = 0
        while True:
            byte = data[pos]
            pos += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value
            if shift > 63:
                raise ValueError("a number has more than 64 bits")

    while pos < len(data):
        key = varint()
        kind = key & 7
        if kind == 0:
            yield key >> 3, varint()
            continue
        if kind not in (1, 2, 5):
            raise ValueError(f"a field of type {kind}")
        n = varint() if kind == 2 else {1: 8, 5: 4}[kind]
        if pos + n > len(data):
            raise ValueError("it is cut short")
        yield key >> 3, data[pos : pos + n]
        pos += n


def _described(path: Path, described: Mapping[str, Any], pre: str | None) -> dict[str, Any]:
    """A tokenizer.json, of byte-level BPE, or of SentencePiece's BPE written as such."""
    try:
        model = described["model"]
        if model.get("type") == "WordPiece":
            return wordpiece(path, described)
        if model.get("type", "BPE") != "BPE":
            raise UnsupportedError(f"{path}: a tokenizer of type {model['type']} is not supported")
        ids: dict[str, int] = model["vocab"]
        tokens = [f"[PAD{i}]" for i in range(max(ids.values(), default=-1) + 1)]
        types = [UNUSED] * len(tokens)
        for text, token in ids.items():
            tokens[token], types[token] = text, NORMAL
        merges = [m.split(" ", 1) if isinstance(m, str) else m for m in model["merges"]]
        if model.get("byte_fallback"):
            found = _pieces_of(model, tokens, types, [left + right for left, right in merges])
            return found | {"add_space_prefix": _prepends(described)}
        name = pre or _pre_tokenizer(described)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise FormatError(f"{path}: is damaged: {error!r}") from None
    if name is None:
        raise UnsupportedError(
            f"{path}: how it cuts a text into words is not recognised; --pre names a pre-tokenizer"
            " of GGUF (docs/tokenizers.md) that does the same"
        )
    texts = [f"{left} {right}" for left, right in merges]
    return {"model": "gpt2", "pre": name, "tokens": tokens, "token_type": types, "merges": texts}


def _pieces_of(
    model: Mapping[str, Any], tokens: list[str], types: list[int], made: list[str]
) -> dict[str, Any]:
    """SentencePiece's pieces: each scored by the first merge that makes it."""
    rank: dict[str, int] = {}
    for i, text in enumerate(made):
        rank.setdefault(text, i)
    for i, text in enumerate(tokens):
        if len(text) == 6 and text.startswith("<0x") and text.endswith(">"):
            types[i] = BYTE
        elif text == model.get("unk_token"):
            types[i] = UNKNOWN
    scores = [-float(rank.get(text, 0)) for text in tokens]
    return {"model": "llama", "tokens": tokens, "token_type": types, "scores": scores}


def _prepends(described: Mapping[str, Any]) -> bool:
    """Whether a space goes before a text, by one of the two ways in which that is written."""
    top = described.get("normalizer") or {}
    if any(step.get("type") == "Prepend" for step in top.get("normalizers", [top])):
        return True
    cut = described.get("pre_tokenizer") or {}
    return cut.get("type") == "Metaspace" and cut.get("prepend_scheme", "always") != "never"


def _pre_tokenizer(described: Mapping[str, Any]) -> str | None:
    """GGUF's name of what cuts a text into words; None: not recognised."""
    top = described.get("pre_tokenizer") or {}
    steps = top["pretokenizers"] if top.get("type") == "Sequence" else [top]
    kinds = [step.get("type") for step in steps]
    if kinds == ["ByteLevel"]:
        return "gpt-2" if steps[0].get("use_regex", True) else None
    if kinds == ["Digits", "ByteLevel"] and steps[0].get("individual_digits"):
        return "smollm"
    if kinds == ["Split", "ByteLevel"] and not steps[1].get("use_regex", True):
        name = _EXPRESSIONS.get(steps[0]["pattern"].get("Regex"))
        # The same words, but a word that is a token is not always that token.
        return (
            "dbrx" if name == "llama-bpe" and not described["model"].get("ignore_merges") else name
        )
    return None


# ---- what both have -----------------------------------------------------------------------------


def _optional(path: Path) -> dict[str, Any]:
    return read_json(path) if path.exists() else {}


def _added(
    folder: Path, described: Mapping[str, Any], settings: Mapping[str, Any]
) -> Iterator[tuple[int, str, int]]:
    """Tokens added to the vocabulary: id, text, type."""
    try:
        for text, token in _optional(folder / "added_tokens.json").items():
            yield int(token), str(text), USER_DEFINED
        entries = [{"id": int(k), **v} for k, v in settings.get("added_tokens_decoder", {}).items()]
        for entry in [*entries, *described.get("added_tokens", [])]:
            kind = CONTROL if entry.get("special") else USER_DEFINED
            yield int(entry["id"]), str(entry["content"]), kind
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FormatError(f"{folder}: the added tokens are damaged: {error!r}") from None


def _special(
    folder: Path,
    config: Mapping[str, Any],
    settings: Mapping[str, Any],
    described: Mapping[str, Any],
    tokens: list[str],
) -> dict[str, Value]:
    """Ids of special tokens, by configuration or by text, and which of them are added."""
    generation = _optional(folder / "generation_config.json")
    found: dict[str, Value] = {}
    for key, name in (("bos", "bos"), ("eos", "eos"), ("unknown", "unk"), ("padding", "pad")):
        text = settings.get(f"{name}_token")
        text = text.get("content") if isinstance(text, Mapping) else text
        token = tokens.index(text) if text in tokens else None
        if token is None:
            token = config.get(f"{name}_token_id", generation.get(f"{name}_token_id"))
            token = token[0] if isinstance(token, list) and token else token
        if type(token) is int and 0 <= token < len(tokens):
            found[f"tokenizer.ggml.{key}_token_id"] = token
    for name in ("bos", "eos"):
        adds = settings.get(f"add_{name}_token")
        if adds is None and f"tokenizer.ggml.{name}_token_id" in found:
            adds = _is_added(
                described, name == "eos", tokens, found[f"tokenizer.ggml.{name}_token_id"]
            )
        if adds is not None:
            found[f"tokenizer.ggml.add_{name}_token"] = bool(adds)
    return found


def _is_added(
    described: Mapping[str, Any], at_end: bool, tokens: list[str], token: Value
) -> bool | None:
    """Whether the template of a tokenizer.json puts a token first, or last; None: it has none."""
    top = described.get("post_processor") or {}
    for step in top.get("processors", [top]):
        if step.get("type") == "TemplateProcessing" and step.get("single"):
            mark = step["single"][-1 if at_end else 0].get("SpecialToken", {}).get("id")
            return mark is not None and isinstance(token, int) and mark == tokens[token]
    return None


def _templates(folder: Path, settings: Mapping[str, Any]) -> dict[str, Value]:
    """The chat template, and others by name."""
    key = "tokenizer.chat_template"
    path = folder / "chat_template.jinja"
    if path.exists():
        try:
            return {key: path.read_text(encoding="utf-8")}
        except (OSError, UnicodeDecodeError) as error:
            raise ModelFileError(f"{path}: cannot read: {error}") from error
    given = settings.get("chat_template")
    if isinstance(given, str):
        return {key: given}
    if not isinstance(given, list):
        return {}
    named = {
        str(one.get("name")): str(one.get("template")) for one in given if isinstance(one, Mapping)
    }
    return {
        key if name == "default" else f"{key}.{name}": template for name, template in named.items()
    }
