"""Files of 2023 written byte by byte, from the descriptions of their formats alone.

`OldModel.of` takes the weights of a GGUF file, read by the `gguf` package; `encode` writes them as
`ggml`, `ggmf` or `ggjt` of any version, or one part of several. `pack` lays out blocks of any age.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

MAGIC = {"ggml": b"lmgg", "ggmf": b"fmgg", "ggjt": b"tjgg"}
IDS = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q4_2": 4, "Q4_3": 5, "Q5_0": 6, "Q5_1": 7,
       "Q8_0": 8, "Q2_K": 10, "Q3_K": 11, "Q4_K": 12, "Q5_K": 13, "Q6_K": 14}  # fmt: skip
NAMES = {
    "token_embd": "tok_embeddings",
    "output_norm": "norm",
    "attn_norm": "attention_norm",
    "attn_q": "attention.wq",
    "attn_k": "attention.wk",
    "attn_v": "attention.wv",
    "attn_output": "attention.wo",
    "ffn_gate": "feed_forward.w1",
    "ffn_down": "feed_forward.w2",
    "ffn_up": "feed_forward.w3",  # ffn_norm and output had their names already
}
BY_COLUMNS = ("tok_embeddings", "attention.wo", "feed_forward.w2")


# ---- Blocks --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Codes:
    """What blocks stand for: codes (blocks, elements), and a scale and minimum of each block."""

    q: npt.NDArray[np.int64]
    d: npt.NDArray[np.float32]
    m: npt.NDArray[np.float32]

    def values(self, name: str) -> npt.NDArray[np.float64]:
        """x = (q - middle) d, or q d + m."""
        q, d, m = (array.astype(np.float64) for array in (self.q, self.d, self.m))
        if name in ("Q4_1", "Q4_3", "Q5_1"):
            return q * d[:, None] + m[:, None]
        return (q - {"4": 8, "5": 16, "8": 0}[name[1]]) * d[:, None]


def random_codes(rng: np.random.Generator, name: str, n_blocks: int, *, half: bool) -> Codes:
    """Codes of every value; scales that float16 holds exactly (`half`), or as any float32."""
    length = 16 if name in ("Q4_2", "Q4_3") else 32
    low, high = (-128, 128) if name == "Q8_0" else (0, 1 << int(name[1]))
    d, m = (rng.standard_normal(n_blocks).astype(np.float32) / 100 for _ in range(2))
    if half:
        d, m = (array.astype(np.float16).astype(np.float32) for array in (d, m))
    return Codes(rng.integers(low, high, (n_blocks, length)), d, m)


def pack(name: str, codes: Codes, layout: int) -> Bytes:
    """Blocks (blocks, bytes) as they were in layout 1 (up to ggjt v1), 2 or 3 (today's)."""
    n = len(codes.q)
    wide = name in ("Q4_0", "Q4_1", "Q8_0") and layout < 3  # float32 scales
    scales = [codes.d] + ([codes.m] if name in ("Q4_1", "Q4_3", "Q5_1") else [])
    columns = [s.astype("<f4" if wide else "<f2").view(np.uint8).reshape(n, -1) for s in scales]
    if name == "Q8_0":
        return np.concatenate([*columns, codes.q.astype(np.int8).view(np.uint8)], axis=1)
    if name.startswith("Q5"):
        bits = ((codes.q >> 4) << np.arange(32)).sum(1).astype("<u4")
        columns.append(bits.view(np.uint8).reshape(n, 4))
    nibbles, half = codes.q & 15, codes.q.shape[1] // 2
    if layout == 1:
        low, high = nibbles[:, 0::2], nibbles[:, 1::2]
    else:
        low, high = nibbles[:, :half], nibbles[:, half:]
    return np.concatenate([*columns, (low | high << 4).astype(np.uint8)], axis=1)


def unpack(name: str, blocks: Bytes) -> Codes:
    """The codes of today's blocks."""
    n, at, scales = len(blocks), 0, []
    for _ in range(2 if name in ("Q4_1", "Q5_1") else 1):
        scales.append(blocks[:, at : at + 2].copy().view("<f2")[:, 0].astype(np.float32))
        at += 2
    if name == "Q8_0":
        q = blocks[:, at:].copy().view(np.int8).astype(np.int64)
    else:
        bits = np.zeros((n, 1), np.int64)
        if name.startswith("Q5"):
            bits = blocks[:, at : at + 4].copy().view("<u4").astype(np.int64)
            at += 4
        nibbles = blocks[:, at:].astype(np.int64)
        q = np.concatenate([nibbles & 15, nibbles >> 4], axis=1) | (bits >> np.arange(32) & 1) << 4
    return Codes(q, scales[0], scales[-1])


def lay_out(name: str, rows: Bytes, layout: int) -> Bytes:
    """Rows of today's bytes in an older layout; floats and K-quants have had but one."""
    if name not in ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"):
        return rows
    nbytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]][1]
    return pack(name, unpack(name, rows.reshape(-1, nbytes)), layout).reshape(len(rows), -1)


# ---- Files ---------------------------------------------------------------------------------------


def token(text: bytes, score: float | None = None) -> bytes:
    tail = b"" if score is None else struct.pack("<f", score)
    return struct.pack("<I", len(text)) + text + tail


def record(
    name: str,
    shape: tuple[int, ...],
    number: int,
    *,
    n_dims: int | None = None,
    name_nbytes: int | None = None,
) -> bytes:
    """What comes before a tensor's data (and padding); lengths may lie."""
    raw = name.encode()
    return (
        struct.pack(
            f"<III{len(shape)}I",
            len(shape) if n_dims is None else n_dims,
            len(raw) if name_nbytes is None else name_nbytes,
            number,
            *shape,
        )
        + raw
    )


def old_vocabulary(pieces: list[str]) -> list[bytes]:
    """Texts of tokens as converters of 2023 wrote them: unk, bos, eos, bytes, and pieces."""
    marks = [" \u2047 ".encode(), b"", b""]
    return (
        marks
        + [bytes([b]) for b in range(256)]
        + [p.replace("\u2581", " ").encode() for p in pieces]
    )


@dataclass
class OldTensor:
    name: str
    type: str
    shape: tuple[int, ...]
    rows: Bytes  # (rows, bytes), in the layout of the file to be

    def share(self, part: int, n_parts: int) -> OldTensor:
        if len(self.shape) == 1 or n_parts == 1:
            return self
        columns, rows = self.shape
        if any(name in self.name for name in BY_COLUMNS):
            return OldTensor(self.name, self.type, (columns // n_parts, rows),
                             np.split(self.rows, n_parts, axis=1)[part])  # fmt: skip
        return OldTensor(self.name, self.type, (columns, rows // n_parts),
                         np.split(self.rows, n_parts)[part])  # fmt: skip


@dataclass
class OldModel:
    """A model to be written: the numbers of the header, texts and scores, tensors."""

    sizes: dict[str, int]
    texts: list[bytes]
    scores: list[float]
    tensors: list[OldTensor] = field(default_factory=list)

    @classmethod
    def of(cls, path: Path, layout: int) -> OldModel:
        """The model of a GGUF file, its blocks in a layout of the past."""
        reader = gguf.GGUFReader(path)
        fields = {key: value.contents() for key, value in reader.fields.items()}
        n_head = fields["llama.attention.head_count"]
        sizes = {
            "n_vocab": next(t for t in reader.tensors if t.name == "token_embd.weight").shape[1],
            "n_embd": fields["llama.embedding_length"],
            "n_mult": 256,
            "n_head": n_head,
            "n_layer": fields["llama.block_count"],
            "n_rot": fields["llama.embedding_length"] // n_head,
            "ftype": 2,
        }
        n_pieces = int(sizes["n_vocab"]) - 259
        pieces = [f"\u2581w{i}" for i in range(n_pieces)]
        tokens = fields.get("tokenizer.ggml.tokens")
        model = cls(
            {key: int(value) for key, value in sizes.items()},
            old_vocabulary(tokens[259:] if tokens else pieces),
            list(
                fields.get(
                    "tokenizer.ggml.scores", [0.0] * 259 + [-float(i) for i in range(n_pieces)]
                )
            ),
        )
        for t in reader.tensors:
            kind = t.tensor_type.name
            data = np.array(t.data).view(np.uint8)
            rows = lay_out(kind, data.reshape(t.shape[1] if len(t.shape) > 1 else 1, -1), layout)
            model.tensors.append(
                OldTensor(_old_name(t.name), kind, tuple(int(n) for n in t.shape), rows)
            )
        return model

    def encode(self, family: str, version: int, part: int = 0, n_parts: int = 1) -> bytes:
        """One file."""
        out = bytearray(self.preamble(family, version))
        for whole in self.tensors:
            tensor = whole.share(part, n_parts)
            out += record(tensor.name, tensor.shape, IDS[tensor.type])
            if family == "ggjt":
                out += bytes(-len(out) % 32)
            out += tensor.rows.tobytes()
        return bytes(out)

    def preamble(self, family: str, version: int) -> bytes:
        """All that comes before the tensors."""
        out = MAGIC[family] + (b"" if family == "ggml" else struct.pack("<I", version))
        out += struct.pack("<7I", *self.sizes.values())
        for text, score in zip(self.texts, self.scores, strict=True):
            out += token(text, None if family == "ggml" else score)
        return out

    def write(self, path: Path, family: str, version: int, n_parts: int = 1) -> Path:
        """Write FILE, FILE.1 and so on."""
        for part in range(n_parts):
            suffix = f".{part}" if part else ""
            path.with_name(path.name + suffix).write_bytes(
                self.encode(family, version, part, n_parts)
            )
        return path


def _old_name(name: str) -> str:
    head, _, rest = name.partition(".")
    if head == "blk":
        layer, key, end = rest.split(".")
        return f"layers.{layer}.{NAMES.get(key, key)}.{end}"
    return f"{NAMES.get(head, head)}.{rest}"
