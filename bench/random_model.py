"""A model of random weights in the shape of TinyLlama 1.1B: no quality, the true amount of work."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from llamacpp.format import GGMLType
from llamacpp.format.writer import GGUFWriter

N_LAYER, N_EMBD, N_FF, N_VOCAB = 22, 2048, 5632, 32000
N_HEAD, N_KV_HEAD, HEAD_DIM = 32, 4, 64
NIBBLE_STD = math.sqrt((16**2 - 1) / 12)  # of sixteen equally probable steps


def matrices() -> Iterator[tuple[str, int, int, float]]:
    """Name, columns, rows, and gain over a product that keeps the size of its input."""
    residual = 1 / math.sqrt(2 * N_LAYER)
    yield "token_embd", N_EMBD, N_VOCAB, math.sqrt(N_EMBD)
    yield "output", N_EMBD, N_VOCAB, 1.0
    for i in range(N_LAYER):
        layer = f"blk.{i}."
        yield layer + "attn_q", N_EMBD, N_HEAD * HEAD_DIM, 1.0
        yield layer + "attn_k", N_EMBD, N_KV_HEAD * HEAD_DIM, 1.0
        yield layer + "attn_v", N_EMBD, N_KV_HEAD * HEAD_DIM, 1.0
        yield layer + "attn_output", N_HEAD * HEAD_DIM, N_EMBD, residual
        yield layer + "ffn_gate", N_EMBD, N_FF, 1.0
        yield layer + "ffn_up", N_EMBD, N_FF, 1.0
        yield layer + "ffn_down", N_FF, N_EMBD, residual


def write_random_model(path: Path, seed: int = 0) -> None:
    """Write the model: Q4_0 matrices, F32 norms, no tokenizer; 0.62 GB."""
    rng = np.random.default_rng(seed)
    norms = ["output_norm"]
    norms += [f"blk.{i}.{name}_norm" for i in range(N_LAYER) for name in ("attn", "ffn")]
    with GGUFWriter(path) as writer:
        writer.add("general.architecture", "llama")
        for key, value in {
            "context_length": 2048, "embedding_length": N_EMBD, "block_count": N_LAYER,
            "feed_forward_length": N_FF, "rope.dimension_count": HEAD_DIM,
            "attention.head_count": N_HEAD, "attention.head_count_kv": N_KV_HEAD,
            "attention.layer_norm_rms_epsilon": 1e-5,
        }.items():  # fmt: skip
            writer.add(f"llama.{key}", value)
        for name, columns, rows, _ in matrices():
            writer.add_tensor(name + ".weight", GGMLType.Q4_0, (columns, rows))
        for name in norms:
            writer.add_tensor(name + ".weight", GGMLType.F32, (N_EMBD,))
        for name, columns, rows, gain in matrices():
            blocks = rng.integers(0, 256, (rows * columns // 32, 18), dtype=np.uint8)
            scale = np.float16(gain / math.sqrt(columns) / NIBBLE_STD)
            blocks[:, :2] = np.frombuffer(scale.tobytes(), np.uint8)
            writer.write_tensor(name + ".weight", blocks)
        for name in norms:
            writer.write_tensor(name + ".weight", np.ones(N_EMBD, np.float32))
