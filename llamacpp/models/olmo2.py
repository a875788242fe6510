"""The `olmo2` architecture.

OLMo Team 2024, "2 OLMo 2 Furious": LLaMA's parts, whose norms come after them, on what they add to
the residual stream; queries and keys have norms over all heads together.
"""

from __future__ import annotations

from llamacpp.models.decoder import Decoder
from llamacpp.models.layers import Part
from llamacpp.models.parts import FeedForward, SelfAttention
from llamacpp.models.weights import LayerWeights

__all__ = ["Olmo2"]


class Olmo2(Decoder):
    """Attention, norm, feed-forward, norm."""

    def layer(self, w: LayerWeights, number: int) -> tuple[Part, ...]:
        """As `Decoder.layer`."""
        c = self.config
        attention = SelfAttention(
            c,
            w,
            after=w.norm("post_attention_norm", c.n_embd),
            q_norm=w.norm("attn_q_norm", c.n_head * c.head_dim_k),
            k_norm=w.norm("attn_k_norm", c.n_kv_head * c.head_dim_k),
            rope=self.rope,
            window=c.window(number),
        )
        return attention, FeedForward(c, w, after=w.norm("post_ffw_norm", c.n_embd))
