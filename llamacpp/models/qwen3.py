"""The `qwen3` and `qwen3moe` architectures.

Yang et al. 2025, "Qwen3 Technical Report": LLaMA's layers, in which each head of queries and keys
has a norm before it is rotated; qwen3moe has a mixture of experts for feed-forward networks.
"""

from __future__ import annotations

from llamacpp.models.decoder import Decoder
from llamacpp.models.layers import Part
from llamacpp.models.parts import FeedForward, MixtureOfExperts, SelfAttention
from llamacpp.models.weights import LayerWeights

__all__ = ["Qwen3"]


class Qwen3(Decoder):
    """Norm, attention with norms of heads, norm, feed-forward or experts."""

    may_mix_experts = True

    def layer(self, w: LayerWeights, number: int) -> tuple[Part, ...]:
        """As `Decoder.layer`."""
        c = self.config
        attention = SelfAttention(
            c,
            w,
            norm=w.norm("attn_norm", c.n_embd),
            q_norm=w.norm("attn_q_norm", c.head_dim_k),
            k_norm=w.norm("attn_k_norm", c.head_dim_k),
            rope=self.rope,
            window=c.window(number),
        )
        norm = w.norm("ffn_norm", c.n_embd)
        if c.n_expert:
            n_ff = c.n_ff_expert or c.n_ff // c.n_expert_used
            return attention, MixtureOfExperts(c, w, n_ff=n_ff, norm=norm)
        return attention, FeedForward(c, w, norm=norm)
