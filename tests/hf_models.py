"""Tiny random models of the transformers library, in float64, and the GGUF files of them.

What differs between the two layouts is spelled out here: names, Conv1D's transposed matrices,
the 1 in Gemma's norms, and the order of rotary dimensions where GGUF has pairs side by side.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
import transformers

# Names of the transformers library -> those of GGUF, in the layers and outside.
LAYER_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.qkv_proj": "attn_qkv",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.gate_up_proj": "ffn_up",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_1": "attn_norm",
    "ln_2": "ffn_norm",
}
OTHER_NAMES = {
    "embed_tokens": "token_embd",
    "norm": "output_norm",
    "lm_head": "output",
    "wte": "token_embd",
    "wpe": "position_embd",
    "ln_f": "output_norm",
}
NORMS_AFTER = {"gemma2", "gemma3", "olmo2"}  # whose post_attention_layernorm is just that
KINDS_WITH_NORMS_AFTER = {"Gemma2", "Gemma3Text", "Olmo2", "Olmo3"}
PAIRS_ADJACENT = {"llama", "granite", "smollm3"}


def make(kind: str, options: Mapping[str, Any], seed: int = 0) -> Any:
    """A model of the transformers library with random weights, in float64, as if trained a bit."""
    config = getattr(transformers, f"{kind}Config")(
        **options, attn_implementation="eager", pad_token_id=0
    )
    model = "GPT2LMHeadModel" if kind == "GPT2" else f"{kind.removesuffix('Text')}ForCausalLM"
    torch.manual_seed(seed)
    network = getattr(transformers, model)(config).double().eval()
    gain = 1 / math.sqrt(2 * config.num_hidden_layers)
    with torch.no_grad():
        for name, p in network.named_parameters():
            noise = torch.randn_like(p)
            if "norm" in name or "ln_" in name:
                scaled = kind in KINDS_WITH_NORMS_AFTER and re.search(r"\.post_\w+norm", name)
                around = gain if scaled else 1.0  # norms that come last in a part
                around = around if name.endswith("weight") else 0.0
                p.copy_(around - ("Gemma" in kind) + 0.1 * noise)
            elif p.ndim == 1:
                p.copy_(0.1 * noise)
            elif "embed" in name or "wte" in name or "wpe" in name:
                p.copy_(noise)
            else:
                fan_in = p.shape[0] if kind == "GPT2" else p.shape[1]
                adds = any(part in name for part in ("o_proj", "down_proj", "c_proj"))
                p.copy_(noise * (gain if adds else 1.0) / math.sqrt(fan_in))
            p.copy_(p.float().double())  # what the file holds
    return network


def logits(network: Any, tokens: list[int]) -> np.ndarray:
    """Logits (T, n_vocab) in float64."""
    with torch.no_grad():
        return network(torch.tensor([tokens])).logits[0].double().numpy()


def write(path: Path, network: Any, arch: str, metadata: Mapping[str, Any] | None = None) -> Path:
    """Write the model as a GGUF file of architecture `arch`, in F32."""
    writer = gguf.GGUFWriter(path, arch)
    for key, value in {**_metadata(network.config), **(metadata or {})}.items():
        name = f"{arch}.{key}"
        if isinstance(value, list):
            writer.add_array(name, value)
        elif isinstance(value, (int, float)):
            add = writer.add_uint32 if isinstance(value, int) else writer.add_float32
            add(name, value)
        else:
            writer.add_string(name, value)
    for name, array in _tensors(network, arch):
        writer.add_tensor(name, np.ascontiguousarray(array, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _metadata(c: Any) -> dict[str, Any]:
    """Keys without the architecture, from a configuration."""
    n_head = c.num_attention_heads
    n_ff = getattr(c, "intermediate_size", None) or getattr(c, "n_inner", None)
    head_dim = getattr(c, "head_dim", None) or c.hidden_size // n_head
    found: dict[str, Any] = {
        "context_length": c.max_position_embeddings,
        "embedding_length": c.hidden_size,
        "block_count": c.num_hidden_layers,
        "feed_forward_length": n_ff or 4 * c.hidden_size,
        "attention.head_count": n_head,
        "attention.head_count_kv": getattr(c, "num_key_value_heads", None) or n_head,
        "attention.key_length": head_dim,
        "attention.value_length": head_dim,
    }
    for ours, theirs in {
        "attention.layer_norm_rms_epsilon": "rms_norm_eps",
        "attention.layer_norm_epsilon": "layer_norm_epsilon",
        "attn_logit_softcapping": "attn_logit_softcapping",
        "final_logit_softcapping": "final_logit_softcapping",
        "embedding_scale": "embedding_multiplier",
        "residual_scale": "residual_multiplier",
        "attention.scale": "attention_multiplier",
        "logit_scale": "logits_scaling",
        "attention.sliding_window": "sliding_window",
    }.items():
        if getattr(c, theirs, None) is not None:
            found[ours] = getattr(c, theirs)
    if hasattr(c, "norm_epsilon"):
        found["attention.layer_norm_epsilon"] = c.norm_epsilon
    if hasattr(c, "query_pre_attn_scalar"):
        found["attention.scale"] = c.query_pre_attn_scalar**-0.5
    return found | _rope(c, head_dim)


def _rope(c: Any, head_dim: int) -> dict[str, Any]:
    rope = getattr(c, "rope_parameters", None)
    if rope is None:
        return {}
    found: dict[str, Any] = {}
    if "full_attention" in rope:
        found["rope.freq_base_swa"] = float(rope["sliding_attention"]["rope_theta"])
        rope = rope["full_attention"]
    found["rope.freq_base"] = float(rope["rope_theta"])
    found["rope.dimension_count"] = int(head_dim * rope.get("partial_rotary_factor", 1.0))
    kind = rope["rope_type"]
    if kind in ("linear", "yarn"):
        found["rope.scaling.type"] = kind
        found["rope.scaling.factor"] = float(rope["factor"])
    if kind in ("yarn", "longrope"):
        original = rope["original_max_position_embeddings"]
        found["rope.scaling.original_context_length"] = original
    if kind == "longrope":
        factor = c.max_position_embeddings / original
        found["rope.scaling.attn_factor"] = math.sqrt(1 + math.log(factor) / math.log(original))
    return found


def _tensors(network: Any, arch: str) -> Iterator[tuple[str, np.ndarray]]:
    c = network.config
    for name, tensor in network.state_dict().items():
        stem, _, suffix = name.rpartition(".")
        match = re.fullmatch(r"(?:model|transformer)\.(?:layers|h)\.(\d+)\.(.+)", stem)
        array = tensor.numpy()
        if match is None:
            ours = OTHER_NAMES[stem.rpartition(".")[2]]
            if ours == "output" and c.tie_word_embeddings:
                continue
        else:
            layer, theirs = match.groups()
            ours = f"blk.{layer}.{LAYER_NAMES[theirs]}"
            if theirs == "post_attention_layernorm" and arch in NORMS_AFTER:
                ours = f"blk.{layer}.post_attention_norm"
            if arch == "gpt2" and array.ndim == 2:
                array = array.T  # Conv1D holds (in, out)
            if arch in PAIRS_ADJACENT and theirs in ("self_attn.q_proj", "self_attn.k_proj"):
                array = _adjacent(array, c, is_query=theirs == "self_attn.q_proj")
        if arch.startswith("gemma") and ours.endswith("norm"):
            array = array + 1
        yield f"{ours}.{suffix}", array
    rope = getattr(c, "rope_parameters", None) or {}
    if rope.get("rope_type") == "longrope":
        for length in ("long", "short"):
            yield f"rope_factors_{length}.weight", np.array(rope[f"{length}_factor"])
    if rope.get("rope_type") == "llama3":
        yield "rope_freqs.weight", _llama3_divisors(c)


def _adjacent(array: np.ndarray, c: Any, *, is_query: bool) -> np.ndarray:
    """Rows i and i + d / 2 of each head become neighbours."""
    n = c.num_attention_heads if is_query else c.num_key_value_heads
    halves = array.reshape(n, 2, array.shape[0] // n // 2, -1)
    return halves.swapaxes(1, 2).reshape(array.shape)


def _llama3_divisors(c: Any) -> np.ndarray:
    """By how much Llama 3's scaling divides each frequency, from what transformers makes of it."""
    functions = transformers.modeling_rope_utils.ROPE_INIT_FUNCTIONS
    scaled, _ = functions["llama3"](c, torch.device("cpu"))
    n_rot = 2 * len(scaled)
    return c.rope_parameters["rope_theta"] ** (-np.arange(0, n_rot, 2) / n_rot) / scaled.numpy()
