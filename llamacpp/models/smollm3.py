"""The `smollm3` architecture.

Bakouch et al. 2025, "SmolLM3: smol, multilingual, long-context reasoner": LLaMA's layers, every
fourth of them without rotary positions (Yang et al. 2025, "RoPE to NoPE and Back Again").
"""

from __future__ import annotations

from llamacpp import ops
from llamacpp.models.decoder import Decoder
from llamacpp.models.layers import Part
from llamacpp.models.parts import FeedForward, SelfAttention
from llamacpp.models.weights import LayerWeights

__all__ = ["SmolLM3"]

PERIOD = 4  # of layers with rotary positions and one without


class SmolLM3(Decoder):
    """Norm, attention, norm, feed-forward."""

    rope_kind = ops.ROPE_ADJACENT

    def layer(self, w: LayerWeights, number: int) -> tuple[Part, ...]:
        """As `Decoder.layer`."""
        c = self.config
        attention = SelfAttention(
            c,
            w,
            norm=w.norm("attn_norm", c.n_embd),
            rope=None if number % PERIOD == PERIOD - 1 else self.rope,
            window=c.window(number),
        )
        return attention, FeedForward(c, w, norm=w.norm("ffn_norm", c.n_embd))
