"""Small vocabularies made in the test, and plain, slow tokenizers to compare with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from gguf_bytes import BytesSource, Value, model

from llamacpp.format.gguf import parse_header
from llamacpp.tokenizer import Tokenizer, load_tokenizer

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)

PROSE = (
    "the other day they gathered together there, and then the weather changed; "
    "she sells sea shells by the sea shore. It's what we've done: they're 12345 and 678! "
    "Größe naïve über café, привет мир как дела, 你好世界 你好 \n\n  indented\n\ttabbed  "
)


def alphabet() -> dict[int, str]:
    """GPT-2's printable stand-in for each byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}


SPELL = alphabet()


def spell(data: bytes) -> str:
    return "".join(SPELL[b] for b in data)


def load(metadata: dict[str, Value], version: int = 3, architecture: str = "llama") -> Tokenizer:
    """The tokenizer of a file with this metadata ("tokenizer.ggml." before each key)."""
    full: dict[str, Value] = {"general.architecture": architecture}
    full |= {f"tokenizer.ggml.{key}": value for key, value in metadata.items()}
    tokenizer = load_tokenizer(parse_header(BytesSource(model(full, version=version))).metadata)
    assert tokenizer is not None
    return tokenizer


def train_merges(words: Sequence[bytes], count: int) -> list[tuple[bytes, bytes]]:
    """Most frequent pair first, as BPE is trained."""
    corpus = [[bytes([b]) for b in word] for word in words]
    merges: list[tuple[bytes, bytes]] = []
    while len(merges) < count:
        pairs = Counter(pair for word in corpus for pair in pairwise(word))
        if not pairs:
            break
        merges.append(max(pairs, key=lambda pair: (pairs[pair], pair)))
        corpus = [apply_merge(word, merges[-1]) for word in corpus]
    return merges


def apply_merge(word: list[bytes], merge: tuple[bytes, bytes]) -> list[bytes]:
    out: list[bytes] = []
    for symbol in word:
        if out and (out[-1], symbol) == merge:
            out[-1] += symbol
        else:
            out.append(symbol)
    return out


def slow_bpe(word: bytes, ranks: dict[tuple[bytes, bytes], int]) -> list[bytes]:
    """The definition: of all adjacent pairs merge the one of lowest rank, leftmost first."""
    symbols = [bytes([b]) for b in word]
    while True:
        pairs = list(pairwise(symbols))
        found = [(ranks[pair], i) for i, pair in enumerate(pairs) if pair in ranks]
        if not found:
            return symbols
        _, i = min(found)
        symbols[i : i + 2] = [symbols[i] + symbols[i + 1]]


def bpe_metadata(merges: list[tuple[bytes, bytes]], pre: str = "gpt-2") -> dict[str, Value]:
    """All bytes, then what the merges make, then three control and two user-defined tokens."""
    tokens = [bytes([b]) for b in range(256)]
    tokens += dict.fromkeys(left + right for left, right in merges)
    texts = [spell(token) for token in tokens]
    special = ["<s>", "</s>", "<|eot_id|>", "<tool>", "  <x y>"]
    first = len(texts)
    return {
        "model": "gpt2",
        "pre": pre,
        "tokens": texts + special,
        "token_type": [NORMAL] * first + [CONTROL] * 3 + [USER_DEFINED] * 2,
        "merges": [f"{spell(left)} {spell(right)}" for left, right in merges],
        "bos_token_id": first,
        "eos_token_id": first + 1,
    }


def spm_metadata() -> dict[str, Value]:
    """<unk> <s> </s>, all bytes, characters and merged pieces by falling score, a tool token."""
    pieces = ["\u2581", *"abcdehilorstwy", "th", "he", "the", "\u2581the", "\u2581t", "er", "ther"]
    pieces += ["\u2581other", "ot", "\u2581o", "in", "\u2581in", "ss", "é", "你"]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), *pieces, "[tool]"]
    return {
        "model": "llama",
        "tokens": tokens,
        "token_type": [UNKNOWN, CONTROL, CONTROL]
        + [BYTE] * 256
        + [NORMAL] * len(pieces)
        + [USER_DEFINED],
        "scores": [0.0] * 259 + [-float(i) for i in range(len(pieces))] + [0.0],
        "bos_token_id": 1,
        "eos_token_id": 2,
        "unknown_token_id": 0,
    }
