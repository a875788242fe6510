"""A model's hyperparameters, read from the metadata and checked before anything is computed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llamacpp.errors import FormatError, UnsupportedError
from llamacpp.format.types import ValueType

if TYPE_CHECKING:
    from llamacpp.format import Metadata

__all__ = ["Config", "RopeScaling"]

MAX_HEAD_DIM = 1024  # a head beyond this is a damaged file, not a model
MAX_SIZE = 1 << 24  # likewise for widths and counts
MAX_EXPERTS = 4096
SOFTMAX, SOFTMAX_OF_CHOSEN = 1, 3  # numbers of expert_gating_func


@dataclass(frozen=True)
class RopeScaling:
    """How rotary positions are stretched beyond the context trained first: ``rope.scaling.*``."""

    kind: str  # type: none, linear, yarn or longrope
    factor: float  # by how much
    n_ctx_orig: int  # original_context_length
    attn_factor: float  # attn_factor: of the length of rotated vectors
    beta_fast: float = (
        32.0  # yarn_beta_fast: turns in n_ctx_orig from which a pair is not stretched
    )
    beta_slow: float = 1.0  # yarn_beta_slow: and up to which it is, wholly
    truncate: bool = True  # YaRN blends between whole pairs: no key of GGUF says otherwise


@dataclass(frozen=True)
class Config:
    """Hyperparameters in the words of the GGUF keys ``ARCH.*``.

    What a file does not tell is neutral: 0 for a window or a cap that is not there, 1 for a scale.
    """

    architecture: str
    n_ctx_train: int  # context_length: positions the model was trained for
    n_embd: int  # embedding_length: width of the residual stream
    n_layer: int  # block_count
    n_ff: int  # feed_forward_length
    n_head: int  # attention.head_count
    n_kv_head: int  # attention.head_count_kv: heads of keys and values, each shared by a group
    head_dim_k: int  # attention.key_length
    head_dim_v: int  # attention.value_length
    n_rot: int  # rope.dimension_count: dimensions of a head that are rotated
    rope_base: float  # rope.freq_base
    rope_base_local: float  # rope.freq_base_swa: of layers with a window, where they have their own
    rope_scaling: RopeScaling
    norm_eps: float  # attention.layer_norm_rms_epsilon or attention.layer_norm_epsilon
    sliding_window: int = 0  # attention.sliding_window: positions that a token sees
    sliding_window_pattern: int | tuple[bool, ...] | None = None  # attention.sliding_window_pattern
    attention_scale: float = 0.0  # attention.scale: of q k^T; 0: 1 / sqrt(head_dim_k)
    attention_softcap: float = 0.0  # attn_logit_softcapping
    logit_softcap: float = 0.0  # final_logit_softcapping
    embedding_scale: float = 1.0  # embedding_scale
    residual_scale: float = 1.0  # residual_scale: of what a part adds
    logit_scale: float = 1.0  # logit_scale
    causal: bool | None = None  # attention.causal
    pooling: int | None = None  # pooling_type: what becomes of a text's hidden states
    n_expert: int = 0  # expert_count
    n_expert_used: int = 0  # expert_used_count: of a token
    n_ff_expert: int = 0  # expert_feed_forward_length
    n_ff_shared: int = 0  # expert_shared_feed_forward_length: of an expert of all tokens
    expert_weights_norm: bool | None = None  # expert_weights_norm: weights are divided by their sum
    expert_weights_scale: float = 1.0  # expert_weights_scale: a factor of them

    @classmethod
    def from_metadata(cls, metadata: Metadata) -> Config:
        """Read and check the hyperparameters.

        Raises:
            FormatError: a key is missing, of the wrong type, or its value makes no sense.
            UnsupportedError: the file asks for something this library does not compute.
        """
        read = _Reader(metadata)
        n_embd = read.size("embedding_length")
        n_head = read.size("attention.head_count")
        head_dim = n_embd // n_head
        config = cls(
            architecture=read.architecture,
            n_ctx_train=read.size("context_length", high=1 << 31),
            n_embd=n_embd,
            n_layer=read.size("block_count"),
            n_ff=read.size("feed_forward_length"),
            n_head=n_head,
            n_kv_head=read.size("attention.head_count_kv", n_head),
            head_dim_k=read.size("attention.key_length", head_dim, high=MAX_HEAD_DIM),
            head_dim_v=read.size("attention.value_length", head_dim, high=MAX_HEAD_DIM),
            n_rot=read.size(
                "rope.dimension_count", read.size("attention.key_length", head_dim), low=0
            ),
            rope_base=read.number("rope.freq_base", 10000.0),
            rope_base_local=read.number("rope.freq_base_swa", 10000.0),
            rope_scaling=_rope_scaling(read),
            norm_eps=_norm_eps(read),
            sliding_window=read.size("attention.sliding_window", 0, low=0, high=1 << 31),
            sliding_window_pattern=_sliding_window_pattern(read),
            attention_scale=read.number("attention.scale", 0.0),
            attention_softcap=read.number("attn_logit_softcapping", 0.0),
            logit_softcap=read.number("final_logit_softcapping", 0.0),
            embedding_scale=read.number("embedding_scale", 1.0),
            residual_scale=read.number("residual_scale", 1.0),
            logit_scale=read.number("logit_scale", 1.0),
            causal=metadata.boolean(f"{read.architecture}.attention.causal", None),
            pooling=read.size("pooling_type", 0, low=0) if "pooling_type" in read else None,
            **_experts(read),
        )
        config._check(read)
        return config

    def _check(self, read: _Reader) -> None:
        if self.n_head % self.n_kv_head:
            raise FormatError(
                f"{self.n_head} attention heads cannot share {self.n_kv_head} key-value heads"
            )
        if "attention.key_length" not in read and self.n_embd % self.n_head:
            raise FormatError(
                f"an embedding of {self.n_embd} cannot be split into {self.n_head} heads"
            )
        if self.n_rot % 2 or self.n_rot > self.head_dim_k:
            raise FormatError(
                f"{self.n_rot} rotated dimensions do not fit heads of {self.head_dim_k}:"
                " an even number up to the head size is needed"
            )

    def is_local(self, layer: int, period: int = 0) -> bool:
        """Whether a layer is one of those with a window, if there is one.

        Args:
            layer: number of the layer.
            period: the last of each `period` layers sees all; 0: none does. A pattern in the file
                counts more.
        """
        pattern = period if self.sliding_window_pattern is None else self.sliding_window_pattern
        if isinstance(pattern, tuple):
            return pattern[layer]
        return pattern == 0 or layer % pattern < pattern - 1

    def window(self, layer: int, period: int = 0) -> int:
        """How many positions a token sees in a layer, its own included; 0: all before it.

        As `is_local`.
        """
        return self.sliding_window if self.is_local(layer, period) else 0


class _Reader:
    """Typed access to the keys of one architecture."""

    def __init__(self, metadata: Metadata) -> None:
        self.metadata = metadata
        self.architecture = metadata.string("general.architecture")

    def __contains__(self, key: str) -> bool:
        return f"{self.architecture}.{key}" in self.metadata

    def size(
        self, key: str, default: int | None = None, *, low: int = 1, high: int = MAX_SIZE
    ) -> int:
        name = f"{self.architecture}.{key}"
        if default is not None and name not in self.metadata:
            return default
        return self.metadata.integer(name, low=low, high=high)

    def number(self, key: str, default: float | None = None) -> float:
        name = f"{self.architecture}.{key}"
        if default is not None and name not in self.metadata:
            return default
        value = self.metadata.number(name)
        if not (math.isfinite(value) and value > 0):
            raise FormatError(f"metadata {name!r} is {value}, not positive and finite")
        return value

    def text(self, key: str, default: str) -> str:
        return self.metadata.string(f"{self.architecture}.{key}", default)


def _experts(read: _Reader) -> dict[str, Any]:
    """What a mixture of experts has, as fields of `Config`."""
    n_expert = read.size("expert_count", 0, low=0, high=MAX_EXPERTS)
    if not n_expert:
        return {}
    gating = read.size("expert_gating_func", SOFTMAX, low=0)
    if gating not in (0, SOFTMAX, SOFTMAX_OF_CHOSEN):
        raise UnsupportedError(
            f"{read.architecture}.expert_gating_func is {gating}: experts are chosen by softmax"
            f" ({SOFTMAX}, {SOFTMAX_OF_CHOSEN}) only"
        )
    norm = read.metadata.boolean(f"{read.architecture}.expert_weights_norm", None)
    return {
        "n_expert": n_expert,
        "n_expert_used": read.size("expert_used_count", high=n_expert),
        "n_ff_expert": read.size("expert_feed_forward_length", 0, low=0),
        "n_ff_shared": read.size("expert_shared_feed_forward_length", 0, low=0),
        "expert_weights_norm": True if gating == SOFTMAX_OF_CHOSEN else norm,
        "expert_weights_scale": read.number("expert_weights_scale", 1.0),
    }


def _norm_eps(read: _Reader) -> float:
    rms, layer = "attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon"
    return read.number(layer if layer in read and rms not in read else rms)


def _sliding_window_pattern(read: _Reader) -> int | tuple[bool, ...] | None:
    """A period, or whether each layer has a window."""
    key = "attention.sliding_window_pattern"
    name = f"{read.architecture}.{key}"
    if key not in read:
        return None
    if read.metadata.type_of(name) is not ValueType.ARRAY:
        return read.size(key, low=0)
    n_layer = read.size("block_count")
    return tuple(map(bool, read.metadata.numbers(name, ValueType.BOOL, length=n_layer)))


def _rope_scaling(read: _Reader) -> RopeScaling:
    key = "rope.scaling."
    kind = read.text(f"{key}type", "linear" if "rope.scale_linear" in read else "none")
    if kind not in ("none", "linear", "yarn", "longrope"):
        raise UnsupportedError(
            f"RoPE scaling {kind!r} is not supported; linear, yarn, longrope and Llama 3's are"
        )
    factor = None if kind in ("linear", "yarn") else 1.0
    if "rope.scale_linear" in read:
        factor = read.number("rope.scale_linear")
    if kind == "yarn" and read.number(f"{key}yarn_ext_factor", 1.0) != 1.0:
        raise UnsupportedError("YaRN with an ext_factor other than 1 is not supported")
    yarn_factor = read.number(f"{key}yarn_attn_factor", 1.0)
    return RopeScaling(
        kind=kind,
        factor=read.number(f"{key}factor", factor),
        n_ctx_orig=read.size(
            f"{key}original_context_length", read.size("context_length", high=1 << 31), high=1 << 31
        ),
        attn_factor=read.number(f"{key}attn_factor", yarn_factor),
        beta_fast=read.number(f"{key}yarn_beta_fast", 32.0),
        beta_slow=read.number(f"{key}yarn_beta_slow", 1.0),
    )
