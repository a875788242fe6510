"""The `qwen2moe` architecture: Qwen1.5-MoE and Qwen2-57B-A14B.

Yang et al. 2024, "Qwen2 Technical Report", section 2.2.2: LLaMA's layers with biases of queries,
keys and values, and besides the experts that a token is given to one that all tokens share, as far
as a gate lets it through.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llamacpp import ops
from llamacpp.models.config import Config
from llamacpp.models.decoder import Decoder
from llamacpp.models.layers import Part, Workspace
from llamacpp.models.parts import MixtureOfExperts, SelfAttention
from llamacpp.models.weights import LayerWeights

__all__ = ["Qwen2MoE"]


class Qwen2MoE(Decoder):
    """Norm, attention, norm, experts."""

    may_mix_experts = True

    def layer(self, w: LayerWeights, number: int) -> tuple[Part, ...]:
        """As `Decoder.layer`."""
        c = self.config
        norm = w.norm("attn_norm", c.n_embd)
        attention = SelfAttention(c, w, norm=norm, rope=self.rope, window=c.window(number))
        return attention, ExpertsAndShared(c, w, norm=w.norm("ffn_norm", c.n_embd))


class ExpertsAndShared:
    """``x += sum of w_e f_e(x') + sigmoid(g x') f_shared(x')``, x' = norm(x).

    Args:
        c: hyperparameters.
        w: weights of the layer: those of `MixtureOfExperts`, ffn_gate_shexp, ffn_up_shexp and
            ffn_down_shexp of the shared expert, and ffn_gate_inp_shexp (n_embd), its gate g.
        norm: of x.
    """

    def __init__(self, c: Config, w: LayerWeights, *, norm: ops.Norm) -> None:
        n_ff = c.n_ff_expert or c.n_ff // c.n_expert_used
        self.mixture = MixtureOfExperts(c, w, n_ff=n_ff, norm=norm, weights_norm=False)
        n_shared = c.n_ff_shared or c.n_ff
        names = {"ffn_gate_shexp": n_shared, "ffn_up_shexp": n_shared}
        self.up = w.linear(names, c.n_embd, norm, ops.SWIGLU)
        self.down = w.linear({"ffn_down_shexp": c.n_embd}, n_shared)
        gate = w.get("ffn_gate_inp_shexp.weight", c.n_embd).as_row()
        self.gate = ops.Linear([gate], norm=norm)
        self.residual = ops.Residual(c.n_embd)

    def products(self) -> Iterator[ops.Product]:
        """Every op that multiplies with weights, in order."""
        yield self.up
        yield self.gate
        yield from self.mixture.products()
        yield self.down

    def add_to(self, block: ops.Block, space: Workspace, caches: tuple[Any, Any]) -> None:
        """Add its ops, on the memory of one session: first what reads x, then what adds to it."""
        block.linear(self.up, space.x, space.hidden)
        block.linear(self.gate, space.x, space.gate)
        self.mixture.add_to(block, space, caches)
        block.linear(self.down, space.hidden, space.branch)
        block.residual(self.residual, space.branch, space.x, space.gate)
