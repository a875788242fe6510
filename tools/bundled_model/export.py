"""The trained network as a GGUF file: Q8_0 matrices, F32 norms, vocabulary and chat template."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import sentencepiece as spm
import torch
from numpy.typing import NDArray

from llamacpp.format.types import GGMLType
from llamacpp.format.writer import GGUFWriter

from .network import Llama, Shape
from .vocabulary import CHAT_TEMPLATE, END_TOKEN

NORMAL, UNKNOWN, CONTROL, UNUSED, BYTE = 1, 2, 3, 5, 6  # tokenizer.ggml.token_type
MOSTLY_Q8_0 = 7  # general.file_type
QUANTIZATION_VERSION = 2


def export(model: Llama, vocabulary: Path, path: Path) -> None:
    """Write `path`; tensor names and metadata keys as the GGUF specification has them."""
    with GGUFWriter(path) as writer:
        for key, value in _description(model.shape).items():
            writer.add(key, value)
        _add_vocabulary(writer, spm.SentencePieceProcessor(model_file=str(vocabulary)))
        data: dict[str, NDArray[np.generic]] = {}
        for name, parameter in model.state_dict().items():
            weights = np.ascontiguousarray(parameter.float().numpy())
            kind = GGMLType.F32 if weights.ndim == 1 else GGMLType.Q8_0
            writer.add_tensor(name, kind, weights.shape[::-1])
            if kind is GGMLType.Q8_0:
                weights = gguf.quants.quantize(weights, gguf.GGMLQuantizationType.Q8_0)
            data[name] = weights
        for name, weights in data.items():
            writer.write_tensor(name, np.ascontiguousarray(weights))


def _description(s: Shape) -> dict[str, str | int | float]:
    return {
        "general.architecture": "llama",
        "general.name": "Stories",
        "general.basename": "stories",
        "general.description": "Tells short stories; trained from scratch on a synthetic corpus",
        "general.license": "mit",
        "general.file_type": MOSTLY_Q8_0,
        "general.quantization_version": QUANTIZATION_VERSION,
        "llama.vocab_size": s.n_vocab,
        "llama.context_length": s.n_ctx,
        "llama.embedding_length": s.n_embd,
        "llama.block_count": s.n_layer,
        "llama.feed_forward_length": s.n_ff,
        "llama.rope.dimension_count": s.head_dim,
        "llama.rope.freq_base": s.rope_base,
        "llama.attention.head_count": s.n_head,
        "llama.attention.head_count_kv": s.n_head_kv,
        "llama.attention.layer_norm_rms_epsilon": s.norm_eps,
        "tokenizer.chat_template": CHAT_TEMPLATE,
    }


def _add_vocabulary(writer: GGUFWriter, pieces: spm.SentencePieceProcessor) -> None:
    """Pieces, scores and types; a text's turn ends with END_TOKEN, a plain story with eos."""
    ids = range(pieces.get_piece_size())
    writer.add("tokenizer.ggml.model", "llama")
    writer.add("tokenizer.ggml.pre", "default")
    writer.add("tokenizer.ggml.tokens", [pieces.id_to_piece(i) for i in ids])
    writer.add("tokenizer.ggml.scores", [float(pieces.get_score(i)) for i in ids])
    writer.add("tokenizer.ggml.token_type", [_token_type(pieces, i) for i in ids])
    writer.add("tokenizer.ggml.bos_token_id", pieces.bos_id())
    writer.add("tokenizer.ggml.eos_token_id", pieces.eos_id())
    writer.add("tokenizer.ggml.eot_token_id", pieces.piece_to_id(END_TOKEN))
    writer.add("tokenizer.ggml.unknown_token_id", pieces.unk_id())
    writer.add("tokenizer.ggml.add_bos_token", True)
    writer.add("tokenizer.ggml.add_eos_token", False)
    writer.add("tokenizer.ggml.add_space_prefix", True)


def _token_type(pieces: spm.SentencePieceProcessor, token: int) -> int:
    if pieces.is_unknown(token):
        return UNKNOWN
    if pieces.is_control(token):
        return CONTROL
    if pieces.is_byte(token):
        return BYTE
    return UNUSED if pieces.is_unused(token) else NORMAL


def read_back(path: Path, shape: Shape) -> Llama:
    """The network with the file's own weights, dequantised by the `gguf` package."""
    model = Llama(shape)
    weights = {
        tensor.name: torch.from_numpy(
            gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        )
        for tensor in gguf.GGUFReader(path).tensors
    }
    model.load_state_dict(weights)
    return model
