"""The `bert` architecture: BERT and what descends from it, such as E5, BGE, GTE and MiniLM.

Devlin et al. 2019, "BERT: Pre-training of Deep Bidirectional Transformers for Language
Understanding": an encoder with learned positions, LayerNorms behind each part, biases everywhere,
GELU.
"""

from __future__ import annotations

from llamacpp import ops
from llamacpp.models.config import Config
from llamacpp.models.encoder import Encoder
from llamacpp.models.layers import Part
from llamacpp.models.parts import FeedForward, SelfAttention
from llamacpp.models.weights import LayerWeights, Weights

__all__ = ["Bert"]


class Bert(Encoder):
    """Attention, norm, feed-forward with GELU, norm."""

    def __init__(self, config: Config, weights: Weights, n_vocab: int) -> None:
        positions = weights.get("position_embd.weight", config.n_embd, config.n_ctx_train)
        super().__init__(config, weights, n_vocab, positions=positions)

    def layer(self, w: LayerWeights, number: int) -> tuple[Part, ...]:
        """As `Transformer.layer`."""
        c = self.config
        attention = SelfAttention(
            c, w, rope=None, causal=False, sum_norm=w.norm("attn_output_norm", c.n_embd)
        )
        feed_forward = FeedForward(
            c, w, activation=ops.GELU_ERF, sum_norm=w.norm("layer_output_norm", c.n_embd)
        )
        return attention, feed_forward
