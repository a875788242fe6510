"""The `gemma2` architecture.

Gemma Team 2024, "Gemma 2: Improving Open Language Models at a Practical Size": norms before and
after each part, attention over a window in every other layer, caps of attention scores and logits.
"""

from __future__ import annotations

from dataclasses import replace

from llamacpp import ops
from llamacpp.models.config import Config
from llamacpp.models.decoder import Decoder
from llamacpp.models.layers import Part
from llamacpp.models.parts import FeedForward, SelfAttention
from llamacpp.models.weights import LayerWeights, Weights

__all__ = ["Gemma2", "scaled_as_gemma"]

PERIOD = 2  # of layers with a window and without


def scaled_as_gemma(config: Config, n_layer_27b: int) -> Config:
    """Fill in the scale of attention, which files name only if they like.

    It is 1 / sqrt(head size), but in the models of 27B, known by their layers, whose heads are
    wider than the embedding's share of a head: 1 / sqrt(n_embd / n_head).
    """
    if config.attention_scale or config.n_layer != n_layer_27b:
        return config
    return replace(config, attention_scale=(config.n_embd / config.n_head) ** -0.5)


class Gemma2(Decoder):
    """Norm, attention, norm, norm, feed-forward with GeGLU, norm."""

    def __init__(self, config: Config, weights: Weights, n_vocab: int) -> None:
        super().__init__(
            scaled_as_gemma(config, 46),
            weights,
            n_vocab,
            embedding_scale=config.n_embd**0.5,
            logit_softcap=config.logit_softcap,
        )

    def layer(self, w: LayerWeights, number: int) -> tuple[Part, ...]:
        """As `Decoder.layer`."""
        c = self.config
        attention = SelfAttention(
            c,
            w,
            norm=w.norm("attn_norm", c.n_embd),
            after=w.norm("post_attention_norm", c.n_embd),
            rope=self.rope,
            window=c.window(number, PERIOD),
        )
        feed_forward = FeedForward(
            c,
            w,
            norm=w.norm("ffn_norm", c.n_embd),
            after=w.norm("post_ffw_norm", c.n_embd),
            activation=ops.GEGLU,
        )
        return attention, feed_forward
