"""Small random models of any weight type, written by the `gguf` package."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType as Type
from gguf_bytes import Value

WEIGHT_TYPES = (
    Type.F32, Type.F16, Type.BF16, Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0,
    Type.Q2_K, Type.Q3_K, Type.Q4_K, Type.Q5_K, Type.Q6_K,
    Type.IQ4_NL, Type.IQ4_XS, Type.MXFP4, Type.TQ1_0, Type.TQ2_0, Type.IQ3_XXS, Type.IQ3_S,
    Type.IQ2_XXS, Type.IQ2_XS, Type.IQ2_S, Type.IQ1_S, Type.IQ1_M,
)  # fmt: skip

# Where the float16 scales of a block lie, and their ratio to the first one that centres its values.
_SCALES = {
    Type.Q4_0: {0: 1.0},
    Type.Q4_1: {0: 1.0, 2: -7.5},
    Type.Q5_0: {0: 1.0},
    Type.Q5_1: {0: 1.0, 2: -15.5},
    Type.Q8_0: {0: 1.0},
    Type.Q2_K: {80: 1.0, 82: 1.5},
    Type.Q3_K: {108: 1.0},
    Type.Q4_K: {0: 1.0, 2: 7.5},
    Type.Q5_K: {0: 1.0, 2: 15.5},
    Type.Q6_K: {208: 1.0},
    Type.IQ4_NL: {0: 1.0},
    Type.IQ4_XS: {0: 1.0},
    Type.MXFP4: {},
    Type.TQ1_0: {52: 1.0},
    Type.TQ2_0: {64: 1.0},
    Type.IQ3_XXS: {0: 1.0},
    Type.IQ3_S: {0: 1.0},
    Type.IQ2_XXS: {0: 1.0},
    Type.IQ2_XS: {0: 1.0},
    Type.IQ2_S: {0: 1.0},
    Type.IQ1_S: {0: 1.0},
    Type.IQ1_M: {},
}


def _put_scales(blocks: npt.NDArray[np.uint8], kind: Type, d: npt.NDArray[np.floating]) -> None:
    if kind == Type.MXFP4:  # an exponent, 128 of which is 1
        blocks[:, 0] = 128 + np.round(np.log2(d)).astype(int)
    if kind == Type.IQ1_M:  # a half in the top nibbles of four words
        halves = d.astype("<f2").view("<u2")
        for i in range(4):
            blocks[:, 49 + 2 * i] &= 15
            blocks[:, 49 + 2 * i] |= ((halves >> 4 * i & 15) << 4).astype(np.uint8)
    for offset, ratio in _SCALES[kind].items():
        scale = (d * ratio).astype("<f2")
        blocks[:, offset : offset + 2] = scale.view(np.uint8).reshape(-1, 2)


def random_blocks(
    rng: np.random.Generator, kind: Type, rows: int, k: int, std: float
) -> np.ndarray:
    """Random rows of blocks (rows, row bytes): every bit random, but scales like a model's."""
    length, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = rng.integers(0, 256, (rows * k // length, size), dtype=np.uint8)
    _put_scales(blocks, kind, np.ones(len(blocks)))
    unit = float(gguf.quants.dequantize(blocks, kind).std())
    _put_scales(blocks, kind, std / unit * rng.uniform(0.5, 1.5, len(blocks)))
    return blocks.reshape(rows, -1)


def _matrix(rng: np.random.Generator, kind: Type, rows: int, k: int, std: float) -> np.ndarray:
    if kind in _SCALES:
        return random_blocks(rng, kind, rows, k, std)
    values = (std * rng.standard_normal((rows, k))).astype(np.float32)
    return values if kind == Type.F32 else gguf.quants.quantize(values, kind)


def _add_vocabulary(writer: gguf.GGUFWriter, vocabulary: Mapping[str, Value]) -> int:
    """Write the keys of a tokenizer; return how many tokens it has."""
    for key, value in vocabulary.items():
        name = f"tokenizer.{key}"
        if isinstance(value, (bool, int, str)):
            add = {bool: writer.add_bool, int: writer.add_uint32, str: writer.add_string}
            add[type(value)](name, value)  # type: ignore[operator]
        else:
            writer.add_array(name, list(value))  # type: ignore[arg-type]
    return len(vocabulary["ggml.tokens"])  # type: ignore[arg-type]


def write_random_model(
    path: Path,
    kind: Type,
    *,
    n_embd: int = 256,
    n_ff: int = 512,
    n_layer: int = 2,
    n_head: int = 4,
    n_kv_head: int = 2,
    head_dim: int = 64,
    n_vocab: int = 300,
    n_ctx: int = 256,
    tied: bool = False,
    biases: bool = False,
    rope_freqs: bool = False,
    fused: bool = False,
    experts: tuple[int, int] | None = None,
    metadata: dict[str, float | int | str] | None = None,
    vocabulary: Mapping[str, Value] | None = None,
    seed: int = 0,
) -> Path:
    """Write a model whose matrices are all of one type; norms and biases are F32.

    Scaled as networks are initialised: unit embeddings, products that keep the size of their
    input, and those that add to the residual stream smaller by sqrt(2 n_layer). `vocabulary` holds
    the keys of a tokenizer (without "tokenizer."), and sets n_vocab. Fused matrices make it a model
    of the architecture phi3; experts (how many, and of these of a token) one like Mixtral.
    """
    rng = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, "phi3" if fused else "llama")
    writer.add_context_length(n_ctx)
    writer.add_embedding_length(n_embd)
    writer.add_block_count(n_layer)
    writer.add_feed_forward_length(n_ff)
    writer.add_head_count(n_head)
    writer.add_head_count_kv(n_kv_head)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    writer.add_layer_norm_rms_eps(1e-5)
    if experts is not None:
        writer.add_expert_count(experts[0])
        writer.add_expert_used_count(experts[1])
    for key, value in (metadata or {}).items():
        add = {float: writer.add_float32, int: writer.add_uint32, str: writer.add_string}
        add[type(value)](key, value)  # type: ignore[operator]
    if vocabulary is not None:
        n_vocab = _add_vocabulary(writer, vocabulary)

    def vector(name: str, n: int, around: float) -> None:
        writer.add_tensor(name, (around + 0.1 * rng.standard_normal(n)).astype(np.float32))

    def matrix(name: str, rows: int, k: int, gain: float = 1.0) -> None:
        weights = _matrix(rng, kind, rows, k, gain / np.sqrt(k))
        writer.add_tensor(name + ".weight", weights, raw_dtype=kind)
        if biases and name.startswith("blk."):
            vector(name + ".bias", rows, 0.0)

    def stack(name: str, n: int, rows: int, k: int, gain: float = 1.0) -> None:
        weights = _matrix(rng, kind, n * rows, k, gain / np.sqrt(k))
        writer.add_tensor(name + ".weight", weights.reshape(n, rows, -1), raw_dtype=kind)

    residual_gain = 1 / np.sqrt(2 * n_layer)
    matrix("token_embd", n_vocab, n_embd, np.sqrt(n_embd))
    for i in range(n_layer):
        p = f"blk.{i}."
        vector(p + "attn_norm.weight", n_embd, 1.0)
        if fused:
            matrix(p + "attn_qkv", (n_head + 2 * n_kv_head) * head_dim, n_embd)
        else:
            matrix(p + "attn_q", n_head * head_dim, n_embd)
            matrix(p + "attn_k", n_kv_head * head_dim, n_embd)
            matrix(p + "attn_v", n_kv_head * head_dim, n_embd)
        matrix(p + "attn_output", n_embd, n_head * head_dim, residual_gain)
        vector(p + "ffn_norm.weight", n_embd, 1.0)
        if experts is not None:
            router = rng.standard_normal((experts[0], n_embd)).astype(np.float32)
            writer.add_tensor(p + "ffn_gate_inp.weight", router)
            stack(p + "ffn_gate_exps", experts[0], n_ff, n_embd)
            stack(p + "ffn_up_exps", experts[0], n_ff, n_embd)
            stack(p + "ffn_down_exps", experts[0], n_embd, n_ff, residual_gain)
            continue
        if not fused:
            matrix(p + "ffn_gate", n_ff, n_embd)
        matrix(p + "ffn_up", 2 * n_ff if fused else n_ff, n_embd)
        matrix(p + "ffn_down", n_embd, n_ff, residual_gain)
    vector("output_norm.weight", n_embd, 1.0)
    if not tied:
        matrix("output", n_vocab, n_embd)
    if rope_freqs:
        factors = np.linspace(1.0, 8.0, head_dim // 2).astype(np.float32)
        writer.add_tensor("rope_freqs.weight", factors)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
