"""The parts that layers are made of: attention and feed-forward networks, by what varies in them.

An architecture chooses among these; what none of these is, it brings in its own file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llamacpp import ops
from llamacpp.models.config import Config
from llamacpp.models.layers import Workspace
from llamacpp.models.rope import Rope
from llamacpp.models.weights import LayerWeights
from llamacpp.tensors import Tensor

__all__ = ["Addition", "FeedForward", "MixtureOfExperts", "SelfAttention"]


class Addition:
    """The product that ends a part: ``x += scale * norm(W y)``, x the residual stream.

    With `sum_norm` (post-LN): ``x = sum_norm(x + scale * W y)``.

    Args:
        c: hyperparameters.
        w: weights of the layer.
        name: of the matrix (k -> n_embd).
        k: columns of y.
        norm: of what is added; None: none.
        scale: of what is added.
        sum_norm: of x with what is added; None: none. Instead of `norm`.
    """

    def __init__(
        self,
        c: Config,
        w: LayerWeights,
        name: str,
        k: int,
        *,
        norm: ops.Norm | None = None,
        scale: float = 1.0,
        sum_norm: ops.Norm | None = None,
    ) -> None:
        at_once = norm is None and sum_norm is None and scale == 1.0
        self.linear = w.linear({name: c.n_embd}, k, epilogue=ops.ADD if at_once else ops.STORE)
        self.residual = None
        if not at_once:
            self.residual = ops.Residual(
                c.n_embd, norm=norm or sum_norm, scale=scale, sum_norm=sum_norm is not None
            )

    def add_to(self, block: ops.Block, space: Workspace, y: ops.Buffer) -> None:
        """Add its ops for y (T, k)."""
        if self.residual is None:
            block.linear(self.linear, y, space.x)
        else:
            block.linear(self.linear, y, space.branch)
            block.residual(self.residual, space.branch, space.x)


class SelfAttention:
    """``x += Wo attention(rope(Wq x'), rope(Wk x'), Wv x')``, x' = norm(x).

    Args:
        c: hyperparameters.
        w: weights of the layer: attn_q, attn_k, attn_v and attn_output, with or without biases.
        rope: how queries and keys are rotated; None: they are not.
        norm: of x; None: none.
        after: norm of what is added to x; None: none.
        sum_norm: norm of x with what is added; None: none. Instead of `after`.
        causal: whether a token sees nothing behind it.
        fused: whether attn_q, attn_k and attn_v lie as one, in attn_qkv.
        q_norm: norm of each head of the queries (head_dim_k), or of all together, before they are
            rotated; None: none.
        k_norm: the same of the keys.
        window: positions that a token sees, its own included; 0: all before it.
        sinks: as `ops.Attention` has them; None: none.
    """

    def __init__(
        self,
        c: Config,
        w: LayerWeights,
        *,
        rope: Rope | None,
        norm: ops.Norm | None = None,
        after: ops.Norm | None = None,
        sum_norm: ops.Norm | None = None,
        causal: bool = True,
        fused: bool = False,
        q_norm: ops.Norm | None = None,
        k_norm: ops.Norm | None = None,
        window: int = 0,
        sinks: Tensor | None = None,
    ) -> None:
        self.config, self.rope, self.window, self.sinks = c, rope, window, sinks
        self.norms, self.causal = (q_norm, k_norm), causal
        n_q, n_k = c.n_head * c.head_dim_k, c.n_kv_head * c.head_dim_k
        n_v, n_heads = c.n_kv_head * c.head_dim_v, c.n_head * c.head_dim_v
        if fused:
            self.qkv = w.fused_linear("attn_qkv", (n_q, n_k, n_v), c.n_embd, norm)
        else:
            self.qkv = w.linear({"attn_q": n_q, "attn_k": n_k, "attn_v": n_v}, c.n_embd, norm)
        self.out = Addition(
            c, w, "attn_output", n_heads, norm=after, scale=c.residual_scale, sum_norm=sum_norm
        )

    def products(self) -> Iterator[ops.Product]:
        """Every op that multiplies with weights, in order."""
        yield self.qkv
        yield self.out.linear

    def add_to(self, block: ops.Block, space: Workspace, caches: tuple[Any, Any]) -> None:
        """Add its ops, on the memory of one session."""
        c, cache = self.config, space.cache
        rope = self.rope if self.rope is not None and self.rope.n_rot else None
        shape = ops.AttentionShape(
            n_head=c.n_head,
            n_kv_head=c.n_kv_head,
            head_dim_k=c.head_dim_k,
            head_dim_v=c.head_dim_v,
            n_rot=rope.n_rot if rope else 0,
            rope_kind=rope.kind if rope else ops.ROPE_NONE,
            cache_type=cache.type,
            n_seq=cache.n_seq,
            n_ctx=cache.n_ctx,
            scale=c.attention_scale or c.head_dim_k**-0.5,
            window=self.window,
            softcap=c.attention_softcap,
            causal=self.causal,
        )
        attention = ops.Attention(shape, *self.norms, self.sinks)
        angles = space.angles(rope) if rope else None
        block.linear(self.qkv, space.x, space.q, space.k, space.v)
        block.attention(attention, (space.q, space.k, space.v), space.heads, caches, angles)
        self.out.add_to(block, space, space.heads)


class FeedForward:
    """``x += Wdown f(x')``, x' = norm(x), f(x') = act(Wgate x') * (Wup x') or act(Wup x').

    Args:
        c: hyperparameters.
        w: weights of the layer: ffn_gate where it is gated, ffn_up, ffn_down.
        activation: ops.SWIGLU or GEGLU, which are gated, or GELU or GELU_ERF.
        norm: of x; None: none.
        after: norm of what is added to x; None: none.
        sum_norm: norm of x with what is added; None: none. Instead of `after`.
        fused: whether ffn_gate and ffn_up lie as one, in ffn_up.
    """

    def __init__(
        self,
        c: Config,
        w: LayerWeights,
        *,
        activation: int = ops.SWIGLU,
        norm: ops.Norm | None = None,
        after: ops.Norm | None = None,
        sum_norm: ops.Norm | None = None,
        fused: bool = False,
    ) -> None:
        if fused:
            self.up = w.fused_linear("ffn_up", (c.n_ff, c.n_ff), c.n_embd, norm, activation)
        elif activation in (ops.GELU, ops.GELU_ERF):
            self.up = w.linear({"ffn_up": c.n_ff}, c.n_embd, norm, activation)
        else:
            self.up = w.linear({"ffn_gate": c.n_ff, "ffn_up": c.n_ff}, c.n_embd, norm, activation)
        self.down = Addition(
            c, w, "ffn_down", c.n_ff, norm=after, scale=c.residual_scale, sum_norm=sum_norm
        )

    def products(self) -> Iterator[ops.Product]:
        """Every op that multiplies with weights, in order."""
        yield self.up
        yield self.down.linear

    def add_to(self, block: ops.Block, space: Workspace, caches: tuple[Any, Any]) -> None:
        """Add its ops, on the memory of one session."""
        block.linear(self.up, space.x, space.hidden)
        self.down.add_to(block, space, space.hidden)


class MixtureOfExperts:
    """``x += sum of w_e f_e(x')``: a token is given to a few of many feed-forward networks.

    Those with the largest of the router's logits; the w_e are their softmax (Shazeer et al. 2017,
    "Outrageously Large Neural Networks"; Jiang et al. 2024, "Mixtral of Experts").

    Args:
        c: hyperparameters.
        w: weights of the layer: ffn_gate_inp, the router, and ffn_gate_exps, ffn_up_exps and
            ffn_down_exps, with or without biases.
        n_ff: width of an expert.
        norm: of x.
        activation: ops.SWIGLU, GEGLU or SWIGLU_OAI.
        weights_norm: whether the weights of a token's experts sum to 1, unless the file says it.
    """

    def __init__(
        self,
        c: Config,
        w: LayerWeights,
        *,
        n_ff: int,
        norm: ops.Norm,
        activation: int = ops.SWIGLU,
        weights_norm: bool = True,
    ) -> None:
        self.router = w.linear({"ffn_gate_inp": c.n_expert}, c.n_embd, norm)
        said = c.expert_weights_norm
        self.experts = w.experts(
            n_ff,
            c.n_embd,
            c.n_expert,
            norm=norm,
            epilogue=activation,
            n_used=c.n_expert_used,
            weights_norm=weights_norm if said is None else said,
            weights_scale=c.expert_weights_scale,
        )

    def products(self) -> Iterator[ops.Product]:
        """Every op that multiplies with weights, in order."""
        yield self.router
        yield self.experts

    def add_to(self, block: ops.Block, space: Workspace, caches: tuple[Any, Any]) -> None:
        """Add its ops, on the memory of one session."""
        block.linear(self.router, space.x, space.router)
        block.experts(self.experts, space.router, space.x)
