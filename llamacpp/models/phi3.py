"""The `phi3` architecture: Phi-3, Phi-3.5 and Phi-4 of the same shape.

Abdin et al. 2024, "Phi-3 Technical Report": LLaMA's layers with queries, keys and values in one
matrix, gate and up in another, and LongRoPE for long contexts.
"""

from __future__ import annotations

from llamacpp.models.decoder import Decoder
from llamacpp.models.layers import Part
from llamacpp.models.parts import FeedForward, SelfAttention
from llamacpp.models.weights import LayerWeights

__all__ = ["Phi3"]


class Phi3(Decoder):
    """Norm, attention, norm, feed-forward, on parts of fused matrices."""

    def layer(self, w: LayerWeights, number: int) -> tuple[Part, ...]:
        """As `Decoder.layer`."""
        c = self.config
        attention = SelfAttention(
            c,
            w,
            norm=w.norm("attn_norm", c.n_embd),
            fused=True,
            rope=self.rope,
            window=c.window(number),
        )
        return attention, FeedForward(c, w, norm=w.norm("ffn_norm", c.n_embd), fused=True)
