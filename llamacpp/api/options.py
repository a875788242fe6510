"""llama-cpp-python's options that mean nothing here: refused, or known to be without effect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llamacpp.errors import InvalidArgumentError, UnsupportedError

__all__ = ["IGNORED", "REFUSED", "cache_type", "check_options"]

# Accepted without effect, because what they ask for does not exist here or always holds.
IGNORED: Mapping[str, str] = {
    "n_gpu_layers": "this library runs on the CPU",
    "split_mode": "this library runs on the CPU",
    "main_gpu": "this library runs on the CPU",
    "tensor_split": "this library runs on the CPU",
    "offload_kqv": "this library runs on the CPU",
    "op_offload": "this library runs on the CPU",
    "n_ubatch": "n_batch is the one batch size",
    "n_threads_batch": "n_threads serves prompts too",
    "flash_attn": "attention is always computed that way",
    "logits_all": "logits and logprobs need no preparation",
    "last_n_tokens_size": "penalties take `penalty_last_n`",
    "swa_full": "there is no sliding-window attention",
    "no_perf": "nothing is measured",
    "verbose": "the library never prints",
}

# Accepted only with a value that leaves them off.
REFUSED: Mapping[str, tuple[Any, ...]] = {
    "use_mmap": (True,),
    "use_mlock": (False,),
    "numa": (False, 0),
    "kv_overrides": (None,),
    "rope_scaling_type": (-1, None),
    "rope_freq_base": (0, None),
    "rope_freq_scale": (0, None),
    "pooling_type": (-1, None),
    "attention_type": (-1, None),
    "yarn_ext_factor": (-1,),
    "yarn_attn_factor": (1,),
    "yarn_beta_fast": (32,),
    "yarn_beta_slow": (1,),
    "yarn_orig_ctx": (0,),
    "embedding": (False,),
    "lora_base": (None,),
    "lora_scale": (1,),
    "lora_path": (None,),
    "chat_handler": (None,),
    "draft_model": (None,),
    "tokenizer": (None,),
    "spm_infill": (False,),
    # of completions
    "suffix": (None,),
    "grammar": (None,),
    "tfs_z": (1,),
    "functions": (None,),
    "function_call": (None,),
    "tool_choice": (None, "none", "auto"),
    "response_format": (None, {"type": "text"}),
}


def check_options(function: str, options: Mapping[str, Any]) -> None:
    """Refuse what cannot be honoured.

    Raises:
        TypeError: no such option exists.
        UnsupportedError: the option exists elsewhere, but asks for something not done here.
    """
    for name, value in options.items():
        if name in IGNORED:
            continue
        if name not in REFUSED:
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}")
        if value not in REFUSED[name]:
            raise UnsupportedError(f"{name}={value!r} is not supported; leave it out")


# GGML's type numbers, which llama-cpp-python takes.
_CACHE_TYPES = {None: "f16", 0: "f32", 1: "f16", "f32": "f32", "f16": "f16"}


def cache_type(type_k: int | str | None, type_v: int | str | None) -> str:
    """Translate `type_k` and `type_v` into a KV cache type.

    Raises:
        InvalidArgumentError: not F16 or F32, or keys and values of two types.
    """
    for name, value in (("type_k", type_k), ("type_v", type_v)):
        if value not in _CACHE_TYPES:
            raise InvalidArgumentError(f"{name} is {value!r}; it must be 'f16' or 'f32' (1 or 0)")
    if _CACHE_TYPES[type_k] != _CACHE_TYPES[type_v]:
        raise InvalidArgumentError("type_k and type_v must be the same")
    return _CACHE_TYPES[type_k]
