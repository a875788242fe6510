"""Parse a `ggml`, `ggmf` or `ggjt` file into the header that its GGUF would have.

    u32 magic, u32 version (not in ggml)
    u32 n_vocab, n_embd, n_mult, n_head, n_layer, n_rot, ftype
    n_vocab times        u32 length, bytes, f32 score (not in ggml): see `vocabulary`
    to the file's end    a record and the data of each tensor: see `records`

All is little-endian. What GGUF has and these files lack follows from the shapes of layer 0 (the
width of the feed-forward part, the key-value heads), or is what it was for the models of the time
(the context, the epsilon of the norms).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from llamacpp.errors import UnsupportedError
from llamacpp.format.gguf import GGUFHeader, TensorInfo
from llamacpp.format.header import ByteSource, HeaderBytes, quote
from llamacpp.format.legacy.layouts import OldType, tensor_types
from llamacpp.format.legacy.records import read_records
from llamacpp.format.legacy.vocabulary import BOS, EOS, UNK, Vocabulary, read_vocabulary
from llamacpp.format.legacy.weights import Weight, all_names, find_weight
from llamacpp.format.metadata import Metadata
from llamacpp.format.sniff import LEGACY
from llamacpp.format.types import FILE_TYPES, ValueType

__all__ = ["LegacyHeader", "parse_legacy"]

_VERSIONS = {"ggml": (0,), "ggmf": (1,), "ggjt": (1, 2, 3)}

MAX_WIDTH = 1 << 20  # of a row, which conversion holds in memory: 128 times LLaMA's
MAX_LAYERS = 1 << 10
_FOREIGN = "the file is damaged, or of another model of 2023; only LLaMA is supported"

_Found: TypeAlias = dict[str, tuple[Weight, TensorInfo]]


@dataclass(frozen=True)
class LegacyHeader(GGUFHeader):
    """What GGUF would say of a file, and what sets it apart from GGUF.

    Attributes:
        family: "ggml", "ggmf" or "ggjt"; `version` is 0 for the first, which has none.
        n_parts: number of files that make up the model; `tensors` has this one's share of each.
        shapes: of every tensor in the whole model.
        preamble: the bytes before the tensors, the same in all parts.
        obstacle: why the tensors cannot be used where they lie; "" if they can.
    """

    family: str
    n_parts: int
    shapes: dict[str, tuple[int, ...]]
    preamble: bytes
    obstacle: str

    @property
    def label(self) -> str:
        """Name and version of the format."""
        return f"{self.family} v{self.version}" if self.version else self.family


class _Sizes(NamedTuple):
    """The numbers of a file, in its order."""

    n_vocab: int
    n_embd: int
    n_mult: int
    n_head: int
    n_layer: int
    n_rot: int
    ftype: int


def parse_legacy(source: ByteSource) -> LegacyHeader:
    """Parse a file that `is_legacy`: its vocabulary, and the records of its tensors.

    Raises:
        FormatError: the bytes break a rule of the format, or make no whole LLaMA.
        UnsupportedError: a version, a type or a tensor that is not known.
        ModelFileError: the source cannot be read.
    """
    header = HeaderBytes(source)
    family = LEGACY[bytes(header.take_bytes(4, "the magic"))]
    version = 0 if family == "ggml" else header.take_u32("the version")
    if version not in _VERSIONS[family]:
        raise UnsupportedError(f"{header.name}: {family} version {version} does not exist")
    sizes = _read_sizes(header)
    vocabulary = read_vocabulary(header, sizes.n_vocab, scored=family != "ggml")
    alignment = 32 if family == "ggjt" else 1
    types = tensor_types(family, version)
    found = _by_weight(header, sizes.n_layer, read_records(source, header.pos, alignment, types))
    n_parts, shapes = _whole_shapes(header, sizes, found, splittable=family != "ggjt")
    tensors = {weight.name: info for weight, info in found.values()}
    return LegacyHeader(
        version=version,
        alignment=alignment,
        metadata=_metadata(header.name, version, sizes, shapes, vocabulary),
        tensors=tensors,
        data_offset=header.pos,
        family=family,
        n_parts=n_parts,
        shapes=shapes,
        preamble=bytes(header.memory[: header.pos]),
        obstacle=_obstacle(alignment, tensors),
    )


def _read_sizes(header: HeaderBytes) -> _Sizes:
    sizes = _Sizes(*(header.take_u32(name) for name in _Sizes._fields))
    for name, limit in (("n_embd", MAX_WIDTH), ("n_head", MAX_WIDTH), ("n_layer", MAX_LAYERS)):
        value = getattr(sizes, name)
        if not 1 <= value <= limit:
            raise header.error(f"{name} is {value}, outside 1 to {limit}: {_FOREIGN}")
    head_dim, rest = divmod(sizes.n_embd, sizes.n_head)
    if rest or sizes.n_rot % 2 or sizes.n_rot > head_dim:
        raise header.error(
            f"an embedding of {sizes.n_embd} makes no {sizes.n_head} heads that rotate "
            f"{sizes.n_rot} dimensions: {_FOREIGN}"
        )
    return sizes


def _by_weight(header: HeaderBytes, n_layer: int, records: Iterator[TensorInfo]) -> _Found:
    """All tensors of the model by their old names, renamed."""
    found: _Found = {}
    for info in records:
        weight = find_weight(info.name, n_layer)
        if weight is None:
            raise UnsupportedError(
                f"{header.name}: a LLaMA of {n_layer} layers has no tensor {quote(info.name)}: "
                f"{_FOREIGN}"
            )
        if info.name in found:
            raise header.error(f"tensor {quote(info.name)} is there twice")
        found[info.name] = weight, info._replace(name=weight.name)
    missing = next((name for name in all_names(n_layer) if name not in found), None)
    if missing is not None:
        raise header.error(
            f"tensor {quote(missing)} is missing: the download is incomplete or the file is damaged"
        )
    return found


def _whole_shapes(
    header: HeaderBytes, sizes: _Sizes, found: _Found, *, splittable: bool
) -> tuple[int, dict[str, tuple[int, ...]]]:
    """Number of parts, and the shapes of all tensors in the whole model."""

    def extent(name: str, axis: int) -> int:
        return found[name][1].shape[axis]

    n_parts = max(sizes.n_embd // extent("tok_embeddings.weight", 0), 1) if splittable else 1
    extents = sizes._asdict()
    extents["n_ff"] = extent("layers.0.feed_forward.w1.weight", -1) * n_parts
    extents["n_kv"] = extent("layers.0.attention.wk.weight", -1) * n_parts
    if extents["n_ff"] > MAX_WIDTH:
        raise header.error(f"n_ff is {extents['n_ff']}, outside 1 to {MAX_WIDTH}: {_FOREIGN}")
    n_kv_head, rest = divmod(extents["n_kv"], sizes.n_embd // sizes.n_head)
    if rest or sizes.n_head % n_kv_head:
        raise header.error(
            f"{extents['n_kv']} rows of keys are no heads that {sizes.n_head} could share"
        )
    shapes = {}
    for old_name, (weight, info) in found.items():
        shapes[weight.name] = whole = tuple(extents[name] for name in weight.shape)
        joined = tuple(
            n * n_parts if axis == weight.split else n for axis, n in enumerate(info.shape)
        )
        if joined != whole:
            times = f" in each of {n_parts} parts" if n_parts > 1 else ""
            raise header.error(
                f"tensor {quote(old_name)} has the shape {list(info.shape)}{times}, which does not "
                f"make {list(whole)}"
            )
    return n_parts, shapes


def _metadata(
    name: str,
    version: int,
    sizes: _Sizes,
    shapes: dict[str, tuple[int, ...]],
    vocabulary: Vocabulary,
) -> Metadata:
    """Everything that GGUF's keys have names for."""
    n_kv_head = shapes["blk.0.attn_k.weight"][1] // (sizes.n_embd // sizes.n_head)
    # LLaMA 2 is younger than ggjt v2, and its largest model alone shares key-value heads. What else
    # is in ggjt v3 may be either: 5e-6, between the two, was found to suit both (llama.cpp #2384).
    is_70b = n_kv_head < sizes.n_head
    eps = 1e-5 if is_70b else 5e-6 if version == 3 else 1e-6
    metadata = Metadata(name)
    metadata._add("general.architecture", ValueType.STRING, memoryview(b"llama"))
    integers = {
        "general.quantization_version": 2,
        "llama.context_length": 4096 if is_70b else 2048,
        "llama.embedding_length": sizes.n_embd,
        "llama.block_count": sizes.n_layer,
        "llama.feed_forward_length": shapes["blk.0.ffn_gate.weight"][1],
        "llama.rope.dimension_count": sizes.n_rot,
        "llama.attention.head_count": sizes.n_head,
        "llama.attention.head_count_kv": n_kv_head,
        "tokenizer.ggml.bos_token_id": BOS,
        "tokenizer.ggml.eos_token_id": EOS,
        "tokenizer.ggml.unknown_token_id": UNK,
    }
    if sizes.ftype in FILE_TYPES:
        integers["general.file_type"] = sizes.ftype
    for key, value in integers.items():
        metadata._add(key, ValueType.UINT32, value)
    metadata._add("llama.attention.layer_norm_rms_epsilon", ValueType.FLOAT32, eps)
    metadata._add("tokenizer.ggml.model", ValueType.STRING, memoryview(b"llama"))
    metadata._add("tokenizer.ggml.tokens", ValueType.ARRAY, vocabulary.tokens)
    metadata._add("tokenizer.ggml.scores", ValueType.ARRAY, vocabulary.scores)
    metadata._add("tokenizer.ggml.token_type", ValueType.ARRAY, vocabulary.types)
    return metadata


def _obstacle(alignment: int, tensors: dict[str, TensorInfo]) -> str:
    """Why the tensors cannot run in place, if anything."""
    old = next((info.type for info in tensors.values() if isinstance(info.type, OldType)), None)
    if old is not None:
        return f"its {old.name} blocks are not laid out as today's"
    return "its tensors are not aligned" if alignment == 1 else ""
