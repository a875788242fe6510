"""Small random encoders with a vocabulary of WordPiece, written by the `gguf` package."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

from tests.random_models import random_blocks
from tests.tokenizer.vocabularies import CONTROL, NORMAL

N_EMBD, N_FF, N_LAYER, N_HEAD, N_CTX = 64, 96, 3, 4, 32
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = "abcdefghijklmnopqrstuvwxyz"
TOKENS = [*SPECIAL, *(f"\u2581{c}" for c in LETTERS), *LETTERS, "\u2581the", "\u2581.", "\u2581,"]
CLS, SEP = 2, 3


def write_random_encoder(
    path: Path, kind: Type = Type.F32, *, arch: str = "bert", vocabulary: bool = True, seed: int = 0
) -> Path:
    """Write a `bert` or `nomic-bert` whose matrices of layers are of one type."""
    rng = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, arch)
    writer.add_context_length(N_CTX)
    writer.add_embedding_length(N_EMBD)
    writer.add_block_count(N_LAYER)
    writer.add_feed_forward_length(N_FF)
    writer.add_head_count(N_HEAD)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    if arch == "nomic-bert":
        writer.add_rope_freq_base(1000.0)
    if vocabulary:
        writer.add_tokenizer_model("bert")
        writer.add_token_list(TOKENS)
        writer.add_token_types([CONTROL if token in SPECIAL else NORMAL for token in TOKENS])
        writer.add_uint32("tokenizer.ggml.cls_token_id", CLS)
        writer.add_sep_token_id(SEP)
        writer.add_unk_token_id(1)
        writer.add_token_type_count(2)

    def values(name: str, *shape: int, around: float = 0.0, scale: float = 0.1) -> None:
        writer.add_tensor(name, (around + scale * rng.standard_normal(shape)).astype(np.float32))

    def matrix(name: str, rows: int, k: int) -> None:
        if kind in (Type.F32, Type.F16):
            floats = (k**-0.5 * rng.standard_normal((rows, k))).astype(np.float32)
            blocks = gguf.quants.quantize(floats, kind)
        else:
            blocks = random_blocks(rng, kind, rows, k, k**-0.5)
        writer.add_tensor(name + ".weight", blocks, raw_dtype=kind)
        if arch == "bert":
            values(name + ".bias", rows)

    def norm(name: str) -> None:
        values(name + ".weight", N_EMBD, around=1.0)
        values(name + ".bias", N_EMBD)

    values("token_embd.weight", len(TOKENS), N_EMBD, scale=1.0)
    values("token_types.weight", 2, N_EMBD, scale=1.0)
    if arch == "bert":
        values("position_embd.weight", N_CTX, N_EMBD, scale=1.0)
    norm("token_embd_norm")
    for i in range(N_LAYER):
        p = f"blk.{i}."
        if arch == "bert":
            for name in ("attn_q", "attn_k", "attn_v"):
                matrix(p + name, N_EMBD, N_EMBD)
        else:
            matrix(p + "attn_qkv", 3 * N_EMBD, N_EMBD)
            matrix(p + "ffn_gate", N_FF, N_EMBD)
        matrix(p + "attn_output", N_EMBD, N_EMBD)
        norm(p + "attn_output_norm")
        matrix(p + "ffn_up", N_FF, N_EMBD)
        matrix(p + "ffn_down", N_EMBD, N_FF)
        norm(p + "layer_output_norm")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
