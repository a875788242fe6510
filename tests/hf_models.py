"""Tiny random models of the transformers library, in float64, and the GGUF files of them."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from llamacpp.convert import convert_hf

KINDS_WITH_NORMS_AFTER = {"Gemma2", "Gemma3Text", "Olmo2", "Olmo3"}


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
                fan_in = p.shape[{"GPT2": 0, "GptOss": 1}.get(kind, -1)]
                adds = any(part in name for part in ("o_proj", "down_proj", "c_proj"))
                p.copy_(noise * (gain if adds else 1.0) / math.sqrt(fan_in))
            p.copy_(p.float().double())  # what the file holds
    return network


def logits(network: Any, tokens: list[int]) -> np.ndarray:
    """Logits (T, n_vocab) in float64."""
    with torch.no_grad():
        return network(torch.tensor([tokens])).logits[0].double().numpy()


def save(folder: Path, network: Any, **options: Any) -> Path:
    """Write the model as transformers does, in float32; `options` as of `save_pretrained`."""
    copy.deepcopy(network).float().save_pretrained(folder, **options)
    return folder


def write(path: Path, network: Any) -> Path:
    """Write the model as a GGUF file in F32, by way of its folder."""
    folder = save(path.with_suffix(""), network)
    convert_hf(folder, path, type="f32", vocabulary=False)
    return path


def config_names(kind: str) -> set[str]:
    """The options that a configuration of the transformers library has."""
    return set(getattr(transformers, f"{kind}Config")().to_dict()) | {"head_dim"}
