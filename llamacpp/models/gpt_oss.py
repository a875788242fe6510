"""The `gpt-oss` architecture.

OpenAI 2025, "gpt-oss-120b & gpt-oss-20b Model Card": attention with biases and sinks, which sees a
window in every other layer, and experts with biases and an activation of their own, whose weights
are MXFP4 in the published files.
"""

from __future__ import annotations

from dataclasses import replace

from llamacpp import ops
from llamacpp.models.config import Config
from llamacpp.models.decoder import Decoder
from llamacpp.models.layers import Part
from llamacpp.models.parts import MixtureOfExperts, SelfAttention
from llamacpp.models.weights import LayerWeights, Weights

__all__ = ["GptOss"]


class GptOss(Decoder):
    """Norm, attention with sinks, norm, experts."""

    may_mix_experts = True

    def __init__(self, config: Config, weights: Weights, n_vocab: int) -> None:
        # The published models blend rotations of YaRN without rounding to whole pairs.
        scaling = replace(config.rope_scaling, truncate=False)
        super().__init__(replace(config, rope_scaling=scaling), weights, n_vocab)

    def layer(self, w: LayerWeights, number: int) -> tuple[Part, ...]:
        """As `Decoder.layer`."""
        c = self.config
        attention = SelfAttention(
            c,
            w,
            norm=w.norm("attn_norm", c.n_embd),
            rope=self.rope,
            window=c.window(number, period=2),
            sinks=w.get("attn_sinks.weight", c.n_head),
        )
        experts = MixtureOfExperts(
            c,
            w,
            n_ff=c.n_ff_expert or c.n_ff,
            norm=w.norm("post_attention_norm", c.n_embd),
            activation=ops.SWIGLU_OAI,
        )
        return attention, experts
