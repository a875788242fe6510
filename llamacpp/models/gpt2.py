"""The `gpt2` architecture.

Radford et al. 2019, "Language Models are Unsupervised Multitask Learners": learned positions,
LayerNorms, biases everywhere, queries, keys and values in one matrix, GELU.
"""

from __future__ import annotations

from llamacpp import ops
from llamacpp.models.config import Config
from llamacpp.models.decoder import Decoder
from llamacpp.models.layers import Part
from llamacpp.models.parts import FeedForward, SelfAttention
from llamacpp.models.weights import LayerWeights, Weights

__all__ = ["GPT2"]


class GPT2(Decoder):
    """Norm, attention, norm, feed-forward with GELU."""

    norm_kind = ops.NORM_LAYER

    def __init__(self, config: Config, weights: Weights, n_vocab: int) -> None:
        positions = weights.get("position_embd.weight", config.n_embd, config.n_ctx_train)
        super().__init__(config, weights, n_vocab, positions=positions)

    def layer(self, w: LayerWeights, number: int) -> tuple[Part, ...]:
        """As `Decoder.layer`."""
        c = self.config
        return (
            SelfAttention(c, w, norm=w.norm("attn_norm", c.n_embd), fused=True, rope=None),
            FeedForward(c, w, norm=w.norm("ffn_norm", c.n_embd), activation=ops.GELU),
        )
