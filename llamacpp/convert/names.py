"""From the names of Hugging Face's tensors to those of GGUF, and what becomes of their rows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from llamacpp.convert.checkpoint import Checkpoint, pieces
from llamacpp.convert.experts import ExpertsWeight, experts_of, is_of_experts
from llamacpp.convert.metadata import Architecture
from llamacpp.errors import FormatError

__all__ = ["Weight", "weights_of"]

Float32 = npt.NDArray[np.float32]

_LAYER = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn": "attn_sinks",  # whose name in the layer is just sinks
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.gate_up_proj": "ffn_up",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
    "block_sparse_moe.gate": "ffn_gate_inp",
    "mlp.gate": "ffn_gate_inp",
    "mlp.router": "ffn_gate_inp",
    "mlp.shared_expert_gate": "ffn_gate_inp_shexp",
    "mlp.shared_expert.gate_proj": "ffn_gate_shexp",
    "mlp.shared_expert.up_proj": "ffn_up_shexp",
    "mlp.shared_expert.down_proj": "ffn_down_shexp",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_1": "attn_norm",
    "ln_2": "ffn_norm",
    # BERT
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
    # Nomic Embed
    "attn.Wqkv": "attn_qkv",
    "attn.out_proj": "attn_output",
    "norm1": "attn_output_norm",
    "mlp.fc11": "ffn_up",
    "mlp.fc12": "ffn_gate",
    "mlp.fc2": "ffn_down",
    "norm2": "layer_output_norm",
}
_OTHER = {
    "embed_tokens": "token_embd",
    "norm": "output_norm",
    "lm_head": "output",
    "wte": "token_embd",
    "wpe": "position_embd",
    "ln_f": "output_norm",
    "word_embeddings": "token_embd",
    "position_embeddings": "position_embd",
    "token_type_embeddings": "token_types",
    "LayerNorm": "token_embd_norm",
    "emb_ln": "token_embd_norm",
}
_SUFFIXES = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}
_NORMS_AFTER = {"gemma2", "gemma3", "olmo2", "gpt-oss"}  # post_attention_layernorm is called so
_EXPERTS = ("ffn_gate_exps", "ffn_up_exps", "ffn_down_exps")
_PREFIXES = (
    *("model.language_model.", "language_model.model.", "model.", "transformer."),
    *("bert.", "nomic_bert."),
)
_IGNORED = re.compile(
    r".*\.(rotary_emb\.inv_freq|attn\.bias|attn\.masked_bias)"  # made anew by every engine
    r"|(\w+\.)?embeddings\.position_ids"
    r"|(\w+\.)?pooler\..*|cls\..*"  # what BERT was trained with, beside its hidden states
    r"|(model\.)?(vision_tower|multi_modal_projector|vision_model)\..*"
)


class Weight(NamedTuple):
    """A tensor of the GGUF file, and where its rows come from.

    Attributes:
        name: in GGUF.
        source: the name in the checkpoint.
        shape: (rows, columns), as it will be.
        heads: its rows are those of so many heads, each of two halves to be interleaved; 0: not.
        transposed: rows and columns change places.
        add: to every value.
    """

    name: str
    source: str
    shape: tuple[int, ...]
    heads: int = 0
    transposed: bool = False
    add: float = 0.0

    def rows(self, checkpoint: Checkpoint) -> Iterator[Float32]:
        """The values, some rows at a time; those that change places all at once."""
        if not (self.heads or self.transposed):
            for piece in pieces(checkpoint, self.source):
                yield piece + np.float32(self.add) if self.add else piece
            return
        whole = np.concatenate(list(pieces(checkpoint, self.source)))
        if self.transposed:
            whole = whole.T
        if self.heads:  # rows i and i + d / 2 of each head become neighbours
            halves = whole.reshape(self.heads, 2, len(whole) // self.heads // 2, -1)
            whole = halves.swapaxes(1, 2).reshape(whole.shape)
        yield np.ascontiguousarray(whole)


def weights_of(
    checkpoint: Checkpoint, c: Mapping[str, Any], kind: Architecture
) -> list[Weight | ExpertsWeight]:
    """All tensors, in an order in which a pass needs them.

    Raises:
        FormatError: a tensor has a name that this architecture does not know.
    """
    found: dict[str, Weight | ExpertsWeight] = {}
    weights: list[Weight | ExpertsWeight] = [
        _weight(source, stored.shape, c, kind)
        for source, stored in checkpoint.tensors.items()
        if not (_IGNORED.fullmatch(source) or is_of_experts(source, kind))
    ]
    for weight in [*weights, *experts_of(checkpoint, c, kind)]:
        if weight.name == "output.weight" and c.get("tie_word_embeddings", kind.tied):
            continue
        if weight.name in found:
            both = f"{found[weight.name].source!r} and {weight.source!r}"
            raise FormatError(f"tensors {both} are the same")
        found[weight.name] = weight
    if "token_embd.weight" not in found:
        raise FormatError("the model has no embedding: embed_tokens or wte is missing")
    return sorted(found.values(), key=lambda weight: _place(weight.name))


def _weight(
    source: str, shape: tuple[int, ...], c: Mapping[str, Any], kind: Architecture
) -> Weight:
    stem, _, suffix = source.rpartition(".")
    for prefix in _PREFIXES:
        if stem.startswith(prefix):
            stem = stem.removeprefix(prefix)
            break
    match = re.fullmatch(r"(?:layers|h|encoder\.layers?)\.(\d+)\.(.+)", stem)
    theirs = match[2] if match else stem.rpartition(".")[2]
    ours = (_LAYER if match else _OTHER).get(theirs)
    suffix = ({"sinks": "weight"} if ours == "attn_sinks" else _SUFFIXES).get(suffix, "")
    if ours is None or not suffix:
        raise FormatError(f"tensor {source!r} is of no part that {kind.name} has here")
    if theirs == "post_attention_layernorm" and kind.name in _NORMS_AFTER:
        ours = "post_attention_norm"
    heads, transposed = 0, kind.name == "gpt2" and match is not None and len(shape) == 2
    if kind.adjacent and ours in ("attn_q", "attn_k"):
        key = "num_attention_heads"
        if ours == "attn_k" and c.get("num_key_value_heads") is not None:
            key = "num_key_value_heads"
        heads = int(c[key])
        if shape[0] % (2 * heads):
            raise FormatError(f"tensor {source!r}: {shape[0]} rows are not those of {heads} heads")
    if ours == "ffn_gate_inp_shexp":
        shape = shape[1:]  # one row, a vector in GGUF
    return Weight(
        name=f"blk.{match[1]}.{ours}.{suffix}" if match else f"{ours}.{suffix}",
        source=source,
        shape=shape[::-1] if transposed else shape,
        heads=heads,
        transposed=transposed,
        add=1.0 if kind.one_in_norms and ours.endswith("norm") else 0.0,
    )


def _place(name: str) -> tuple[int, int, int]:
    first = ("token_embd", "position_embd", "token_types", "token_embd_norm")
    order = (*first, "output_norm", "output")
    if not name.startswith("blk."):
        stem = name.split(".")[0]
        return 0 if stem in first else 2, order.index(stem), 0
    _, layer, stem = name.split(".")[:3]
    steps = [*dict.fromkeys(_LAYER.values()), *_EXPERTS, "post_attention_norm"]
    return 1, int(layer), steps.index(stem)
