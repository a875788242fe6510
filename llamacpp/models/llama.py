"""The `llama` architecture: LLaMA 1, 2 and 3, TinyLlama, Mistral and their like.

Touvron et al. 2023, "LLaMA: Open and Efficient Foundation Language Models": a decoder-only
transformer with RMSNorm before each part, rotary positions (adjacent pairs), grouped-query
attention, SwiGLU, and output weights of their own or tied to the embedding.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from typing import Any

from llamacpp import ops
from llamacpp.models.config import Config
from llamacpp.models.layers import Batch, Embedding, Layer, Workspace
from llamacpp.models.rope import inverse_frequencies
from llamacpp.models.weights import Weights
from llamacpp.residency import Window
from llamacpp.tensors import Tensor

__all__ = ["Llama"]


class Llama:
    """Weights and forward pass. Shapes are (rows, columns); T tokens, R rows of logits."""

    rope_kind = ops.ROPE_ADJACENT

    def __init__(self, config: Config, weights: Weights, n_vocab: int) -> None:
        c = self.config = config
        self.n_vocab = n_vocab
        embedding = weights.get("token_embd.weight", c.n_embd, n_vocab)  # (n_vocab, n_embd)
        output = weights.find("output.weight", c.n_embd, n_vocab) or embedding  # tied if absent
        self.embedding = Embedding(embedding)
        self.layers = [_layer(c, weights, f"blk.{i}.") for i in range(c.n_layer)]
        self.output = ops.Linear(
            [output], norm=weights.get("output_norm.weight", c.n_embd), eps=c.norm_eps
        )
        self.inv_freq = inverse_frequencies(
            c.n_rot,
            c.rope_base,
            linear_factor=c.rope_linear_factor,
            divisors=_values(weights.find("rope_freqs.weight", c.n_rot // 2)),
        )
        self.weights: dict[str, Tensor] = weights.used
        self.window: Window | None = None

    def linears(self) -> Iterator[ops.Linear]:
        """Every prepared product."""
        for layer in self.layers:
            yield from layer
        yield self.output

    def blocks(self, space: Workspace) -> Iterator[ops.Block]:
        """The layers on the memory of one session."""
        for layer, caches in zip(self.layers, space.cache.layers, strict=True):
            block = ops.Block()
            # x += Wo attention(rope(Wq x'), rope(Wk x'), Wv x'), x' = rmsnorm(x)
            block.linear(layer.qkv, space.x, space.q, space.k, space.v)
            block.attention(space.attention, (space.q, space.k, space.v), space.heads, caches)
            block.linear(layer.attn_out, space.heads, space.x)
            # x += Wdown (silu(Wgate x') * Wup x'), x' = rmsnorm(x)
            block.linear(layer.gate_up, space.x, space.hidden)
            block.linear(layer.down, space.hidden, space.x)
            yield block

    def forward(
        self,
        batch: Batch,
        space: Workspace,
        logits: Any,
        checkpoint: Callable[[], None],
    ) -> None:
        """Evaluate a batch; see `Network.forward`."""
        place = space.place(batch)
        self.embedding.look_up(batch.tokens, space.x.ptr)  # x (T, n_embd)
        ops.rope_angles(space.angles.ptr, place.pos, len(batch.pos), self.inv_freq)

        space.run_blocks(place, checkpoint)

        if logits is not None:
            # Only the rows asked for go through the output matrix, the largest of all.
            rows = space.rows(batch)  # (R, n_embd)
            ops.linear(self.output, rows, logits, len(batch.rows), space.work)


def _layer(c: Config, weights: Weights, prefix: str) -> Layer:
    """Check and prepare the weights of one transformer block."""
    n_q, n_k = c.n_head * c.head_dim_k, c.n_kv_head * c.head_dim_k
    n_v, n_heads = c.n_kv_head * c.head_dim_v, c.n_head * c.head_dim_v

    def linear(
        parts: dict[str, int], k: int, norm: str | None = None, epilogue: int = ops.STORE
    ) -> ops.Linear:
        return ops.Linear(
            [weights.get(f"{prefix}{name}.weight", k, n) for name, n in parts.items()],
            [weights.find(f"{prefix}{name}.bias", n) for name, n in parts.items()],
            norm=weights.get(f"{prefix}{norm}.weight", k) if norm else None,
            eps=c.norm_eps,
            epilogue=epilogue,
        )

    return Layer(
        qkv=linear({"attn_q": n_q, "attn_k": n_k, "attn_v": n_v}, c.n_embd, "attn_norm"),
        attn_out=linear({"attn_output": c.n_embd}, n_heads, epilogue=ops.ADD),
        gate_up=linear(
            {"ffn_gate": c.n_ff, "ffn_up": c.n_ff}, c.n_embd, "ffn_norm", epilogue=ops.SWIGLU
        ),
        down=linear({"ffn_down": c.n_embd}, c.n_ff, epilogue=ops.ADD),
    )


def _values(tensor: Tensor | None) -> array[float] | None:
    """The values of a small float32 tensor."""
    if tensor is None:
        return None
    ops.vector(tensor)  # refuses other types
    return array("f", bytes(tensor.data))
