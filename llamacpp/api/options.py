"""The options of `Llama` and its methods: those that count, and what is made of all others.

llama-cpp-python's options that mean nothing here are refused, or known to be without effect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypedDict

from llamacpp.engine.pooling import POOLINGS
from llamacpp.errors import InvalidArgumentError, UnsupportedError
from llamacpp.sampling import LogitsProcessor, StoppingCriteria

__all__ = [
    "IGNORED",
    "REFUSED",
    "ChatOptions",
    "CompletionOptions",
    "Processors",
    "SamplingOptions",
    "StopRules",
    "as_list",
    "cache_type",
    "check_options",
    "pooling_name",
]

Processors: TypeAlias = LogitsProcessor | Sequence[LogitsProcessor] | None
StopRules: TypeAlias = StoppingCriteria | Sequence[StoppingCriteria] | None


class SamplingOptions(TypedDict, total=False):
    """The fields of `SamplingParams`; None stands for the default."""

    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    typical_p: float | None
    top_n_sigma: float | None
    xtc_probability: float | None
    xtc_threshold: float | None
    repeat_penalty: float | None
    frequency_penalty: float | None
    presence_penalty: float | None
    penalty_last_n: int | None
    dry_multiplier: float | None
    dry_base: float | None
    dry_allowed_length: int | None
    dry_penalty_last_n: int | None
    dry_sequence_breakers: Sequence[str] | None
    mirostat_mode: int | None
    mirostat_tau: float | None
    mirostat_eta: float | None
    logit_bias: Mapping[int, float] | Mapping[str, float] | None
    seed: int | None


class CompletionOptions(SamplingOptions, total=False):
    """What `Llama.create_completion` takes beside prompt, suffix, max_tokens and stream."""

    stop: str | Sequence[str] | None  # strings that end the text and are not part of it
    echo: bool  # begin the text with the prompt
    logprobs: int | None  # report each token's log-probability, and so many best rivals'
    model: str | None  # name to report
    logits_processor: Processors
    stopping_criteria: StopRules
    grammar: None
    tfs_z: float


class ChatOptions(SamplingOptions, total=False):
    """What `Llama.create_chat_completion` takes beside messages and stream."""

    max_tokens: int | None  # None, 0 or less: until the answer ends or the context is full
    stop: str | Sequence[str] | None  # strings that end the answer, beside the format's own
    logprobs: bool | None  # report the log-probability of each token
    top_logprobs: int | None  # ... and of so many best ones
    tools: Sequence[Mapping[str, Any]] | None  # for the template; the answer is text all the same
    model: str | None  # name to report
    logits_processor: Processors
    stopping_criteria: StopRules
    grammar: None
    tfs_z: float
    functions: None
    function_call: None
    tool_choice: str | None
    response_format: Mapping[str, str] | None


# Accepted by `Llama(...)` without effect: what they ask for does not exist here or always holds.
IGNORED: Mapping[str, str] = {
    "n_gpu_layers": "this library runs on the CPU",
    "split_mode": "this library runs on the CPU",
    "main_gpu": "this library runs on the CPU",
    "tensor_split": "this library runs on the CPU",
    "offload_kqv": "this library runs on the CPU",
    "op_offload": "this library runs on the CPU",
    "n_ubatch": "n_batch is the one batch size",
    "n_threads_batch": "n_threads serves prompts too",
    "flash_attn": "attention never holds a matrix of all scores",
    "embedding": "embeddings need no preparation",
    "logits_all": "logits and logprobs need no preparation",
    "last_n_tokens_size": "penalties take `penalty_last_n`",
    "swa_full": "there is no sliding-window attention",
    "no_perf": "nothing is measured",
    "verbose": "the library never prints",
}

# By function: options accepted only with one of the values that leave them off.
REFUSED: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "Llama": {
        "numa": (False, 0),
        "kv_overrides": (None,),
        "rope_scaling_type": (-1, None),
        "rope_freq_base": (0, None),
        "rope_freq_scale": (0, None),
        "attention_type": (-1, None),
        "yarn_ext_factor": (-1,),
        "yarn_attn_factor": (1,),
        "yarn_beta_fast": (32,),
        "yarn_beta_slow": (1,),
        "yarn_orig_ctx": (0,),
        "lora_base": (None,),
        "lora_scale": (1,),
        "lora_path": (None,),
        "chat_handler": (None,),
        "draft_model": (None,),
        "tokenizer": (None,),
        "spm_infill": (False,),
    },
    "create_completion": {"suffix": (None,), "grammar": (None,), "tfs_z": (1,)},
    "create_chat_completion": {
        "grammar": (None,),
        "tfs_z": (1,),
        "functions": (None,),
        "function_call": (None,),
        "tool_choice": (None, "auto"),
        "response_format": (None, {"type": "text"}),
    },
}


def check_options(function: str, options: Mapping[str, Any]) -> None:
    """Refuse what cannot be honoured.

    Raises:
        TypeError: `function` has no such option.
        UnsupportedError: the option asks for something not done here.
    """
    ignored = IGNORED if function == "Llama" else {}
    for name, value in options.items():
        if name in ignored:
            continue
        if name not in REFUSED[function]:
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}")
        if value not in REFUSED[function][name]:
            raise UnsupportedError(f"{name}={value!r} is not supported; leave it out")


# GGML's type numbers, which llama-cpp-python takes.
_CACHE_TYPES = {
    None: "f16", 0: "f32", 1: "f16", 8: "q8_0", "f32": "f32", "f16": "f16", "q8_0": "q8_0",
}  # fmt: skip


def cache_type(type_k: int | str | None, type_v: int | str | None) -> str:
    """Translate `type_k` and `type_v` into a KV cache type.

    Raises:
        InvalidArgumentError: not F16, F32 or Q8_0, or keys and values of two types.
    """
    for name, value in (("type_k", type_k), ("type_v", type_v)):
        if value not in _CACHE_TYPES:
            raise InvalidArgumentError(
                f"{name} is {value!r}; it must be 'f16', 'f32' or 'q8_0' (1, 0 or 8)"
            )
    if _CACHE_TYPES[type_k] != _CACHE_TYPES[type_v]:
        raise InvalidArgumentError("type_k and type_v must be the same")
    return _CACHE_TYPES[type_k]


def pooling_name(kind: int | str | None) -> str | None:
    """Translate `pooling_type`: a name, or llama.cpp's number; -1 or None: the model's own.

    Raises:
        InvalidArgumentError: there is no such number.
    """
    if kind is None or kind == -1 or isinstance(kind, str):
        return kind if isinstance(kind, str) else None
    if kind not in range(len(POOLINGS)):
        kinds = ", ".join(f"{name!r} ({number})" for number, name in enumerate(POOLINGS))
        raise InvalidArgumentError(f"pooling_type is {kind!r}; it must be one of {kinds}")
    return POOLINGS[kind]


def as_list(value: Any) -> list[Any]:
    """One callable, several or none, as a list."""
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]
