"""The `qwen2` architecture: Qwen2, Qwen2.5 and their like.

Yang et al. 2024, "Qwen2 Technical Report": LLaMA's layers with biases of queries, keys and values,
and rotary pairs of the two halves of a head.
"""

from __future__ import annotations

from llamacpp import ops
from llamacpp.models.llama import Llama

__all__ = ["Qwen2"]


class Qwen2(Llama):
    """LLaMA's layers; biases are used where the file has them."""

    rope_kind = ops.ROPE_HALF
