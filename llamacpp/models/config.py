"""A model's hyperparameters, read from the metadata and checked before anything is computed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llamacpp.errors import FormatError, UnsupportedError

if TYPE_CHECKING:
    from llamacpp.format import Metadata

__all__ = ["Config"]

MAX_HEAD_DIM = 1024  # a head beyond this is a damaged file, not a model
MAX_SIZE = 1 << 24  # likewise for widths and counts


@dataclass(frozen=True)
class Config:
    """Hyperparameters in the words of the GGUF keys ``ARCH.*``."""

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
    rope_linear_factor: float  # rope.scaling.factor where the type is linear, else 1
    norm_eps: float  # attention.layer_norm_rms_epsilon

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
            rope_linear_factor=_linear_factor(read),
            norm_eps=read.number("attention.layer_norm_rms_epsilon"),
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
        for key in ("expert_count", "attention.sliding_window"):
            if read.size(key, 0, low=0):
                raise UnsupportedError(
                    f"{read.architecture}.{key} is set: mixtures of experts and sliding-window"
                    " attention are not supported"
                )


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


def _linear_factor(read: _Reader) -> float:
    """Factor of linear position interpolation; 1 where the file asks for none."""
    kind = read.text("rope.scaling.type", "linear" if "rope.scale_linear" in read else "none")
    if kind == "none":
        return 1.0
    if kind != "linear":
        raise UnsupportedError(f"RoPE scaling {kind!r} is not supported; linear and Llama 3's are")
    old_key = read.number("rope.scale_linear") if "rope.scale_linear" in read else None
    return read.number("rope.scaling.factor", old_key)
