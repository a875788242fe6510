"""Exact shapes of known models, and the weight types that real files of a quantisation mix.

Shapes are those of the published configurations. Mixes are those of the files that people
download, as llama.cpp's quantizer makes them: facts about files, restated in `weight_type`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from llamacpp.format import GGMLType

__all__ = ["MIXES", "SHAPES", "Matrix", "Shape", "matrices", "weight_type"]

T = GGMLType


@dataclass(frozen=True)
class Shape:
    """Hyperparameters in the words of the GGUF keys."""

    n_layer: int
    n_embd: int
    n_ff: int
    n_head: int
    n_kv_head: int
    n_vocab: int
    n_ctx: int
    head_dim: int = 0  # 0: n_embd / n_head
    rope_base: float = 10000.0
    norm_eps: float = 1e-5
    architecture: str = "llama"
    tied: bool = False  # the output matrix is the embedding
    qkv_bias: bool = False
    qk_norm: bool = False  # of each head of queries and keys
    n_expert: int = 0  # 0: one feed-forward network
    n_expert_used: int = 0
    n_ff_expert: int = 0  # 0: n_ff

    @property
    def head(self) -> int:
        """Dimensions of a head."""
        return self.head_dim or self.n_embd // self.n_head


SHAPES = {
    "SmolLM2-135M": Shape(30, 576, 1536, 9, 3, 49152, 8192, rope_base=100000.0, tied=True),
    "Qwen2.5-0.5B": Shape(
        24, 896, 4864, 14, 2, 151936, 32768,
        rope_base=1e6, norm_eps=1e-6, architecture="qwen2", tied=True, qkv_bias=True,
    ),
    "TinyLlama-1.1B": Shape(22, 2048, 5632, 32, 4, 32000, 2048),
    "Llama-3.2-1B": Shape(16, 2048, 8192, 32, 8, 128256, 131072, rope_base=5e5, tied=True),
    "Qwen2.5-1.5B": Shape(
        28, 1536, 8960, 12, 2, 151936, 32768,
        rope_base=1e6, norm_eps=1e-6, architecture="qwen2", tied=True, qkv_bias=True,
    ),
    "Llama-3.2-3B": Shape(28, 3072, 8192, 24, 8, 128256, 131072, rope_base=5e5, tied=True),
    "LLaMA-7B": Shape(32, 4096, 11008, 32, 32, 32000, 2048, norm_eps=1e-6),
    "Mistral-7B": Shape(32, 4096, 14336, 32, 8, 32768, 32768, rope_base=1e6),
    "Llama-3-8B": Shape(32, 4096, 14336, 32, 8, 128256, 8192, rope_base=5e5),
    "LLaMA-13B": Shape(40, 5120, 13824, 40, 40, 32000, 2048, norm_eps=1e-6),
    "LLaMA-30B": Shape(60, 6656, 17920, 52, 52, 32000, 2048, norm_eps=1e-6),
    "LLaMA-65B": Shape(80, 8192, 22016, 64, 64, 32000, 2048),
    "Mixtral-8x7B": Shape(
        32, 4096, 14336, 32, 8, 32000, 32768, rope_base=1e6, n_expert=8, n_expert_used=2,
    ),
    "Qwen3-30B-A3B": Shape(
        48, 2048, 6144, 32, 4, 151936, 40960, head_dim=128, rope_base=1e6, norm_eps=1e-6,
        architecture="qwen3moe", qk_norm=True, n_expert=128, n_expert_used=8, n_ff_expert=768,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Matrix:
    """One weight matrix: ``y (rows) = W x (columns)``."""

    name: str
    columns: int
    rows: int
    layer: int = -1  # -1: outside the layers
    count: int = 1  # of experts, which lie behind each other

    @property
    def dims(self) -> tuple[int, ...]:
        """The tensor's shape, fastest first."""
        dims = self.columns, self.rows
        return (*dims, self.count) if self.count > 1 else dims


def matrices(shape: Shape) -> Iterator[Matrix]:
    """Yield every matrix of a model, in the order of its file."""
    yield Matrix("token_embd", shape.n_embd, shape.n_vocab)
    if not shape.tied:
        yield Matrix("output", shape.n_embd, shape.n_vocab)
    n_q, n_kv = shape.n_head * shape.head, shape.n_kv_head * shape.head
    for i in range(shape.n_layer):
        layer = f"blk.{i}."
        yield Matrix(layer + "attn_q", shape.n_embd, n_q, i)
        yield Matrix(layer + "attn_k", shape.n_embd, n_kv, i)
        yield Matrix(layer + "attn_v", shape.n_embd, n_kv, i)
        yield Matrix(layer + "attn_output", n_q, shape.n_embd, i)
        if shape.n_expert:
            n, n_ff = shape.n_expert, shape.n_ff_expert or shape.n_ff
            yield Matrix(layer + "ffn_gate_inp", shape.n_embd, n, i)
            yield Matrix(layer + "ffn_gate_exps", shape.n_embd, n_ff, i, n)
            yield Matrix(layer + "ffn_up_exps", shape.n_embd, n_ff, i, n)
            yield Matrix(layer + "ffn_down_exps", n_ff, shape.n_embd, i, n)
            continue
        yield Matrix(layer + "ffn_gate", shape.n_embd, shape.n_ff, i)
        yield Matrix(layer + "ffn_up", shape.n_embd, shape.n_ff, i)
        yield Matrix(layer + "ffn_down", shape.n_ff, shape.n_embd, i)


# ---- mixes --------------------------------------------------------------------------------------

# The type of most matrices, by the name of the file's quantisation.
MIXES = {
    "F32": T.F32, "F16": T.F16, "BF16": T.BF16,
    "Q4_0": T.Q4_0, "Q4_1": T.Q4_1, "Q5_0": T.Q5_0, "Q5_1": T.Q5_1, "Q8_0": T.Q8_0,
    "Q2_K": T.Q2_K, "Q3_K_S": T.Q3_K, "Q3_K_M": T.Q3_K, "Q4_K_S": T.Q4_K, "Q4_K_M": T.Q4_K,
    "Q5_K_S": T.Q5_K, "Q5_K_M": T.Q5_K, "Q6_K": T.Q6_K,
}  # fmt: skip

# What stands in for a type of 256-wide blocks where rows are no multiple of 256.
_NARROW = {
    T.Q2_K: T.Q4_0, T.Q3_K: T.Q4_0, T.Q4_K: T.Q5_0, T.Q5_K: T.Q5_1, T.Q6_K: T.Q8_0,
}  # fmt: skip


def weight_type(mix: str, shape: Shape, matrix: Matrix) -> GGMLType:
    """Tell how a file of this mix stores a matrix."""
    kind = _wide_type(mix, shape, matrix)
    if matrix.columns % kind.block.length == 0:
        return kind
    kind = _NARROW.get(kind, T.F16)
    return kind if matrix.columns % kind.block.length == 0 else T.F16


def _wide_type(mix: str, shape: Shape, matrix: Matrix) -> GGMLType:
    base = MIXES[mix]
    if matrix.name.endswith("ffn_gate_inp"):
        return T.F32  # the router
    is_output = matrix.name == "output" or (shape.tied and matrix.name == "token_embd")
    if base in (T.F32, T.F16, T.BF16, T.Q8_0):
        return base
    if is_output:
        return T.Q6_K
    name = matrix.name.rpartition(".")[2].removesuffix("_exps")
    i, n = matrix.layer, shape.n_layer
    more_bits = i < n // 8 or i >= 7 * n // 8 or (i - n // 8) % 3 == 2
    if mix == "Q2_K":
        if name == "attn_v":
            return T.Q4_K if shape.n_head // shape.n_kv_head >= 4 else T.Q3_K
        return T.Q3_K if name in ("ffn_down", "attn_output") else base
    if mix == "Q3_K_M":
        if name == "attn_v":
            return T.Q5_K if i < 2 else T.Q4_K
        if name == "ffn_down":
            return T.Q5_K if i < n // 16 else T.Q4_K
        return T.Q4_K if name == "attn_output" else base
    if mix == "Q4_K_S":
        low = {"attn_v": 4, "ffn_down": n // 8}
        return T.Q5_K if i < low.get(name, 0) else base
    if mix in ("Q4_K_M", "Q5_K_M") and name in ("attn_v", "ffn_down") and more_bits:
        return T.Q6_K
    return base
