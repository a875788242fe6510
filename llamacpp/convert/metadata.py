"""From config.json to the keys ``ARCH.*``."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from typing import Any, NamedTuple

from llamacpp.errors import FormatError, UnsupportedError
from llamacpp.format.encode import Value

__all__ = ["ARCHITECTURES", "Architecture", "hyperparameters", "rope_tables"]

Json = Mapping[str, Any]


class Architecture(NamedTuple):
    """What Hugging Face's class of a model means here.

    Attributes:
        name: `general.architecture`.
        adjacent: whether pairs of rotary dimensions lie side by side in GGUF's matrices.
        tied: whether the output is the embedding, where the configuration does not tell.
        one_in_norms: whether norms multiply by 1 + weight.
        encoder: whether it gives embeddings and no text.
        period: of layers with a window and, as the last, without, where nothing tells; 0: all have.
        expert_counts: the names that a configuration has for the number of experts, if it has any.
        weights_norm: whether the weights of experts sum to 1 where GGUF does not tell.
        defaults: of a configuration, for files that leave them out.
    """

    name: str
    adjacent: bool = False
    tied: bool = False
    one_in_norms: bool = False
    encoder: bool = False
    period: int = 0
    expert_counts: tuple[str, ...] = ()
    weights_norm: bool = True
    defaults: Json = {}  # noqa: RUF012 - never written to


_EXPERTS = ("num_local_experts", "num_experts")
_GEMMA3 = Architecture(
    "gemma3", tied=True, one_in_norms=True, period=6,
    defaults={"head_dim": 256, "query_pre_attn_scalar": 256, "sliding_window": 4096,
              "rope_theta": 1e6, "rms_norm_eps": 1e-6, "num_attention_heads": 8,
              "num_key_value_heads": 4, "max_position_embeddings": 131072},
)  # fmt: skip
_GEMMA2 = {
    "head_dim": 256, "query_pre_attn_scalar": 256, "sliding_window": 4096,
    "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0,
}  # fmt: skip

_BERT = Architecture("bert", encoder=True)
_NOMIC_BERT = Architecture("nomic-bert", encoder=True)

ARCHITECTURES = {
    "LlamaForCausalLM": Architecture("llama", adjacent=True),
    "MistralForCausalLM": Architecture("llama", adjacent=True),
    "MixtralForCausalLM": Architecture("llama", adjacent=True, expert_counts=_EXPERTS),
    "Qwen2ForCausalLM": Architecture("qwen2"),
    "Qwen3ForCausalLM": Architecture("qwen3"),
    "Qwen2MoeForCausalLM": Architecture(
        "qwen2moe", expert_counts=_EXPERTS, weights_norm=False, defaults={"norm_topk_prob": False}
    ),
    "Qwen3MoeForCausalLM": Architecture(
        "qwen3moe", expert_counts=_EXPERTS, defaults={"norm_topk_prob": False}
    ),
    "GptOssForCausalLM": Architecture("gpt-oss", period=2, expert_counts=_EXPERTS),
    "GemmaForCausalLM": Architecture("gemma", tied=True, one_in_norms=True),
    "Gemma2ForCausalLM": Architecture(
        "gemma2", tied=True, one_in_norms=True, period=2, defaults=_GEMMA2
    ),
    "Gemma3ForCausalLM": _GEMMA3,
    "Gemma3ForConditionalGeneration": _GEMMA3,
    "Phi3ForCausalLM": Architecture("phi3"),
    "Olmo2ForCausalLM": Architecture("olmo2"),
    "Olmo3ForCausalLM": Architecture("olmo2", period=4),
    "GraniteForCausalLM": Architecture("granite", adjacent=True),
    "SmolLM3ForCausalLM": Architecture("smollm3", adjacent=True, tied=True),
    "Starcoder2ForCausalLM": Architecture("starcoder2", tied=True),
    "GPT2LMHeadModel": Architecture("gpt2", tied=True),
    "BertModel": _BERT,
    "BertForMaskedLM": _BERT,
    "BertForPreTraining": _BERT,
    "NomicBertModel": _NOMIC_BERT,
    "NomicBertForMaskedLM": _NOMIC_BERT,
    "NomicBertForPreTraining": _NOMIC_BERT,
}

# GGUF's key: the names that configurations have for it, the first that is there counts.
_SIZES = {
    "context_length": ("max_trained_positions", "max_position_embeddings", "n_positions"),
    "embedding_length": ("hidden_size", "n_embd"),
    "block_count": ("num_hidden_layers", "n_layer"),
    "attention.head_count": ("num_attention_heads", "n_head"),
}
_NUMBERS = {
    "attention.layer_norm_rms_epsilon": ("rms_norm_eps",),
    "attention.layer_norm_epsilon": ("layer_norm_epsilon", "norm_epsilon", "layer_norm_eps"),
    "attn_logit_softcapping": ("attn_logit_softcapping",),
    "final_logit_softcapping": ("final_logit_softcapping",),
    "embedding_scale": ("embedding_multiplier",),
    "residual_scale": ("residual_multiplier",),
    "attention.scale": ("attention_multiplier",),
    "logit_scale": ("logits_scaling",),
}


def hyperparameters(c: Json, kind: Architecture) -> dict[str, Value]:
    """All keys of the architecture, without its name before them.

    Raises:
        FormatError: the configuration lacks a key, or has a value of the wrong type.
        UnsupportedError: it asks for something that the architecture does not do here.
    """
    found: dict[str, Value] = {key: _integer(c, *names) for key, names in _SIZES.items()}
    n_embd, n_head = (
        _integer(c, *_SIZES["embedding_length"]),
        _integer(c, "num_attention_heads", "n_head"),
    )
    head_dim = _integer(c, "head_dim") if c.get("head_dim") is not None else n_embd // n_head
    ff = next((c[k] for k in ("intermediate_size", "n_inner") if c.get(k) is not None), 4 * n_embd)
    found["feed_forward_length"] = _checked("intermediate_size", ff)
    found["attention.head_count_kv"] = (
        _integer(c, "num_key_value_heads") if c.get("num_key_value_heads") is not None else n_head
    )
    found["attention.key_length"] = found["attention.value_length"] = head_dim
    for key, names in _NUMBERS.items():
        value = next((c[name] for name in names if c.get(name) is not None), None)
        if value is not None:
            found[key] = _number(key, value)
    if c.get("query_pre_attn_scalar") is not None:
        found["attention.scale"] = (
            _number("query_pre_attn_scalar", c["query_pre_attn_scalar"]) ** -0.5
        )
    if kind.encoder:
        found["attention.causal"] = False
    if kind.name not in ("gpt2", "bert"):
        found |= _rope(c, head_dim, truncate=kind.name != "gpt-oss")
    if kind.expert_counts:
        found |= _experts(c, kind)
    _check(c, kind)
    return found | _window(c, kind)


def _experts(c: Json, kind: Architecture) -> dict[str, Value]:
    """What there is to say of a mixture of experts, which all layers must have."""
    if c.get("decoder_sparse_step", 1) != 1 or c.get("mlp_only_layers"):
        raise UnsupportedError("config.json: some layers have no experts, which is not supported")
    found: dict[str, Value] = {
        "expert_count": _integer(c, *kind.expert_counts),
        "expert_used_count": _integer(c, "num_experts_per_tok", "experts_per_token"),
    }
    width = "intermediate_size" if kind.name == "gpt-oss" else "moe_intermediate_size"
    if kind.name != "llama":
        found["expert_feed_forward_length"] = _integer(c, width)
    if kind.name == "qwen2moe":
        shared = _integer(c, "shared_expert_intermediate_size")
        found["expert_shared_feed_forward_length"] = shared
    if c.get("norm_topk_prob", kind.weights_norm) != kind.weights_norm:
        found["expert_weights_norm"] = not kind.weights_norm
    return found


def rope_tables(c: Json) -> dict[str, array[float]]:
    """Divisors of frequencies (n_rot / 2,), by the name of the tensor that GGUF keeps them in."""
    rope = _rope_parameters(c)
    kind = rope.get("rope_type", "default")
    if kind in ("longrope", "su"):
        return {
            f"rope_factors_{length}.weight": array(
                "f", [_number(f"{length}_factor", x) for x in rope.get(f"{length}_factor", [])]
            )
            for length in ("long", "short")
        }
    if kind != "llama3":
        return {}
    head_dim = c.get("head_dim") or _integer(c, "hidden_size") // _integer(c, "num_attention_heads")
    base, factor = _number("rope_theta", rope["rope_theta"]), _number("factor", rope["factor"])
    low, high = (_number(k, rope[k]) for k in ("low_freq_factor", "high_freq_factor"))
    original = _number("original_max_position_embeddings", rope["original_max_position_embeddings"])
    divisors = array("f")
    for i in range(0, head_dim, 2):
        turns = original * base ** (-i / head_dim) / (2 * math.pi)  # in the original context
        share = min(max((turns - low) / (high - low), 0.0), 1.0)  # of the frequency left as it is
        divisors.append(1 / ((1 - share) / factor + share))
    return {"rope_freqs.weight": divisors}


def _rope_parameters(c: Json) -> dict[str, Any]:
    """Those of layers without a window, if the two kinds differ; older configurations' too."""
    rope = c.get("rope_parameters")
    if rope is None:
        base = c.get("rope_theta", c.get("rotary_emb_base", 10000.0))
        rope = {"rope_theta": base, **(c.get("rope_scaling") or {})}
    elif "full_attention" in rope:
        rope = rope["full_attention"]
    if not isinstance(rope, Mapping):
        raise FormatError(f"config.json: rope_parameters are {rope!r}")
    found = {"rope_theta": 10000.0, **rope}
    found.setdefault("rope_type", found.get("type", "default"))
    share = c.get("partial_rotary_factor", c.get("rotary_emb_fraction", 1.0))
    found.setdefault("partial_rotary_factor", share)
    if found.get("original_max_position_embeddings") is None:
        found["original_max_position_embeddings"] = c.get(
            "original_max_position_embeddings", c.get("max_position_embeddings")
        )
    return found


def _rope(c: Json, head_dim: int, *, truncate: bool) -> dict[str, Value]:
    rope = _rope_parameters(c)
    local = (c.get("rope_parameters") or {}).get("sliding_attention", {})
    found: dict[str, Value] = {
        "rope.freq_base": _number("rope_theta", rope["rope_theta"]),
        "rope.dimension_count": int(head_dim * _number("", rope["partial_rotary_factor"])),
    }
    local_base = local.get("rope_theta", c.get("rope_local_base_freq"))
    if local_base is not None:
        found["rope.freq_base_swa"] = _number("rope_local_base_freq", local_base)
    kind, original = rope["rope_type"], rope["original_max_position_embeddings"]
    if kind in ("linear", "yarn"):
        found["rope.scaling.type"] = kind
        found["rope.scaling.factor"] = factor = _number("factor", rope.get("factor"))
    if kind in ("yarn", "longrope", "su"):
        found["rope.scaling.original_context_length"] = _checked("original context", original)
    if kind == "yarn":
        if rope.get("truncate", True) != truncate:
            raise UnsupportedError(
                f"config.json: YaRN with truncate {not truncate} is not supported in this model"
            )
        for name in ("beta_fast", "beta_slow"):
            if rope.get(name) is not None:
                found[f"rope.scaling.yarn_{name}"] = _number(name, rope[name])
        if rope.get("attention_factor") is not None:  # the engine has the usual one by itself
            usual = 1 + 0.1 * math.log(factor)
            found["rope.scaling.attn_factor"] = _number("", rope["attention_factor"]) / usual
    if kind in ("longrope", "su"):
        stretch = _integer(c, "max_position_embeddings") / original
        usual = math.sqrt(1 + math.log(stretch) / math.log(original)) if stretch > 1 else 1.0
        found["rope.scaling.attn_factor"] = _number("", rope.get("attention_factor") or usual)
    if kind not in ("default", "linear", "yarn", "llama3", "longrope", "su"):
        raise UnsupportedError(f"config.json: RoPE scaling {kind!r} is not supported")
    return found


def _window(c: Json, kind: Architecture) -> dict[str, Value]:
    """The window, if any layer has one, and which have it where that is not as usual."""
    size = c.get("sliding_window")
    if size is None or c.get("use_sliding_window") is False:
        return {}
    n_layer = _integer(c, *_SIZES["block_count"])
    usual = [kind.period == 0 or i % kind.period < kind.period - 1 for i in range(n_layer)]
    types = c.get("layer_types")
    if types is not None:
        local = [kind == "sliding_attention" for kind in types]
    elif c.get("use_sliding_window"):
        local = [i >= c.get("max_window_layers", 0) for i in range(n_layer)]
    else:
        local = usual
    if not any(local):
        return {}
    found: dict[str, Value] = {"attention.sliding_window": _checked("sliding_window", size)}
    if local != usual:
        found["attention.sliding_window_pattern"] = local
    return found


def _check(c: Json, kind: Architecture) -> None:
    """Refuse what the engine would compute otherwise."""
    rotated = c.get("no_rope_layers")
    if (
        kind.name == "smollm3"
        and rotated
        and rotated != [int(i % 4 != 3) for i in range(len(rotated))]
    ):
        raise UnsupportedError("config.json: other layers than every fourth go without RoPE")
    if kind.name == "gpt2" and (
        c.get("scale_attn_by_inverse_layer_idx") or not c.get("scale_attn_weights", True)
    ):
        raise UnsupportedError("config.json: this scale of GPT-2's attention is not supported")
    if c.get("swiglu_alpha", 1.702) != 1.702 or c.get("swiglu_limit", 7.0) != 7.0:
        raise UnsupportedError("config.json: this swiglu_alpha or swiglu_limit is not supported")
    if kind.encoder:
        _check_encoder(c)
    known = {
        "bert": ("gelu",),
        "nomic-bert": ("silu", "swiglu"),
        "gpt2": ("gelu_new", "gelu_pytorch_tanh"),
        "starcoder2": ("gelu_pytorch_tanh", "gelu_new"),
        "gemma": ("gelu_pytorch_tanh", "gelu", "gelu_new"),
        "gemma2": ("gelu_pytorch_tanh",),
        "gemma3": ("gelu_pytorch_tanh",),
    }.get(kind.name, ("silu",))
    keys = ("hidden_activation", "hidden_act", "activation_function")
    used = next((c[key] for key in keys if c.get(key) is not None), known[0])
    if used not in known:
        raise UnsupportedError(
            f"config.json: the activation {used!r} is not supported in {kind.name}"
        )


def _check_encoder(c: Json) -> None:
    """The same, of BERT and what descends from it."""
    usual = {
        "position_embedding_type": "absolute",
        "is_decoder": False,
        "causal": False,
        "prenorm": False,
        "use_rms_norm": False,
        "rotary_emb_interleaved": False,
    }
    for key, value in usual.items():
        if c.get(key, value) != value:
            raise UnsupportedError(f"config.json: {key} {c[key]!r} is not supported in an encoder")


def _integer(c: Json, *names: str) -> int:
    for name in names:
        if c.get(name) is not None:
            return _checked(name, c[name])
    raise FormatError(f"config.json: {' or '.join(names)} is missing")


def _checked(name: str, value: Any) -> int:
    if type(value) is not int or not 0 < value < 1 << 31:
        raise FormatError(f"config.json: {name} is {value!r}, no positive whole number")
    return value


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise FormatError(f"config.json: {name or 'a factor'} is {value!r}, no number")
    return float(value)
