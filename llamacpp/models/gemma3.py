"""The `gemma3` architecture: the text part of Gemma 3.

Gemma Team 2025, "Gemma 3 Technical Report": Gemma 2's layers with norms of heads instead of caps,
and five layers with a window, each with a rotation for short distances, to one without.
"""

from __future__ import annotations

from llamacpp import ops
from llamacpp.models.config import Config
from llamacpp.models.decoder import Decoder
from llamacpp.models.gemma2 import scaled_as_gemma
from llamacpp.models.layers import Part
from llamacpp.models.parts import FeedForward, SelfAttention
from llamacpp.models.rope import Rope, inverse_frequencies
from llamacpp.models.weights import LayerWeights, Weights

__all__ = ["Gemma3"]

PERIOD = 6  # of layers with a window and one without


class Gemma3(Decoder):
    """Norm, attention with norms of heads, norm, norm, feed-forward with GeGLU, norm."""

    def __init__(self, config: Config, weights: Weights, n_vocab: int) -> None:
        local = inverse_frequencies(config.n_rot, config.rope_base_local)  # never stretched
        self.local_rope = Rope(self.rope_kind, config.n_rot, local)
        super().__init__(
            scaled_as_gemma(config, 62),
            weights,
            n_vocab,
            embedding_scale=config.n_embd**0.5,
            logit_softcap=config.logit_softcap,
        )

    def layer(self, w: LayerWeights, number: int) -> tuple[Part, ...]:
        """As `Decoder.layer`."""
        c = self.config
        is_local = c.is_local(number, PERIOD)
        attention = SelfAttention(
            c,
            w,
            norm=w.norm("attn_norm", c.n_embd),
            after=w.norm("post_attention_norm", c.n_embd),
            q_norm=w.norm("attn_q_norm", c.head_dim_k),
            k_norm=w.norm("attn_k_norm", c.head_dim_k),
            rope=self.local_rope if is_local else self.rope,
            window=c.sliding_window if is_local else 0,
        )
        feed_forward = FeedForward(
            c,
            w,
            norm=w.norm("ffn_norm", c.n_embd),
            after=w.norm("post_ffw_norm", c.n_embd),
            activation=ops.GEGLU,
        )
        return attention, feed_forward
