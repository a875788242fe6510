"""The `olmo2` architecture: OLMo 2, and OLMo 3, whose files bear the same name.

OLMo Team 2024, "2 OLMo 2 Furious": LLaMA's parts, whose norms come after them, on what they add to
the residual stream; queries and keys have norms over all heads together. OLMo 3 (2025) has three
layers with a window to one without, and stretches rotary positions in the latter alone.
"""

from __future__ import annotations

from llamacpp.models.config import Config
from llamacpp.models.decoder import Decoder
from llamacpp.models.layers import Part
from llamacpp.models.parts import FeedForward, SelfAttention
from llamacpp.models.rope import Rope, inverse_frequencies
from llamacpp.models.weights import LayerWeights, Weights

__all__ = ["Olmo2"]

PERIOD = 4  # of layers with a window and one without


class Olmo2(Decoder):
    """Attention with norms of heads, norm, feed-forward, norm."""

    def __init__(self, config: Config, weights: Weights, n_vocab: int) -> None:
        local = inverse_frequencies(config.n_rot, config.rope_base)
        self.local_rope = Rope(self.rope_kind, config.n_rot, local)
        super().__init__(config, weights, n_vocab)

    def layer(self, w: LayerWeights, number: int) -> tuple[Part, ...]:
        """As `Decoder.layer`."""
        c = self.config
        window = c.window(number, PERIOD)
        attention = SelfAttention(
            c,
            w,
            after=w.norm("post_attention_norm", c.n_embd),
            q_norm=w.norm("attn_q_norm", c.n_head * c.head_dim_k),
            k_norm=w.norm("attn_k_norm", c.n_kv_head * c.head_dim_k),
            rope=self.local_rope if window else self.rope,
            window=window,
        )
        return attention, FeedForward(c, w, after=w.norm("post_ffw_norm", c.n_embd))
