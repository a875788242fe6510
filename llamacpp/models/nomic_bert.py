"""The `nomic-bert` architecture: Nomic Embed.

Nussbaum et al. 2024, "Nomic Embed: Training a Reproducible Long Context Text Embedder": BERT's
layers with rotary positions, SwiGLU, queries, keys and values in one matrix, no biases.
"""

from __future__ import annotations

from llamacpp.models.encoder import Encoder
from llamacpp.models.layers import Part
from llamacpp.models.parts import FeedForward, SelfAttention
from llamacpp.models.weights import LayerWeights

__all__ = ["NomicBert"]


class NomicBert(Encoder):
    """Attention, norm, feed-forward with SwiGLU, norm."""

    def layer(self, w: LayerWeights, number: int) -> tuple[Part, ...]:
        """As `Transformer.layer`."""
        c = self.config
        attention = SelfAttention(
            c,
            w,
            rope=self.rope,
            causal=False,
            fused="attn_qkv" in w,
            sum_norm=w.norm("attn_output_norm", c.n_embd),
        )
        return attention, FeedForward(c, w, sum_norm=w.norm("layer_output_norm", c.n_embd))
