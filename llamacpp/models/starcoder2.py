"""The `starcoder2` architecture.

Lozhkov et al. 2024, "StarCoder 2 and The Stack v2": LayerNorms, biases everywhere, GELU without a
gate, rotary positions, grouped-query attention over a window.
"""

from __future__ import annotations

from llamacpp import ops
from llamacpp.models.decoder import Decoder
from llamacpp.models.layers import Part
from llamacpp.models.parts import FeedForward, SelfAttention
from llamacpp.models.weights import LayerWeights

__all__ = ["StarCoder2"]


class StarCoder2(Decoder):
    """Norm, attention, norm, feed-forward with GELU."""

    norm_kind = ops.NORM_LAYER

    def layer(self, w: LayerWeights, number: int) -> tuple[Part, ...]:
        """As `Decoder.layer`."""
        c = self.config
        attention = SelfAttention(
            c, w, norm=w.norm("attn_norm", c.n_embd), rope=self.rope, window=c.window(number)
        )
        feed_forward = FeedForward(c, w, norm=w.norm("ffn_norm", c.n_embd), activation=ops.GELU)
        return attention, feed_forward
