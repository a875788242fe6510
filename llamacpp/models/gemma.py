"""The `gemma` architecture.

Gemma Team 2024, "Gemma: Open Models Based on Gemini Research and Technology": LLaMA's layers with
GeGLU, and embeddings, which are the output weights too, scaled by the root of their width. Norm
weights of the file have the 1 of Gemma's 1 + w in them.
"""

from __future__ import annotations

from llamacpp import ops
from llamacpp.models.config import Config
from llamacpp.models.decoder import Decoder
from llamacpp.models.layers import Part
from llamacpp.models.parts import FeedForward, SelfAttention
from llamacpp.models.weights import LayerWeights, Weights

__all__ = ["Gemma"]


class Gemma(Decoder):
    """Norm, attention, norm, feed-forward with GeGLU."""

    def __init__(self, config: Config, weights: Weights, n_vocab: int) -> None:
        super().__init__(config, weights, n_vocab, embedding_scale=config.n_embd**0.5)

    def layer(self, w: LayerWeights, number: int) -> tuple[Part, ...]:
        """As `Decoder.layer`."""
        c = self.config
        return (
            SelfAttention(c, w, norm=w.norm("attn_norm", c.n_embd), rope=self.rope),
            FeedForward(c, w, norm=w.norm("ffn_norm", c.n_embd), activation=ops.GEGLU),
        )
