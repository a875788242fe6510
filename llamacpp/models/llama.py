"""The `llama` architecture: LLaMA 1, 2 and 3, TinyLlama, Mistral and their like.

Touvron et al. 2023, "LLaMA: Open and Efficient Foundation Language Models": a decoder-only
transformer with RMSNorm before each part, rotary positions (adjacent pairs), grouped-query
attention, SwiGLU, and output weights of their own or tied to the embedding. Mistral's attention
sees a window (Jiang et al. 2023).
"""

from __future__ import annotations

from llamacpp import ops
from llamacpp.models.decoder import Decoder
from llamacpp.models.layers import Part
from llamacpp.models.parts import FeedForward, SelfAttention
from llamacpp.models.weights import LayerWeights

__all__ = ["Llama"]


class Llama(Decoder):
    """Norm, attention, norm, feed-forward."""

    rope_kind = ops.ROPE_ADJACENT

    def layer(self, w: LayerWeights, number: int) -> tuple[Part, ...]:
        """As `Decoder.layer`."""
        c = self.config
        attention = SelfAttention(
            c, w, norm=w.norm("attn_norm", c.n_embd), rope=self.rope, window=c.window(number)
        )
        return attention, FeedForward(c, w, norm=w.norm("ffn_norm", c.n_embd))
