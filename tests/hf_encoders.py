"""Tiny random encoders of the transformers library, in float64, and what they make of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import transformers

BASE: dict[str, Any] = {
    "vocab_size": 99,
    "hidden_size": 48,
    "intermediate_size": 72,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "type_vocab_size": 2,
}


def make(kind: str, options: Mapping[str, Any] = BASE, head: str = "Model") -> Any:
    """A model with random weights, as if trained a bit; `kind` as in ``<kind>Config``."""
    config = getattr(transformers, f"{kind}Config")(**options, attn_implementation="eager")
    torch.manual_seed(0)
    network = getattr(transformers, f"{kind}{head}")(config).double().eval()
    with torch.no_grad():
        for name, p in network.named_parameters():
            noise = torch.randn_like(p)
            if "norm" in name.lower():
                p.copy_(float(name.endswith("weight")) + 0.1 * noise)
            elif p.ndim == 1:
                p.copy_(0.1 * noise)
            elif "embed" in name:
                p.copy_(noise)
            else:
                p.copy_(noise / p.shape[1] ** 0.5)
            p.copy_(p.float().double())  # what the file holds
    return network


def hidden(network: Any, tokens: Sequence[int]) -> np.ndarray:
    """The last hidden states (T, n_embd) in float64."""
    base = getattr(network, network.base_model_prefix, network)
    with torch.no_grad():
        return base(torch.tensor([list(tokens)])).last_hidden_state[0].double().numpy()


def pooled(states: np.ndarray, pooling: str) -> np.ndarray:
    """The vector, or vectors, that become of hidden states (T, n_embd)."""
    return {"none": states, "mean": states.mean(0), "cls": states[0], "last": states[-1]}[pooling]


def error(got: np.ndarray, want: np.ndarray) -> float:
    """The distance of two vectors by the length of what is wanted; the largest of several."""
    length = np.linalg.norm(want, axis=-1)
    return float((np.linalg.norm(got.astype(np.float64) - want, axis=-1) / length).max())
