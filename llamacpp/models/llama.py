"""The `llama` architecture: LLaMA 1, 2 and 3, TinyLlama, Mistral, Mixtral and their like.

Touvron et al. 2023, "LLaMA: Open and Efficient Foundation Language Models": a decoder-only
transformer with RMSNorm before each part, rotary positions (adjacent pairs), grouped-query
attention, SwiGLU, and output weights of their own or tied to the embedding. Mistral's attention
sees a window (Jiang et al. 2023); Mixtral's feed-forward networks are a mixture of experts (Jiang
et al. 2024).
"""

from __future__ import annotations

from llamacpp import ops
from llamacpp.models.decoder import Decoder
from llamacpp.models.layers import Part
from llamacpp.models.parts import FeedForward, MixtureOfExperts, SelfAttention
from llamacpp.models.weights import LayerWeights

__all__ = ["Llama"]


class Llama(Decoder):
    """Norm, attention, norm, feed-forward."""

    rope_kind = ops.ROPE_ADJACENT
    may_mix_experts = True

    def layer(self, w: LayerWeights, number: int) -> tuple[Part, ...]:
        """As `Decoder.layer`."""
        c = self.config
        attention = SelfAttention(
            c, w, norm=w.norm("attn_norm", c.n_embd), rope=self.rope, window=c.window(number)
        )
        norm = w.norm("ffn_norm", c.n_embd)
        if c.n_expert:
            return attention, MixtureOfExperts(c, w, n_ff=c.n_ff_expert or c.n_ff, norm=norm)
        return attention, FeedForward(c, w, norm=norm)
