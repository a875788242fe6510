"""The network that is trained: the LLaMA architecture in PyTorch, with GGUF's tensor names.

RMSNorm, rotary embedding over adjacent pairs (the order GGUF `llama` files use, so that the
weights are exported without a permutation), grouped-query attention and SwiGLU, as in
"LLaMA: Open and Efficient Foundation Language Models" (arXiv 2302.13971).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F  # noqa: N812 (the name PyTorch's own documentation uses)
from torch import Tensor, nn

OUTPUT_HINT = 0.05  # of a token's input vector, added to its output vector


@dataclass(frozen=True)
class Shape:
    """Hyperparameters; every matrix row is a multiple of 256 elements long."""

    n_vocab: int = 2560
    n_ctx: int = 640
    n_embd: int = 256
    n_layer: int = 6
    n_head: int = 8
    n_head_kv: int = 4
    n_ff: int = 512
    rope_base: float = 10000.0
    norm_eps: float = 1e-5

    @property
    def head_dim(self) -> int:
        return self.n_embd // self.n_head

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


class RMSNorm(nn.Module):
    """x / rms(x) * weight over the last dimension."""

    def __init__(self, n: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight


def rope_table(shape: Shape) -> Tensor:
    """Angles' cosines and sines: (2, n_ctx, head_dim / 2)."""
    half = torch.arange(0, shape.head_dim, 2, dtype=torch.float64) / shape.head_dim
    angle = torch.outer(torch.arange(shape.n_ctx, dtype=torch.float64), shape.rope_base**-half)
    return torch.stack((angle.cos(), angle.sin())).float()


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Rotate adjacent pairs of x (batch, time, heads, head_dim) by their positions' angles."""
    cos, sin = table[:, : x.shape[1], None, :]
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)


class Block(nn.Module):
    """One layer: attention and feed-forward, each behind a norm and a residual connection."""

    def __init__(self, s: Shape) -> None:
        super().__init__()
        self.shape = s
        n_kv = s.n_head_kv * s.head_dim
        self.attn_norm = RMSNorm(s.n_embd, s.norm_eps)
        self.attn_q = nn.Linear(s.n_embd, s.n_embd, bias=False)
        self.attn_k = nn.Linear(s.n_embd, n_kv, bias=False)
        self.attn_v = nn.Linear(s.n_embd, n_kv, bias=False)
        self.attn_output = nn.Linear(s.n_embd, s.n_embd, bias=False)
        self.ffn_norm = RMSNorm(s.n_embd, s.norm_eps)
        self.ffn_gate = nn.Linear(s.n_embd, s.n_ff, bias=False)
        self.ffn_up = nn.Linear(s.n_embd, s.n_ff, bias=False)
        self.ffn_down = nn.Linear(s.n_ff, s.n_embd, bias=False)

    def forward(self, x: Tensor, table: Tensor, mask: Tensor) -> Tensor:
        s = self.shape
        h = self.attn_norm(x)
        q = rotate(self.attn_q(h).unflatten(-1, (s.n_head, s.head_dim)), table)
        k = rotate(self.attn_k(h).unflatten(-1, (s.n_head_kv, s.head_dim)), table)
        v = self.attn_v(h).unflatten(-1, (s.n_head_kv, s.head_dim))
        group = s.n_head // s.n_head_kv
        k = k.repeat_interleave(group, dim=2)
        v = v.repeat_interleave(group, dim=2)
        scores = q.transpose(1, 2) @ k.permute(0, 2, 3, 1) / math.sqrt(s.head_dim)
        mixed = (scores + mask).softmax(-1) @ v.transpose(1, 2)
        x = x + self.attn_output(mixed.transpose(1, 2).flatten(-2))
        h = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))


class Llama(nn.Module):
    """Tokens (batch, time) to logits (batch, time, n_vocab)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.n_vocab, shape.n_embd)
        self.blk = nn.ModuleList(Block(shape) for _ in range(shape.n_layer))
        self.output_norm = RMSNorm(shape.n_embd, shape.norm_eps)
        self.output = nn.Linear(shape.n_embd, shape.n_vocab, bias=False)
        self.register_buffer("rope", rope_table(shape), persistent=False)
        self._init_weights()

    def _init_weights(self) -> None:
        """Token vectors of unit variance; what the layers add to them starts at zero."""
        nn.init.normal_(self.token_embd.weight)
        nn.init.normal_(self.output.weight, std=0.01)
        for name, parameter in self.blk.named_parameters():
            if name.endswith(("attn_output.weight", "ffn_down.weight")):
                nn.init.zeros_(parameter)
            elif parameter.ndim == 2:
                nn.init.normal_(parameter, std=1 / math.sqrt(parameter.shape[1]))

    @torch.no_grad()
    def align_output(self) -> None:
        """Turn each token's output vector a little towards its input vector.

        Names are all alike to a young model: their output vectors hardly differ, so a head that
        would copy a name gets no gradient, and while none does, nothing tells the vectors apart.
        The hint makes copying any token pay from the first step, and the model learns to carry
        names through a story within a million tokens.
        """
        self.output.weight += OUTPUT_HINT * self.token_embd.weight

    def hidden(self, tokens: Tensor) -> Tensor:
        """The last layer's normalised states: (batch, time, n_embd)."""
        x = self.token_embd(tokens)
        n = tokens.shape[1]
        mask = torch.full((n, n), -math.inf).triu(1)
        if torch.is_autocast_enabled("cpu"):
            mask = mask.bfloat16()
        for block in self.blk:
            x = block(x, self.rope, mask)
        return self.output_norm(x)

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.output(self.hidden(tokens))
        return logits

    def loss(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy in nats per token over the targets that are not -100."""
        logits = self(tokens).flatten(0, 1)
        return F.cross_entropy(logits.float(), targets.flatten(), ignore_index=-100)
